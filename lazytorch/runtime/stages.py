"""A pending value's program as text, at every stage of the compiler."""

from __future__ import annotations

from lazytorch.codegen.fusion import fuse
from lazytorch.codegen.gpu_target import GpuTarget, gpu_target
from lazytorch.codegen.launch import Launch, ScheduleContext
from lazytorch.codegen.schedules import schedule
from lazytorch.codegen.target import Target, current_target
from lazytorch.config import config
from lazytorch.ir.capture import capture
from lazytorch.ir.core import Operation
from lazytorch.ir.dialects import fused
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.printer import print_ir
from lazytorch.ir.replay import materialise
from lazytorch.ir.trace import Node, Trace, enter
from lazytorch.runtime.engine import engine
from lazytorch.runtime.gpu_tools import disassemble
from lazytorch.runtime.kernels import kernel_text
from lazytorch.runtime.planner import GPU_PIPELINE, PIPELINE
from lazytorch.runtime.thread_count import get_num_threads

STAGES = ("graph", "tensor", "fused", "loop", "llvm", "asm", "ptx", "sass")
GPU_STAGES = ("ptx", "sass")
_ANY_GPU = "sm_80"
"""The architecture that PTX is shown for where no device says another."""


def stage_text(trace: Trace, node: Node, stage: str) -> str:
    """The program that would compute `node`, as the stage sees it. Raises ValueError for an unknown stage.

    graph: as recorded. tensor: simplified and decomposed. fused: one fused.kernel per kernel. loop: the loop IR of
    every kernel. llvm, asm: what it becomes. ptx: what it becomes on a GPU, also for a value on the CPU; sass: what NVIDIA's
    tools make of that (FileNotFoundError where they are not installed). A value that is computed already has an empty
    program.
    """
    return function_text(_captured(trace, node), stage)


def program_launches(trace: Trace, node: Node, gpu: GpuTarget | None = None) -> list[tuple[Launch, Target | GpuTarget]]:
    """The launches that would compute `node`, in order, and for what each is. gpu: what they would be there."""
    found: list[tuple[Launch, Target | GpuTarget]] = []
    for part, own in _parts(_captured(trace, node), "loop"):
        PassManager(_pipeline(gpu or own)).run_on_func(part)
        fuse(part, config.fuse)
        found += [(launch, gpu or own) for launch in _launches(part, gpu or own)]
    return found


def _pipeline(target: Target | GpuTarget) -> str:
    return GPU_PIPELINE if isinstance(target, GpuTarget) else PIPELINE


def _captured(trace: Trace, node: Node) -> Operation:
    """The program of a value, as a function."""
    number = node.number
    if node.epoch is not trace.epoch:
        number = enter(trace, node)
    materialise(trace)
    return capture(trace, [number])


def function_text(func: Operation, stage: str, target: Target | GpuTarget | None = None) -> str:
    """What a function of tensor operations, which is taken apart for it, is at a stage. target: for what its kernels are,
    if not for the device that the function's types name. Raises ValueError for an unknown stage."""
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; there are {', '.join(STAGES)}")
    if stage == "graph":
        return print_ir(func, locations=True)
    return "\n".join(_part_text(part, stage, target or own) for part, own in _parts(func, stage))


def _parts(func: Operation, stage: str) -> list[tuple[Operation, Target | GpuTarget]]:
    """The functions of single devices that a function consists of."""
    values = [value for operation in func.region.block for value in (*operation.operands, *operation.results)]
    if all(value.type.device is None for value in (*func.region.block.arguments, *values)):
        return [(func, gpu_target(_ANY_GPU) if stage in GPU_STAGES else current_target())]
    from lazytorch.runtime.cuda.device import devices  # only programs for a GPU need what belongs to it
    from lazytorch.runtime.cuda.staging import staged

    gpu = devices()[0].target if devices() else gpu_target(_ANY_GPU)
    parts = staged(func).stages_in_order
    return [(part.func, current_target() if part.device is None else gpu) for part in parts]


def _part_text(func: Operation, stage: str, target: Target | GpuTarget) -> str:
    PassManager(_pipeline(target)).run_on_func(func)
    if stage == "tensor":
        return print_ir(func, locations=True)
    fuse(func, config.fuse)
    if stage == "fused":
        return print_ir(func, locations=True)
    kernels = {launch.key: launch for launch in _launches(func, target)}
    return "\n".join(_kernel_stage(launch, stage, target) for launch in kernels.values())


def _launches(func: Operation, target: Target | GpuTarget) -> list[Launch]:
    """All launches of a fused function, in order."""
    context = ScheduleContext(target, get_num_threads(), config.tf32)
    kernels = [operation for operation in func.region.block if operation.declaration is fused.kernel]
    return [launch for kernel in kernels for launch in schedule(kernel, context)]


def _kernel_stage(launch: Launch, stage: str, target: Target | GpuTarget) -> str:
    if launch.build is None:
        return f"// {launch.symbol}: its NumPy meaning, called as a step of the program\n"
    if stage == "loop":
        return print_ir(launch.build())
    text = kernel_text(launch, target)
    if stage == "llvm":
        return text
    if isinstance(target, GpuTarget):
        ptx = engine().ptx(text, target)
        return ptx if stage != "sass" else disassemble(ptx, target.name)
    return f"// {launch.symbol} runs on the CPU\n" if stage in GPU_STAGES else engine().assembly(text, target)
