"""Contractions by fused multiply-adds on a GPU: a square part of the result per block, a part of it in the registers of
every thread. Per block of 256 along K every element is a chain of fused multiply-adds from 0; the blocks' chains are added
in order: the definition of schedules/contract.py, so the bits are the CPU's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.contract_kernel import multiply_add
from lazytorch.codegen.schedules.contract_packing import KC
from lazytorch.codegen.schedules.gpu_contract_kernel import ContractKernel, ContractPlan
from lazytorch.codegen.schedules.gpu_operand import ACCESS, Side
from lazytorch.codegen.schedules.gpu_pipeline import Fill, Pipeline
from lazytorch.dtypes import DType
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import gpu, loop

DEPTH = 16
"""Elements along K of the tiles in shared memory."""
PAD = 4
"""Extra elements per row of a tile that is filled down its columns: they begin in different banks, and vectors of 4 stay
aligned."""
SECTOR = 32
"""Bytes that memory moves at least."""


@dataclass(frozen=True)
class FmaTile:
    """`side` rows and columns, `each` by `each` of them per thread."""

    side: int
    each: int
    block: int = KC

    @property
    def rows(self) -> int:
        """Rows of the result."""
        return self.side

    @property
    def columns(self) -> int:
        """Columns of the result."""
        return self.side

    @property
    def across(self) -> int:
        """Threads along a row of the tile."""
        return self.side // self.each

    @property
    def threads(self) -> int:
        """Threads of the block."""
        return self.across * self.across

    def lanes(self, accumulator: DType) -> int:
        """Neighbours that a thread has in a row of the result."""
        return min(self.each, ACCESS // accumulator.itemsize)

    def stages(self, target: GpuTarget, background: Sequence[bool]) -> int:
        """How many stages of tiles there are."""
        return 2


FMA_TILES = (FmaTile(128, 8), FmaTile(64, 4), FmaTile(32, 2), FmaTile(16, 1))


class FmaLayout:
    """[depth][rows] of the type that products are accumulated in."""

    def __init__(self, side: Side, rows: int, dtype: DType) -> None:
        self.side, self.rows, self.depth, self.dtype = side, rows, DEPTH, dtype
        self.width = rows + (PAD if side.along else 0)
        self.size = DEPTH * self.width
        self.together = side.along == 0

    def place(self, k: KernelBuilder, row: Index, depth: Index) -> Index:
        """Rows are next to each other."""
        return k.add(k.mul(depth, self.width), row)

    def piece(self, k: KernelBuilder, number: Index, lanes: int) -> tuple[Index, Index]:
        """Along the depth, neighbouring threads read 32 bytes of a row, then the next row's: memory moves in such pieces,
        and what a warp writes lies in different banks."""
        if not self.side.along:
            return k.mul(k.rem(number, self.rows // lanes), lanes), k.div(number, self.rows // lanes)
        piece = min(max(SECTOR // self.side.dtype.itemsize, lanes), DEPTH) // lanes
        row = k.rem(k.div(number, piece), self.rows)
        return row, k.mul(k.add(k.rem(number, piece), k.mul(k.div(number, piece * self.rows), piece)), lanes)


class FmaKernel(ContractKernel):
    """Every thread has `each` rows of vectors: `parts` of them, that lie `apart` columns from each other, so that what
    neighbouring threads read at a time lies together."""

    def __init__(self, k: KernelBuilder, plan: ContractPlan) -> None:
        super().__init__(k, plan)
        assert isinstance(plan.tile, FmaTile)
        self.tile = plan.tile
        self.across = k.rem(self.thread, self.tile.across)
        self.down = k.div(self.thread, self.tile.across)
        self.wide = self.tile.lanes(plan.accumulator)
        self.parts = self.tile.each // self.wide
        self.apart = self.tile.side // self.parts
        self.fills: list[Fill] = []
        for side, background in zip(plan.sides, plan.background, strict=True):
            layout = FmaLayout(side, self.tile.side, plan.accumulator)
            memory = gpu.shared.build(k.builder, dtype=plan.accumulator, size=plan.stages * layout.size)
            self.fills.append(Fill(k, side, layout, (memory, 0), (self.thread, self.tile.threads), background))
        self.pipeline = Pipeline(k, self.fills, plan.stages)

    def product(self, row: Index, column: Index, low: Index, high: Index) -> Sequence[Value]:
        """The thread's part of the tile, part by part of row by row."""
        k = self.k
        self.fills[0].at(row, self.m)
        self.fills[1].at(column, self.n)
        zeros = [k.splat(0, self.plan.accumulator, self.wide)] * (self.tile.each * self.parts)
        return self.accumulated(self.pipeline, low, high, zeros, self._steps)

    def _steps(self, stage: Index, left: Index, sums: Sequence[Value]) -> Sequence[Value]:
        """The multiply-adds of one stage: all of them, or those that there are."""
        k = self.k

        def all_of_them() -> Sequence[Value]:
            values = sums
            for depth in range(DEPTH):
                values = self._step(stage, depth, values)
            return values

        def the_rest() -> Sequence[Value]:
            with k.carry(0, left, 1, sums) as steps:
                steps.next(*self._step(stage, steps.index, steps.carried))
            return steps.results

        return k.choose(k.compare("ge", left, DEPTH), all_of_them, the_rest)

    def _step(self, stage: Index, depth: Index, sums: Sequence[Value]) -> list[Value]:
        """One multiply-add per element of the thread's part."""
        k = self.k
        rows: list[Value] = []
        columns: list[Value] = []
        for fill, place, vectors in ((self.fills[0], self.down, rows), (self.fills[1], self.across, columns)):
            for part in range(self.parts):
                row = k.add(k.mul(place, self.wide), part * self.apart)
                at = k.add(fill.stage(stage), fill.layout.place(k, row, depth))
                vectors.append(k.load(fill.buffer, at, lanes=self.wide, aligned=True))
        scalars = [
            loop.extract(vector, lane=lane) if self.wide > 1 else vector for vector in rows for lane in range(self.wide)
        ]
        products = [(k.broadcast(scalar, self.wide), column) for scalar in scalars for column in columns]
        accumulator = self.plan.accumulator
        return [multiply_add(accumulator, a, b, total) for (a, b), total in zip(products, sums, strict=True)]

    def store(self, totals: Sequence[Value], row: Index, column: Index) -> None:
        """The epilogue, row by row and vector by vector of the thread's part."""
        k, lanes = self.k, self.plan.lanes
        for i in range(self.tile.each):
            part, lane = divmod(i, self.wide)
            m = k.add(row, k.add(k.mul(self.down, self.wide), part * self.apart + lane))
            with k.when(k.compare("lt", m, self.m)):
                self.emitter.at(*self.index, m)
                for number, total in enumerate(totals[i * self.parts : (i + 1) * self.parts]):
                    first = k.add(column, k.add(k.mul(self.across, self.wide), number * self.apart))
                    for start in range(0, self.wide, lanes):
                        n = k.add(first, start)
                        with k.when(k.compare("lt", n, self.n)):
                            self.write(part_of(total, start, lanes), m, n)


def part_of(vector: Value, start: int, lanes: int) -> Value:
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
