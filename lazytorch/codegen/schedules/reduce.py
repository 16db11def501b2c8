"""The reduce schedule: an elementwise prologue, then one reduction over adjacent dimensions, in a fixed order.

The order (docs/architecture.md, Numbers) depends on nothing but the number of elements, so vectors, threads and batch
size change no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any

import numpy as np

from lazytorch.codegen.expression import Expression, Leaf, NotStrided, collapse, pull, tensor_type
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, symbol_of
from lazytorch.codegen.schedules.extremes import ARGUMENTS
from lazytorch.codegen.schedules.map import chunks_for, map_launch
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, Output, split_rows
from lazytorch.codegen.views import contiguous
from lazytorch.dtypes import DType
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, loop, tensor
from lazytorch.ir.types import TensorType

LANES = 64
BLOCK = 4096
RUN = 64
COMBINE: dict[Declaration, Declaration] = {
    tensor.reduce_sum: arith.add,
    tensor.reduce_prod: arith.mul,
    tensor.reduce_max: arith.maximum,
    tensor.reduce_min: arith.minimum,
    tensor.reduce_any: arith.bit_or,
    tensor.reduce_all: arith.bit_and,
}


def identity(reduction: Declaration, dtype: DType) -> Any:
    """What combined with x is x."""
    if reduction is tensor.reduce_max or reduction is tensor.reduce_min:
        sign = -1 if reduction is tensor.reduce_max else 1
        if dtype.kind == "f":
            return sign * float("inf")
        if dtype.kind == "b":
            return sign > 0
        bounds = np.iinfo(dtype.numpy)
        return int(bounds.min if sign < 0 else bounds.max)
    return {tensor.reduce_sum: 0, tensor.reduce_prod: 1, tensor.reduce_any: False, tensor.reduce_all: True}[reduction]


class Reduction:
    """A reduction as loops: outer dimensions, the reduced one, and at most one inner dimension that is kept."""

    def __init__(self, operation: Operation, boundary: Container[Value] = frozenset()) -> None:
        self.operation = operation
        self.operand = operation.operands[0]
        shape = tensor_type(self.operand).shape
        a = operation.attributes
        dims = tuple(a.dims) if hasattr(a, "dims") else (a.dim,)
        # Dimensions of size 1 separate nothing and may lie anywhere.
        dims = tuple([d for d in dims if shape[d] != 1]) or dims[:1]
        start, stop = dims[0], dims[-1] + 1
        between = [d for d in range(start, stop) if shape[d] != 1 and d not in dims]
        assert not between, "decompose splits reductions into adjacent dimensions"
        self.expression = pull([self.operand], shape, boundary=boundary)
        strides = [leaf.access.strides for leaf in self.expression.leaves]
        groups = collapse(shape, strides, frozenset((start, stop)))
        outer = [group for group in groups if group[0] < start]
        reduced = [group for group in groups if start <= group[0] < stop]
        inner = [group for group in groups if group[0] >= stop]
        if len(reduced) > 1 or len(inner) > 1:
            raise NotStrided(self.operand)
        self.trailing = not inner
        self.nest = Nest(self.expression, shape, [*outer, *(reduced or [[]]), *inner])
        self.outer_sizes = self.nest.sizes[: len(outer)]
        self.count = self.nest.sizes[len(outer)]
        self.rows = 1
        for size in self.outer_sizes:
            self.rows *= size
        self.work = self.rows * self.count * (self.nest.sizes[-1] if inner else 1) * (2 + self.expression.operations)


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
        return [_launch(reduction, "columns", _build_columns, Address(result), context)]
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


class SecondLevel(Reduction):
    """The second level of a reduction, over the results of its parts: [rows, parts], or [rows, parts, columns]."""

    def __init__(self, operation: Operation, partial: Value, shape: tuple[int, ...]) -> None:
        self.operation = operation
        leaf = Leaf(partial, partial.type.dtype, contiguous(shape))
        self.expression = Expression(shape, [leaf], [("leaf", 0, leaf.dtype)], [0])
        self.trailing = len(shape) == 2
        groups = [[d] for d in range(len(shape))]
        self.nest = Nest(self.expression, shape, groups if shape[0] > 1 else groups[1:])
        self.outer_sizes = self.nest.sizes[: int(shape[0] > 1)]
        self.rows, self.count = shape[0], shape[1]
        self.work = math.prod(shape)


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


def identities(k: KernelBuilder, reduction: Operation, lanes: int) -> Value:
    """What the reduction begins with, in every lane."""
    dtype = reduction.result.type.dtype
    return k.splat(identity(reduction.declaration, dtype), dtype, lanes)


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


def _build_columns(
    k: KernelBuilder, reduction: Reduction, emitter: NestEmitter, out: Value, sizes: Sequence[Value], lanes: int
) -> None:
    """Vectors along the kept inner dimension; along the reduced one in order, in runs of 64 and runs of 64 runs."""
    outer = sizes[: len(reduction.outer_sizes)]
    count, inner = sizes[-2], sizes[-1]
    declaration = reduction.operation.declaration
    combine, dtype = COMBINE[declaration], reduction.operation.result.type.dtype
    initial = identity(declaration, dtype)
    strips = k.ceil_div(inner, lanes)
    with k.parallel(0, k.mul(k.product(outer), strips)) as item:
        row = k.div(item, strips)
        column = k.mul(k.rem(item, strips), lanes)
        index = split_rows(k, row, outer)
        mask = k.mask(k.sub(inner, column), lanes)
        start = [k.splat(initial, dtype, lanes)]
        with k.carry(0, count, RUN * RUN, start) as top:
            limit = k.min(k.add(top.index, RUN * RUN), count)
            with k.carry(top.index, limit, RUN, start) as middle:
                stop = k.min(k.add(middle.index, RUN), count)
                with k.carry(middle.index, stop, 1, start) as low:
                    emitter.at(*index, low.index)
                    low.next(combine(low.carried[0], emitter.values(column, lanes, mask)[0]))
                middle.next(combine(middle.carried[0], low.results[0]))
            top.next(combine(top.carried[0], middle.results[0]))
        k.masked_store(top.results[0], out, k.add(k.mul(row, inner), column), mask=mask)
