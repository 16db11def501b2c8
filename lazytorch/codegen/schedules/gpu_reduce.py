"""The reduce schedule on a GPU: rows by teams of threads, columns by one thread each, large ones in two stages.

The order is that of schedules/reduce.py, so the bits are the CPU's; no atomic operation takes part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, symbol_of
from lazytorch.codegen.schedules.gpu_team import Team, TeamMember
from lazytorch.codegen.schedules.nest import NestEmitter, split_rows, write
from lazytorch.codegen.schedules.reduce import reduce_launches
from lazytorch.codegen.schedules.reduction import BLOCK, COMBINE, RUN, Reduction, SecondLevel, identity
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.dialects import tensor
from lazytorch.ir.types import TensorType

ENOUGH_THREADS = 16_384
"""Columns that are enough to keep a GPU busy with one thread each."""

Builder = Callable[[KernelBuilder, NestEmitter, Value, Sequence[Value]], None]


def gpu_reduce_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """The launches of one reduction. Raises NotStrided when the operand has to be materialised first."""
    target = context.target
    assert isinstance(target, GpuTarget)
    if 0 in tensor_type(operation.operands[0]).shape or operation.declaration in (tensor.argmax, tensor.argmin):
        return reduce_launches(operation, context)
    reduction = Reduction(operation)
    result = Address(operation.result)
    if not reduction.trailing:
        return _columns(reduction, result, target)
    if reduction.count <= BLOCK:
        return [_rows(reduction, result, target)]
    blocks = -(-reduction.count // BLOCK)
    return _with_scratch(
        reduction,
        (reduction.rows, blocks),
        lambda scratch: _rows(reduction, scratch, target, blocks),
        lambda second, result: _rows(second, result, target),
    )


def _with_scratch(
    reduction: Reduction,
    shape: tuple[int, ...],
    first: Callable[[Slot], Launch],
    second: Callable[[Reduction, Slot], Launch],
) -> list[Launch]:
    """Two stages with the numbers between them, of this shape, in scratch memory."""
    operation = reduction.operation
    dtype = operation.result.type.dtype
    between = Value(TensorType(dtype, shape), Block(), 0)
    scratch = Scratch(0, math.prod(shape) * dtype.itemsize)
    last = second(SecondLevel(operation, between, shape), Address(operation.result))
    last.slots = [scratch if isinstance(slot, Address) and slot.value is between else slot for slot in last.slots]
    return [first(scratch), last]


def _rows(reduction: Reduction, out: Slot, target: GpuTarget, blocks: int = 0) -> Launch:
    """A team of threads per row, or (with `blocks` per row) per block of a row."""
    team = Team(target, reduction.nest.aligned_lanes(reduction.nest.lanes(target)))
    kind = [reduction.operation]

    def build(k: KernelBuilder, emitter: NestEmitter, buffer: Value, sizes: Sequence[Value]) -> None:
        member = TeamMember(k, team)
        outer, count = sizes[:-1], sizes[-1]
        parts = k.ceil_div(count, BLOCK) if blocks else 1
        with member.items(k.mul(k.product(outer), parts)) as (item, live):
            emitter.at(*split_rows(k, k.div(item, parts), outer))
            low = k.mul(k.rem(item, parts), BLOCK)
            high = k.min(k.add(low, BLOCK), count) if blocks else count
            (total,) = member.sums(kind, low, high, lambda index, mask: emitter.values(index, team.lanes, mask))
            with member.alone(live):
                k.store(total, buffer, item)

    launch = _launch(reduction, f"rows{team.lanes}|{bool(blocks)}", build, out, team.lanes)
    launch.blocks, launch.threads = team.blocks(reduction.rows * max(blocks, 1)), team.block
    return launch


def _columns(reduction: Reduction, out: Slot, target: GpuTarget) -> list[Launch]:
    """A thread per vector of columns; where there are few of them, first runs of 64 rows and then the runs' results."""
    inner = reduction.nest.sizes[-1]
    if reduction.count <= RUN or reduction.rows * inner >= ENOUGH_THREADS:
        return [_nested_columns(reduction, out, target, 1)]
    runs = -(-reduction.count // RUN)
    return _with_scratch(
        reduction,
        (reduction.rows, runs, inner),
        lambda scratch: _run_columns(reduction, scratch, target),
        lambda second, result: _nested_columns(second, result, target, RUN),
    )


def _column_lanes(reduction: Reduction, target: GpuTarget) -> int:
    """Elements per access along the kept dimension, which they divide."""
    inner = reduction.nest.sizes[-1]
    return reduction.nest.aligned_lanes(reduction.nest.lanes(target), [((inner, 1), inner)])


def _run_columns(reduction: Reduction, out: Slot, target: GpuTarget) -> Launch:
    """The sums of runs of 64 rows: [outer, runs, inner]."""
    lanes = _column_lanes(reduction, target)
    combine, start = _combination(reduction)

    def build(k: KernelBuilder, emitter: NestEmitter, buffer: Value, sizes: Sequence[Value]) -> None:
        outer, count, inner = sizes[:-2], sizes[-2], sizes[-1]
        vectors, runs = k.div(inner, lanes), k.ceil_div(count, RUN)
        with k.parallel(0, k.product([*outer, runs, vectors])) as item:
            column = k.mul(k.rem(item, vectors), lanes)
            run = k.div(item, vectors)
            index = split_rows(k, k.div(run, runs), outer)
            low = k.mul(k.rem(run, runs), RUN)
            with k.carry(low, k.min(k.add(low, RUN), count), 1, [start(k, lanes)]) as rows:
                emitter.at(*index, rows.index)
                rows.next(combine(rows.carried[0], emitter.values(column, lanes)[0]))
            write(k, rows.results[0], buffer, (k.add(k.mul(run, inner), column),), None, aligned=True)

    launch = _launch(reduction, "runs", build, out, lanes)
    launch.chunks = reduction.rows * -(-reduction.count // RUN) * (reduction.nest.sizes[-1] // lanes)
    return launch


def _nested_columns(reduction: Reduction, out: Slot, target: GpuTarget, done: int) -> Launch:
    """In order, in runs of 64 and runs of 64 runs. done: so many rows are summed in each already (1 or 64)."""
    lanes = _column_lanes(reduction, target)
    combine, start = _combination(reduction)

    def build(k: KernelBuilder, emitter: NestEmitter, buffer: Value, sizes: Sequence[Value]) -> None:
        outer, count, inner = sizes[:-2], sizes[-2], sizes[-1]
        vectors = k.div(inner, lanes)

        def summed(low: Value | int, high: Value | int, step: int) -> Value:
            """The sum of [low, high) in runs of `step` rows."""
            with k.carry(low, high, step, [start(k, lanes)]) as level:
                if step == 1:
                    emitter.at(*index, level.index)
                    value = emitter.values(column, lanes)[0]
                else:
                    value = summed(level.index, k.min(k.add(level.index, step), high), step // RUN)
                level.next(combine(level.carried[0], value))
            return level.results[0]

        with k.parallel(0, k.product([*outer, vectors])) as item:
            row = k.div(item, vectors)
            column = k.mul(k.rem(item, vectors), lanes)
            index = split_rows(k, row, outer)
            total = summed(0, count, RUN * RUN // done)
            write(k, total, buffer, (k.add(k.mul(row, inner), column),), None, aligned=True)

    launch = _launch(reduction, f"columns{done}", build, out, lanes)
    launch.chunks = reduction.rows * (reduction.nest.sizes[-1] // lanes)
    return launch


def _combination(reduction: Reduction) -> tuple[Callable[..., Value], Callable[[KernelBuilder, int], Value]]:
    """How two numbers are combined, and what the reduction begins with, in a vector."""
    declaration = reduction.operation.declaration
    dtype = reduction.operation.result.type.dtype
    return COMBINE[declaration], lambda k, lanes: k.splat(identity(declaration, dtype), dtype, lanes)


def _launch(reduction: Reduction, kind: str, build: Builder, out: Slot, lanes: int) -> Launch:
    operation, nest = reduction.operation, reduction.nest
    key = f"reduce|{kind}|{operation.name}|{len(reduction.outer_sizes)}|{lanes}|{nest.key()}"
    symbol = symbol_of("reduce", key)
    dtype = operation.result.type.dtype

    def make() -> Operation:
        k = KernelBuilder(symbol)
        emitter = NestEmitter(k, nest, lanes, aligned=True)
        buffer = k.buffer(dtype, (1,), "out")
        build(k, emitter, buffer, [k.index_argument(f"size{g}") for g in range(len(nest.sizes))])
        return k.finish()

    slots = [*nest.slots(), out, *nest.sizes]
    return Launch(key, symbol, make, slots, flops=reduction.work, bytes=nest.bytes_read(), operations=[operation])
