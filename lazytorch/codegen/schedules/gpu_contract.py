"""The contract schedule on a GPU: tiles in shared memory, a part of each in the registers of every thread, and an epilogue.

Per block of 256 along K every result element is a chain of fused multiply-adds from 0; the blocks' chains are added in
order: the definition of schedules/contract.py, so the bits are the CPU's. Letters without a common stride are read through
tables, so a convolution is a product over windows that are never materialised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lazytorch import dtypes
from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Slot, Table, symbol_of
from lazytorch.codegen.schedules.contract import contraction_of
from lazytorch.codegen.schedules.contract_kernel import multiply_add
from lazytorch.codegen.schedules.contract_letters import Letters
from lazytorch.codegen.schedules.contract_packing import KC, accumulator_of
from lazytorch.codegen.schedules.gpu_team import MOST_BLOCKS
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, split_rows, write
from lazytorch.codegen.views import contiguous
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith, gpu, loop

DEPTH = 16
"""Elements along K of the tiles in shared memory."""
PAD = 4
"""Extra elements per row of a tile that is filled down its columns: they begin in different banks, and vectors of 4 stay
aligned."""
ACCESS = 16
"""Bytes that one access moves at most."""
SECTOR = 32
"""Bytes that memory moves at least."""
ENOUGH_TILES = 64
"""Large tiles that are enough to give every part of a GPU some."""


@dataclass(frozen=True)
class Tile:
    """A square part of the result that a block computes: `side` rows and columns, `each` by `each` of them per thread."""

    side: int
    each: int

    @property
    def across(self) -> int:
        """Threads along a row of the tile."""
        return self.side // self.each

    @property
    def threads(self) -> int:
        """Threads of the block."""
        return self.across * self.across


TILES = (Tile(64, 4), Tile(32, 2), Tile(16, 1))


def tile_for(m: int, n: int, batches: int) -> Tile:
    """The largest tile that is not mostly empty, and of which there are enough."""
    for tile in TILES[:-1]:
        count = -(-m // tile.side) * -(-n // tile.side) * batches
        if min(m, n) >= tile.side and (count >= ENOUGH_TILES or tile is not TILES[0]):
            return tile
    return TILES[-1]


class Side:
    """One operand: the kernel's key, slots and arguments for it. Its elements lie at sums of one number per loop.

    along: the direction (0: rows, 1: depth) that neighbouring threads follow. lanes: elements that one access moves there.
    """

    def __init__(self, letters: Letters, number: int, rows: str) -> None:
        leaf, stride = letters.leaves[number], letters.strides[number]
        assert leaf.value is not None
        self.dtype: DType = leaf.dtype
        self.slots: list[Slot] = [Address(leaf.value, leaf.access.offset * leaf.dtype.itemsize)]
        self.kinds: list[str] = []
        for own in (rows, letters.k_letters):
            single = letters.single(own, stride)
            if single is None:
                self.kinds.append("table")
                self.slots.append(Table(letters.table(own, stride)))
            else:
                self.kinds.append(str(single) if single in (0, 1) else "stride")
                self.slots += [] if single in (0, 1) else [single]
        outer = letters.outer_groups if number == 1 else []
        groups = [*letters.batch_groups, *outer]
        self.loops = len(groups)
        around = [stride.get(group[-1], 0) for group in groups]
        self.slots += around
        self.along = int(self.kinds[1] == "1")
        self.lanes = 1
        if self.kinds[self.along] == "1":
            across, own = (letters.k_letters, rows)[:: 1 if self.along == 0 else -1]
            steps = [int(step) for step in letters.table(across, stride)] if "table" in self.kinds else []
            single = letters.single(across, stride)
            most = ACCESS // accumulator_of(leaf.dtype).itemsize
            self.lanes = math.gcd(most, leaf.access.offset, letters.size(own), *around, *([single] if single else steps))

    def declare(self, k: KernelBuilder, name: str) -> None:
        """The kernel's arguments, in the order of the slots."""
        self.k = k
        self.buffer = k.buffer(self.dtype, (1,), name)
        self.steps: list[Index | Value] = []
        for kind, direction in zip(self.kinds, ("rows", "depth"), strict=True):
            if kind == "table":
                self.steps.append(k.buffer(dtypes.int64, (1,), f"{name}_{direction}"))
            else:
                self.steps.append(k.index_argument(f"{name}_{direction}") if kind == "stride" else int(kind))
        self.strides = [k.index_argument(f"{name}_loop{i}") for i in range(self.loops)]

    def at(self, index: Sequence[Index]) -> None:
        """Begin at an index of the loops around the product."""
        self.start = self.k.offset(self.buffer, self.k.dot(index[: self.loops], self.strides))

    def element(self, row: Index, depth: Index) -> Value:
        """One element, or a vector of them along."""
        place = self.k.add(self._along(0, row), self._along(1, depth))
        return self.k.load(self.start, place, lanes=self.lanes, aligned=True)

    def _along(self, direction: int, index: Index) -> Index:
        step = self.steps[direction]
        if self.kinds[direction] == "table":
            assert isinstance(step, Value)
            found: Value = arith.cast(self.k.load(step, index), dtype=dtypes.index)
            return found
        return self.k.mul(index, step)


def gpu_contract_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch for a contraction and its epilogue. Raises CompileError for what no schedule takes."""
    assert isinstance(context.target, GpuTarget)
    contraction, yielded, expression = contraction_of(kernel)
    shape = tensor_type(contraction.result).shape
    if 0 in shape:
        return []
    letters = Letters(contraction, expression)
    m, n, depth = (letters.size(x) for x in (letters.m_letters, letters.n_letters, letters.k_letters))
    dims = {letter: d for d, letter in enumerate(letters.out)}
    loops = [*letters.batch_groups, *letters.outer_groups]
    groups = [[dims[x] for x in group] for group in [*loops, letters.m_letters, letters.n_letters]]
    nest = Nest(expression, shape, groups)
    out_strides = nest.group_strides(contiguous(shape).strides)
    sizes = [letters.size(group) for group in loops]
    tile = tile_for(m, n, math.prod(sizes))
    sides = [Side(letters, 0, letters.m_letters), Side(letters, 1, letters.n_letters)]
    lanes = math.gcd(nest.aligned_lanes(tile.each, [(out_strides, 0)]), n, tile.each)
    plan = _Plan(
        contraction.result.type.dtype, nest, sides, tile, lanes, depth > KC, len(letters.batch_groups), len(sizes), yielded
    )
    key = plan.key()
    symbol = symbol_of("contract", key)
    tiles = -(-m // tile.side) * -(-n // tile.side) * math.prod(sizes)
    slots: list[Slot] = [*nest.slots(), *sides[0].slots, *sides[1].slots]
    slots += [*[Address(value) for value in yielded], *out_strides[:-1], *sizes, m, n, depth]
    total = tensor_type(contraction.result).numel
    return [
        Launch(
            key=key,
            symbol=symbol,
            build=lambda: _Kernel(KernelBuilder(symbol), plan).build(),
            slots=slots,
            flops=2 * total * depth,
            bytes=nest.bytes_read(),
            operations=[contraction, *[op for op in kernel.region.block if op is not contraction]],
            blocks=min(tiles, MOST_BLOCKS),
            threads=tile.threads,
        )
    ]


@dataclass
class _Plan:
    """The structure of a kernel. lanes: elements per access of the epilogue. deep: K has several blocks."""

    dtype: DType
    nest: Nest
    sides: Sequence[Side]
    tile: Tile
    lanes: int
    deep: bool
    batch: int
    loops: int
    yielded: Sequence[Value]

    def key(self) -> str:
        """Canonical text."""
        kinds = [side.kinds for side in self.sides]
        outputs = [value.type.dtype.name for value in self.yielded]
        numbers = (self.tile.side, self.lanes, self.deep, self.batch, self.loops)
        lanes = [side.lanes for side in self.sides]
        return f"contract|{self.dtype.name}|{numbers}|{kinds}|{lanes}|{outputs}|{self.nest.key()}"


class _Kernel:
    """A contraction kernel under construction."""

    def __init__(self, k: KernelBuilder, plan: _Plan) -> None:
        self.k, self.plan, self.tile = k, plan, plan.tile
        self.emitter = NestEmitter(k, plan.nest, plan.lanes, aligned=True)
        self.left, self.right = plan.sides
        self.left.declare(k, "left")
        self.right.declare(k, "right")
        self.outputs = [k.buffer(value.type.dtype, (1,), f"out{i}") for i, value in enumerate(plan.yielded)]
        self.out_strides = [k.index_argument(f"out_stride{i}") for i in range(plan.loops + 1)]
        self.sizes = [k.index_argument(f"size{i}") for i in range(plan.loops)]
        self.m, self.n, self.depth = (k.index_argument(name) for name in ("m", "n", "k"))
        self.thread: Value = gpu.thread_id.build(k.builder)
        self.across = k.rem(self.thread, self.tile.across)
        self.down = k.div(self.thread, self.tile.across)
        self.widths = [self.tile.side + (PAD if side.along else 0) for side in plan.sides]
        self.accumulator = accumulator_of(plan.dtype)
        self.tiles = [gpu.shared.build(k.builder, dtype=self.accumulator, size=DEPTH * width) for width in self.widths]
        given = [i for i, entry in enumerate(plan.nest.expression.entries) if entry[0] == "given"]
        self.given = given[0] if given else -1

    def build(self) -> Operation:
        """The loop over the tiles that are this block's."""
        k, side = self.k, self.tile.side
        row_tiles, column_tiles = k.ceil_div(self.m, side), k.ceil_div(self.n, side)
        first, step = gpu.block_id.build(k.builder), gpu.grid_size.build(k.builder)
        with k.loop(first, k.product([row_tiles, column_tiles, *self.sizes]), step) as item:
            rest = k.div(item, column_tiles)
            self.index = split_rows(k, k.div(rest, row_tiles), self.sizes)
            # The left operand has no outer loops: its offsets are those of the batch.
            self.left.at(self.index[: self.plan.batch])
            self.right.at(self.index)
            row, column = k.mul(k.rem(rest, row_tiles), side), k.mul(k.rem(item, column_tiles), side)
            self._store(self._product(row, column), row, column)
        return k.finish()

    def _product(self, row: Index, column: Index) -> Sequence[Value]:
        """The thread's part of the tile, one vector per row."""
        if not self.plan.deep:
            return self._chain(row, column, 0, self.depth)
        k = self.k
        with k.carry(0, self.depth, KC, self._zeros()) as blocks:
            chain = self._chain(row, column, blocks.index, k.min(k.add(blocks.index, KC), self.depth))
            first = k.compare("eq", blocks.index, 0)
            blocks.next(
                *[_choose(k, first, new, arith.add(old, new)) for old, new in zip(blocks.carried, chain, strict=True)]
            )
        return blocks.results

    def _zeros(self) -> list[Value]:
        return [self.k.splat(0, self.accumulator, self.tile.each)] * self.tile.each

    def _chain(self, row: Index, column: Index, low: Index, high: Index) -> Sequence[Value]:
        """The chains of multiply-adds over [low, high) of K."""
        k = self.k
        with k.carry(low, high, DEPTH, self._zeros()) as state:
            self._fill(0, row, self.m, state.index, high)
            self._fill(1, column, self.n, state.index, high)
            gpu.barrier.build(k.builder)
            with k.carry(0, k.min(k.sub(high, state.index), DEPTH), 1, state.carried) as steps:
                steps.next(*self._step(steps.index, steps.carried))
            gpu.barrier.build(k.builder)
            state.next(*steps.results)
        return state.results

    def _fill(self, operand: int, at: Index, end: Index, depth: Index, high: Index) -> None:
        """A tile of an operand into shared memory: [depth][row]. Neighbouring threads read neighbouring elements."""
        k = self.k
        count = self.tile.side * DEPTH // self.plan.sides[operand].lanes
        for part in range(-(-count // self.tile.threads)):
            number = k.add(self.thread, part * self.tile.threads)
            if count % self.tile.threads:
                with k.when(k.compare("lt", number, count)):
                    self._fill_vector(operand, at, end, depth, high, number)
            else:
                self._fill_vector(operand, at, end, depth, high, number)

    def _fill_vector(self, operand: int, at: Index, end: Index, depth: Index, high: Index, number: Index) -> None:
        """The vector of this number. Along the depth, neighbouring threads read 32 bytes of a row, then the next row's:
        memory moves in such pieces, and what a warp writes lies in different banks."""
        side, tile, width = self.plan.sides[operand], self.tiles[operand], self.widths[operand]
        k, extent, lanes = self.k, self.tile.side, side.lanes
        if side.along:
            piece = min(max(SECTOR // side.dtype.itemsize, lanes), DEPTH) // lanes
            own_row = k.rem(k.div(number, piece), extent)
            own_depth = k.mul(k.add(k.rem(number, piece), k.mul(k.div(number, piece * extent), piece)), lanes)
        else:
            own_row = k.mul(k.rem(number, extent // lanes), lanes)
            own_depth = k.div(number, extent // lanes)
        row, place = k.add(at, own_row), k.add(depth, own_depth)
        inside = arith.bit_and(k.compare("lt", row, end), k.compare("lt", place, high))
        (value,) = k.choose(inside, lambda: [side.element(row, place)], lambda: [k.splat(0, side.dtype, lanes)])
        if side.dtype is not self.accumulator:
            value = arith.cast(value, dtype=self.accumulator)
        target = k.add(k.mul(own_depth, width), own_row)
        if side.along == 0 or lanes == 1:
            k.store(value, tile, target, aligned=True)
            return
        for lane in range(lanes):
            k.store(loop.extract(value, lane=lane), tile, k.add(target, lane * width))

    def _step(self, depth: Index, sums: Sequence[Value]) -> list[Value]:
        """One multiply-add per element of the thread's part."""
        k, each = self.k, self.tile.each
        aligned = each * self.accumulator.itemsize <= ACCESS
        a, b = (
            k.load(tile, k.add(k.mul(depth, width), k.mul(place, each)), lanes=each, aligned=aligned)
            for tile, width, place in zip(self.tiles, self.widths, (self.down, self.across), strict=True)
        )
        rows = [a] if each == 1 else [k.broadcast(loop.extract(a, lane=i), each) for i in range(each)]
        return [multiply_add(self.accumulator, x, b, total) for x, total in zip(rows, sums, strict=True)]

    def _store(self, totals: Sequence[Value], row: Index, column: Index) -> None:
        """The epilogue, row by row and vector by vector of the thread's part."""
        k, lanes, each = self.k, self.plan.lanes, self.tile.each
        first = k.add(column, k.mul(self.across, each))
        for i, total in enumerate(totals):
            m = k.add(k.add(row, k.mul(self.down, each)), i)
            with k.when(k.compare("lt", m, self.m)):
                index = (*self.index, m)
                self.emitter.at(*index)
                base = k.dot(index, self.out_strides)
                for part in range(0, each, lanes):
                    n = k.add(first, part)
                    with k.when(k.compare("lt", n, self.n)):
                        given = {self.given: self._result(total, part)} if self.given >= 0 else {}
                        values = self.emitter.values(n, lanes, None, given)
                        for value, out in zip(values, self.outputs, strict=True):
                            write(k, value, out, (k.add(base, n),), None, aligned=True)

    def _result(self, total: Value, start: int) -> Value:
        """Elements of the result: what was accumulated, in its type."""
        elements = _part(total, start, self.plan.lanes)
        if elements.type.dtype is self.plan.dtype:
            return elements
        rounded: Value = arith.cast(elements, dtype=self.plan.dtype)
        return rounded


def _part(vector: Value, start: int, lanes: int) -> Value:
    """Some lanes of a vector (or scalar)."""
    whole = getattr(vector.type, "lanes", 1)
    if whole == lanes:
        return vector
    part: Value = (
        loop.extract(vector, lane=start)
        if lanes == 1
        else loop.shuffle(vector, vector, lanes=tuple(range(start, start + lanes)))
    )
    return part


def _choose(k: KernelBuilder, condition: Value, a: Value, b: Value) -> Value:
    """A vector by a scalar condition."""
    chosen: Value = arith.select(k.broadcast(condition, getattr(a.type, "lanes", 1)), a, b)
    return chosen
