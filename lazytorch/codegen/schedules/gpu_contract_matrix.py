"""Contractions by the matrix instructions of a warp (tensor cores): f16 and bf16, and f32 where the precision of tf32 is
allowed.

Products are added in f32: per block of 512 along K in steps of one instruction from 0, then block by block. That depends on
nothing but K, so neither tiles nor batches change a number. How an instruction rounds is the device's own affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lazytorch import dtypes
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.gpu_contract_kernel import ContractKernel, ContractPlan
from lazytorch.codegen.schedules.gpu_matrix import CHUNK, STEP, Fragments, MatrixLayout, halves
from lazytorch.codegen.schedules.gpu_operand import Side
from lazytorch.codegen.schedules.gpu_pipeline import Fill, Pipeline
from lazytorch.dtypes import DType
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, gpu
from lazytorch.ir.dialects.gpu import WARP

DEPTH_BYTES = 64
"""Bytes along K of the tiles in shared memory."""
SIDE = 8
"""Columns of the result of one multiplication; it has twice as many rows."""
STAGES = 4
"""Stages of a pipeline, if there is memory for them."""


@dataclass(frozen=True)
class MatrixTile:
    """`rows` by `columns` of the result, divided among `down` by `across` warps."""

    rows: int
    columns: int
    down: int
    across: int
    block: int = 512

    @property
    def threads(self) -> int:
        """Threads of the block."""
        return WARP * self.down * self.across

    @property
    def own_rows(self) -> int:
        """Rows of a warp."""
        return self.rows // self.down

    @property
    def own_columns(self) -> int:
        """Columns of a warp."""
        return self.columns // self.across

    def lanes(self, accumulator: DType) -> int:
        """Elements that a thread takes to the epilogue at a time."""
        return CHUNK // accumulator.itemsize

    def stages(self, target: GpuTarget, background: Sequence[bool]) -> int:
        """How many stages there is memory for, and use."""
        stage = (self.rows + self.columns) * DEPTH_BYTES
        return min(STAGES, target.shared_bytes // stage) if any(background) else 2


MATRIX_TILES = (MatrixTile(128, 128, 2, 4), MatrixTile(64, 64, 2, 2), MatrixTile(32, 32, 2, 2))
PIECEWISE_TILES = (MatrixTile(64, 64, 2, 4), MatrixTile(32, 32, 2, 2))
"""For operands of which single elements are read: few per thread, which wait in registers."""
MOST_PIECES = 8
"""Vectors of an operand per stage that a thread may read through registers."""


def matrix_tiles(sides: Sequence[Side]) -> tuple[MatrixTile, ...]:
    """The tiles that there are registers for, largest first."""
    largest = MATRIX_TILES[0]
    pieces = [largest.rows * DEPTH_BYTES // side.dtype.itemsize // side.lanes // largest.threads for side in sides]
    return MATRIX_TILES if max(pieces) <= MOST_PIECES else PIECEWISE_TILES


def multiplies_matrices(dtype: DType, target: GpuTarget, tf32: bool) -> bool:
    """Whether products of a type are taken by matrix instructions."""
    return dtype in target.matrix_types and (dtype is not dtypes.float32 or tf32)


class MatrixKernel(ContractKernel):
    """Every warp has a part of the tile, in fragments of 16 by 8."""

    def __init__(self, k: KernelBuilder, plan: ContractPlan) -> None:
        super().__init__(k, plan)
        assert isinstance(plan.tile, MatrixTile)
        self.tile = tile = plan.tile
        self.dtype = plan.sides[0].dtype
        depth = DEPTH_BYTES // self.dtype.itemsize
        layouts = [MatrixLayout(rows, depth, self.dtype, bool(side.along)) for side, rows in self._extents()]
        size = plan.stages * sum(layout.size for layout in layouts)
        self.out_layout = MatrixLayout(tile.own_columns, 2 * SIDE, dtypes.float32, by_depth=False)
        on_the_way = self.out_layout.size * tile.down * tile.across * dtypes.float32.itemsize
        size = max(size, on_the_way // self.dtype.itemsize)
        self.memory: Value = gpu.shared.build(k.builder, dtype=self.dtype, size=size)
        self.lane, warp = k.value(k.rem(self.thread, WARP)), k.div(self.thread, WARP)
        self.warp = warp
        self.down = k.mul(k.div(warp, tile.across), tile.own_rows)
        self.across = k.mul(k.rem(warp, tile.across), tile.own_columns)
        threads = (self.thread, tile.threads)
        second = plan.stages * layouts[0].size
        self.fills = [
            Fill(k, side, layout, (self.memory, first), threads, background)
            for side, layout, first, background in zip(plan.sides, layouts, (0, second), plan.background, strict=True)
        ]
        self.fragments = [Fragments(k, layout, self.memory, self.lane) for layout in layouts]
        self.pipeline = Pipeline(k, self.fills, plan.stages)

    def _extents(self) -> list[tuple[Side, int]]:
        return list(zip(self.plan.sides, (self.tile.rows, self.tile.columns), strict=True))

    def product(self, row: Index, column: Index, low: Index, high: Index) -> Sequence[Value]:
        """The warp's fragments, row by row."""
        self.fills[0].at(row, self.m)
        self.fills[1].at(column, self.n)
        count = self.tile.own_rows // (2 * SIDE) * (self.tile.own_columns // SIDE)
        zeros = [self.k.splat(0, dtypes.float32, 4)] * count
        return self.accumulated(self.pipeline, low, high, zeros, self._multiply)

    def _multiply(self, stage: Index, left: Index, sums: Sequence[Value]) -> Sequence[Value]:
        """The products of one stage. What is beyond the end of K is 0 there."""
        k = self.k
        begins = [fill.stage(stage) for fill in self.fills]
        for step in range(DEPTH_BYTES // STEP):
            rows = [
                self._rounded(self.fragments[0].left(begins[0], k.add(self.down, i), step))
                for i in range(0, self.tile.own_rows, 2 * SIDE)
            ]
            columns = [
                self._rounded(half)
                for j in range(0, self.tile.own_columns, 2 * SIDE)
                for half in self.fragments[1].right(begins[1], k.add(self.across, j), step)
            ]
            pairs = [(a, b) for a in rows for b in columns]
            sums = [gpu.multiply_matrices(a, b, total) for (a, b), total in zip(pairs, sums, strict=True)]
        return sums

    def _rounded(self, fragment: Value) -> Value:
        if self.dtype is not dtypes.float32:
            return fragment
        value: Value = gpu.round_tf32(fragment)
        return value

    def store(self, totals: Sequence[Value], row: Index, column: Index) -> None:
        """The epilogue, 16 rows of the warp's part at a time: through shared memory, so that a thread has neighbours."""
        k, lanes = self.k, self.plan.lanes
        rows: Value = gpu.view(self.memory, dtype=dtypes.float32)
        begin = k.mul(self.warp, self.out_layout.size)
        per_row = self.tile.own_columns // lanes
        parts = self.tile.own_rows // (2 * SIDE)
        count = len(totals) // parts
        for i in range(parts):
            if i:
                gpu.warp_barrier.build(k.builder)  # what follows is written where others read
            self._put(rows, begin, totals[i * count : (i + 1) * count])
            gpu.warp_barrier.build(k.builder)
            with k.loop(self.lane, 2 * SIDE * per_row, WARP) as number:
                own_row, own_column = k.div(number, per_row), k.mul(k.rem(number, per_row), lanes)
                m = k.add(k.add(row, self.down), k.add(own_row, i * 2 * SIDE))
                n = k.add(k.add(column, self.across), own_column)
                inside = k.compare("lt", m, self.m), k.compare("lt", n, self.n)
                with k.when(arith.bit_and(*inside)):
                    self.emitter.at(*self.index, m)
                    place = k.add(begin, self.out_layout.place(k, own_column, own_row))
                    self.write(k.load(rows, place, lanes=lanes, aligned=True), m, n)
        gpu.barrier.build(k.builder)

    def _put(self, rows: Value, begin: Index, fragments: Sequence[Value]) -> None:
        """16 rows of the warp's part into shared memory."""
        k = self.k
        row, pair = k.value(k.div(self.lane, 4)), k.rem(self.lane, 4)
        for number, fragment in enumerate(fragments):
            chunk = k.add(k.div(pair, 2), number * SIDE // self.out_layout.lanes)
            for lower, values in enumerate(halves(fragment)):
                place = self.out_layout.chunk(k, k.add(row, lower * SIDE), chunk, row)
                k.store(values, rows, k.add(begin, k.add(place, k.mul(k.rem(pair, 2), 2))), aligned=True)
