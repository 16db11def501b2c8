"""Looking inside: `lazytorch.dump(y, stage=...)` and `lazytorch.explain(y)`."""

from __future__ import annotations

from lazytorch.codegen.gpu_target import gpu_target
from lazytorch.ir.trace import STATE
from lazytorch.runtime.explanation import explain_node, table
from lazytorch.runtime.stages import stage_text
from lazytorch.tensor import Tensor, value


def dump(y: Tensor, stage: str = "tensor") -> str:
    """The program that would compute a pending tensor, as text.

    stage: graph (as recorded), tensor (simplified), fused (kernels), loop (loop IR), llvm, asm, ptx (for a GPU, also where
    there is none), or sass (what NVIDIA's ptxas and nvdisasm make of that). Nothing is run. Raises ValueError for another
    stage, FileNotFoundError where those tools are not installed.
    """
    return stage_text(STATE.trace, value(y), stage)


def explain(y: Tensor, target: str = "") -> str:
    """The kernels that would compute a pending tensor, as a table: the operations' places, flops, bytes and flops per byte
    and, of kernels on a GPU, grid, registers per thread, spilled bytes, shared memory and occupancy.

    target: the architecture of a GPU (`sm_80`) that the kernels would be for, whether there is one or not. Registers are
    those that NVIDIA's assembler gives, and unknown where it is not installed. Nothing is run. Raises ValueError for an
    unknown target.
    """
    return table(explain_node(STATE.trace, value(y), gpu_target(target) if target else None))
