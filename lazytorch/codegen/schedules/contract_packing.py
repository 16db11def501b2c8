"""The operands of a contraction kernel: how they are addressed, and how blocks of them are packed.

An operand has rows (its own letters) and a depth (the summed letters). Its `kind` says which of them has stride 1: "k"
the depth, "row" the rows, "table" neither. Where letters of the run-along direction have no common stride, a vector is put
together from *segments*, runs of consecutive memory: lane l of segment s reads `offset[s] + l` where
`begin[s] <= l < end[s]`. So the windows of a convolution are packed by vector loads, and nothing is materialised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lazytorch import dtypes
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.dtypes import DType
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, loop
from lazytorch.ir.types import INDEX, BufferType

KC = 256
PAD = 16
"""Extra elements per packed row, so that the rows of a panel do not fall on the same cache sets."""
FEW = 8
"""Accumulators that leave registers free even where there are 16."""
SHORT_STEP = 1024
"""Bytes of accumulators below which a step of the microkernel takes so little time that memory must be asked earlier."""


def accumulator_of(dtype: DType) -> DType:
    """The type that products of a type are accumulated in."""
    if dtype.itemsize >= 4:
        return dtype
    return dtypes.float32 if dtype.kind == "f" else dtypes.int32


@dataclass(frozen=True)
class OperandShape:
    """The structure of an operand's addressing. `segments`: pieces of a vector, 0 where one stride serves all rows and one
    the depth."""

    kind: str
    segments: int = 0

    def text(self) -> str:
        """Canonical text for the kernel's key."""
        return f"{self.kind}{self.segments or ''}"


@dataclass(frozen=True)
class ContractShape:
    """The structure of a contraction kernel: register tile, packing, loops around it, results.

    lanes, left_lanes: elements of a vector of columns, and of those that the left operand is packed by.
    batch, outer: numbers of loops over letters that both operands have, and over those of the right operand that have no
    common stride with the columns.
    stack: of how many neighbouring indices of the last outer letter a tile takes vectors; 0: it takes them in turn.
    single: K is one block at most. plain: there is no epilogue, and sums so far are kept in the result.
    split: K is divided among threads; the kernel leaves the sums of the blocks of K for build_contract_sum.
    stores_registers: a whole tile goes through the epilogue in its registers.
    reading: how tiles read the right operand: "packed" before; "first": the first panel of rows packs it while it computes;
    "direct" or "transposed" in registers: there is one panel of rows only, so that packing would not pay.
    """

    dtype: DType
    lanes: int
    left_lanes: int
    rows: int
    vectors: int
    stack: int
    left: OperandShape
    right: OperandShape
    batch: int
    outer: int
    given: int
    outputs: tuple[DType, ...]
    single: bool
    plain: bool
    reading: str
    stores_registers: bool
    has_mask_registers: bool
    split: bool

    @property
    def accumulator(self) -> DType:
        """What products are accumulated in: 32 bits at least."""
        return accumulator_of(self.dtype)

    @property
    def spills(self) -> bool:
        """Whether the tile goes to memory right after its loop: with few registers, values that stay in them after the loop
        would cost some inside of it."""
        return not self.has_mask_registers and self.rows * self.vectors > FEW

    @property
    def ahead(self) -> int:
        """Rows of the right operand by which reading it is ahead of using it."""
        step = self.rows * self.vectors * self.lanes * self.accumulator.itemsize
        return 20 if self.rows > 1 and step < SHORT_STEP else 8

    @property
    def reads_edges(self) -> bool:
        """Whether columns past the edge are masked where the right operand is read in place, at no cost worth avoiding."""
        return self.has_mask_registers or self.right.segments > 0

    @property
    def width(self) -> int:
        """Columns of the register tile."""
        return self.lanes * self.vectors

    @property
    def left_strides(self) -> tuple[int, int]:
        """Strides of (row, k) within a packed panel of the left operand."""
        if self.left.kind == "k":
            return KC + PAD, 1
        return 1, -(-self.rows // self.left_lanes) * self.left_lanes

    @property
    def panel_size(self) -> int:
        """Elements of a packed panel of the left operand."""
        return self.rows * (KC + PAD) if self.left.kind == "k" else KC * self.left_strides[1]

    def text(self) -> str:
        """Canonical text for the kernel's key."""
        outputs = ",".join(dtype.name for dtype in self.outputs)
        return (
            f"{self.dtype.name}|{self.left_lanes}|{self.lanes}x{self.rows}x{self.vectors}/{self.stack}|{self.left.text()}|{self.right.text()}"
            f"|{self.batch}|{self.outer}|{self.given}|{outputs}|{self.single}|{self.plain}|{self.reading}|{self.stores_registers}|{self.split}"
        )


def segment_tables(offsets: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset, begin and end of the segments of every vector of `lanes` elements: three arrays [vectors, segments].

    A vector with fewer segments than others has empty ones (begin = end = 0).
    """
    vectors = []
    for start in range(0, len(offsets), lanes):
        piece = offsets[start : start + lanes]
        cuts = [0, *(np.flatnonzero(np.diff(piece) != 1) + 1).tolist(), len(piece)]
        vectors.append([(int(piece[a]) - a, a, b) for a, b in pairwise(cuts)])
    vectors = vectors or [[(0, 0, 0)]]  # of an empty sum nothing is read
    most = max(len(segments) for segments in vectors)
    table = np.zeros((len(vectors), most, 3), np.int64)
    for number, segments in enumerate(vectors):
        table[number, : len(segments)] = segments
        table[number, len(segments) :, 0] = segments[0][0]
    return table[..., 0].copy(), table[..., 1].copy(), table[..., 2].copy()


@dataclass
class Column:
    """One vector of columns of the register tile: the outer indices, the first column, how many columns are left."""

    outer: tuple[Index, ...]
    start: Index
    remaining: Index
    source: Value
    """The right operand from the outer indices on."""


class Operand:
    """The kernel arguments of one operand, in the order of the slots that schedules/contract.py makes."""

    def __init__(self, k: KernelBuilder, shape: ContractShape, own: OperandShape, outer: int, lanes: int, name: str) -> None:
        self.k = k
        self.kind, self.segments = own.kind, own.segments
        self.flat = self.kind == "table" or (self.kind == "row" and self.segments > 0)
        self.lanes = lanes
        self.accumulator = shape.accumulator
        self.dtype = shape.dtype
        strides: tuple[int | None, ...] = (1,) if self.flat else (None, 1) if self.kind == "k" else (1, None)
        self.buffer = k.buffer(shape.dtype, strides, name)
        tables = ["rows", "depth"] if self.kind == "table" else []
        if self.segments:
            tables = [*(["depth"] if self.kind == "row" else []), "offset", "begin", "end"]
        self.tables = {table: k.buffer(dtypes.int64, (1,), f"{name}_{table}") for table in tables}
        self.batch = [k.index_argument(f"{name}_batch{i}") for i in range(shape.batch)]
        self.outer = [k.index_argument(f"{name}_outer{i}") for i in range(outer)]
        self.start: Value = self.buffer

    def at(self, batch: Sequence[Index]) -> None:
        """Begin at a batch element."""
        self.start = self._moved(self.buffer, batch, self.batch)

    def from_outer(self, outer: Sequence[Index]) -> Value:
        """The operand from these outer indices on."""
        return self._moved(self.start, outer, self.outer)

    def _moved(self, buffer: Value, indices: Sequence[Index], strides: Sequence[Index]) -> Value:
        if not strides:
            return buffer
        offset = self.k.dot(indices, strides)
        return self.k.offset(buffer, *((offset,) if self.flat else (0, offset) if self.kind == "k" else (offset, 0)))

    def lookup(self, table: str, index: Index) -> Value:
        """An entry of a table as an index."""
        value: Value = arith.cast(self.k.load(self.tables[table], index), dtype=dtypes.index)
        return value

    def element(self, source: Value, row: Index, depth: Index) -> Value:
        """One element, whatever the addressing."""
        k = self.k
        if self.kind != "table":
            return self._widened(k.load(source, row, depth))
        return self._widened(k.load(source, k.add(self.lookup("rows", row), self.lookup("depth", depth))))

    def along_rows(self, source: Value, row: Index, depth: Index, mask: Value | None) -> Value:
        """A vector along rows of stride 1."""
        k = self.k
        flat = loop.flatten(k.offset(source, row, depth))
        return self.vector(flat, 0, mask)

    def vector(self, source: Value, at: Index, mask: Value | None) -> Value:
        """A whole or masked vector of consecutive elements; masked-off lanes are 0."""
        if mask is None:
            return self._widened(self.k.load(source, at, lanes=self.lanes))
        return self._widened(self.k.masked_load(source, at, mask=mask, other=self._zero()))

    def _zero(self) -> Value:
        return self.k.splat(0, self.dtype, self.lanes)

    def _widened(self, value: Value) -> Value:
        """In the type of the accumulators."""
        return self.k.cast(value, self.accumulator)

    def with_tables(self, tables: dict[str, Value]) -> Operand:
        """The operand inside of a function that got its tables as arguments."""
        inside = copy(self)
        inside.tables = tables
        return inside

    def squares(self, source: Value, last: Index) -> list[Value]:
        """As many columns as a vector has lanes, each from its first element on, when the depth has stride 1."""
        k = self.k
        return [loop.flatten(k.offset(source, k.min(i, last), 0)) for i in range(self.lanes)]

    def square(self, columns: Sequence[Value], depth: Index, mask: Value | None) -> list[Value]:
        """A square of such columns from a depth on, as vectors along the columns. With segments `mask` is not needed."""
        k = self.k
        if self.segments:
            read = self.segmented(k.div(depth, self.lanes))
            loaded = [read(column, 0) for column in columns]
        else:
            loaded = [self.vector(column, depth, mask) for column in columns]
        return transposed(loaded, 16 // self.accumulator.itemsize)

    def segmented(self, number: Index) -> Callable[[Value, Index], Value]:
        """A reader of vector `number`: from a flat source at an offset. Offsets and masks are computed here, once."""
        k = self.k
        first = k.mul(number, self.segments)
        pieces = []
        for s in range(self.segments):
            place = k.add(first, s)
            mask = k.mask(self.lookup("end", place), self.lanes)
            if self.segments > 1:
                before = k.mask(self.lookup("begin", place), self.lanes)
                mask = arith.bit_and(mask, arith.bit_not(before))
            pieces.append((self.lookup("offset", place), mask))

        def read(source: Value, offset: Index) -> Value:
            value = self._zero()
            for start, mask in pieces:
                value = k.masked_load(source, k.add(start, offset), mask=mask, other=value)
            return self._widened(value)

        return read


def pack_left(
    k: KernelBuilder,
    shape: ContractShape,
    left: Operand,
    packed: Value,
    m0: Index,
    rows: Index,
    start: Index,
    count: Index,
) -> None:
    """Rows past the last one repeat it: what they produce is never stored, and nothing uninitialised is read."""
    padded = k.mul(k.ceil_div(rows, shape.rows), shape.rows)
    last = k.sub(rows, 1)
    if left.kind == "k" and left.segments:
        with k.loop(0, k.ceil_div(count, left.lanes)) as vector:
            read = left.segmented(k.add(k.div(start, left.lanes), vector))
            with k.loop(0, padded) as row:
                source = loop.flatten(k.offset(left.start, k.add(m0, k.min(row, last)), 0))
                k.store(read(source, 0), packed, k.add(k.mul(row, KC + PAD), k.mul(vector, left.lanes)))
        return
    if left.kind == "k":
        main = k.round_down(count, left.lanes)
        with k.loop(0, padded) as row:
            source = loop.flatten(k.offset(left.start, k.add(m0, k.min(row, last)), start))
            target = k.offset(packed, k.mul(row, KC + PAD))
            with k.loop(0, main, left.lanes) as at:
                k.store(left.vector(source, at, None), target, at)
            with k.when(k.compare("lt", main, count)):
                k.store(left.vector(source, main, k.mask(k.sub(count, main), left.lanes)), target, main)
        return
    step = shape.left_strides[1]
    with k.loop(0, padded, shape.rows) as row:
        target = k.offset(packed, k.mul(k.div(row, shape.rows), shape.panel_size))
        remaining = k.sub(rows, row)
        with k.loop(0, count) as depth:
            here = k.add(start, depth)
            if left.kind == "row":
                for u in range(0, step, left.lanes):
                    mask = k.mask(k.sub(remaining, u), left.lanes)
                    value = left.along_rows(left.start, k.add(m0, k.add(row, u)), here, mask)
                    k.store(value, target, k.add(k.mul(depth, step), u))
            else:
                with k.loop(0, shape.rows) as i:
                    place = k.add(m0, k.min(k.add(row, i), last))
                    k.store(left.element(left.start, place, here), target, k.add(k.mul(depth, step), i))


Reader = Callable[[Index], list[Value]]
"""From a number along K within a block: the vectors of columns."""


def column_reader(
    k: KernelBuilder, shape: ContractShape, right: Operand, columns: Sequence[Column], masked: bool, start: Index
) -> Reader:
    """Reads a right operand whose columns have stride 1, as a whole or in segments, where it lies."""
    lanes = shape.lanes
    if right.kind != "row":
        return lambda index: []
    if right.segments:
        shared: dict[Index, Callable[[Value, Index], Value]] = {}
        for column in columns:
            if column.start not in shared:
                shared[column.start] = right.segmented(k.div(column.start, lanes))
        readers = [shared[column.start] for column in columns]

        def pieces(index: Index) -> list[Value]:
            offset = right.lookup("depth", k.add(start, index))
            return [read(column.source, offset) for column, read in zip(columns, readers, strict=True)]

        return pieces
    masks = [k.mask(column.remaining, lanes) if masked else None for column in columns]

    def vectors(index: Index) -> list[Value]:
        depth = k.add(start, index)
        for column in columns:  # rows of the operand are too far apart for the hardware to foresee the next one
            k.prefetch(column.source, column.start, k.add(depth, shape.ahead))
        return [
            right.along_rows(column.source, column.start, depth, mask) for column, mask in zip(columns, masks, strict=True)
        ]

    return vectors


def pack_right(
    k: KernelBuilder,
    shape: ContractShape,
    right: Operand,
    packed: Value,
    columns: Sequence[Column],
    whole: Value | None,
    start: Index,
    count: Index,
) -> None:
    """A panel [k][width]; columns past the edge are zero or repeat the last one. `whole`: None says that some do."""
    lanes, width = shape.lanes, shape.width
    if right.kind == "row":

        def pack(masked: bool) -> None:
            read = column_reader(k, shape, right, columns, masked, start)
            with k.loop(0, count) as depth:
                for v, value in enumerate(read(depth)):
                    k.store(value, packed, k.add(k.mul(depth, width), v * lanes), aligned=True)

        if whole is None or right.segments:
            pack(True)
        else:
            k.choose(whole, lambda: pack(False), lambda: pack(True))
        return
    for v, column in enumerate(columns):
        if right.kind == "k":
            transpose(k, right, column, start, k.offset(packed, v * lanes), count)
            continue
        last = k.max(k.sub(column.remaining, 1), 0)
        with k.loop(0, count) as depth, k.loop(0, lanes) as i:
            value = right.element(column.source, k.add(column.start, k.min(i, last)), k.add(start, depth))
            k.store(value, packed, k.add(k.mul(depth, width), k.add(v * lanes, i)))


def transposing_function(k: KernelBuilder, shape: ContractShape, right: Operand) -> None:
    """transpose(source, target, last, start, count, tables): columns whose depth has stride 1, `last` + 1 of them, by
    squares of vectors in registers."""
    if right.kind != "k":
        return
    lanes = shape.lanes
    tables = list(right.tables)
    names = ["source", "target", "last", "start", "count", *tables]
    types = [right.buffer.type, BufferType(shape.accumulator, (1,)), INDEX, INDEX, INDEX]
    types += [right.tables[table].type for table in tables]
    with k.function("transpose", types, names) as (source, target, last, start, count, *given):
        inside = right.with_tables(dict(zip(tables, given, strict=True)))
        rows = inside.squares(source, last)

        def square(depth: Index, mask: Value | None) -> None:
            loaded = inside.square(rows, k.add(start, depth), mask)
            for i, vector in enumerate(loaded):
                k.store(vector, target, k.mul(k.add(depth, i), shape.width), aligned=True)

        if shape.has_mask_registers or right.segments:
            with k.loop(0, count, lanes) as depth:
                square(depth, k.mask(k.sub(count, depth), lanes))
            return
        main = k.round_down(count, lanes)
        with k.loop(0, main, lanes) as depth:
            square(depth, None)
        with k.when(k.compare("lt", main, count)):
            square(main, k.mask(k.sub(count, main), lanes))


def transpose(k: KernelBuilder, right: Operand, column: Column, start: Index, target: Value, count: Index) -> None:
    """Call the transposing function for one vector of columns; those past the edge repeat the last one."""
    last = k.max(k.sub(column.remaining, 1), 0)
    k.call("transpose", k.offset(column.source, column.start, 0), target, last, start, count, *right.tables.values())


def transposed(rows: list[Value], group: int) -> list[Value]:
    """A square matrix in registers, transposed: within lanes of 128 bits (`group` elements) by interleaving neighbours, then
    by moving such lanes. Each step is one instruction on machines whose wide registers consist of such lanes."""
    lanes = len(rows)
    within: list[Value] = []
    for first in range(0, lanes, group):
        within += _interleaved(rows[first : first + group], group, 1)
    out = list(rows)
    for j in range(group):
        for number, vector in enumerate(_lanes_transposed(within[j::group], group)):
            out[number * group + j] = vector
    return out


def _interleaved(rows: list[Value], group: int, unit: int) -> list[Value]:
    """Vector c holds element c of every row, in each lane: pairs of rows by units of 1, 2, … elements."""
    if len(rows) == 1:
        return rows
    lanes = rows[0].type.lanes  # type: ignore[attr-defined]
    half = len(rows) // 2
    low, high = [], []
    for lane in range(0, lanes, group):
        for at in range(0, group // 2, unit):
            low += [*range(lane + at, lane + at + unit), *range(lanes + lane + at, lanes + lane + at + unit)]
        for at in range(group // 2, group, unit):
            high += [*range(lane + at, lane + at + unit), *range(lanes + lane + at, lanes + lane + at + unit)]
    pairs = [
        (
            loop.shuffle(rows[2 * i], rows[2 * i + 1], lanes=tuple(low)),
            loop.shuffle(rows[2 * i], rows[2 * i + 1], lanes=tuple(high)),
        )
        for i in range(half)
    ]
    lows = _interleaved([pair[0] for pair in pairs], group, 2 * unit)
    highs = _interleaved([pair[1] for pair in pairs], group, 2 * unit)
    return lows + highs


def _lanes_transposed(vectors: list[Value], group: int) -> list[Value]:
    """Vector l holds lane l of every vector: halves of pairs, again and again."""
    if len(vectors) == 1:
        return vectors
    lanes = vectors[0].type.lanes  # type: ignore[attr-defined]

    def picked(parity: int) -> tuple[int, ...]:
        return tuple([i for i in range(2 * lanes) if i // group % 2 == parity])

    even, odd = [], []
    for a, b in zip(vectors[::2], vectors[1::2], strict=True):
        even.append(loop.shuffle(a, b, lanes=picked(0)))
        odd.append(loop.shuffle(a, b, lanes=picked(1)))
    out = list(vectors)
    out[::2], out[1::2] = _lanes_transposed(even, group), _lanes_transposed(odd, group)
    return out
