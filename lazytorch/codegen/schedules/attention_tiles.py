"""What the kernels of attention are made of: operands packed into lines and panels, products of tiles, masked scores.

Queries are taken in blocks of 64 rows, keys in blocks of 256, whatever the target: the blocks are part of the definition of
the results' bits (docs/architecture.md, Numbers). Within them a register tile has as many rows as the target has registers
for, and every element is a chain of fused multiply-adds, which no tile changes.

Two layouts serve all products: *lines*, rows at a distance of LINE elements, a left operand (also turned over), and
*panels*, [panel][row][width], a right one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lazytorch import dtypes
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.math.exponential import exp_within
from lazytorch.codegen.schedules.contract_packing import PAD, transposed
from lazytorch.codegen.schedules.nest import write
from lazytorch.dtypes import DType
from lazytorch.ir.accumulation import LANES
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, loop
from lazytorch.ir.dialects.nn_attention import wide
from lazytorch.ir.types import INDEX, BufferType, ScalarType

QUERIES = 64
"""Rows of queries in a block."""
KEYS = 256
"""Keys in a block; also how many elements of a head one chain of multiply-adds takes."""
LINE = KEYS + PAD
LOWEST = {dtypes.float32: -87.0, dtypes.float64: -708.0}
"""Below, a weight is 0: it would be subnormal, and 1e-37 of the largest of its row at most."""


@dataclass(frozen=True)
class AttentionShape:
    """The structure of an attention kernel.

    rows, key_rows: rows of the register tile where queries and where keys are the rows. vectors: of a panel. batch: numbers
    of loops over leading dimensions. mask: the mask's element type, and mask_step its stride along keys, 0 or 1.
    results: what the kernel yields.
    """

    dtype: DType
    lanes: int
    rows: int
    key_rows: int
    vectors: int
    batch: int
    causal: bool
    mask: DType | None
    mask_step: int
    results: tuple[str, ...]

    @property
    def accumulator(self) -> DType:
        """What is computed in."""
        return wide(self.dtype)

    @property
    def has_mask_registers(self) -> bool:
        """Whether loads under a mask cost what others do (see Target)."""
        return self.lanes * self.accumulator.itemsize == 64

    @property
    def width(self) -> int:
        """Elements of a panel's row."""
        return self.lanes * self.vectors

    @property
    def lines(self) -> int:
        """Lines of a block of queries: whole register tiles."""
        return -(-QUERIES // self.rows) * self.rows

    @property
    def key_lines(self) -> int:
        """Rows that are accumulated for a block of keys: whole register tiles."""
        return -(-KEYS // self.key_rows) * self.key_rows

    def text(self) -> str:
        """Canonical text for the kernel's key."""
        mask = "" if self.mask is None else f"{self.mask.name}{self.mask_step}"
        tile = f"{self.rows}/{self.key_rows}x{self.vectors}x{self.lanes}"
        return f"{self.dtype.name}|{tile}|{self.batch}|{self.causal}|{mask}|{','.join(self.results)}"


class Source:
    """An operand whose rows are read: strides of leading dimensions and of rows; `step` along a row."""

    def __init__(self, k: KernelBuilder, dtype: DType, batch: int, name: str, step: int = 1) -> None:
        self.k, self.dtype = k, dtype
        self.buffer = k.buffer(dtype, (1, None, step), name)
        self.strides = [k.index_argument(f"{name}_batch{i}") for i in range(batch)]
        self.start: Value = self.buffer

    def at(self, batch: Sequence[Index]) -> None:
        """Begin at these indices of the leading dimensions."""
        self.start = self.k.offset(self.buffer, self.k.dot(batch, self.strides), 0, 0)

    def row(self, index: Index) -> Value:
        """A row as a buffer of its elements."""
        return loop.flatten(self.k.offset(self.start, 0, index, 0))  # type: ignore[no-any-return]


class Tiles:
    """The functions of a kernel, and what calls them."""

    def __init__(self, k: KernelBuilder, shape: AttentionShape) -> None:
        self.k, self.shape = k, shape

    def define(self, turned: bool) -> None:
        """Define the functions; turned: also products of lines turned over."""
        self._define_multiply("multiply", self.shape.rows, (LINE, 1))
        if turned:
            self._define_multiply("multiply_turned", self.shape.key_rows, (1, LINE))
        self._define_pack()
        self._define_transpose()

    # -- products ------------------------------------------------------------

    def _define_tile(self, name: str, rows: int, vectors: int, strides: tuple[int, int]) -> None:
        """NAME(left, right, out, stride, factors, count, first): a tile of out times its rows' factors, plus left @ right of
        depth `count`; if `first`, the product alone."""
        k, shape = self.k, self.shape
        accumulator, lanes = shape.accumulator, shape.lanes
        flat = BufferType(accumulator, (1,))
        names = ("left", "right", "out", "stride", "factors", "count", "first")
        with k.function(name, [flat, flat, flat, INDEX, flat, INDEX, INDEX], names) as arguments:
            left, right, out, stride, factors, count, first = arguments
            zeros = [k.splat(0, accumulator, lanes)] * (rows * vectors)
            with k.carry(0, count, 1, zeros) as state:
                at = k.mul(state.index, shape.width)
                columns = [k.load(right, k.add(at, v * lanes), lanes=lanes) for v in range(vectors)]
                base = k.offset(left, k.mul(state.index, strides[1]))
                following = []
                for i in range(rows):
                    a = k.broadcast(k.load(base, i * strides[0]), lanes)
                    following += [arith.fma(a, columns[v], state.carried[i * vectors + v]) for v in range(vectors)]
                state.next(*following)

            def keep(adding: bool) -> None:
                for i in range(rows):
                    line = k.offset(out, k.mul(stride, i))
                    factor = k.broadcast(k.load(factors, i), lanes) if adding else None
                    for v in range(vectors):
                        value = state.results[i * vectors + v]
                        if factor is not None:
                            value = arith.add(arith.mul(k.load(line, v * lanes, lanes=lanes), factor), value)
                        k.store(value, line, v * lanes)

            k.choose(k.compare("ne", first, 0), lambda: keep(False), lambda: keep(True))

    def _define_multiply(self, name: str, tile_rows: int, strides: tuple[int, int]) -> None:
        """NAME(left, right, panel_rows, out, stride, factors, rows, columns, depth, first): see `multiply`. Columns that one
        vector holds are computed by a tile of one vector."""
        k, shape = self.k, self.shape
        self._define_tile(f"{name}_tile", tile_rows, shape.vectors, strides)
        self._define_tile(f"{name}_strip", tile_rows, 1, strides)
        flat = BufferType(shape.accumulator, (1,))
        types = [flat, flat, INDEX, flat, INDEX, flat, INDEX, INDEX, INDEX, INDEX]
        names = ("left", "right", "panel_rows", "out", "stride", "factors", "rows", "columns", "depth", "first")
        with k.function(name, types, names) as arguments:
            left, right, panel_rows, out, stride, factors, rows, columns, depth, first = arguments
            with k.loop(0, columns, shape.width) as column, k.loop(0, k.max(depth, 1), KEYS) as at:
                panel = k.mul(k.add(k.mul(k.div(column, shape.width), panel_rows), at), shape.width)
                block = 0 if strides[0] == 1 else k.mul(k.div(at, KEYS), shape.lines * LINE)
                alone = k.mul(first, k.select_index(k.compare("eq", at, 0), 1, 0))
                narrow = k.compare("le", k.sub(columns, column), shape.lanes)
                with k.loop(0, rows, tile_rows) as row:
                    operands = (
                        k.offset(left, k.add(block, k.mul(row, strides[0]))),
                        k.offset(right, panel),
                        k.offset(out, k.add(k.mul(row, stride), column)),
                        stride,
                        k.offset(factors, row),
                        k.min(k.sub(depth, at), KEYS),
                        alone,
                    )
                    k.choose(narrow, partial(k.call, f"{name}_strip", *operands), partial(k.call, f"{name}_tile", *operands))

    def multiply(
        self,
        left: Value,
        right: Value,
        panel_rows: Index,
        out: Value,
        stride: Index,
        factors: Value,
        sizes: tuple[Index, Index, Index],
        first: Index,
        turned: bool = False,
    ) -> None:
        """out = out * factors + lines @ panels, or, if `first`, the product alone. sizes: rows, columns and depth, which is
        cut into chains of KEYS. panel_rows: how many rows a panel has room for. Factors are per row of `out`."""
        name = "multiply_turned" if turned else "multiply"
        self.k.call(name, left, right, panel_rows, out, stride, factors, *sizes, first)

    # -- packing ------------------------------------------------------------

    def _define_pack(self) -> None:
        """pack(source, rows, depth, scale, lines, has_lines, panels, room): see `pack_rows`; `room` is 0 without panels."""
        k, shape = self.k, self.shape
        lanes, accumulator = shape.lanes, shape.accumulator
        flat = BufferType(accumulator, (1,))
        types = [BufferType(shape.dtype, (1, None, 1)), INDEX, INDEX, ScalarType(accumulator), flat, INDEX, flat, INDEX]
        names = ("source", "rows", "depth", "scale", "lines", "has_lines", "panels", "room")
        with k.function("pack", types, names) as arguments:
            source, rows, depth, scale, lines, has_lines, panels, room = arguments
            main = k.round_down(depth, lanes)
            factor = k.broadcast(scale, lanes)
            to_lines, to_panels = k.compare("ne", has_lines, 0), k.compare("ne", room, 0)

            def put(loaded: Value, row: Index, column: Index) -> None:
                value = arith.mul(k.cast(loaded, accumulator), factor)
                with k.when(to_lines):
                    k.store(value, lines, self._line_place(row, column))
                with k.when(to_panels):
                    panel = k.mul(k.add(k.mul(k.div(column, shape.width), room), row), shape.width)
                    k.store(value, panels, k.add(panel, k.rem(column, shape.width)))

            with k.loop(0, rows) as row:
                elements = loop.flatten(k.offset(source, 0, row, 0))
                with k.loop(0, main, lanes) as column:
                    put(k.load(elements, column, lanes=lanes), row, column)
                with k.loop(main, self.padded(depth), lanes) as column:
                    mask = k.mask(k.sub(depth, column), lanes)
                    zero = k.splat(0, shape.dtype, lanes)
                    put(k.masked_load(elements, column, mask=mask, other=zero), row, column)
            with k.when(to_lines):
                whole = k.mul(k.ceil_div(rows, shape.rows), shape.rows)
                with k.loop(rows, whole) as row, k.loop(0, depth, lanes) as column:
                    k.store(k.splat(0, accumulator, lanes), lines, self._line_place(row, column))

    def _line_place(self, row: Index, column: Index) -> Index:
        """Where an element of a line is: every KEYS columns there is a block of lines."""
        k = self.k
        block = k.mul(k.div(column, KEYS), self.shape.lines * LINE)
        return k.add(k.add(block, k.mul(row, LINE)), k.rem(column, KEYS))

    def pack_rows(
        self,
        source: Source,
        first: Index,
        rows: Index,
        depth: Index,
        lines: Value | None = None,
        panels: tuple[Value, int] | None = None,
        scale: Value | None = None,
    ) -> None:
        """Rows of an operand as lines, as panels (with the number of rows that a panel has room for), or as both, times a
        factor. Columns up to whole panels, and lines up to whole register tiles, are 0."""
        k = self.k
        target, room = panels if panels is not None else (lines, 0)
        assert target is not None
        k.call(
            "pack",
            k.offset(source.start, 0, first, 0),
            rows,
            depth,
            k.splat(1.0, self.shape.accumulator) if scale is None else scale,
            target if lines is None else lines,
            int(lines is not None),
            target,
            room,
        )

    def padded(self, columns: Index) -> Index:
        """Columns of whole panels."""
        return self.k.mul(self.k.ceil_div(columns, self.shape.width), self.shape.width)

    def _define_transpose(self) -> None:
        """transpose(source, target, last, depth): a vector of rows, `last` + 1 of them, as a vector of a panel's columns, by
        squares in registers. Rows of the panel past the depth are overwritten."""
        k, shape = self.k, self.shape
        lanes, accumulator = shape.lanes, shape.accumulator
        types = [BufferType(shape.dtype, (1, None, 1)), BufferType(accumulator, (1,)), INDEX, INDEX]
        with k.function("transpose", types, ("source", "target", "last", "depth")) as (source, target, last, depth):
            rows = [loop.flatten(k.offset(source, 0, k.min(i, last), 0)) for i in range(lanes)]

            def square(column: Index, load: Callable[[Value], Value]) -> None:
                vectors = [k.cast(load(row), accumulator) for row in rows]
                for i, vector in enumerate(transposed(vectors, 16 // accumulator.itemsize)):
                    k.store(vector, target, k.mul(k.add(column, i), shape.width))

            def masked(column: Index) -> None:
                mask, zero = k.mask(k.sub(depth, column), lanes), k.splat(0, shape.dtype, lanes)
                square(column, lambda row: k.masked_load(row, column, mask=mask, other=zero))

            if shape.has_mask_registers:
                with k.loop(0, depth, lanes) as column:
                    masked(column)
                return
            main = k.round_down(depth, lanes)
            with k.loop(0, main, lanes) as column:
                square(column, lambda row, column=column: k.load(row, column, lanes=lanes))  # type: ignore[misc]
            with k.when(k.compare("lt", main, depth)):
                masked(main)

    def pack_turned(self, source: Source, first: Index, rows: Index, depth: Index, target: Value) -> None:
        """Rows of an operand as columns of panels, whose rows are its depth. Some memory past the last panel is written."""
        k, shape = self.k, self.shape
        with k.loop(0, rows, shape.lanes) as row:
            panel = k.mul(k.mul(k.div(row, shape.width), depth), shape.width)
            k.call(
                "transpose",
                k.offset(source.start, 0, k.add(first, row), 0),
                k.offset(target, k.add(panel, k.rem(row, shape.width))),
                k.sub(k.sub(rows, row), 1),
                depth,
            )

    # -- scores ------------------------------------------------------------

    def is_whole(self, row: Index, key: Index, visible: Index) -> Value:
        """Whether no score of a block is masked: all keys come before all rows, and fill the lanes of a sum."""
        k, shape = self.k, self.shape
        if shape.mask is not None:
            return k.splat(False, dtypes.bool_)
        full = k.compare("eq", k.rem(visible, LANES), 0)
        if shape.causal:
            full = arith.bit_and(full, k.compare("ge", k.sub(k.add(row, 1), key), visible))
        return full

    def masked(self, score: Value, column: Index, limit: Index, mask: Source | None, row: Index, first: Index) -> Value:
        """A vector of scores from a column of a block on: -inf from `limit` on and where the mask says so. `row` and
        `first` (the block's first key) are where the mask is read."""
        k, lanes = self.k, self.shape.lanes
        inside = k.mask(k.sub(limit, column), lanes)
        lowest = k.splat(-float("inf"), score.type.dtype, lanes)
        if mask is not None:
            elements = mask.row(row)
            if self.shape.mask_step == 0:
                found = k.broadcast(k.load(elements, 0), lanes)
            else:
                zero = k.splat(0, mask.dtype, lanes)
                found = k.masked_load(elements, k.add(first, column), mask=inside, other=zero)
            if mask.dtype is dtypes.bool_:
                inside = arith.bit_and(inside, found)
            else:
                score = arith.add(score, k.cast(found, score.type.dtype))
        return arith.select(inside, score, lowest)  # type: ignore[no-any-return]

    def write_rows(self, values: Callable[[Index], Value], out: Value, place: Index, columns: Index, dtype: DType) -> None:
        """A row of `columns` elements, vectors of which `values` gives, to a result."""
        k, lanes = self.k, self.shape.lanes
        main = k.round_down(columns, lanes)
        with k.loop(0, main, lanes) as column:
            write(k, k.cast(values(column), dtype), out, (k.add(place, column),), None)
        with k.when(k.compare("lt", main, columns)):
            mask = k.mask(k.sub(columns, main), lanes)
            write(k, k.cast(values(main), dtype), out, (k.add(place, main),), mask)

    def fill(self, number: float, target: Value, count: Index) -> None:
        """A number in every one of `count` elements, and in some past them, up to a whole vector."""
        k, shape = self.k, self.shape
        with k.loop(0, count, shape.lanes) as at:
            k.store(k.splat(number, shape.accumulator, shape.lanes), target, at)


def weight(x: Value) -> Value:
    """e**x of a number that is not above 0, or only by rounding; 0 where that would be subnormal."""
    return arith.select(arith.compare(x, LOWEST[x.type.dtype], predicate="lt"), 0.0, exp_within(x))  # type: ignore[no-any-return]


def larger(a: Value, b: Value) -> Value:
    """The larger of two numbers in one instruction. One that is nan comes out or not: the weights are nan either way."""
    return arith.select(arith.compare(a, b, predicate="gt"), a, b)  # type: ignore[no-any-return]


def scored(k: KernelBuilder, visible: Index) -> Index:
    """The columns of a block that are gone through: whole turns of the 64 lanes of a sum."""
    return k.mul(k.ceil_div(visible, LANES), LANES)
