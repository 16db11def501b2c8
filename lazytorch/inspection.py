"""Looking inside: `lazytorch.dump(y, stage=...)`."""

from __future__ import annotations

from lazytorch.ir.trace import STATE
from lazytorch.runtime.stages import stage_text
from lazytorch.tensor import Tensor, value


def dump(y: Tensor, stage: str = "tensor") -> str:
    """The program that would compute a pending tensor, as text.

    stage: graph (as recorded), tensor (simplified), fused (kernels), loop (loop IR), llvm, asm, or ptx (for a GPU, also
    where there is none). Nothing is run. Raises ValueError for another stage.
    """
    return stage_text(STATE.trace, value(y), stage)
