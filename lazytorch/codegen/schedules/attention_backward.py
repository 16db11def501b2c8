"""The kernel of attention's derivative: cotangents of query, key and value, tile by tile.

Dao, "FlashAttention-2" (2023): weights are computed again from the rows' logarithms of sums. A block of keys meets all
blocks of queries of the work item, so the cotangents of keys and values are complete after it; those of queries wait in
scratch memory. Every sum is in the order of the blocks, whoever computes them.
"""

from __future__ import annotations

from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.attention_tiles import (
    KEYS,
    LINE,
    QUERIES,
    AttentionShape,
    Source,
    Tiles,
    scored,
    weight,
)
from lazytorch.codegen.schedules.nest import split_rows
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith

SECTIONS = (
    "turned_keys",
    "turned_values",
    "keys",
    "queries",
    "query_panels",
    "cotangents",
    "cotangent_panels",
    "weights",
    "dscores",
    "dquery",
    "dkey",
    "dvalue",
    "ones",
)
"""The parts of a thread's scratch memory, in the order of their offsets among the arguments."""


def build_attention_backward(k: KernelBuilder, shape: AttentionShape) -> Operation:
    """The loop.kernel; its arguments are in the order of the slots that schedules/attention.py makes."""
    return _Kernel(k, shape).build()


class _Kernel:
    """The kernel under construction. A work item is a range of queries against a range of keys, one of them whole."""

    def __init__(self, k: KernelBuilder, shape: AttentionShape) -> None:
        self.k, self.shape = k, shape
        self.tiles = Tiles(k, shape)
        accumulator = shape.accumulator
        names = ("cotangent", "query", "key", "value")
        self.cotangent, self.query, self.key, self.value = (Source(k, shape.dtype, shape.batch, name) for name in names)
        self.mask = Source(k, shape.mask, shape.batch, "mask", shape.mask_step) if shape.mask is not None else None
        self.logsumexp, self.delta = (k.buffer(accumulator, (1,), name) for name in ("logsumexp", "delta"))
        self.outputs = {name: k.buffer(shape.dtype, (1,), name) for name in shape.results}
        self.scratch = k.buffer(accumulator, (1,), "scratch")
        self.scale = k.scalar_argument(accumulator, "scale")
        sizes = ("rows", "count", "depth", "columns", "query_range", "key_range", "scratch_size", "stride", "value_stride")
        self.rows, self.count, self.depth, self.columns, *rest = map(k.index_argument, sizes)
        self.query_range, self.key_range, self.size, self.stride, self.value_stride = rest
        self.sections = [k.index_argument(f"{name}_at") for name in SECTIONS]
        self.batch_sizes = [k.index_argument(f"batch{i}") for i in range(shape.batch)]

    def build(self) -> Operation:
        """The parallel loop over work items."""
        k = self.k
        self.tiles.define(turned="dkey" in self.outputs or "dvalue" in self.outputs)
        mine = k.offset(self.scratch, k.mul(k.chunk_id(), self.size))
        self.at = dict(zip(SECTIONS, [k.offset(mine, section) for section in self.sections], strict=True))
        # Without any queries the cotangents of keys are 0, and the other way round: there is one slice at least.
        self.tiles.fill(1.0, self.at["ones"], max(self.shape.lines, self.shape.key_lines))
        query_slices = k.max(k.ceil_div(self.rows, self.query_range), 1)
        key_slices = k.max(k.ceil_div(self.count, self.key_range), 1)
        slices = k.mul(query_slices, key_slices)
        with k.parallel(0, k.product([slices, *self.batch_sizes])) as item:
            number = k.div(item, slices)
            batch = split_rows(k, number, self.batch_sizes)
            for source in (self.cotangent, self.query, self.key, self.value, self.mask):
                if source is not None:
                    source.at(batch)
            self.row_base, self.key_base = k.mul(number, self.rows), k.mul(number, self.count)
            piece = k.rem(item, slices)
            first = k.mul(k.rem(piece, query_slices), self.query_range)
            key = k.mul(k.div(piece, query_slices), self.key_range)
            self._rectangle(
                first, k.min(k.add(first, self.query_range), self.rows), key, k.min(k.add(key, self.key_range), self.count)
            )
        return k.finish()

    def _rectangle(self, first: Index, end: Index, first_key: Index, end_key: Index) -> None:
        """A range of queries against a range of keys."""
        k, shape, tiles, at = self.k, self.shape, self.tiles, self.at
        self.first = first
        if "dquery" in self.outputs:
            rows = k.sub(end, first)
            lines = k.add(k.mul(k.div(rows, QUERIES), shape.lines), _up(k, k.rem(rows, QUERIES), shape.rows))
            tiles.fill(0.0, at["dquery"], k.mul(lines, self.stride))
        seen = end_key
        if shape.causal and not ({"dkey", "dvalue"} & set(self.outputs)):
            seen = k.min(end_key, k.mul(k.ceil_div(end, QUERIES), QUERIES))
        with k.loop(first_key, seen, KEYS) as key:
            self._keys(first, end, key, k.min(k.sub(end_key, key), KEYS))
        if "dquery" in self.outputs:
            with k.loop(first, end) as row:
                place = k.sub(row, first)
                block = k.mul(k.div(place, QUERIES), shape.lines)
                line = k.offset(at["dquery"], k.mul(k.add(block, k.rem(place, QUERIES)), self.stride))
                self._write("dquery", line, k.add(self.row_base, row), self.depth, self.scale)

    def _write(self, name: str, line: Value, row: Index, columns: Index, scale: Value | None = None) -> None:
        """A row of a result."""
        k, lanes = self.k, self.shape.lanes
        factor = None if scale is None else k.broadcast(scale, lanes)

        def values(at: Index) -> Value:
            value = k.load(line, at, lanes=lanes)
            return value if factor is None else arith.mul(value, factor)

        self.tiles.write_rows(values, self.outputs[name], k.mul(row, columns), columns, self.shape.dtype)

    def _keys(self, first: Index, end: Index, key: Index, count: Index) -> None:
        """A block of keys meets all rows of queries."""
        k, shape, tiles, at = self.k, self.shape, self.tiles, self.at
        tiles.pack_turned(self.key, key, count, self.depth, at["turned_keys"])
        if self._needs_dscores():
            tiles.pack_turned(self.value, key, count, self.columns, at["turned_values"])
        if "dquery" in self.outputs:
            tiles.pack_rows(self.key, key, count, self.depth, panels=(at["keys"], KEYS))
        strides = {"dkey": (self.stride, self.depth), "dvalue": (self.value_stride, self.columns)}
        wanted = {name: sizes for name, sizes in strides.items() if name in self.outputs}
        for name, (stride, _) in wanted.items():
            tiles.fill(0.0, at[name], k.mul(stride, _up(k, count, shape.key_rows)))
        begin = k.max(first, k.round_down(key, QUERIES)) if shape.causal else first
        with k.loop(begin, end, QUERIES) as row:
            self._block(row, k.min(k.sub(end, row), QUERIES), key, count)
        for name, (stride, columns) in wanted.items():
            with k.loop(0, count) as i:
                line = k.offset(at[name], k.mul(i, stride))
                self._write(name, line, k.add(self.key_base, k.add(key, i)), columns)

    def _needs_dscores(self) -> bool:
        return "dquery" in self.outputs or "dkey" in self.outputs

    def _block(self, row: Index, rows: Index, key: Index, count: Index) -> None:
        """A block of rows meets a block of keys: weights, their cotangents, and what these add to the results."""
        k, shape, tiles, at = self.k, self.shape, self.tiles, self.at
        visible = k.min(count, k.sub(k.add(row, QUERIES), key)) if shape.causal else count
        ones = at["ones"]
        sizes: tuple[Index, Index, Index]
        panels = (at["query_panels"], QUERIES) if "dkey" in self.outputs else None
        tiles.pack_rows(self.query, row, rows, self.depth, lines=at["queries"], panels=panels, scale=self.scale)
        lines = at["cotangents"] if self._needs_dscores() else None
        panels = (at["cotangent_panels"], QUERIES) if "dvalue" in self.outputs else None
        tiles.pack_rows(self.cotangent, row, rows, self.columns, lines=lines, panels=panels)
        tiles.multiply(
            at["queries"], at["turned_keys"], self.depth, at["weights"], LINE, ones, (rows, visible, self.depth), 1
        )
        if self._needs_dscores():
            sizes = (rows, visible, self.columns)
            tiles.multiply(at["cotangents"], at["turned_values"], self.columns, at["dscores"], LINE, ones, sizes, 1)
        self._weigh(row, rows, key, visible)
        if "dvalue" in self.outputs:
            sizes = (visible, self.columns, rows)
            panel = at["cotangent_panels"]
            tiles.multiply(at["weights"], panel, QUERIES, at["dvalue"], self.value_stride, ones, sizes, 0, turned=True)
        if "dkey" in self.outputs:
            sizes = (visible, self.depth, rows)
            tiles.multiply(at["dscores"], at["query_panels"], QUERIES, at["dkey"], self.stride, ones, sizes, 0, turned=True)
        if "dquery" in self.outputs:
            block = k.mul(k.div(k.sub(row, self.first), QUERIES), shape.lines)
            out = k.offset(at["dquery"], k.mul(block, self.stride))
            tiles.multiply(at["dscores"], at["keys"], KEYS, out, self.stride, ones, (rows, self.depth, visible), 0)

    def _weigh(self, row: Index, rows: Index, key: Index, visible: Index) -> None:
        """Scores become weights, cotangents of weights those of scores. What follows becomes 0, since tiles of products
        that are turned over may reach into it."""
        k, shape, at = self.k, self.shape, self.at
        lanes, accumulator = shape.lanes, shape.accumulator
        columns = scored(k, visible)
        partly = arith.bit_not(self.tiles.is_whole(row, key, visible))
        zero = k.splat(0, accumulator, lanes)
        with k.loop(0, rows) as i:
            here = k.add(row, i)
            weights, dscores = (k.offset(at[name], k.mul(i, LINE)) for name in ("weights", "dscores"))
            with k.when(partly):
                limit = k.min(visible, k.sub(k.add(here, 1), key)) if shape.causal else visible
                self._mask_line(weights, dscores, columns, limit, here, key)
            total = k.load(self.logsumexp, k.add(self.row_base, here))
            nothing = arith.compare(total, -float("inf"), predicate="eq")
            shift = k.broadcast(arith.select(nothing, float("inf"), total), lanes)
            delta = k.broadcast(k.load(self.delta, k.add(self.row_base, here)), lanes)
            with k.loop(0, columns, lanes) as column:
                value = weight(arith.sub(k.load(weights, column, lanes=lanes), shift))
                k.store(value, weights, column)
                if self._needs_dscores():
                    change = arith.sub(k.load(dscores, column, lanes=lanes), delta)
                    k.store(arith.mul(value, change), dscores, column)
            with k.loop(columns, k.add(columns, LINE - KEYS), lanes) as column:
                k.store(zero, weights, column)
                k.store(zero, dscores, column)

    def _mask_line(self, weights: Value, dscores: Value, columns: Index, limit: Index, row: Index, key: Index) -> None:
        """Mask a row of scores. Cotangents of weights past the limit were not computed: they become 0."""
        k, lanes = self.k, self.shape.lanes
        zero = k.splat(0, self.shape.accumulator, lanes)
        with k.loop(0, columns, lanes) as column:
            score = k.load(weights, column, lanes=lanes)
            k.store(self.tiles.masked(score, column, limit, self.mask, row, key), weights, column)
            if self._needs_dscores():
                inside = k.mask(k.sub(limit, column), lanes)
                k.store(arith.select(inside, k.load(dscores, column, lanes=lanes), zero), dscores, column)


def _up(k: KernelBuilder, size: Index, unit: int) -> Index:
    return k.mul(k.ceil_div(size, unit), unit)
