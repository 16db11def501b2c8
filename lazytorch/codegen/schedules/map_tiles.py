"""Maps that read an operand across its memory: squares of it are transposed in registers.

Where the result's rows run along the inner loop but an operand's elements are consecutive along another one, every element
would be read from a cache line of its own. So the two loops go tile by tile: whole vectors of the operand are loaded along
its own direction, transposed, and kept for the rows of the tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.contract_packing import transposed
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, split_rows
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith

FEWEST = 2
"""Tiles along either loop from which it pays."""

Point = Callable[[tuple[Index, ...], Index, "dict[int, Value] | None"], None]
"""Compute and write the vector at outer and inner indices; entries that are given are not read."""
Row = Callable[[tuple[Index, ...], Index, Index], None]
"""Compute and write [low, high) of the row at outer indices."""


def tiled_group(nest: Nest, lanes: int) -> int | None:
    """The outer loop along which some buffer is consecutive that is not along the inner one; None where that is not so."""
    if lanes == 1 or nest.tables or len(nest.sizes) < 2 or nest.sizes[-1] < FEWEST * lanes:
        return None
    for group, size in enumerate(nest.sizes[:-1]):
        if size >= FEWEST * lanes and _across(nest, group):
            return group
    return None


def _across(nest: Nest, group: int) -> list[int]:
    """The leaves that are consecutive along a group, and lie apart along the inner loop."""
    return [
        number
        for number, (leaf, strides) in enumerate(zip(nest.expression.leaves, nest.strides, strict=True))
        if leaf.value is not None and strides and strides[group] == 1 and abs(strides[-1]) > 1
    ]


def tiles_of(nest: Nest, group: int, lanes: int) -> tuple[int, ...]:
    """The sizes of the loops that are divided among threads: the outer ones, with tiles in the place of rows."""
    return tuple([-(-size // lanes) if g == group else size for g, size in enumerate(nest.sizes[:-1])])


def build_tiles(
    k: KernelBuilder,
    nest: Nest,
    emitter: NestEmitter,
    group: int,
    sizes: Sequence[Value],
    lanes: int,
    row: Row,
    point: Point,
) -> None:
    """The loops of a tiled map; `row` computes what is left beside whole tiles."""
    outer, inner = list(sizes[:-1]), sizes[-1]
    count: Index = outer[group]
    divided = [k.ceil_div(size, lanes) if g == group else size for g, size in enumerate(outer)]
    leaves = _across(nest, group)
    entries = {entry[1]: number for number, entry in enumerate(nest.expression.entries) if entry[0] == "leaf"}
    squares = {leaf: k.local(nest.expression.leaves[leaf].dtype, lanes * lanes) for leaf in leaves}
    with ExitStack() as loops:
        item = loops.enter_context(k.parallel(0, k.product(divided)))
        at = list(split_rows(k, item, divided))
        first = k.mul(at[group], lanes)
        stop = k.min(k.add(first, lanes), count)
        is_whole = k.compare("le", k.add(first, lanes), count)
        whole: Value = arith.select(is_whole, k.value(k.round_down(inner, lanes)), k.value(0))

        def rows_at(position: Index) -> tuple[Index, ...]:
            return (*at[:group], position, *at[group + 1 :])

        with k.loop(0, whole, lanes) as column:
            for leaf, square in squares.items():
                itemsize = nest.expression.leaves[leaf].dtype.itemsize
                vectors = [emitter.along(leaf, rows_at(first), k.add(column, i), lanes) for i in range(lanes)]
                for row_number, vector in enumerate(transposed(vectors, min(lanes, 16 // itemsize))):
                    k.store(vector, square, row_number * lanes)
            with k.loop(0, lanes) as i:
                position = k.add(first, i)
                given = {entries[leaf]: k.load(square, k.mul(i, lanes), lanes=lanes) for leaf, square in squares.items()}
                point(rows_at(position), column, given)
        with k.loop(first, stop) as position:
            row(rows_at(position), whole, inner)
