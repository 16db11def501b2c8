"""The kernel of the contract schedule: packing, microkernel, and the tile's way to memory through the epilogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lazytorch import dtypes
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, split_rows, write
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith, loop

KC = 256
PAD = 16
"""Extra elements per packed row, so that the rows of a panel do not fall on the same cache sets."""


@dataclass(frozen=True)
class ContractShape:
    """The structure of a contraction kernel: register tile, packing kinds, batch dimensions, results."""

    dtype: DType
    lanes: int
    rows: int
    vectors: int
    panels: int
    left: str
    right: str
    batch: int
    given: int
    outputs: tuple[DType, ...]

    @property
    def width(self) -> int:
        """Columns of the register tile."""
        return self.lanes * self.vectors

    @property
    def left_strides(self) -> tuple[int, int]:
        """Strides of (row, k) within a packed panel of the left operand."""
        if self.left == "k":
            return KC + PAD, 1
        return 1, -(-self.rows // self.lanes) * self.lanes

    def text(self) -> str:
        """Canonical text for the kernel's key."""
        outputs = ",".join(dtype.name for dtype in self.outputs)
        return (
            f"{self.dtype.name}|{self.lanes}x{self.rows}x{self.vectors}x{self.panels}|{self.left}|{self.right}"
            f"|{self.batch}|{self.given}|{outputs}"
        )


class _Operand:
    """The kernel arguments of one operand."""

    def __init__(self, k: KernelBuilder, shape: ContractShape, kind: str, name: str) -> None:
        self.k = k
        self.kind = kind
        strides = {"k": (None, 1), "row": (1, None), "table": (1,)}[kind]
        self.buffer = k.buffer(shape.dtype, strides, name)
        self.tables = [k.buffer(dtypes.int64, (1,), f"{name}_{x}") for x in ("rows", "k")] if kind == "table" else []
        self.batch = [k.index_argument(f"{name}_batch{i}") for i in range(shape.batch)]
        self.start: Value = self.buffer

    def at(self, batch: Sequence[Index]) -> None:
        """Begin at a batch element."""
        k = self.k
        offset: Index = 0
        for index, stride in zip(batch, self.batch, strict=True):
            offset = k.add(offset, k.mul(index, stride))
        along = {"k": (0, offset), "row": (offset, 0), "table": (offset,)}[self.kind]
        self.start = k.offset(self.buffer, *along) if self.batch else self.buffer

    def element(self, row: Index, depth: Index) -> Value:
        """One element, whatever the addressing."""
        k = self.k
        if self.kind != "table":
            return k.load(self.start, row, depth)
        rows, depths = self.tables
        offset = arith.add(k.load(rows, row), k.load(depths, depth))
        return k.load(self.start, arith.cast(offset, dtype=dtypes.index))


def build_contract(k: KernelBuilder, nest: Nest, shape: ContractShape) -> Operation:
    """The loop.kernel; its arguments are in the order of the slots that schedules/contract.py makes."""
    emitter = NestEmitter(k, nest, shape.lanes)
    left, right = _Operand(k, shape, shape.left, "left"), _Operand(k, shape, shape.right, "right")
    partial = k.buffer(shape.dtype, (1,), "partial")
    outputs = [k.buffer(dtype, (1,), f"out{i}") for i, dtype in enumerate(shape.outputs)]
    out_strides = [k.index_argument(f"out_stride{i}") for i in range(shape.batch + 1)]
    m, n, depth, block_rows, block_columns = (
        k.index_argument(name) for name in ("m", "n", "k", "block_rows", "block_columns")
    )
    batch_sizes = [k.index_argument(f"batch{i}") for i in range(shape.batch)]
    row_blocks, column_blocks = k.ceil_div(m, block_rows), k.ceil_div(n, block_columns)
    items = k.mul(row_blocks, column_blocks)
    for size in batch_sizes:
        items = k.mul(items, size)
    with k.parallel(0, items) as item:
        column_block = k.rem(item, column_blocks)
        rest = k.div(item, column_blocks)
        row_block = k.rem(rest, row_blocks)
        batch = split_rows(k, k.div(rest, row_blocks), batch_sizes)
        left.at(batch)
        right.at(batch)
        m0, n0 = k.mul(row_block, block_rows), k.mul(column_block, block_columns)
        m1, n1 = k.min(k.add(m0, block_rows), m), k.min(k.add(n0, block_columns), n)
        _rectangle(k, shape, emitter, (left, right), (partial, outputs, out_strides), batch, (m0, m1, n0, n1, depth))
    return k.finish()


def _rectangle(
    k: KernelBuilder,
    shape: ContractShape,
    emitter: NestEmitter,
    operands: tuple[_Operand, _Operand],
    results: tuple[Value, list[Value], list[Value]],
    batch: tuple[Index, ...],
    bounds: tuple[Index, Index, Index, Index, Index],
) -> None:
    """A rectangle of the result, whose rows fit into one packed block of the left operand."""
    left, right = operands
    m0, m1, n0, n1, depth = bounds
    row_stride, _ = shape.left_strides
    panel_size = shape.rows * row_stride if shape.left == "k" else KC * shape.left_strides[1]
    packed_left = k.local(shape.dtype, panel_size * (shape.panels + 1))
    packed_right = k.local(shape.dtype, (KC + shape.lanes) * shape.width)
    tile = k.local(shape.dtype, shape.rows * shape.width)
    rows = k.sub(m1, m0)
    with k.loop(0, k.max(depth, 1), KC) as start:
        count = k.min(k.sub(depth, start), KC)
        first, last = k.compare("eq", start, 0), k.compare("ge", k.add(start, KC), depth)
        _pack_left(k, shape, left, packed_left, m0, rows, start, count, panel_size)
        with k.loop(n0, n1, shape.width) as column:
            columns = k.sub(n1, column)
            _pack_right(k, shape, right, packed_right, column, columns, start, count)
            with k.loop(0, k.ceil_div(rows, shape.rows)) as panel:
                source = k.offset(packed_left, k.mul(panel, panel_size))
                _microkernel(k, shape, source, packed_right, tile, count)
                row = k.add(m0, k.mul(panel, shape.rows))
                here = (row, k.min(k.sub(m1, row), shape.rows), column, columns)
                _store_tile(k, shape, emitter, tile, results, batch, here, first, last)


def _pack_left(
    k: KernelBuilder,
    shape: ContractShape,
    left: _Operand,
    packed: Value,
    m0: Index,
    rows: Index,
    start: Index,
    count: Index,
    panel_size: int,
) -> None:
    """Rows past the last one repeat it: what they produce is never stored, and nothing uninitialised is read."""
    lanes = shape.lanes
    padded = k.mul(k.ceil_div(rows, shape.rows), shape.rows)
    if shape.left == "k":
        main = k.round_down(count, lanes)
        with k.loop(0, padded) as row:
            source = k.offset(left.start, k.add(m0, k.min(row, k.sub(rows, 1))), start)
            target = k.offset(packed, k.mul(row, KC + PAD))
            with k.loop(0, main, lanes) as at:
                k.store(k.load(source, 0, at, lanes=lanes), target, at)
            with k.when(k.compare("lt", main, count)):
                mask = k.mask(k.sub(count, main), lanes)
                k.store(k.masked_load(source, 0, main, mask=mask, other=k.splat(0, shape.dtype, lanes)), target, main)
        return
    step = shape.left_strides[1]
    with k.loop(0, padded, shape.rows) as row:
        target = k.offset(packed, k.mul(k.div(row, shape.rows), panel_size))
        remaining = k.sub(rows, row)
        with k.loop(0, count) as depth:
            if shape.left == "row":
                for u in range(0, step, lanes):
                    mask = k.mask(k.sub(remaining, u), lanes)
                    zero = k.splat(0, shape.dtype, lanes)
                    place = k.add(m0, k.add(row, u))
                    value = _along_rows(k, left, place, k.add(start, depth), mask, zero)
                    k.store(value, target, k.add(k.mul(depth, step), u))
            else:
                with k.loop(0, shape.rows) as i:
                    place = k.add(m0, k.min(k.add(row, i), k.sub(rows, 1)))
                    k.store(left.element(place, k.add(start, depth)), target, k.add(k.mul(depth, step), i))


def _along_rows(k: KernelBuilder, operand: _Operand, row: Index, depth: Index, mask: Value | None, zero: Value) -> Value:
    """A vector along the rows of an operand whose rows have stride 1."""
    flat = loop.flatten(k.offset(operand.start, row, depth))
    if mask is None:
        return k.load(flat, 0, lanes=zero.type.lanes)  # type: ignore[attr-defined]
    return k.masked_load(flat, 0, mask=mask, other=zero)


def _pack_right(
    k: KernelBuilder,
    shape: ContractShape,
    right: _Operand,
    packed: Value,
    column: Index,
    columns: Index,
    start: Index,
    count: Index,
) -> None:
    """A panel [k][width]; columns past the edge are zero or repeat the last one."""
    lanes, width = shape.lanes, shape.width
    zero = k.splat(0, shape.dtype, lanes)
    if shape.right == "row":

        def copy(masks: Sequence[Value | None]) -> None:
            with k.loop(0, count) as depth:
                for u in range(shape.vectors):
                    value = _along_rows(k, right, k.add(column, u * lanes), k.add(start, depth), masks[u], zero)
                    k.store(value, packed, k.add(k.mul(depth, width), u * lanes), aligned=True)

        k.choose(
            k.compare("ge", columns, width),
            lambda: copy([None] * shape.vectors),
            lambda: copy([k.mask(k.sub(columns, u * lanes), lanes) for u in range(shape.vectors)]),
        )
        return
    last = k.sub(columns, 1)
    if shape.right == "k":
        for u in range(shape.vectors):
            rows = [k.offset(right.start, k.add(column, k.min(u * lanes + i, last)), start) for i in range(lanes)]

            def square(depth: Index, mask: Value | None, rows: Sequence[Value] = rows, u: int = u) -> None:
                loaded = [
                    k.load(row, 0, depth, lanes=lanes)
                    if mask is None
                    else k.masked_load(row, 0, depth, mask=mask, other=zero)
                    for row in rows
                ]
                for i, vector in enumerate(transposed(loaded, lanes)):
                    k.store(vector, packed, k.add(k.mul(k.add(depth, i), width), u * lanes), aligned=True)

            main = k.round_down(count, lanes)
            with k.loop(0, main, lanes) as depth:
                square(depth, None)
            with k.when(k.compare("lt", main, count)):
                square(main, k.mask(k.sub(count, main), lanes))
        return
    with k.loop(0, count) as depth, k.loop(0, width) as i:
        place = k.add(column, k.min(i, last))
        k.store(right.element(place, k.add(start, depth)), packed, k.add(k.mul(depth, width), i))


def transposed(rows: list[Value], lanes: int) -> list[Value]:
    """A lanes x lanes matrix in registers, transposed by exchanging blocks of halving size."""
    block = lanes // 2
    while block:
        out = list(rows)
        for i in range(lanes):
            if i & block:
                continue
            a, b = rows[i], rows[i + block]
            low = tuple([j if not j & block else lanes + j - block for j in range(lanes)])
            high = tuple([j + block if not j & block else lanes + j for j in range(lanes)])
            out[i], out[i + block] = loop.shuffle(a, b, lanes=low), loop.shuffle(a, b, lanes=high)
        rows = out
        block //= 2
    return rows


def _microkernel(k: KernelBuilder, shape: ContractShape, left: Value, right: Value, tile: Value, count: Index) -> None:
    """tile = left panel @ right panel, in registers."""
    lanes, vectors = shape.lanes, shape.vectors
    row_stride, k_stride = shape.left_strides
    start = [k.splat(0, shape.dtype, lanes)] * (shape.rows * vectors)
    with k.carry(0, count, 1, start) as state:
        at = k.mul(state.index, shape.width)
        columns = [k.load(right, k.add(at, v * lanes), lanes=lanes, aligned=True) for v in range(vectors)]
        base = k.offset(left, k.mul(state.index, k_stride))
        following = []
        for i in range(shape.rows):
            a = k.broadcast(k.load(base, i * row_stride), lanes)
            for v in range(vectors):
                following.append(_multiply_add(shape.dtype, a, columns[v], state.carried[i * vectors + v]))
        state.next(*following)
    for position, value in enumerate(state.results):
        k.store(value, tile, position * lanes, aligned=True)


def _multiply_add(dtype: DType, a: Value, b: Value, c: Value) -> Value:
    value: Value = arith.fma(a, b, c) if dtype.kind == "f" else arith.add(arith.mul(a, b), c)
    return value


def _store_tile(
    k: KernelBuilder,
    shape: ContractShape,
    emitter: NestEmitter,
    tile: Value,
    results: tuple[Value, list[Value], list[Value]],
    batch: tuple[Index, ...],
    here: tuple[Index, Index, Index, Index],
    first: Value,
    last: Value,
) -> None:
    """Row by row: add what earlier blocks of K gave, and after the last one apply the epilogue."""
    partial, outputs, strides = results
    row, rows, column, columns = here
    lanes = shape.lanes
    base: Index = 0
    for index, stride in zip(batch, strides, strict=False):
        base = k.add(base, k.mul(index, stride))

    def rows_of(masks: Sequence[Value | None]) -> None:
        with k.loop(0, rows) as i:
            m = k.add(row, i)
            place = k.add(base, k.add(k.mul(m, strides[-1]), column))
            totals = []
            for v in range(shape.vectors):
                part = k.load(tile, k.add(k.mul(i, shape.width), v * lanes), lanes=lanes, aligned=True)
                totals.append(_total(k, part, partial, k.add(place, v * lanes), masks[v], first))

            def finish() -> None:
                emitter.at(*batch, m)
                for v, total in enumerate(totals):
                    given = {shape.given: total} if shape.given >= 0 else {}
                    values = emitter.values(k.add(column, v * lanes), lanes, masks[v], given)
                    for value, out in zip(values, outputs, strict=True):
                        write(k, value, out, (k.add(place, v * lanes),), masks[v])

            def keep() -> None:
                for v, total in enumerate(totals):
                    write(k, total, partial, (k.add(place, v * lanes),), masks[v])

            k.choose(last, finish, keep)

    k.choose(
        k.compare("ge", columns, shape.width),
        lambda: rows_of([None] * shape.vectors),
        lambda: rows_of([k.mask(k.sub(columns, v * lanes), lanes) for v in range(shape.vectors)]),
    )


def _total(k: KernelBuilder, part: Value, partial: Value, place: Index, mask: Value | None, first: Value) -> Value:
    """The sum so far of the blocks of K."""
    lanes = part.type.lanes  # type: ignore[attr-defined]

    def add() -> list[Value]:
        if mask is None:
            old = k.load(partial, place, lanes=lanes)
        else:
            old = k.masked_load(partial, place, mask=mask, other=k.splat(0, part.type.dtype, lanes))
        return [arith.add(old, part)]

    return k.choose(first, lambda: [part], add)[0]
