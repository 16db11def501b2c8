"""The reduce schedule: an elementwise prologue, then one reduction over adjacent dimensions, in a fixed order.

The order (docs/architecture.md, Numbers) depends on nothing but the number of elements, so vectors, threads and batch
size change no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from lazytorch.codegen.expression import Expression, tensor_type
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, symbol_of
from lazytorch.codegen.schedules.extremes import ARGUMENTS
from lazytorch.codegen.schedules.map import chunks_for, map_launch
from lazytorch.codegen.schedules.nest import NestEmitter, Output, split_rows
from lazytorch.codegen.schedules.reduce_columns import column_launches
from lazytorch.codegen.schedules.reduction import (
    BLOCK,
    COMBINE,
    LANES,
    Reduction,
    SecondLevel,
    identities,
    identity,
)
from lazytorch.codegen.views import contiguous
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.dialects import arith, loop, tensor
from lazytorch.ir.types import TensorType


def reduce_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """The launches of one reduction. Raises NotStrided when the operand has to be materialised first."""
    result = operation.result
    if 0 in tensor_type(operation.operands[0]).shape:
        return [] if 0 in tensor_type(result).shape else [_fill(operation, context)]
    reduction = Reduction(operation)
    if operation.declaration in (tensor.argmax, tensor.argmin):
        along = "rows" if reduction.trailing else "columns"
        return [_launch(reduction, f"arg_{along}", ARGUMENTS[reduction.trailing], Address(result), context)]
    if not reduction.trailing:
        return column_launches(reduction, Address(result), context)
    if reduction.count <= BLOCK:
        return [_launch(reduction, "single", _build_single, Address(result), context)]
    if reduction.rows >= context.threads or reduction.work < 1 << 17:
        return [_launch(reduction, "blocked", _build_blocked, Address(result), context)]
    return _two_stages(reduction, context)


def _fill(operation: Operation, context: ScheduleContext) -> Launch:
    """The reduction of nothing: the identity."""
    result = operation.result
    type = tensor_type(result)
    value = identity(operation.declaration, type.dtype)
    expression = Expression(type.shape, [], [("constant", value, type.dtype)], [0])
    launch = map_launch(expression, [Output(result, contiguous(type.shape))], context, [operation])
    assert launch is not None
    return launch


Builder = Callable[[KernelBuilder, "Reduction", NestEmitter, Value, Sequence[Value], int], None]


def _launch(
    reduction: Reduction, kind: str, build: Builder, out: Slot, context: ScheduleContext, rows: int | None = None
) -> Launch:
    operation = reduction.operation
    nest = reduction.nest
    lanes = nest.lanes(context.target)
    key = f"reduce|{kind}|{operation.name}|{len(reduction.outer_sizes)}|{reduction.trailing}|{lanes}|{nest.key()}"
    symbol = symbol_of(f"reduce_{kind}", key)
    dtype = operation.result.type.dtype

    def make() -> Operation:
        k = KernelBuilder(symbol)
        emitter = NestEmitter(k, nest, lanes)
        buffer = k.buffer(dtype, (1,), "out")
        sizes = [k.index_argument(f"size{g}") for g in range(len(nest.sizes))]
        build(k, reduction, emitter, buffer, sizes, lanes)
        return k.finish()

    iterations = rows if rows is not None else reduction.rows
    if not reduction.trailing:
        iterations = reduction.rows * -(-nest.sizes[-1] // lanes)
    return Launch(
        key=key,
        symbol=symbol,
        build=make,
        slots=[*nest.slots(), out, *nest.sizes],
        chunks=chunks_for(iterations, reduction.work, context),
        flops=reduction.work,
        bytes=nest.bytes_read(),
        operations=[operation],
    )


def _two_stages(reduction: Reduction, context: ScheduleContext) -> list[Launch]:
    """One long row on several threads: all block results into scratch memory, then the second level."""
    operation = reduction.operation
    dtype = operation.result.type.dtype
    blocks = -(-reduction.count // BLOCK)
    scratch = Scratch(0, reduction.rows * blocks * dtype.itemsize)
    first = _launch(reduction, "partial", _build_partial, scratch, context, reduction.rows * blocks)
    shape = (reduction.rows, blocks)
    partial = Value(TensorType(dtype, shape), Block(), 0)
    second = SecondLevel(operation, partial, shape)
    launch = _launch(second, "single", _build_single, Address(operation.result), context)
    launch.slots = [scratch if isinstance(slot, Address) and slot.value is partial else slot for slot in launch.slots]
    return [first, launch]


Point = Callable[[Index, "Value | None"], Sequence[Value]]
"""Vectors of the operands of several reductions at an index and the following ones; lanes masked off hold junk."""


def lane_sums(
    k: KernelBuilder, reductions: Sequence[Operation], lanes: int, low: Index, high: Index, at: Point
) -> list[Value]:
    """Reduce [low, high) in 64 lanes, folded in halves; several reductions in one loop."""
    vectors = LANES // lanes
    combines = [COMBINE[reduction.declaration] for reduction in reductions]
    start = [identities(k, reduction, lanes) for reduction in reductions for _ in range(vectors)]
    main = k.add(low, k.round_down(k.sub(high, low), LANES))
    with k.carry(low, main, LANES, start) as state:
        following = list(state.carried)
        for u in range(vectors):
            for number, value in enumerate(at(k.add(state.index, u * lanes), None)):
                place = number * vectors + u
                following[place] = combines[number](following[place], value)
        state.next(*following)
    totals = list(state.results)
    for u in range(vectors):
        # Vectors without any element are skipped: rows shorter than 64 elements are common.
        index = k.add(main, u * lanes)

        def rest(index: Index = index, u: int = u, totals: Sequence[Value] = totals) -> list[Value]:
            mask = k.mask(k.sub(high, index), lanes)
            out = list(totals)
            for number, value in enumerate(at(index, mask)):
                place = number * vectors + u
                out[place] = arith.select(mask, combines[number](out[place], value), out[place])
            return out

        totals = list(k.choose(k.compare("lt", index, high), rest, partial(list, totals)))
    return [fold(combine, totals[n * vectors : (n + 1) * vectors], lanes) for n, combine in enumerate(combines)]


def blocked_sums(k: KernelBuilder, reductions: Sequence[Operation], lanes: int, count: Index, at: Point) -> list[Value]:
    """Reduce [0, count) block by block; the blocks' results go in turn to 64 second-level lanes, which are folded in the
    same way."""
    seconds = [k.local(reduction.result.type.dtype, LANES) for reduction in reductions]
    for reduction, second in zip(reductions, seconds, strict=True):
        for u in range(0, LANES, lanes):
            k.store(identities(k, reduction, lanes), second, u)
    combines = [COMBINE[reduction.declaration] for reduction in reductions]
    with k.loop(0, count, BLOCK) as low:
        totals = lane_sums(k, reductions, lanes, low, k.min(k.add(low, BLOCK), count), at)
        lane = k.rem(k.div(low, BLOCK), LANES)
        for combine, total, second in zip(combines, totals, seconds, strict=True):
            k.store(combine(k.load(second, lane), total), second, lane)
    return [
        fold(combine, [k.load(second, u, lanes=lanes) for u in range(0, LANES, lanes)], lanes)
        for combine, second in zip(combines, seconds, strict=True)
    ]


def fold(combine: Callable[..., Value], vectors: list[Value], lanes: int) -> Value:
    """64 lanes, in order, to one number: i with i + 32, then i + 16, 8, 4, 2, 1."""
    while len(vectors) > 1:
        half = len(vectors) // 2
        vectors = [combine(vectors[i], vectors[i + half]) for i in range(half)]
    (vector,) = vectors
    while lanes > 1:
        lanes //= 2
        low = loop.shuffle(vector, vector, lanes=tuple(range(lanes)))
        high = loop.shuffle(vector, vector, lanes=tuple(range(lanes, 2 * lanes)))
        vector = combine(low, high)
    value: Value = loop.extract(vector, lane=0)
    return value


def _sum_of(k: KernelBuilder, reduction: Reduction, emitter: NestEmitter, low: Index, high: Index, lanes: int) -> Value:
    operation = [reduction.operation]
    (total,) = lane_sums(k, operation, lanes, low, high, lambda index, mask: emitter.values(index, lanes, mask))
    return total


def _build_single(
    k: KernelBuilder, reduction: Reduction, emitter: NestEmitter, out: Value, sizes: Sequence[Value], lanes: int
) -> None:
    """At most one block per row."""
    outer = sizes[: len(reduction.outer_sizes)]
    with k.parallel(0, k.product(outer)) as row:
        emitter.at(*split_rows(k, row, outer))
        k.store(_sum_of(k, reduction, emitter, 0, sizes[-1], lanes), out, row)


def _build_partial(
    k: KernelBuilder, reduction: Reduction, emitter: NestEmitter, out: Value, sizes: Sequence[Value], lanes: int
) -> None:
    """Every block of every row to its own place."""
    outer, count = sizes[: len(reduction.outer_sizes)], sizes[-1]
    blocks = k.ceil_div(count, BLOCK)
    with k.parallel(0, k.mul(k.product(outer), blocks)) as item:
        row = k.div(item, blocks)
        low = k.mul(k.rem(item, blocks), BLOCK)
        emitter.at(*split_rows(k, row, outer))
        total = _sum_of(k, reduction, emitter, low, k.min(k.add(low, BLOCK), count), lanes)
        k.store(total, out, item)


def _build_blocked(
    k: KernelBuilder, reduction: Reduction, emitter: NestEmitter, out: Value, sizes: Sequence[Value], lanes: int
) -> None:
    """Several blocks per row."""
    outer = sizes[: len(reduction.outer_sizes)]
    kind = [reduction.operation]
    with k.parallel(0, k.product(outer)) as row:
        emitter.at(*split_rows(k, row, outer))
        (total,) = blocked_sums(k, kind, lanes, sizes[-1], lambda index, mask: emitter.values(index, lanes, mask))
        k.store(total, out, row)
