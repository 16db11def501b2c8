"""A pending value's program as text, at every stage of the compiler."""

from __future__ import annotations

from lazytorch.codegen.fusion import fuse
from lazytorch.codegen.launch import Launch, ScheduleContext
from lazytorch.codegen.schedules import schedule
from lazytorch.codegen.target import current_target
from lazytorch.config import config
from lazytorch.ir.capture import capture
from lazytorch.ir.core import Operation
from lazytorch.ir.dialects import fused
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.printer import print_ir
from lazytorch.ir.replay import materialise
from lazytorch.ir.trace import Node, Trace, enter
from lazytorch.runtime.engine import engine
from lazytorch.runtime.kernels import kernel_text
from lazytorch.runtime.planner import PIPELINE
from lazytorch.runtime.thread_count import get_num_threads

STAGES = ("graph", "tensor", "fused", "loop", "llvm", "asm")


def stage_text(trace: Trace, node: Node, stage: str) -> str:
    """The program that would compute `node`, as the stage sees it. Raises ValueError for an unknown stage.

    graph: as recorded. tensor: simplified and decomposed. fused: one fused.kernel per kernel. loop: the loop IR of
    every kernel. llvm, asm: what it becomes. A value that is computed already has an empty program.
    """
    number = node.number
    if node.epoch is not trace.epoch:
        number = enter(trace, node)
    materialise(trace)
    func = capture(trace, [number])
    return function_text(func, stage)


def function_text(func: Operation, stage: str) -> str:
    """What a function of tensor operations, which is taken apart for it, is at a stage. Raises ValueError for an
    unknown stage."""
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; there are {', '.join(STAGES)}")
    if stage == "graph":
        return print_ir(func, locations=True)
    PassManager(PIPELINE).run_on_func(func)
    if stage == "tensor":
        return print_ir(func, locations=True)
    fuse(func, config.fuse)
    if stage == "fused":
        return print_ir(func, locations=True)
    return "\n".join(_kernel_stage(launch, stage) for launch in _launches(func))


def _launches(func: Operation) -> list[Launch]:
    """One launch per distinct kernel."""
    context = ScheduleContext(current_target(), get_num_threads())
    found: dict[str, Launch] = {}
    for operation in func.region.block:
        if operation.declaration is fused.kernel:
            for launch in schedule(operation, context):
                found.setdefault(launch.key, launch)
    return list(found.values())


def _kernel_stage(launch: Launch, stage: str) -> str:
    if launch.build is None:
        return f"// {launch.symbol}: its NumPy meaning, called as a step of the program\n"
    if stage == "loop":
        return print_ir(launch.build())
    target = current_target()
    text = kernel_text(launch, target)
    return text if stage == "llvm" else engine().assembly(text, target)
