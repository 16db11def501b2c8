"""Tiles of attention on a GPU: products of tiles in shared memory, whose results stay in the registers of the threads.

A tile of results is, per thread, some of its rows (`slots`), each in vectors along the columns. Two engines compute such
tiles: by the matrix instructions of warps, and by multiply-adds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lazytorch import dtypes
from lazytorch.codegen.expression import Leaf
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Slot
from lazytorch.codegen.schedules.gpu_matrix import CHUNK, STEP, Fragments, MatrixLayout, halves, together
from lazytorch.dtypes import DType
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, gpu, loop
from lazytorch.ir.dialects.gpu import WARP

THREADS = 128
"""Threads of a block."""
Tile = list[list[Value]]
"""By slot, vectors along the columns."""


class Rows:
    """An operand of attention: rows of consecutive elements.

    streamed: it passes by in blocks of rows, and these are what a pipeline calls depth.
    """

    def __init__(self, leaf: Leaf, batch: Sequence[int], most: int, streamed: bool) -> None:
        assert leaf.value is not None
        self.dtype, self.streamed, self.along = leaf.dtype, streamed, 0 if streamed else 1
        stride = leaf.access.strides[-2]
        # Blocks of whole vectors end where the rows do.
        self.lanes = math.gcd(most, leaf.access.offset, stride, *batch, self._width(leaf))
        self.slots: list[Slot] = [Address(leaf.value, leaf.access.offset * leaf.dtype.itemsize), stride, *batch]
        self.loops = len(batch)

    def _width(self, leaf: Leaf) -> int:
        return leaf.access.shape[-1]

    def declare(self, k: KernelBuilder, name: str) -> None:
        """The kernel's arguments, in the order of the slots."""
        self.k = k
        self.buffer = k.buffer(self.dtype, (1,), name)
        self.stride = k.index_argument(f"{name}_stride")
        self.strides = [k.index_argument(f"{name}_batch{i}") for i in range(self.loops)]

    def at(self, index: Sequence[Index]) -> None:
        """Begin at an index of the leading dimensions."""
        self.start = self.k.offset(self.buffer, self.k.dot(index, self.strides))

    def place(self, row: Index, depth: Index) -> Index:
        """Where an element lies, from the start on."""
        row, column = (depth, row) if self.streamed else (row, depth)
        return self.k.add(self.k.mul(row, self.stride), column)


@dataclass(frozen=True)
class Extent:
    """The structure of a kernel's tiles: `rows` that a block of threads computes, `columns` that pass by at a time, elements
    that rows of queries and keys (`depth`) and of values (`width`) are filled up to. dtype: of elements in shared memory;
    accumulator: of sums."""

    rows: int
    columns: int
    depth: int
    width: int
    dtype: DType
    accumulator: DType


class Engine:
    """What both engines share. `place`: memory of their own, in elements from which they may use so many."""

    slots: int
    distances: tuple[int, ...]
    """Between threads that have parts of one row, as exclusive-or of their numbers."""

    def __init__(self, k: KernelBuilder, extent: Extent, thread: Value) -> None:
        self.k, self.extent, self.thread = k, extent, thread
        self.lane, self.warp = k.value(k.rem(thread, WARP)), k.div(thread, WARP)

    def row(self, slot: int) -> Index:
        """The row of a slot within the tile."""
        raise NotImplementedError

    def column(self, width: int, vector: int) -> Index:
        """Where a vector begins in a tile of so many columns; width 0: a tile of scores, here and in the others."""
        raise NotImplementedError

    def lanes(self, width: int) -> int:
        """Elements of a vector of such a tile."""
        raise NotImplementedError

    def vectors(self, width: int) -> int:
        """Vectors of a slot of such a tile."""
        raise NotImplementedError

    def product(self, left: tuple[Value, Index], right: tuple[Value, Index], depth: int) -> Tile:
        """Rows times columns, of tiles that both lie row by row: their buffers, and where they begin."""
        raise NotImplementedError

    def accumulate(self, sums: Tile, weights: Tile, right: tuple[Value, Index], width: int) -> Tile:
        """sums + weights times a tile that has the columns' rows, of so many elements."""
        raise NotImplementedError

    def zeros(self, width: int) -> Tile:
        """A tile of zeros."""
        zero = self.k.splat(0, self.extent.accumulator, self.lanes(width))
        return [[zero] * self.vectors(width) for _ in range(self.slots)]

    def reduced(self, combine: Callable[[Value, Value], Value], vectors: Sequence[Value]) -> Value:
        """All elements of a row as one number, in every thread that has a part of it."""
        total = vectors[0]
        for vector in vectors[1:]:
            total = combine(total, vector)
        elements = lanes_of(total)
        value = elements[0]
        for element in elements[1:]:
            value = combine(value, element)
        for distance in self.distances:
            value = combine(value, gpu.shuffle(value, distance=distance))
        return value


def lanes_of(vector: Value) -> list[Value]:
    """The elements of a vector (or scalar)."""
    count = getattr(vector.type, "lanes", 1)
    return [vector] if count == 1 else [loop.extract(vector, lane=lane) for lane in range(count)]


class MatrixEngine(Engine):
    """Every warp has 16 rows, in fragments of 16 by 8."""

    slots, distances = 2, (1, 2)

    def __init__(self, k: KernelBuilder, extent: Extent, thread: Value) -> None:
        super().__init__(k, extent, thread)
        self.own = k.mul(self.warp, 16)

    def row(self, slot: int) -> Index:
        """The two rows that a thread has of a fragment."""
        return self.k.add(self.k.add(self.own, self.k.div(self.lane, 4)), 8 * slot)

    def column(self, width: int, vector: int) -> Index:
        """Two neighbours of every fragment."""
        return self.k.add(self.k.mul(self.k.rem(self.lane, 4), 2), 8 * vector)

    def lanes(self, width: int) -> int:
        """As a fragment has them."""
        return 2

    def vectors(self, width: int) -> int:
        """One per fragment."""
        return (width or self.extent.columns) // 8

    def product(self, left: tuple[Value, Index], right: tuple[Value, Index], depth: int) -> Tile:
        """Both tiles hold the depth together."""
        k, extent = self.k, self.extent
        rows = Fragments(k, MatrixLayout(extent.rows, depth, extent.dtype, True), left[0], self.lane)
        columns = Fragments(k, MatrixLayout(extent.columns, depth, extent.dtype, True), right[0], self.lane)
        sums = [k.splat(0, dtypes.float32, 4)] * (extent.columns // 8)
        for step in range(depth * extent.dtype.itemsize // STEP):
            a = rows.left(left[1], self.own, step)
            halves_ = [b for j in range(0, extent.columns, 16) for b in columns.right(right[1], j, step)]
            sums = [gpu.multiply_matrices(a, b, total) for b, total in zip(halves_, sums, strict=True)]
        pairs = [halves(total) for total in sums]
        return [[low for low, _ in pairs], [high for _, high in pairs]]

    def accumulate(self, sums: Tile, weights: Tile, right: tuple[Value, Index], width: int) -> Tile:
        """The weights become fragments of the left operand where they are."""
        k, extent = self.k, self.extent
        columns = Fragments(k, MatrixLayout(width, extent.columns, extent.dtype, False), right[0], self.lane)
        blocks = [k.cast(together(low, high), extent.dtype) for low, high in zip(*weights, strict=True)]
        totals = [together(low, high) for low, high in zip(*sums, strict=True)]
        for step in range(extent.columns * extent.dtype.itemsize // STEP):
            a = together(blocks[2 * step], blocks[2 * step + 1])
            halves_ = [b for j in range(0, width, 16) for b in columns.right(right[1], j, step)]
            totals = [gpu.multiply_matrices(a, b, total) for b, total in zip(halves_, totals, strict=True)]
        pairs = [halves(total) for total in totals]
        return [[low for low, _ in pairs], [high for _, high in pairs]]


ACROSS = 16
"""Threads that share a row, in the other engine."""


class FmaEngine(Engine):
    """Every thread has some rows, and of them each 16th column, or vector of columns. Weights go through shared memory."""

    distances = (1, 2, 4, 8)

    def __init__(self, k: KernelBuilder, extent: Extent, thread: Value) -> None:
        super().__init__(k, extent, thread)
        self.across, self.down = k.rem(thread, ACROSS), k.div(thread, ACROSS)
        self.slots = extent.rows // (THREADS // ACROSS)
        self.wide = CHUNK // extent.accumulator.itemsize
        size = extent.rows * extent.columns
        self.weights: Value = gpu.shared.build(k.builder, dtype=extent.accumulator, size=size)

    def row(self, slot: int) -> Index:
        """Each eighth row."""
        return self.k.add(self.down, slot * (THREADS // ACROSS))

    def column(self, width: int, vector: int) -> Index:
        """Each 16th vector."""
        lanes = self.lanes(width)
        return self.k.add(self.k.mul(self.across, lanes), vector * ACROSS * lanes)

    def lanes(self, width: int) -> int:
        """Single scores, and vectors of results."""
        return min(self.wide, width // ACROSS) if width else 1

    def vectors(self, width: int) -> int:
        """What one of 16 threads has."""
        return (width or self.extent.columns) // ACROSS // self.lanes(width)

    def product(self, left: tuple[Value, Index], right: tuple[Value, Index], depth: int) -> Tile:
        """A vector along the depth at a time."""
        k, extent, wide = self.k, self.extent, self.wide
        rows = MatrixLayout(extent.rows, depth, extent.accumulator, True)
        columns = MatrixLayout(extent.columns, depth, extent.accumulator, True)
        count = extent.columns // ACROSS
        zeros = [k.splat(0, extent.accumulator)] * (self.slots * count)
        with k.carry(0, depth, wide, zeros) as state:
            a = [lanes_of(self._vector(left, rows, self.row(slot), state.index)) for slot in range(self.slots)]
            places = [k.add(self.across, number * ACROSS) for number in range(count)]
            b = [lanes_of(self._vector(right, columns, place, state.index)) for place in places]
            sums = list(state.carried)
            for lane in range(wide):
                pairs = [(x[lane], y[lane]) for x in a for y in b]
                sums = [arith.fma(x, y, total) for (x, y), total in zip(pairs, sums, strict=True)]
            state.next(*sums)
        return [list(state.results[slot * count : (slot + 1) * count]) for slot in range(self.slots)]

    def _vector(self, tile: tuple[Value, Index], layout: MatrixLayout, row: Index, depth: Index) -> Value:
        place = self.k.add(tile[1], layout.place(self.k, row, depth))
        return self.k.load(tile[0], place, lanes=self.wide, aligned=True)

    def accumulate(self, sums: Tile, weights: Tile, right: tuple[Value, Index], width: int) -> Tile:
        """The threads that share a row are of one warp."""
        k, extent, wide = self.k, self.extent, self.wide
        shared = MatrixLayout(extent.rows, extent.columns, extent.accumulator, True)
        values = MatrixLayout(extent.columns, width, extent.accumulator, True)
        gpu.warp_barrier.build(k.builder)
        for slot, vectors in enumerate(weights):
            for number, value in enumerate(vectors):
                place = shared.place(k, self.row(slot), k.add(self.across, number * ACROSS))
                k.store(value, self.weights, place)
        gpu.warp_barrier.build(k.builder)
        lanes, count = self.lanes(width), self.vectors(width)
        with k.carry(0, extent.columns, wide, [total for row in sums for total in row]) as state:
            a = [
                lanes_of(self._vector((self.weights, 0), shared, self.row(slot), state.index)) for slot in range(self.slots)
            ]
            totals = list(state.carried)
            for lane in range(wide):
                b = []
                for number in range(count):
                    place = values.place(k, k.add(state.index, lane), self.column(width, number))
                    b.append(k.load(right[0], k.add(right[1], place), lanes=lanes, aligned=True))
                pairs = [(k.broadcast(x[lane], lanes), y) for x in a for y in b]
                totals = [arith.fma(x, y, total) for (x, y), total in zip(pairs, totals, strict=True)]
            state.next(*totals)
        return [list(state.results[slot * count : (slot + 1) * count]) for slot in range(self.slots)]
