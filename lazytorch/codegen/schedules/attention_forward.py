"""The kernel of attention: softmax(query key^T * scale + mask) value and the logarithms of the sums, tile by tile.

Dao et al., "FlashAttention" (2022), with the order of its loops: a block of keys and values is packed once and meets every
block of queries of the work item, whose results so far wait in scratch memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.attention_tiles import (
    KEYS,
    LINE,
    QUERIES,
    AttentionShape,
    Source,
    Tiles,
    larger,
    scored,
    weight,
)
from lazytorch.codegen.schedules.nest import split_rows
from lazytorch.codegen.schedules.reduce import fold
from lazytorch.ir.accumulation import LANES
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith, math

SECTIONS = ("keys", "values", "queries", "scores", "sums", "top", "total", "factors", "ones")
"""The parts of a thread's scratch memory, in the order of their offsets among the arguments."""


def build_attention(k: KernelBuilder, shape: AttentionShape) -> Operation:
    """The loop.kernel; its arguments are in the order of the slots that schedules/attention.py makes."""
    return _Kernel(k, shape).build()


class _Kernel:
    """The kernel under construction."""

    def __init__(self, k: KernelBuilder, shape: AttentionShape) -> None:
        self.k, self.shape = k, shape
        self.tiles = Tiles(k, shape)
        accumulator = shape.accumulator
        self.query, self.key, self.value = (Source(k, shape.dtype, shape.batch, name) for name in ("query", "key", "value"))
        self.mask = Source(k, shape.mask, shape.batch, "mask", shape.mask_step) if shape.mask is not None else None
        self.outputs = {name: k.buffer(shape.dtype if name == "out" else accumulator, (1,), name) for name in shape.results}
        self.scratch = k.buffer(accumulator, (1,), "scratch")
        self.scale = k.scalar_argument(accumulator, "scale")
        names = ("rows", "count", "depth", "columns", "group", "scratch_size", "stride")
        self.rows, self.count, self.depth, self.columns, self.group, self.size, self.stride = map(k.index_argument, names)
        self.sections = [k.index_argument(f"{name}_at") for name in SECTIONS]
        self.batch_sizes = [k.index_argument(f"batch{i}") for i in range(shape.batch)]

    def build(self) -> Operation:
        """The parallel loop over groups of rows of queries."""
        k = self.k
        self.tiles.define(turned=False)
        mine = k.offset(self.scratch, k.mul(k.chunk_id(), self.size))
        at = dict(zip(SECTIONS, [k.offset(mine, section) for section in self.sections], strict=True))
        self.keys, self.values, self.queries, self.scores = (at[name] for name in SECTIONS[:4])
        self.sums, self.top, self.total, self.factors, self.ones = (at[name] for name in SECTIONS[4:])
        self.tiles.fill(1.0, self.factors, self.shape.lines)
        self.tiles.fill(1.0, self.ones, self.shape.lines)
        groups = k.ceil_div(self.rows, self.group)
        with k.parallel(0, k.product([groups, *self.batch_sizes])) as item:
            number = k.div(item, groups)
            batch = split_rows(k, number, self.batch_sizes)
            for source in (self.query, self.key, self.value, self.mask):
                if source is not None:
                    source.at(batch)
            self.base = k.mul(number, self.rows)
            first = k.mul(k.rem(item, groups), self.group)
            self._rows(first, k.min(k.add(first, self.group), self.rows))
        return k.finish()

    def _rows(self, first: Index, end: Index) -> None:
        """A group of rows: all blocks of keys in order, and for each all blocks of rows."""
        k = self.k
        self.first = first
        self.tiles.fill(-float("inf"), self.top, k.sub(end, first))
        self.tiles.fill(0.0, self.total, k.sub(end, first))
        seen: Index = self.count
        if self.shape.causal:
            last = k.mul(k.ceil_div(end, QUERIES), QUERIES)
            seen = k.min(self.count, last)
        with k.loop(0, seen, KEYS) as key:
            count = k.min(k.sub(self.count, key), KEYS)
            self.tiles.pack_turned(self.key, key, count, self.depth, self.keys)
            if "out" in self.outputs:
                self.tiles.pack_rows(self.value, key, count, self.columns, panels=(self.values, KEYS))
            begin = k.max(first, k.round_down(key, QUERIES)) if self.shape.causal else first
            with k.loop(begin, end, QUERIES) as row:
                self._block(row, k.min(k.sub(end, row), QUERIES), key, count)
        with k.loop(first, end) as row:
            self._finish(row)

    def _block(self, row: Index, rows: Index, key: Index, count: Index) -> None:
        """A block of rows meets a block of keys."""
        k, tiles = self.k, self.tiles
        visible = k.min(count, k.sub(k.add(row, QUERIES), key)) if self.shape.causal else count
        tiles.pack_rows(self.query, row, rows, self.depth, lines=self.queries, scale=self.scale)
        sizes = (rows, visible, self.depth)
        tiles.multiply(self.queries, self.keys, self.depth, self.scores, LINE, self.ones, sizes, 1)
        self._weigh(row, rows, key, visible)
        if "out" in self.outputs:
            begins = k.select_index(k.compare("eq", key, 0), 1, 0)
            block = k.mul(k.div(k.sub(row, self.first), QUERIES), self.shape.lines)
            out = k.offset(self.sums, k.mul(block, self.stride))
            factors = self.factors
            tiles.multiply(self.scores, self.values, KEYS, out, self.stride, factors, (rows, self.columns, visible), begins)

    def _weigh(self, row: Index, rows: Index, key: Index, visible: Index) -> None:
        """Scores become weights relative to the largest score so far; its rows' factors, largest scores and sums follow."""
        k, shape = self.k, self.shape
        lanes, accumulator = shape.lanes, shape.accumulator
        columns = scored(k, visible)
        whole = self.tiles.is_whole(row, key, visible)
        lowest = k.splat(-float("inf"), accumulator, lanes)
        with k.loop(0, rows) as i:
            line = k.offset(self.scores, k.mul(i, LINE))
            here = k.add(row, i)
            limit = k.min(visible, k.sub(k.add(here, 1), key)) if shape.causal else visible
            place = k.sub(here, self.first)

            def scores(at: Index, line: Value = line) -> Value:
                return k.load(line, at, lanes=lanes)

            def masked(at: Index, line: Value = line, limit: Index = limit, here: Index = here) -> Value:
                score = self.tiles.masked(scores(at, line), at, limit, self.mask, here, key)
                k.store(score, line, at)
                return score

            (largest,) = k.choose(
                whole,
                partial(_over_lanes, k, columns, lanes, larger, lowest, scores),
                partial(_over_lanes, k, columns, lanes, larger, lowest, masked),
            )
            before = k.load(self.top, place)
            top = larger(before, largest)
            nothing = arith.compare(top, -float("inf"), predicate="eq")
            shift = arith.select(nothing, 0.0, top)
            across = k.broadcast(shift, lanes)

            def weigh(at: Index, line: Value = line, across: Value = across) -> Value:
                value = weight(arith.sub(k.load(line, at, lanes=lanes), across))
                k.store(value, line, at)
                return value

            (total,) = _over_lanes(k, columns, lanes, arith.add, k.splat(0, accumulator, lanes), weigh)
            factor = weight(arith.sub(before, shift))
            k.store(factor, self.factors, i)
            k.store(top, self.top, place)
            k.store(arith.add(arith.mul(k.load(self.total, place), factor), total), self.total, place)

    def _finish(self, row: Index) -> None:
        """The results of a row."""
        k, shape = self.k, self.shape
        place = k.sub(row, self.first)
        total = k.load(self.total, place)
        if "logsumexp" in self.outputs:
            k.store(arith.add(k.load(self.top, place), math.log(total)), self.outputs["logsumexp"], k.add(self.base, row))
        if "out" not in self.outputs:
            return
        nothing = arith.compare(total, 0.0, predicate="eq")
        divisor = k.broadcast(arith.select(nothing, 1.0, total), shape.lanes)
        empty = k.broadcast(nothing, shape.lanes)
        block = k.mul(k.div(place, QUERIES), shape.lines)
        line = k.offset(self.sums, k.mul(k.add(block, k.rem(place, QUERIES)), self.stride))
        zero = k.splat(0, shape.accumulator, shape.lanes)

        def values(at: Index) -> Value:
            made: Value = arith.select(empty, zero, arith.div(k.load(line, at, lanes=shape.lanes), divisor))
            return made

        out = k.mul(k.add(self.base, row), self.columns)
        self.tiles.write_rows(values, self.outputs["out"], out, self.columns, shape.dtype)


def _over_lanes(
    k: KernelBuilder,
    columns: Index,
    lanes: int,
    combine: Callable[..., Value],
    start: Value,
    at: Callable[[Index], Value],
) -> list[Value]:
    """Reduce a row over the 64 lanes of a sum, which are folded at the end: to one number."""
    vectors = LANES // lanes
    with k.carry(0, columns, LANES, [start] * vectors) as state:
        found = [at(k.add(state.index, u * lanes)) for u in range(vectors)]
        state.next(*[combine(total, value) for total, value in zip(state.carried, found, strict=True)])
    return [fold(combine, list(state.results), lanes)]
