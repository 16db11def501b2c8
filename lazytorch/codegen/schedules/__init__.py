"""Schedules: how each kind of cluster becomes loop kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lazytorch.codegen.expression import pull, tensor_type
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Slot
from lazytorch.codegen.schedules.attention import attention_launches
from lazytorch.codegen.schedules.contract import contract_launches
from lazytorch.codegen.schedules.gpu_contract import gpu_contract_launches
from lazytorch.codegen.schedules.gpu_reduce import gpu_reduce_launches
from lazytorch.codegen.schedules.gpu_row import gpu_row_launches
from lazytorch.codegen.schedules.host import host_launches
from lazytorch.codegen.schedules.indirect import gather_launches, scatter_launches
from lazytorch.codegen.schedules.map import map_launch
from lazytorch.codegen.schedules.nest import Output
from lazytorch.codegen.schedules.placement import concat_launches, copy_launch, insert_launches, pad_launches
from lazytorch.codegen.schedules.reduce import reduce_launches
from lazytorch.codegen.schedules.row import row_launches
from lazytorch.codegen.schedules.scan import scan_launches
from lazytorch.codegen.schedules.sort import search_launches, sort_launches
from lazytorch.codegen.views import contiguous
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait

__all__ = ["schedule"]


def schedule(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """The launches of one fused.kernel. Their addresses name the kernel's own operands and results."""
    block = kernel.region.block
    inside = dict(zip(block.arguments, kernel.operands, strict=True))
    yielded = block.terminator.operands
    outside: dict[Value, Value] = {}
    for inner, result in zip(yielded, kernel.results, strict=True):
        outside.setdefault(inner, result)
    schedules = _GPU_SCHEDULES if isinstance(context.target, GpuTarget) else _SCHEDULES
    launches = schedules[kernel.attributes.schedule](kernel, context)
    for launch in launches:
        launch.slots = [_outside(slot, inside, outside) for slot in launch.slots]
    return launches


def _outside(slot: Slot, inside: dict[Value, Value], outside: dict[Value, Value]) -> Slot:
    """The slot with a value of the region replaced by the kernel's operand or result that it stands for."""
    if not isinstance(slot, Address):
        return slot
    value = inside.get(slot.value) or outside.get(slot.value)
    if value is None:
        raise CompileError(f"a launch addresses {slot.value}, which is in no buffer", stage="schedule")
    return replace(slot, value=value)


def _schedule_map(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    yielded = list(dict.fromkeys(kernel.region.block.terminator.operands))
    shape = tensor_type(yielded[0]).shape
    expression = pull(yielded, shape)
    outputs = [Output(value, contiguous(shape)) for value in yielded]
    launch = map_launch(expression, outputs, context, _located(kernel))
    return [launch] if launch is not None else []


def _located(kernel: Operation) -> list[Operation]:
    return [operation for operation in kernel.region.block if not operation.has(Trait.TERMINATOR)]


def _root(kernel: Operation) -> Operation:
    """The operation whose result the kernel yields."""
    operation = kernel.region.block.terminator.operands[0].defining_op()
    assert operation is not None
    return operation


def _schedule_scatter(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    root = _root(kernel)
    base = root.operands[0]
    copy = copy_launch(base, root.result, contiguous(tensor_type(base).shape), context, root)
    return copy + scatter_launches(root, context)


_SCHEDULES: dict[str, Callable[[Operation, ScheduleContext], list[Launch]]] = {
    "map": _schedule_map,
    "reduce": lambda kernel, context: reduce_launches(_root(kernel), context),
    "row": row_launches,
    "contract": contract_launches,
    "attention": attention_launches,
    "gather": lambda kernel, context: gather_launches(_root(kernel), context),
    "scatter": _schedule_scatter,
    "pad": lambda kernel, context: pad_launches(_root(kernel), context),
    "insert": lambda kernel, context: insert_launches(_root(kernel), context),
    "concat": lambda kernel, context: concat_launches(_root(kernel), context),
    "scan": lambda kernel, context: scan_launches(_root(kernel), context),
    "sort": lambda kernel, context: sort_launches(_root(kernel), context),
    "search": lambda kernel, context: search_launches(_root(kernel), context),
    "host": lambda kernel, context: host_launches(_root(kernel), context),
}
_GPU_SCHEDULES: dict[str, Callable[[Operation, ScheduleContext], list[Launch]]] = {
    **_SCHEDULES,
    "reduce": lambda kernel, context: gpu_reduce_launches(_root(kernel), context),
    "row": gpu_row_launches,
    "contract": gpu_contract_launches,
}
"""The others give one thread each iteration of their parallel loop."""
