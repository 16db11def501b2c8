"""Schedules: how each kind of cluster becomes loop kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lazytorch.codegen.expression import pull, tensor_type
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.launch import Address, Launch, ScheduleContext
from lazytorch.codegen.schedules.attention import attention_launches
from lazytorch.codegen.schedules.contract import contract_launches
from lazytorch.codegen.schedules.gpu_attention import gpu_attention_launches
from lazytorch.codegen.schedules.gpu_contract import gpu_contract_launches
from lazytorch.codegen.schedules.gpu_reduce import gpu_reduce_launches
from lazytorch.codegen.schedules.gpu_row import gpu_row_launches
from lazytorch.codegen.schedules.gpu_sort import gpu_sort_launches
from lazytorch.codegen.schedules.host import host_launches
from lazytorch.codegen.schedules.indirect import gather_launches, scatter_launches
from lazytorch.codegen.schedules.map import map_launch
from lazytorch.codegen.schedules.nest import Output
from lazytorch.codegen.schedules.placement import concat_launches, copy_launch, insert_launches, pad_launches
from lazytorch.codegen.schedules.reduce import reduce_launches
from lazytorch.codegen.schedules.row import row_launches
from lazytorch.codegen.schedules.scan import scan_launches
from lazytorch.codegen.schedules.search import search_launches
from lazytorch.codegen.schedules.sort import sort_launches
from lazytorch.codegen.structure import remember
from lazytorch.codegen.views import contiguous
from lazytorch.errors import CompileError
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Trait

__all__ = ["schedule"]


@dataclass(frozen=True)
class _Known:
    """The launches of a kernel of some structure. Per launch: at which slots the addresses lie, of which value of the
    kernel (its operands, then its results) and from which byte on; and the positions of its operations in the block."""

    launches: Sequence[Launch]
    addresses: Sequence[Sequence[tuple[int, int, int]]]
    operations: Sequence[Sequence[int]]


_known: dict[Any, _Known] = {}


def schedule(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """The launches of one fused.kernel. Their addresses name the kernel's own operands and results.

    What they are depends on the structure of the kernel alone, so a kernel like one before is not scheduled again.
    """
    block = kernel.region.block
    key = (kernel.attributes.schedule, context.target, context.threads, context.tf32, *_text(block))
    known = _known.get(key)
    if known is None:
        schedules = _GPU_SCHEDULES if isinstance(context.target, GpuTarget) else _SCHEDULES
        known = _relative(schedules[kernel.attributes.schedule](kernel, context), block)
        remember(_known, key, known)
    values = (*kernel.operands, *kernel.results)
    operations = list(block)
    launches = []
    for launch, addresses, positions in zip(known.launches, known.addresses, known.operations, strict=True):
        slots = list(launch.slots)
        for position, number, offset in addresses:
            slots[position] = Address(values[number], offset)
        launches.append(replace(launch, slots=slots, operations=[operations[number] for number in positions]))
    return launches


def _text(block: Block) -> list[Any]:
    """All that a block says: its arguments' types, its operations and what they read."""
    numbers: dict[Value, int] = {}
    words: list[Any] = []
    for argument in block.arguments:
        numbers[argument] = len(numbers)
        words.append(argument.type)
    for operation in block:
        words.append(operation.operator)
        words += [numbers[operand] for operand in operation.operands]
        for result in operation.results:
            numbers[result] = len(numbers)
    return words


def _relative(launches: Sequence[Launch], block: Block) -> _Known:
    """The launches with places in the kernel for its values and operations. Raises CompileError for an address of what is
    in no buffer."""
    numbers = {value: number for number, value in enumerate(block.arguments)}
    for number, value in enumerate(block.terminator.operands, len(numbers)):
        numbers.setdefault(value, number)
    places = {operation: position for position, operation in enumerate(block)}
    addresses = []
    for launch in launches:
        own = []
        for position, slot in enumerate(launch.slots):
            if isinstance(slot, Address):
                if slot.value not in numbers:
                    raise CompileError(f"a launch addresses {slot.value}, which is in no buffer", stage="schedule")
                own.append((position, numbers[slot.value], slot.offset))
        addresses.append(own)
    return _Known(launches, addresses, [[places[x] for x in launch.operations] for launch in launches])


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
    "scan": scan_launches,
    "sort": lambda kernel, context: sort_launches(_root(kernel), context),
    "search": lambda kernel, context: search_launches(_root(kernel), context),
    "host": lambda kernel, context: host_launches(_root(kernel), context),
}
_GPU_SCHEDULES: dict[str, Callable[[Operation, ScheduleContext], list[Launch]]] = {
    **_SCHEDULES,
    "reduce": lambda kernel, context: gpu_reduce_launches(_root(kernel), context),
    "row": gpu_row_launches,
    "contract": gpu_contract_launches,
    "attention": gpu_attention_launches,
    "sort": lambda kernel, context: gpu_sort_launches(_root(kernel), context),
}
"""The others give one thread each iteration of their parallel loop."""
