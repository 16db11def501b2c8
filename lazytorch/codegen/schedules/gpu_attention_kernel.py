"""The attention kernels of a GPU: a block of threads keeps a tile of rows, while blocks of columns pass by.

For the result and its logarithms of sums, and for the cotangent of queries, rows are queries and columns are keys; for the
cotangents of keys and values it is the other way round. Weights are never in memory beyond a tile: the result is scaled down
where a larger score comes (Milakov and Gimelshein, 2018; Dao, "FlashAttention-2", 2023), the derivatives compute them again.
"""

from __future__ import annotations

import math as python_math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lazytorch import dtypes
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.gpu_attention_tiles import (
    THREADS,
    Engine,
    Extent,
    FmaEngine,
    MatrixEngine,
    Rows,
    Tile,
    lanes_of,
)
from lazytorch.codegen.schedules.gpu_matrix import MatrixLayout, joined
from lazytorch.codegen.schedules.gpu_pipeline import Fill, Pipeline
from lazytorch.codegen.schedules.nest import split_rows
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith, gpu, math

STAGES = 2
FORWARD, QUERIES, KEYS = "forward", "queries", "keys"
"""What a kernel computes: result and logarithms of sums; the cotangent of queries; those of keys and values."""


@dataclass(frozen=True)
class AttentionKernelShape:
    """The structure of a kernel. kept, streamed: operands by name, with the number of elements that one access moves and
    whether they are copied in the background; each of `kept` is a tile of rows, of `streamed` of columns.
    mask: its type, None without one. mask_step: 1 if it has a column per key, 0 if one for all. results: names and types."""

    kind: str
    by_matrices: bool
    extent: Extent
    kept: tuple[tuple[str, int, bool], ...]
    streamed: tuple[tuple[str, int, bool], ...]
    batch: int
    causal: bool
    mask: DType | None
    mask_step: int
    results: tuple[tuple[str, DType], ...]
    out_lanes: int

    def width(self, name: str) -> int:
        """Elements that the rows of an operand (or result) are filled up to."""
        return self.extent.width if name in ("value", "cotangent", "out", "dvalue") else self.extent.depth


class AttentionKernel:
    """A kernel under construction. Its arguments: the operands (Rows), the mask with strides of rows and leading dimensions,
    logsumexp and delta (of derivatives), the results, the scale, sizes."""

    def __init__(self, k: KernelBuilder, shape: AttentionKernelShape, operands: dict[str, Rows]) -> None:
        self.k, self.shape, self.extent, self.operands = k, shape, shape.extent, operands
        for name, operand in operands.items():
            operand.declare(k, name)
        if shape.mask is not None:
            self.mask = k.buffer(shape.mask, (1,), "mask")
            self.mask_row = k.index_argument("mask_row")
            self.mask_strides = [k.index_argument(f"mask_batch{i}") for i in range(shape.batch)]
        wide = self.extent.accumulator
        if shape.kind != FORWARD:
            self.logsumexp, self.delta = k.buffer(wide, (1,), "logsumexp"), k.buffer(wide, (1,), "delta")
        self.outputs = {name: k.buffer(dtype, (1,), name) for name, dtype in shape.results}
        bits = arith.cast(k.index_argument("scale"), dtype=dtypes.int32 if wide is dtypes.float32 else dtypes.int64)
        self.scale: Value = arith.bitcast(bits, dtype=wide)
        names = ("rows", "columns", "depth", "width")
        self.rows, self.columns, self.depth, self.width = (k.index_argument(name) for name in names)
        self.sizes = [k.index_argument(f"batch{i}") for i in range(shape.batch)]
        self.thread: Value = gpu.thread_id.build(k.builder)
        kind = MatrixEngine if shape.by_matrices else FmaEngine
        self.engine: Engine = kind(k, self.extent, self.thread)
        self._share()

    def _share(self) -> None:
        """Shared memory for the tiles, and who fills it."""
        k, extent = self.k, self.extent
        sizes = [extent.rows * self.shape.width(name) for name, _, _ in self.shape.kept]
        sizes += [STAGES * extent.columns * self.shape.width(name) for name, _, _ in self.shape.streamed]
        self.memory: Value = gpu.shared.build(k.builder, dtype=extent.dtype, size=sum(sizes))
        self.begins = {}
        self.fills: dict[str, Fill] = {}
        first = 0
        for number, (name, _, background) in enumerate((*self.shape.kept, *self.shape.streamed)):
            width = self.shape.width(name)
            kept = number < len(self.shape.kept)
            # What is streamed is filled along its rows, which the pipeline calls depth.
            sizes_of = (extent.rows, width) if kept else (width, extent.columns)
            layout = MatrixLayout(*sizes_of, extent.dtype, by_depth=kept, by_vector=True)
            memory = (self.memory, first)
            self.fills[name] = Fill(k, self.operands[name], layout, memory, (self.thread, THREADS), background)
            self.begins[name] = first
            first += sizes[number]
        self.pipeline = Pipeline(k, [self.fills[name] for name, _, _ in self.shape.streamed], STAGES)

    def build(self) -> Operation:
        """The loop over the tiles of rows that are this block's."""
        k = self.k
        tiles = k.ceil_div(self.rows, self.extent.rows)
        first, step = gpu.block_id.build(k.builder), gpu.grid_size.build(k.builder)
        with k.loop(first, k.product([*self.sizes, tiles]), step) as item:
            self.item = k.div(item, tiles)
            self.index = split_rows(k, self.item, self.sizes)
            self.first = k.mul(k.rem(item, tiles), self.extent.rows)
            for operand in self.operands.values():
                operand.at(self.index)
            if self.shape.mask is not None:
                self.mask_start = k.offset(self.mask, k.dot(self.index, self.mask_strides))
            for name, _, _ in self.shape.kept:
                fill = self.fills[name]
                fill.at(self.first, self.rows)
                fill.finish(0, fill.begin(0, 0, self._length(name)))
            for name, _, _ in self.shape.streamed:
                self.fills[name].at(0, self._length(name))
            {FORWARD: self._forward, QUERIES: self._queries, KEYS: self._keys}[self.shape.kind]()
        return k.finish()

    def _length(self, name: str) -> Index:
        """Elements of an operand's (or result's) rows."""
        return self.width if name in ("value", "cotangent", "out", "dvalue") else self.depth

    # -- what all kinds need ------------------------------------------------------------

    def _run(
        self, state: Sequence[Value], step: Callable[[Index, Index, Sequence[Value]], Sequence[Value]]
    ) -> Sequence[Value]:
        """The columns pass by; with a causal mask only those that some row of the tile attends to, or is attended by."""
        k = self.k
        low: Index = 0
        high: Index = self.columns
        if self.shape.causal and self.shape.kind == KEYS:
            low = k.min(k.round_down(self.first, self.extent.columns), self.columns)
        elif self.shape.causal:
            high = k.min(self.columns, k.add(self.first, self.extent.rows))
        return self.pipeline.run(low, high, state, step)

    def _kept(self, name: str) -> tuple[Value, Index]:
        return self.memory, self.begins[name]

    def _passing(self, name: str, stage: Index) -> tuple[Value, Index]:
        return self.memory, self.fills[name].stage(stage)

    def _scores(self, tile: Tile, at: Index) -> Tile:
        """Products as scores: scaled and masked, -inf beyond the columns."""
        k, engine = self.k, self.engine
        out: Tile = []
        for slot, vectors in enumerate(tile):
            row = k.add(self.first, engine.row(slot))
            made = []
            for number, vector in enumerate(vectors):
                lanes = engine.lanes(0)
                column = k.add(at, engine.column(0, number))
                scaled = arith.mul(vector, k.broadcast(self.scale, lanes))
                elements = lanes_of(scaled)
                made.append(
                    _vector(k, [self._masked(element, row, k.add(column, lane)) for lane, element in enumerate(elements)])
                )
            out.append(made)
        return out

    def _masked(self, score: Value, row: Index, column: Index) -> Value:
        k, shape = self.k, self.shape
        wide = self.extent.accumulator
        nothing = k.splat(-python_math.inf, wide)
        inside = k.compare("lt", column, self.columns)
        query, key = (column, row) if shape.kind == KEYS else (row, column)
        if shape.mask is not None:
            there = arith.bit_and(inside, k.compare("lt", row, self.rows))
            place = k.add(k.mul(query, self.mask_row), k.mul(key, shape.mask_step))
            value = k.load(self.mask_start, k.select_index(there, place, 0))
            score = (
                arith.select(value, score, nothing) if shape.mask is dtypes.bool_ else arith.add(score, k.cast(value, wide))
            )
        if shape.causal:
            inside = arith.bit_and(inside, k.compare("le", key, query))
        masked: Value = arith.select(inside, score, nothing)
        return masked

    def _store(self, name: str, tile: Tile) -> None:
        """A tile of results to memory."""
        k, engine, lanes = self.k, self.engine, self.shape.out_lanes
        width = self.shape.width(name)
        out, length = self.outputs[name], self._length(name)
        for slot, vectors in enumerate(tile):
            row = k.add(self.first, engine.row(slot))
            base = k.mul(k.add(k.mul(self.item, self.rows), row), length)
            for number, vector in enumerate(vectors):
                for start in range(0, engine.lanes(width), lanes):
                    column = k.add(engine.column(width, number), start)
                    inside = arith.bit_and(k.compare("lt", row, self.rows), k.compare("lt", column, length))
                    with k.when(inside):
                        part = _vector(k, lanes_of(vector)[start : start + lanes])
                        k.store(k.cast(part, out.type.dtype), out, k.add(base, column), aligned=True)

    def _scaled(self, tile: Tile, width: int, factors: Sequence[Value]) -> Tile:
        """Every row times a number."""
        lanes = self.engine.lanes(width)
        return [
            [arith.mul(vector, self.k.broadcast(factor, lanes)) for vector in vectors]
            for vectors, factor in zip(tile, factors, strict=True)
        ]

    def _carried(self, values: Sequence[Value], width: int) -> tuple[Tile, Sequence[Value]]:
        """A tile at the beginning of carried values, and the others."""
        count = self.engine.vectors(width)
        slots = self.engine.slots
        tile = [list(values[slot * count : (slot + 1) * count]) for slot in range(slots)]
        return tile, values[slots * count :]

    # -- the result ------------------------------------------------------------

    def _forward(self) -> None:
        k, engine, wide = self.k, self.engine, self.extent.accumulator
        width = self.extent.width if "out" in self.outputs else 0
        lowest, zero = k.splat(-python_math.inf, wide), k.splat(0, wide)
        start = _flat(engine.zeros(width)) if width else []

        def step(stage: Index, at: Index, carried: Sequence[Value]) -> Sequence[Value]:
            sums, rest = self._carried(carried, width) if width else ([], carried)
            tops, totals = rest[: engine.slots], rest[engine.slots :]
            products = engine.product(self._kept("query"), self._passing("key", stage), self.extent.depth)
            scores = self._scores(products, at)
            tops_now = [
                arith.maximum(top, engine.reduced(arith.maximum, row)) for top, row in zip(tops, scores, strict=True)
            ]
            bases = [_finite(k, top) for top in tops_now]
            factors = [math.exp(arith.sub(top, base)) for top, base in zip(tops, bases, strict=True)]
            weights = [
                [math.exp(arith.sub(vector, k.broadcast(base, engine.lanes(0)))) for vector in row]
                for row, base in zip(scores, bases, strict=True)
            ]
            totals = [
                arith.fma(total, factor, engine.reduced(arith.add, row))
                for total, factor, row in zip(totals, factors, weights, strict=True)
            ]
            if width:
                sums = engine.accumulate(self._scaled(sums, width, factors), weights, self._passing("value", stage), width)
            return [*_flat(sums), *tops_now, *totals]

        results = self._run([*start, *[lowest] * engine.slots, *[zero] * engine.slots], step)
        sums, rest = self._carried(results, width) if width else ([], results)
        tops, totals = rest[: engine.slots], rest[engine.slots :]
        if width:
            one = k.splat(1, wide)
            divisors = [arith.select(_is(total, zero), one, total) for total in totals]
            lanes = engine.lanes(width)
            found = [
                [arith.div(vector, k.broadcast(divisor, lanes)) for vector in row]
                for row, divisor in zip(sums, divisors, strict=True)
            ]
            self._store("out", found)
        if "logsumexp" in self.outputs:
            for slot, (top, total) in enumerate(zip(tops, totals, strict=True)):
                row = k.add(self.first, engine.row(slot))
                first = k.compare("eq", engine.column(0, 0), 0)
                with k.when(arith.bit_and(first, k.compare("lt", row, self.rows))):
                    value = arith.add(_finite(k, top), math.log(total))
                    k.store(value, self.outputs["logsumexp"], k.add(k.mul(self.item, self.rows), row))

    # -- the cotangents ------------------------------------------------------------

    def _statistics(self, at: Index, inside: Value) -> tuple[Value, Value]:
        """logsumexp (inf where a query attends to nothing) and delta of a query."""
        k = self.k
        rows = self.columns if self.shape.kind == KEYS else self.rows
        place = k.select_index(inside, k.add(k.mul(self.item, rows), at), 0)
        total = k.load(self.logsumexp, place)
        infinity = k.splat(python_math.inf, self.extent.accumulator)
        nothing = _is(total, k.splat(-python_math.inf, self.extent.accumulator))
        return arith.select(nothing, infinity, total), k.load(self.delta, place)

    def _queries(self) -> None:
        k, engine, extent = self.k, self.engine, self.extent
        statistics = []
        for slot in range(engine.slots):
            row = k.add(self.first, engine.row(slot))
            statistics.append(self._statistics(row, k.compare("lt", row, self.rows)))

        def step(stage: Index, at: Index, carried: Sequence[Value]) -> Sequence[Value]:
            sums, _ = self._carried(carried, extent.depth)
            products = engine.product(self._kept("query"), self._passing("key", stage), extent.depth)
            scores = self._scores(products, at)
            dweights = engine.product(self._kept("cotangent"), self._passing("value", stage), extent.width)
            lanes = engine.lanes(0)
            dscores = [
                [_dscore(k, score, dweight, k.broadcast(total, lanes), k.broadcast(delta, lanes))
                 for score, dweight in zip(row, drow, strict=True)]
                for row, drow, (total, delta) in zip(scores, dweights, statistics, strict=True)
            ]  # fmt: skip
            return _flat(engine.accumulate(sums, dscores, self._passing("key", stage), extent.depth))

        results = self._run(_flat(engine.zeros(extent.depth)), step)
        sums, _ = self._carried(results, extent.depth)
        self._store("dquery", self._scaled(sums, extent.depth, [self.scale] * engine.slots))

    def _keys(self) -> None:
        k, engine, extent = self.k, self.engine, self.extent
        names = [name for name in ("dkey", "dvalue") if name in self.outputs]
        start = [value for name in names for value in _flat(engine.zeros(self.shape.width(name)))]

        def step(stage: Index, at: Index, carried: Sequence[Value]) -> Sequence[Value]:
            tiles = {}
            for name in names:
                tiles[name], carried = self._carried(carried, self.shape.width(name))
            products = engine.product(self._kept("key"), self._passing("query", stage), extent.depth)
            scores = self._scores(products, at)
            totals, deltas = self._columns_statistics(at)
            if "dvalue" in tiles:
                weights = [[math.exp(arith.sub(x, total)) for x, total in zip(row, totals, strict=True)] for row in scores]
                tiles["dvalue"] = engine.accumulate(
                    tiles["dvalue"], weights, self._passing("cotangent", stage), extent.width
                )
            if "dkey" in tiles:
                dweights = engine.product(self._kept("value"), self._passing("cotangent", stage), extent.width)
                dscores = [
                    [_dscore(k, *four) for four in zip(row, drow, totals, deltas, strict=True)]
                    for row, drow in zip(scores, dweights, strict=True)
                ]
                tiles["dkey"] = engine.accumulate(tiles["dkey"], dscores, self._passing("query", stage), extent.depth)
            return [value for name in names for value in _flat(tiles[name])]

        results = self._run(start, step)
        for name in names:
            tile, results = self._carried(results, self.shape.width(name))
            if name == "dkey":
                tile = self._scaled(tile, extent.depth, [self.scale] * engine.slots)
            self._store(name, tile)

    def _columns_statistics(self, at: Index) -> tuple[list[Value], list[Value]]:
        """Vectors of logsumexp and delta, of queries that are columns."""
        k, engine = self.k, self.engine
        totals, deltas = [], []
        for number in range(engine.vectors(0)):
            found = []
            for lane in range(engine.lanes(0)):
                column = k.add(at, k.add(engine.column(0, number), lane))
                found.append(self._statistics(column, k.compare("lt", column, self.columns)))
            totals.append(_vector(k, [total for total, _ in found]))
            deltas.append(_vector(k, [delta for _, delta in found]))
        return totals, deltas


def _dscore(k: KernelBuilder, score: Value, dweight: Value, total: Value, delta: Value) -> Value:
    """The cotangent of a score: its weight times (cotangent of the weight - delta)."""
    cotangent: Value = arith.mul(math.exp(arith.sub(score, total)), arith.sub(dweight, delta))
    return cotangent


def _finite(k: KernelBuilder, top: Value) -> Value:
    """The largest score, 0 where all are masked."""
    value: Value = arith.select(_is(top, k.splat(-python_math.inf, top.type.dtype)), k.splat(0, top.type.dtype), top)
    return value


def _is(a: Value, b: Value) -> Value:
    flag: Value = arith.compare(a, b, predicate="eq")
    return flag


def _flat(tile: Tile) -> list[Value]:
    return [vector for row in tile for vector in row]


def _vector(k: KernelBuilder, elements: Sequence[Value]) -> Value:
    """Elements, of which there is a power of two, as a vector (or scalar)."""
    return elements[0] if len(elements) == 1 else joined(k, elements)
