"""The kernel of the contract schedule: loops, microkernel, and the tile's way to memory through the epilogue."""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.contract_packing import KC, Column, ContractShape, Operand, pack_left, pack_right
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, split_rows, write
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith


def build_contract(k: KernelBuilder, nest: Nest, shape: ContractShape) -> Operation:
    """The loop.kernel; its arguments are in the order of the slots that schedules/contract.py makes."""
    return _Kernel(k, nest, shape).build()


class _Kernel:
    """One contraction kernel under construction."""

    def __init__(self, k: KernelBuilder, nest: Nest, shape: ContractShape) -> None:
        self.k = k
        self.shape = shape
        self.emitter = NestEmitter(k, nest, shape.lanes)
        self.left = Operand(k, shape, shape.left, 0, "left")
        self.right = Operand(k, shape, shape.right, shape.outer, "right")
        self.partial = k.buffer(shape.dtype, (1,), "partial")
        self.outputs = [k.buffer(dtype, (1,), f"out{i}") for i, dtype in enumerate(shape.outputs)]
        self.batch_strides = [k.index_argument(f"out_batch{i}") for i in range(shape.batch)]
        self.outer_strides = [k.index_argument(f"out_outer{i}") for i in range(shape.outer)]
        self.row_stride = k.index_argument("out_row")
        self.m, self.n, self.depth, self.block_rows, self.block_columns = (
            k.index_argument(name) for name in ("m", "n", "k", "block_rows", "block_columns")
        )
        self.batch_sizes = [k.index_argument(f"batch{i}") for i in range(shape.batch)]
        self.outer_sizes = [k.index_argument(f"outer{i}") for i in range(shape.outer)]
        # With outer letters, columns are counted in whole vectors: the last one of each outer index may be partly empty.
        self.padded_n = k.mul(k.ceil_div(self.n, shape.lanes), shape.lanes) if shape.outer else self.n
        self.columns = k.product([self.padded_n, *self.outer_sizes])

    def build(self) -> Operation:
        """The parallel loop over rectangles of the result."""
        k = self.k
        row_blocks = k.ceil_div(self.m, self.block_rows)
        column_blocks = k.ceil_div(self.columns, self.block_columns)
        with k.parallel(0, k.product([row_blocks, column_blocks, *self.batch_sizes])) as item:
            column_block = k.rem(item, column_blocks)
            rest = k.div(item, column_blocks)
            row_block = k.rem(rest, row_blocks)
            self.batch = split_rows(k, k.div(rest, row_blocks), self.batch_sizes)
            self.base = k.dot(self.batch, self.batch_strides)
            self.left.at(self.batch)
            self.right.at(self.batch)
            m0, n0 = k.mul(row_block, self.block_rows), k.mul(column_block, self.block_columns)
            m1 = k.min(k.add(m0, self.block_rows), self.m)
            n1 = k.min(k.add(n0, self.block_columns), self.columns)
            self._rectangle(m0, m1, n0, n1)
        return k.finish()

    def _rectangle(self, m0: Index, m1: Index, n0: Index, n1: Index) -> None:
        """A rectangle of the result, whose rows fit into one packed block of the left operand."""
        k, shape = self.k, self.shape
        packed_left = k.local(shape.dtype, shape.panel_size * (shape.panels + 1))
        packed_right = k.local(shape.dtype, (KC + shape.lanes) * shape.width)
        tile = k.local(shape.dtype, shape.rows * shape.width)
        rows = k.sub(m1, m0)
        with k.loop(0, k.max(self.depth, 1), KC) as start:
            count = k.min(k.sub(self.depth, start), KC)
            first = k.compare("eq", start, 0)
            last = k.compare("ge", k.add(start, KC), self.depth)
            pack_left(k, shape, self.left, packed_left, m0, rows, start, count)
            with k.loop(n0, n1, shape.width) as at:
                columns, whole = self._columns(at, n1)
                pack_right(k, shape, self.right, packed_right, columns, whole, start, count)
                with k.loop(0, k.ceil_div(rows, shape.rows)) as panel:
                    source = k.offset(packed_left, k.mul(panel, shape.panel_size))
                    _microkernel(k, shape, source, packed_right, tile, count)
                    row = k.add(m0, k.mul(panel, shape.rows))
                    self._store_tile(tile, row, k.min(k.sub(m1, row), shape.rows), columns, whole, first, last)

    def _columns(self, at: Index, end: Index) -> tuple[list[Column], Value]:
        """The vectors of the register tile at column `at`, and whether all of them are whole."""
        k, shape = self.k, self.shape
        columns = []
        least: Index = k.sub(end, at)
        for v in range(shape.vectors):
            here = k.add(at, v * shape.lanes)
            left = k.sub(end, here)
            if not shape.outer:
                # What lies past the end is computed from the last column and never stored.
                columns.append(Column((), k.min(here, k.sub(end, 1)), left, self.right.start))
                continue
            safe = k.min(here, k.sub(end, shape.lanes))
            start = k.rem(safe, self.padded_n)
            outer = split_rows(k, k.div(safe, self.padded_n), self.outer_sizes)
            remaining = k.select_index(k.compare("gt", left, 0), k.sub(self.n, start), 0)
            columns.append(Column(outer, start, remaining, self.right.from_outer(outer)))
            least = k.min(k.mul(remaining, shape.vectors), least)
        return columns, k.compare("ge", least, shape.width)

    def _store_tile(
        self,
        tile: Value,
        row: Index,
        rows: Index,
        columns: Sequence[Column],
        whole: Value,
        first: Value,
        last: Value,
    ) -> None:
        """Row by row: add what earlier blocks of K gave, and after the last one apply the epilogue."""
        k, shape = self.k, self.shape
        lanes = shape.lanes

        def rows_of(masks: Sequence[Value | None]) -> None:
            with k.loop(0, rows) as i:
                m = k.add(row, i)
                along = k.add(self.base, k.mul(m, self.row_stride))
                places = [self._place(along, column) for column in columns]
                totals = []
                for v in range(shape.vectors):
                    part = k.load(tile, k.add(k.mul(i, shape.width), v * lanes), lanes=lanes, aligned=True)
                    totals.append(_total(k, part, self.partial, places[v], masks[v], first))

                def finish() -> None:
                    for v, total in enumerate(totals):
                        if v == 0 or shape.outer:
                            self.emitter.at(*self.batch, *columns[v].outer, m)
                        given = {shape.given: total} if shape.given >= 0 else {}
                        values = self.emitter.values(columns[v].start, lanes, masks[v], given)
                        for value, out in zip(values, self.outputs, strict=True):
                            write(k, value, out, (places[v],), masks[v])

                def keep() -> None:
                    for v, total in enumerate(totals):
                        write(k, total, self.partial, (places[v],), masks[v])

                k.choose(last, finish, keep)

        k.choose(
            whole,
            lambda: rows_of([None] * shape.vectors),
            lambda: rows_of([k.mask(column.remaining, lanes) for column in columns]),
        )

    def _place(self, along: Index, column: Column) -> Index:
        """Where a vector of the result begins."""
        k = self.k
        return k.add(k.add(along, column.start), k.dot(column.outer, self.outer_strides))


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
                following.append(multiply_add(shape.dtype, a, columns[v], state.carried[i * vectors + v]))
        state.next(*following)
    for position, value in enumerate(state.results):
        k.store(value, tile, position * lanes, aligned=True)


def multiply_add(dtype: DType, a: Value, b: Value, c: Value) -> Value:
    """a * b + c, rounded once where it is rounded."""
    value: Value = arith.fma(a, b, c) if dtype.kind == "f" else arith.add(arith.mul(a, b), c)
    return value


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
