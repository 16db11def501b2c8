"""The kernel of the contract schedule: loops, microkernel, and the tile's way to memory through the epilogue."""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.contract_packing import (
    KC,
    Column,
    ContractShape,
    Operand,
    Reader,
    column_reader,
    pack_left,
    pack_right,
    transpose,
    transposing_function,
)
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, split_rows, vector_loop, write
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith

LARGE = 12
"""Vectors of a register tile from which on its place in memory is asked for before it is computed."""


def build_contract(k: KernelBuilder, nest: Nest, shape: ContractShape) -> Operation:
    """The loop.kernel; its arguments are in the order of the slots that schedules/contract.py makes."""
    return _Kernel(k, nest, shape).build()


def build_contract_sum(k: KernelBuilder, nest: Nest, shape: ContractShape) -> Operation:
    """The loop.kernel that adds the sums of the blocks of K in order, and applies the epilogue."""
    emitter = NestEmitter(k, nest, shape.lanes)
    partial = k.buffer(shape.accumulator, (1,), "partial")
    outputs = [k.buffer(dtype, (1,), f"out{i}") for i, dtype in enumerate(shape.outputs)]
    strides = [k.index_argument(f"stride{g}") for g in range(len(nest.groups) - 1)]
    *outer_sizes, inner = [k.index_argument(f"size{g}") for g in range(len(nest.groups))]
    blocks, elements = k.index_argument("blocks"), k.index_argument("elements")
    with k.parallel(0, k.product(outer_sizes)) as row:
        outer = split_rows(k, row, outer_sizes)
        emitter.at(*outer)
        base = k.dot(outer, strides)

        def point(at: Index, mask: Value | None) -> None:
            place = k.add(base, at)

            def read(block: Index) -> Value:
                where = k.add(place, k.mul(block, elements))
                if mask is None:
                    return k.load(partial, where, lanes=shape.lanes)
                return k.masked_load(partial, where, mask=mask, other=k.splat(0, shape.accumulator, shape.lanes))

            with k.carry(1, blocks, 1, [read(0)]) as state:
                state.next(arith.add(state.carried[0], read(state.index)))
            given = {shape.given: k.cast(state.results[0], shape.dtype)} if shape.given >= 0 else {}
            for value, out in zip(emitter.values(at, shape.lanes, mask, given), outputs, strict=True):
                write(k, value, out, (place,), mask)

        vector_loop(k, 0, inner, shape.lanes, point)
    return k.finish()


class _Kernel:
    """One contraction kernel under construction."""

    def __init__(self, k: KernelBuilder, nest: Nest, shape: ContractShape) -> None:
        self.k = k
        self.shape = shape
        self.emitter = NestEmitter(k, nest, shape.lanes)
        self.left = Operand(k, shape, shape.left, 0, shape.left_lanes, "left")
        self.right = Operand(k, shape, shape.right, shape.outer, shape.lanes, "right")
        self.partial = k.buffer(shape.accumulator, (1,), "partial")
        self.scratch = k.buffer(shape.accumulator, (1,), "packed_left")
        self.outputs = [k.buffer(dtype, (1,), f"out{i}") for i, dtype in enumerate(shape.outputs)]
        self.batch_strides = [k.index_argument(f"out_batch{i}") for i in range(shape.batch)]
        self.outer_strides = [k.index_argument(f"out_outer{i}") for i in range(shape.outer)]
        self.row_stride = k.index_argument("out_row")
        self.m, self.n, self.depth, self.block_rows, self.block_columns, self.block_depth, self.packed_size = (
            k.index_argument(name) for name in ("m", "n", "k", "block_rows", "block_columns", "block_k", "packed_size")
        )
        self.batch_sizes = [k.index_argument(f"batch{i}") for i in range(shape.batch)]
        self.outer_sizes = [k.index_argument(f"outer{i}") for i in range(shape.outer)]
        self.slices: Index = k.index_argument("slices") if shape.split else 1
        self.elements: Index = k.index_argument("elements") if shape.split else 0
        # With outer letters, columns are counted in whole vectors: the last one of each outer index may be partly empty.
        self.padded_n = k.mul(k.ceil_div(self.n, shape.lanes), shape.lanes) if shape.outer else self.n
        self.columns = k.product([self.padded_n, *self.outer_sizes])
        if shape.stack:
            self.across = shape.width // shape.stack
            self.pieces = k.ceil_div(self.n, self.across)
            self.stacks = k.ceil_div(self.outer_sizes[-1], shape.stack)
            self.columns = k.product([self.pieces, self.stacks, *self.outer_sizes[:-1], shape.width])

    def build(self) -> Operation:
        """The parallel loop over rectangles of the result."""
        k, shape = self.k, self.shape
        transposing_function(k, shape, self.right)
        row_blocks = k.ceil_div(self.m, self.block_rows)
        column_blocks = k.ceil_div(self.columns, self.block_columns)
        self.packed_left = k.offset(self.scratch, k.mul(k.chunk_id(), self.packed_size))
        never = shape.reading == "direct" and shape.reads_edges
        self.packed_right = k.local(shape.accumulator, 1 if never else (KC + shape.lanes) * shape.width)
        self.tile = k.local(shape.accumulator, shape.rows * shape.width)
        with k.parallel(0, k.product([row_blocks, column_blocks, *self.batch_sizes, self.slices])) as item:
            column_block = k.rem(item, column_blocks)
            rest = k.div(item, column_blocks)
            row_block = k.rem(rest, row_blocks)
            rest = k.div(rest, row_blocks)
            low, high = self._slice(k.div(rest, k.product(self.batch_sizes)))
            self.batch = split_rows(k, k.rem(rest, k.product(self.batch_sizes)), self.batch_sizes)
            self.base = k.dot(self.batch, self.batch_strides)
            self.left.at(self.batch)
            self.right.at(self.batch)
            m0, n0 = k.mul(row_block, self.block_rows), k.mul(column_block, self.block_columns)
            m1 = k.min(k.add(m0, self.block_rows), self.m)
            n1 = k.min(k.add(n0, self.block_columns), self.columns)
            self._rectangle(m0, m1, n0, n1, low, high)
        return k.finish()

    def _slice(self, number: Index) -> tuple[Index, Index]:
        """The part of K that a thread takes: whole blocks. An empty K is one empty block."""
        k = self.k
        if not self.shape.split:
            return 0, k.max(self.depth, 1)
        size = k.mul(k.ceil_div(k.ceil_div(self.depth, KC), self.slices), KC)
        low = k.mul(number, size)
        return low, k.min(k.add(low, size), self.depth)

    def _rectangle(self, m0: Index, m1: Index, n0: Index, n1: Index, low: Index, high: Index) -> None:
        """A rectangle of the result. The rows of the left operand are packed for as many blocks of K as fit into the cache;
        while they serve, a column of tiles stays in the innermost cache."""
        k, shape = self.k, self.shape
        rows = k.sub(m1, m0)
        block_size = k.mul(k.ceil_div(rows, shape.rows), shape.panel_size)

        def packed(start: Index, begin: Index) -> Value:
            return k.offset(self.packed_left, k.mul(k.div(k.sub(start, begin), KC), block_size))

        if shape.single:
            pack_left(k, shape, self.left, self.packed_left, m0, rows, 0, self.depth)
            with k.loop(n0, n1, shape.width) as at:
                self._panels(self.packed_left, m0, m1, at, n1, 0, self.depth)
            return
        with k.loop(low, high, self.block_depth) as begin:
            end = k.min(k.add(begin, self.block_depth), high)
            with k.loop(begin, end, KC) as start:
                pack_left(k, shape, self.left, packed(start, begin), m0, rows, start, self._count(start))
            with k.loop(n0, n1, shape.width) as at, k.loop(begin, end, KC) as start:
                self._panels(packed(start, begin), m0, m1, at, n1, start, self._count(start))

    def _count(self, start: Index) -> Index:
        return self.k.min(self.k.sub(self.depth, start), KC)

    def _panels(self, left: Value, m0: Index, m1: Index, at: Index, end: Index, start: Index, count: Index) -> None:
        """The tiles of one panel of columns, for one block of K."""
        k, shape = self.k, self.shape
        columns, whole = self._columns(at, end)
        if shape.reading == "packed":
            pack_right(k, shape, self.right, self.packed_right, columns, whole, start, count)
        elif shape.reading != "transposed" and not shape.reads_edges:
            k.choose(
                whole,
                lambda: None,
                lambda: pack_right(k, shape, self.right, self.packed_right, columns, None, start, count),
            )
        read = column_reader(k, shape, self.right, columns, shape.has_mask_registers, start)
        with k.loop(0, k.ceil_div(k.sub(m1, m0), shape.rows)) as panel:
            source = k.offset(left, k.mul(panel, shape.panel_size))
            row = k.add(m0, k.mul(panel, shape.rows))
            rows = k.min(k.sub(m1, row), shape.rows)
            self._prefetch(row, columns)
            if shape.reading == "transposed":
                tile = self._transposing_tile(source, columns[0], start, count)
                if shape.spills:
                    self._spill(tile)
            else:
                tile = self._tile(source, panel, count, whole, read)
            self._store_tile(tile, row, rows, columns, whole, start)

    def _prefetch(self, row: Index, columns: Sequence[Column]) -> None:
        """Ask for the memory of a tile of the result before it is computed: else every tile would wait for it."""
        k, shape = self.k, self.shape
        if shape.rows * shape.vectors < LARGE:
            return
        target = self.outputs[0] if shape.single and self.outputs else self.partial
        for i in range(shape.rows):
            along = k.add(self.base, k.mul(k.add(row, i), self.row_stride))
            for column in columns:
                k.prefetch(target, self._place(along, column), write=True)

    def _columns(self, at: Index, end: Index) -> tuple[list[Column], Value]:
        """The vectors of the register tile at column `at`, and whether all of them are whole."""
        k, shape = self.k, self.shape
        if shape.stack:
            return self._stacked_columns(at)
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

    def _stacked_columns(self, at: Index) -> tuple[list[Column], Value]:
        """The same for a tile of pieces of neighbouring indices of the last outer letter."""
        k, shape = self.k, self.shape
        number = k.div(at, shape.width)
        start = k.mul(k.rem(number, self.pieces), self.across)
        number = k.div(number, self.pieces)
        first = k.mul(k.rem(number, self.stacks), shape.stack)
        outer = split_rows(k, k.div(number, self.stacks), self.outer_sizes[:-1])
        extent = self.outer_sizes[-1]
        begins = [k.add(start, at) for at in range(0, self.across, shape.lanes)]
        # What lies past the end is computed from the last vector and never stored.
        starts = [k.min(begin, k.round_down(k.sub(self.n, 1), shape.lanes)) for begin in begins]
        columns = []
        for i in range(shape.stack):
            index = (*outer, k.min(k.add(first, i), k.sub(extent, 1)))
            inside = k.compare("lt", k.add(first, i), extent)
            source = self.right.from_outer(index)
            for begin, here in zip(begins, starts, strict=True):
                columns.append(Column(index, here, k.select_index(inside, k.sub(self.n, begin), 0), source))
        enough = k.compare("ge", k.sub(self.n, start), self.across)
        return columns, arith.bit_and(enough, k.compare("ge", k.sub(extent, first), shape.stack))

    def _tile(
        self,
        left: Value,
        panel: Index,
        count: Index,
        whole: Value,
        read: Reader,
    ) -> Sequence[Value]:
        """The tile, row by row: panel of the left operand @ panel of the right one. The first panel of rows may read the
        right operand where it lies, and pack it on the way: the multiplications hide that."""
        k, shape = self.k, self.shape

        def packing(index: Index) -> list[Value]:
            values = read(index)
            for v, value in enumerate(values):
                place = k.add(k.mul(index, shape.width), v * shape.lanes)
                k.store(value, self.packed_right, place, aligned=True)
            return values

        def product(reader: Reader) -> Sequence[Value]:
            values = _multiply(k, shape, left, reader, count)
            if not shape.spills:
                return values
            self._spill(values)
            return []

        if shape.reading == "packed":
            values = product(self._packed)
        elif shape.reading == "direct" and shape.reads_edges:
            values = product(read)
        else:
            first = k.compare("eq", panel, 0)
            unpacked = first if shape.reads_edges else arith.bit_and(first, whole)
            values = k.choose(
                unpacked,
                lambda: product(read if shape.reading == "direct" else packing),
                lambda: product(self._packed),
            )
        return values or [self._reload(position) for position in range(shape.rows * shape.vectors)]

    def _spill(self, values: Sequence[Value]) -> None:
        for position, value in enumerate(values):
            self.k.store(value, self.tile, position * self.shape.lanes, aligned=True)

    def _reload(self, position: Index) -> Value:
        lanes = self.shape.lanes
        return self.k.load(self.tile, self.k.mul(position, lanes), lanes=lanes, aligned=True)

    def _packed(self, index: Index) -> list[Value]:
        """A row of the packed panel of the right operand."""
        k, shape = self.k, self.shape
        at = k.mul(index, shape.width)
        places = [k.add(at, v * shape.lanes) for v in range(shape.vectors)]
        return [k.load(self.packed_right, place, lanes=shape.lanes, aligned=True) for place in places]

    def _transposing_tile(self, left: Value, column: Column, start: Index, count: Index) -> Sequence[Value]:
        """The tile of a vector of columns whose depth has stride 1: by squares, transposed in registers; what is left of the
        depth through the packed panel."""
        k, shape = self.k, self.shape
        lanes = shape.lanes
        last = k.max(k.sub(column.remaining, 1), 0)
        rows = self.right.squares(k.offset(column.source, column.start, start), last)
        main = k.round_down(count, lanes)
        row_stride, k_stride = shape.left_strides
        with k.carry(0, main, lanes, _zeros(k, shape)) as state:
            following = list(state.carried)
            for step, vector in enumerate(self.right.square(rows, state.index, None)):
                base = k.offset(left, k.mul(k.add(state.index, step), k_stride))
                for i in range(shape.rows):
                    a = k.broadcast(k.load(base, i * row_stride), lanes)
                    following[i] = multiply_add(shape.accumulator, a, vector, following[i])
            state.next(*following)
        rest = k.sub(count, main)
        with k.when(k.compare("gt", rest, 0)):
            transpose(k, self.right, column, k.add(start, main), self.packed_right, rest)
        return _multiply(k, shape, k.offset(left, k.mul(main, k_stride)), self._packed, rest, state.results)

    def _store_tile(
        self,
        tile: Sequence[Value],
        row: Index,
        rows: Index,
        columns: Sequence[Column],
        whole: Value,
        start: Index,
    ) -> None:
        """Add what earlier blocks of K gave, and after the last one apply the epilogue: to a whole tile in its registers
        where that is not too much code, else row by row through memory."""
        k, shape = self.k, self.shape
        lanes = shape.lanes

        def row_by_row(masks: Sequence[Value | None]) -> None:
            with k.loop(0, rows) as i:
                first = k.mul(i, shape.vectors)
                parts = [self._reload(k.add(first, v)) for v in range(shape.vectors)]
                self._store_rows([parts], k.add(row, i), columns, masks, start)

        def masked() -> None:
            if not shape.spills:
                self._spill(tile)
            row_by_row([k.mask(column.remaining, lanes) for column in columns])

        def whole_rows() -> None:
            if not shape.spills:
                self._spill(tile)
            row_by_row([None] * shape.vectors)

        if not shape.stores_registers:
            k.choose(whole, whole_rows, masked)
            return
        if shape.rows == 1 and shape.has_mask_registers:
            masks = [k.mask(column.remaining, lanes) for column in columns]
            self._store_rows([tile], row, columns, masks, start)
            return
        split = [tile[i : i + shape.vectors] for i in range(0, len(tile), shape.vectors)]
        complete = arith.bit_and(whole, k.compare("ge", rows, shape.rows))
        k.choose(complete, lambda: self._store_rows(split, row, columns, [None] * shape.vectors, start), masked)

    def _store_rows(
        self,
        tile: Sequence[Sequence[Value]],
        row: Index,
        columns: Sequence[Column],
        masks: Sequence[Value | None],
        start: Index,
    ) -> None:
        """Consecutive rows of a tile that are in registers."""
        k, shape = self.k, self.shape
        places = []
        for i in range(len(tile)):
            along = k.add(self.base, k.mul(k.add(row, i), self.row_stride))
            places.append([self._place(along, column) for column in columns])
        if shape.single:
            self._finish(tile, places, row, columns, masks)
            return
        flat = [value for values in tile for value in values]
        where = [place for along in places for place in along]
        repeated = [*masks] * len(tile)
        if shape.split:
            sums = k.offset(self.partial, k.mul(k.div(start, KC), self.elements))
            for value, place, mask in zip(flat, where, repeated, strict=True):
                write(k, value, sums, (place,), mask)
            return
        totals = k.choose(k.compare("eq", start, 0), lambda: flat, lambda: self._added(flat, where, repeated))

        def keep() -> None:
            for total, place, mask in zip(totals, where, repeated, strict=True):
                write(k, total, self.partial, (place,), mask)

        def finish() -> None:
            rows = [totals[i : i + shape.vectors] for i in range(0, len(totals), shape.vectors)]
            self._finish(rows, places, row, columns, masks)

        if shape.plain:
            keep()
        else:
            k.choose(k.compare("ge", k.add(start, KC), self.depth), finish, keep)

    def _added(self, parts: Sequence[Value], places: Sequence[Index], masks: Sequence[Value | None]) -> Sequence[Value]:
        """The sums so far of the blocks of K."""
        k, shape = self.k, self.shape
        sums = []
        for part, place, mask in zip(parts, places, masks, strict=True):
            if mask is None:
                old = k.load(self.partial, place, lanes=shape.lanes)
            else:
                zero = k.splat(0, shape.accumulator, shape.lanes)
                old = k.masked_load(self.partial, place, mask=mask, other=zero)
            sums.append(arith.add(old, part))
        return sums

    def _finish(
        self,
        tile: Sequence[Sequence[Value]],
        places: Sequence[Sequence[Index]],
        row: Index,
        columns: Sequence[Column],
        masks: Sequence[Value | None],
    ) -> None:
        """The epilogue of rows of the tile, to the outputs."""
        k, shape = self.k, self.shape
        for i, totals in enumerate(tile):
            m = k.add(row, i)
            for v, total in enumerate(totals):
                if v == 0 or shape.outer:
                    self.emitter.at(*self.batch, *columns[v].outer, m)
                given = {shape.given: k.cast(total, shape.dtype)} if shape.given >= 0 else {}
                values = self.emitter.values(columns[v].start, shape.lanes, masks[v], given)
                for value, out in zip(values, self.outputs, strict=True):
                    write(k, value, out, (places[i][v],), masks[v])

    def _place(self, along: Index, column: Column) -> Index:
        """Where a vector of the result begins."""
        k = self.k
        return k.add(k.add(along, column.start), k.dot(column.outer, self.outer_strides))


def _zeros(k: KernelBuilder, shape: ContractShape) -> list[Value]:
    return [k.splat(0, shape.accumulator, shape.lanes)] * (shape.rows * shape.vectors)


def _multiply(
    k: KernelBuilder,
    shape: ContractShape,
    left: Value,
    read: Reader,
    count: Index,
    initial: Sequence[Value] = (),
) -> Sequence[Value]:
    """initial + left panel @ columns, accumulated in registers."""
    lanes, vectors = shape.lanes, shape.vectors
    row_stride, k_stride = shape.left_strides
    with k.carry(0, count, 1, initial or _zeros(k, shape)) as state:
        columns = read(state.index)
        base = k.offset(left, k.mul(state.index, k_stride))
        following = []
        for i in range(shape.rows):
            a = k.broadcast(k.load(base, i * row_stride), lanes)
            for v in range(vectors):
                following.append(multiply_add(shape.accumulator, a, columns[v], state.carried[i * vectors + v]))
        state.next(*following)
    return state.results


def multiply_add(dtype: DType, a: Value, b: Value, c: Value) -> Value:
    """a * b + c, rounded once where it is rounded."""
    value: Value = arith.fma(a, b, c) if dtype.kind == "f" else arith.add(arith.mul(a, b), c)
    return value
