"""Tiles in shared memory for the matrix instructions of a warp: how they lie there, and how fragments are read from them.

A row is made of chunks of 16 bytes, whose places are exchanged by the exclusive-or of their number with some bits of the
row's: so the 8 rows of a matrix, and what 8 neighbouring threads write, lie in different banks.
"""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.dtypes import DType
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, gpu, loop

CHUNK = 16
"""Bytes of a row of a matrix, and of a chunk."""
STEP = 32
"""Bytes along K of the fragments of one multiplication."""


class MatrixLayout:
    """A tile of rows by depth. by_depth: the depth lies together ([row][depth]), else the rows ([depth][row])."""

    together = True

    def __init__(self, rows: int, depth: int, dtype: DType, by_depth: bool, by_vector: bool = False) -> None:
        """by_vector: rows of 4-byte elements are read in vectors, not as fragments, also where they are the tile's depth."""
        self.rows, self.depth, self.dtype, self.by_depth = rows, depth, dtype, by_depth
        self.size = rows * depth
        self.lanes = CHUNK // dtype.itemsize
        self.width = depth if by_depth else rows
        self.chunks = self.width // self.lanes
        self.by_element = not by_depth and dtype.itemsize == 4 and not by_vector
        """Whether fragments are read element by element: matrices of 4-byte elements cannot be transposed."""

    def place(self, k: KernelBuilder, row: Index, depth: Index) -> Index:
        """The number of an element."""
        major, minor = (row, depth) if self.by_depth else (depth, row)
        chunk = k.value(k.div(minor, self.lanes))
        return k.add(self.chunk(k, major, chunk, k.value(k.rem(major, 8))), k.rem(minor, self.lanes))

    def chunk(self, k: KernelBuilder, major: Index, chunk: Index, low_bits: Value) -> Index:
        """Where a chunk of a row begins. low_bits: the lowest three of the row's number, maybe known better than that."""
        per_line = max(1, 8 // self.chunks)  # rows that lie in the same 128 bytes
        turn = k.div(low_bits, per_line)
        if self.by_element:  # 4 rows are read at a time, of each two neighbouring chunks
            turn = k.mul(k.rem(turn, min(4, self.chunks // 2)), 2)
        else:
            turn = k.rem(turn, min(8, self.chunks))
        exchanged: Value = arith.bit_xor(k.value(chunk), k.value(turn))
        return k.add(k.mul(major, self.width), k.mul(exchanged, self.lanes))

    def piece(self, k: KernelBuilder, number: Index, lanes: int) -> tuple[Index, Index]:
        """Neighbours follow what lies together."""
        per_row = self.width // lanes
        major, minor = k.div(number, per_row), k.mul(k.rem(number, per_row), lanes)
        return (major, minor) if self.by_depth else (minor, major)


class Fragments:
    """Reads the fragments of a warp from a tile. Rows begin at multiples of 16; `step` counts 32 bytes of depth."""

    def __init__(self, k: KernelBuilder, layout: MatrixLayout, buffer: Value, lane: Value) -> None:
        self.k, self.layout, self.buffer, self.lane = k, layout, buffer, lane
        self.low, self.high = k.rem(lane, 8), k.rem(lane, 16)
        self.middle, self.top = k.rem(k.div(lane, 8), 2), k.div(lane, 16)
        self.depth = STEP // layout.dtype.itemsize

    def left(self, begin: Index, row: Index, step: int) -> Value:
        """16 rows of the left operand: the quarters upper left, lower left, upper right, lower right."""
        if self.layout.by_element:
            return self._elements(begin, row, step, [(0, 0), (8, 0), (0, 4), (8, 4)])
        if self.layout.by_depth:
            return self._matrices(begin, self.k.add(row, self.high), self.k.add(self.top, 2 * step))
        depth = self.k.add(self.k.add(self.low, self.k.mul(self.top, 8)), self.depth * step)
        return self._matrices(begin, depth, self.k.add(self.k.div(row, self.layout.lanes), self.middle))

    def right(self, begin: Index, column: Index, step: int) -> tuple[Value, Value]:
        """Twice 8 columns of the right operand, whose columns are the tile's rows."""
        if self.layout.by_element:
            both = self._elements(begin, column, step, [(0, 0), (0, 4), (8, 0), (8, 4)])
        elif self.layout.by_depth:
            row = self.k.add(self.k.add(self.low, self.k.mul(self.top, 8)), column)
            both = self._matrices(begin, row, self.k.add(self.middle, 2 * step))
        else:
            chunk = self.k.add(self.k.div(column, self.layout.lanes), self.top)
            both = self._matrices(begin, self.k.add(self.high, self.depth * step), chunk)
        return halves(both)

    def _matrices(self, begin: Index, major: Index, chunk: Index) -> Value:
        place = self.k.add(begin, self.layout.chunk(self.k, major, chunk, self.k.value(self.low)))
        value: Value = gpu.load_matrices(self.buffer, self.k.value(place), transposed=not self.layout.by_depth)
        return value

    def _elements(self, begin: Index, row: Index, step: int, corners: Sequence[tuple[int, int]]) -> Value:
        """The element at this thread's place of each of four matrices of 8 rows and 4 elements of depth."""
        k = self.k
        own_row, own_depth = k.div(self.lane, 4), k.rem(self.lane, 4)
        found = []
        for down, deep in corners:
            at = k.add(k.add(row, own_row), down)
            depth = k.add(own_depth, self.depth * step + deep)
            chunk = self.layout.chunk(k, depth, k.div(at, self.layout.lanes), k.value(own_depth))
            found.append(k.load(self.buffer, k.add(begin, k.add(chunk, k.rem(at, self.layout.lanes)))))
        return joined(k, found)


def halves(vector: Value) -> tuple[Value, Value]:
    """A vector in two."""
    count = vector.type.lanes // 2  # type: ignore[attr-defined]
    low: Value = loop.shuffle(vector, vector, lanes=tuple(range(count)))
    high: Value = loop.shuffle(vector, vector, lanes=tuple(range(count, 2 * count)))
    return low, high


def together(a: Value, b: Value) -> Value:
    """Two vectors as one."""
    count = a.type.lanes + b.type.lanes  # type: ignore[attr-defined]
    both: Value = loop.shuffle(a, b, lanes=tuple(range(count)))
    return both


def joined(k: KernelBuilder, scalars: Sequence[Value]) -> Value:
    """Scalars, of which there is a power of two, as a vector."""
    pairs: list[Value] = [
        loop.shuffle(k.broadcast(a, 2), k.broadcast(b, 2), lanes=(0, 2))
        for a, b in zip(scalars[::2], scalars[1::2], strict=True)
    ]
    while len(pairs) > 1:
        pairs = [together(a, b) for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    (vector,) = pairs
    return vector
