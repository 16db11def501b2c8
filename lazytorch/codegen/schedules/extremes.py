"""argmax and argmin: the index of the first extreme element; a nan is more extreme than any number.

Every lane keeps the best element it saw, and where; lanes that saw equal ones are settled by the lower index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from lazytorch import dtypes
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.nest import NestEmitter, split_rows, vector_loop
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith, loop, tensor


class ArgumentReduction(Protocol):
    """What a kernel needs to know of the reduction (reduce.Reduction)."""

    @property
    def operation(self) -> Operation:
        """The reduction."""

    @property
    def outer_sizes(self) -> Sequence[int]:
        """The sizes of the loops around it."""


def _predicate(reduction: ArgumentReduction) -> str:
    return "gt" if reduction.operation.declaration is tensor.argmax else "lt"


def _is_better(new: Value, old: Value, predicate: str) -> Value:
    """Whether an element that comes later replaces the best one so far."""
    better: Value = arith.compare(new, old, predicate=predicate)
    if new.type.dtype.kind == "f":
        better = arith.bit_and(arith.bit_or(better, _is_nan(new)), arith.bit_not(_is_nan(old)))
    return better


def _is_nan(x: Value) -> Value:
    nan: Value = arith.compare(x, x, predicate="ne")
    return nan


def _settle(best: Value, place: Value, lanes: int, predicate: str) -> Value:
    """The place of the best lane: halves of the lanes are compared until one is left."""
    while lanes > 1:
        lanes //= 2
        (old, first), (new, second) = [
            [loop.shuffle(x, x, lanes=tuple(range(start, start + lanes))) for x in (best, place)] for start in (0, lanes)
        ]
        same = arith.compare(new, old, predicate="eq")
        if new.type.dtype.kind == "f":
            same = arith.bit_or(same, arith.bit_and(_is_nan(new), _is_nan(old)))
        earlier = arith.compare(second, first, predicate="lt")
        better = arith.bit_or(_is_better(new, old, predicate), arith.bit_and(same, earlier))
        best, place = arith.select(better, new, old), arith.select(better, second, first)
    found: Value = loop.extract(place, lane=0)
    return found


def _along_rows(
    k: KernelBuilder, reduction: ArgumentReduction, emitter: NestEmitter, out: Value, sizes: Sequence[Value], lanes: int
) -> None:
    """Vectors along the reduced dimension."""
    outer, count = sizes[: len(reduction.outer_sizes)], sizes[-1]
    predicate = _predicate(reduction)
    with k.parallel(0, k.product(outer)) as row:
        emitter.at(*split_rows(k, row, outer))
        # A lane that finds nothing better has seen the first element.
        best = k.local(reduction.operation.operands[0].type.dtype, lanes)
        place = k.local(dtypes.int64, lanes)
        k.store(k.broadcast(emitter.values(0, 1)[0], lanes), best, 0)
        k.store(k.splat(0, dtypes.int64, lanes), place, 0)
        ids = k.lane_ids(lanes) if lanes > 1 else k.splat(0, dtypes.int64)

        def step(index: Index, mask: Value | None) -> None:
            old, new = k.load(best, 0, lanes=lanes), emitter.values(index, lanes, mask)[0]
            better = _is_better(new, old, predicate)
            if mask is not None:
                better = arith.bit_and(better, mask)
            here = arith.add(k.broadcast(arith.cast(k.value(index), dtype=dtypes.int64), lanes), ids)
            k.store(arith.select(better, new, old), best, 0)
            k.store(arith.select(better, here, k.load(place, 0, lanes=lanes)), place, 0)

        vector_loop(k, 0, count, lanes, step)
        found = k.load(place, 0, lanes=lanes)
        k.store(_settle(k.load(best, 0, lanes=lanes), found, lanes, predicate) if lanes > 1 else found, out, row)


def _along_columns(
    k: KernelBuilder, reduction: ArgumentReduction, emitter: NestEmitter, out: Value, sizes: Sequence[Value], lanes: int
) -> None:
    """Vectors along the kept inner dimension."""
    outer = sizes[: len(reduction.outer_sizes)]
    count, inner = sizes[-2], sizes[-1]
    predicate = _predicate(reduction)
    strips = k.ceil_div(inner, lanes)
    with k.parallel(0, k.mul(k.product(outer), strips)) as item:
        row = k.div(item, strips)
        column = k.mul(k.rem(item, strips), lanes)
        index = split_rows(k, row, outer)
        mask = k.mask(k.sub(inner, column), lanes) if lanes > 1 else None
        emitter.at(*index, 0)
        start = [emitter.values(column, lanes, mask)[0], k.splat(0, dtypes.int64, lanes)]
        with k.carry(1, count, 1, start) as state:
            old, place = state.carried
            emitter.at(*index, state.index)
            new = emitter.values(column, lanes, mask)[0]
            better = _is_better(new, old, predicate)
            here = k.broadcast(arith.cast(k.value(state.index), dtype=dtypes.int64), lanes)
            state.next(arith.select(better, new, old), arith.select(better, here, place))
        position = k.add(k.mul(row, inner), column)
        if mask is None:
            k.store(state.results[1], out, position)
        else:
            k.masked_store(state.results[1], out, position, mask=mask)


Build = Callable[[KernelBuilder, ArgumentReduction, NestEmitter, Value, Sequence[Value], int], None]
ARGUMENTS: dict[bool, Build] = {True: _along_rows, False: _along_columns}
"""The kernel by whether the reduced dimensions are the trailing ones."""
