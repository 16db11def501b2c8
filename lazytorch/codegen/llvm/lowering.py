"""The LLVM text of a module of kernels, for whatever target it is."""

from __future__ import annotations

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.llvm.emitter import FunctionEmitter, ModuleEmitter, lower_with
from lazytorch.codegen.llvm.nvptx import lower_nvptx
from lazytorch.codegen.target import Target
from lazytorch.ir.core import Operation


def lower(module: Operation, target: Target | GpuTarget) -> str:
    """One LLVM module: functions and kernels in the target's calling form."""
    if isinstance(target, GpuTarget):
        return lower_nvptx(module, target)
    return lower_with(ModuleEmitter(target), FunctionEmitter, module)
