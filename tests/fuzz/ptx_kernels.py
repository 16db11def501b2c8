"""Random kernels for GPUs: compiled to PTX, they are taken or refused with an error. LLVM ends the process for what it
cannot select, which only a parent process sees."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypothesis import strategies as st

from lazytorch.codegen.gpu_target import GPU_TARGETS, gpu_target
from lazytorch.codegen.llvm import lower
from lazytorch.codegen.math import expand_math
from lazytorch.errors import CompileError
from lazytorch.ir.parser import parse_module
from lazytorch.ir.verifier import verify
from lazytorch.runtime.engine import engine
from tests.fuzz.loop_kernels import LoopKernel, kernels


@dataclass(frozen=True)
class PtxKernel:
    """A kernel's text and the architecture that it is compiled for."""

    text: str
    architecture: str

    def __repr__(self) -> str:
        return f"for {self.architecture}:\n{self.text}"


@st.composite
def ptx_kernels(draw: st.DrawFn) -> PtxKernel:
    """A kernel for some architecture."""
    kernel: LoopKernel = draw(kernels())
    text = kernel.text[kernel.text.index("loop.kernel") :]
    lines = [line for line in text.splitlines() if "loop.call" not in line]  # kernels for GPUs call no functions
    for name in ("f32", "f64"):
        other = draw(st.sampled_from((name, name, "f16", "bf16")))
        lines = [re.sub(rf"(?<![a-z]){name}\b|(?<=\dx){name}\b", other, line) for line in lines]
    return PtxKernel("\n".join(lines) + "\n", draw(st.sampled_from(sorted(GPU_TARGETS))))


def check(program: PtxKernel) -> None:
    """Raises what is no clear refusal, and AssertionError for PTX that calls what is not there."""
    module = parse_module(program.text)
    verify(module)
    expand_math(module)
    target = gpu_target(program.architecture)
    try:
        ptx = engine().ptx(lower(module, target), target)
    except (CompileError, NotImplementedError):
        return
    assert ".entry k(" in ptx and ".extern" not in ptx
