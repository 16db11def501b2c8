"""The contract schedule on a GPU: tiles in shared memory, a part of each in the registers of every thread, and an epilogue.

Letters without a common stride are read through tables, so a convolution is a product over windows that are never
materialised. Where there are few tiles and K is long, K is divided among blocks of threads, and a second kernel adds the
sums of its blocks in the order in which one block of threads would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from lazytorch.codegen.expression import Expression, tensor_type
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, symbol_of
from lazytorch.codegen.schedules.contract import contraction_of
from lazytorch.codegen.schedules.contract_letters import Letters
from lazytorch.codegen.schedules.contract_packing import accumulator_of
from lazytorch.codegen.schedules.gpu_contract_fma import FMA_TILES, FmaKernel, FmaTile
from lazytorch.codegen.schedules.gpu_contract_kernel import ContractKernel, ContractPlan, Tile, build_sum
from lazytorch.codegen.schedules.gpu_contract_matrix import MatrixKernel, MatrixTile, matrix_tiles, multiplies_matrices
from lazytorch.codegen.schedules.gpu_operand import ACCESS, Side
from lazytorch.codegen.schedules.gpu_pipeline import copied_in_background
from lazytorch.codegen.schedules.nest import Nest
from lazytorch.codegen.views import contiguous
from lazytorch.ir.core import Operation, Value

ENOUGH_TILES = 64
"""Large tiles that are enough to give every part of a GPU some."""
ENOUGH_LARGEST = 256
"""The same of the largest tiles, of which fewer run at a time."""
AnyTile = TypeVar("AnyTile", bound=Tile)


def tile_for(tiles: Sequence[AnyTile], m: int, n: int, batches: int) -> AnyTile:
    """The largest tile that is not mostly empty, and of which there are enough."""
    for number, tile in enumerate(tiles[:-1]):
        enough = (ENOUGH_LARGEST, ENOUGH_TILES)[number] if number < 2 else 1
        if min(m // tile.rows, n // tile.columns) >= 1 and tiles_of(tile, m, n, batches) >= enough:
            return tile
    return tiles[-1]


def tiles_of(tile: Tile, m: int, n: int, batches: int) -> int:
    """How many tiles there are."""
    return -(-m // tile.rows) * -(-n // tile.columns) * batches


def gpu_contract_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """The launches for a contraction and its epilogue. Raises CompileError for what no schedule takes."""
    contraction, yielded, expression = contraction_of(kernel)
    if 0 in tensor_type(contraction.result).shape:
        return []
    return _Schedule(kernel, contraction, yielded, expression, context).launches()


class _Schedule:
    """One contraction on a GPU."""

    def __init__(
        self,
        kernel: Operation,
        contraction: Operation,
        yielded: list[Value],
        expression: Expression,
        context: ScheduleContext,
    ) -> None:
        assert isinstance(context.target, GpuTarget)
        self.target = context.target
        self.kernel, self.contraction, self.yielded = kernel, contraction, yielded
        self.type = tensor_type(contraction.result)
        self.letters = letters = Letters(contraction, expression)
        self.m, self.n, self.k = (letters.size(x) for x in (letters.m_letters, letters.n_letters, letters.k_letters))
        self.around = [*letters.batch_groups, *letters.outer_groups]
        self.sizes = [letters.size(group) for group in self.around]
        self.tile: FmaTile | MatrixTile
        self.kind: type[ContractKernel]
        batches = math.prod(self.sizes)
        dtype = letters.leaves[0].dtype
        by_matrices = multiplies_matrices(dtype, self.target, context.tf32)
        self.element = dtype if by_matrices else accumulator_of(dtype)
        self.sides = [
            Side(letters, number, rows, ACCESS // self.element.itemsize)
            for number, rows in enumerate((letters.m_letters, letters.n_letters))
        ]
        if by_matrices:
            self.kind, self.tile = MatrixKernel, tile_for(matrix_tiles(self.sides), self.m, self.n, batches)
        else:
            self.kind, self.tile = FmaKernel, tile_for(FMA_TILES, self.m, self.n, batches)
        self.tiles = tiles_of(self.tile, self.m, self.n, batches)
        self.blocks = -(-self.k // self.tile.block)
        self.out_strides = self._nest(expression).group_strides(contiguous(self.type.shape).strides)

    def _nest(self, expression: Expression) -> Nest:
        """An expression over the loops around the product, rows and columns."""
        dims = {letter: d for d, letter in enumerate(self.letters.out)}
        groups = [[dims[x] for x in group] for group in [*self.around, self.letters.m_letters, self.letters.n_letters]]
        return Nest(expression, self.type.shape, groups)

    def _plan(self) -> ContractPlan:
        letters, dtype = self.letters, self.type.dtype
        together = [self.kind is MatrixKernel or side.along == 0 for side in self.sides]
        background = tuple(
            copied_in_background(side, self.target, self.element, near)
            for side, near in zip(self.sides, together, strict=True)
        )
        nest = self._nest(letters.expression)
        return ContractPlan(
            dtype=dtype,
            accumulator=accumulator_of(dtype),
            nest=nest,
            sides=self.sides,
            tile=self.tile,
            lanes=self._lanes(nest),
            deep=self.blocks > 1,
            split=False,
            batch=len(letters.batch_groups),
            loops=len(self.sizes),
            yielded=self.yielded,
            stages=self.tile.stages(self.target, background),
            background=background,
        )

    def _lanes(self, nest: Nest) -> int:
        """Elements that the epilogue takes at a time."""
        most = self.tile.lanes(accumulator_of(self.type.dtype))
        return math.gcd(nest.aligned_lanes(most, [(self.out_strides, 0)]), self.n, most)

    def launches(self) -> list[Launch]:
        """One launch; where tiles are few and K is long, two: the sums of its blocks, then their sum."""
        plan = self._plan()
        if self.blocks == 1 or self.tiles * 2 > ENOUGH_TILES:
            slots: list[Slot] = [Address(value) for value in self.yielded]
            return [self._launch(plan, slots, self.tiles, self._operations())]
        dtype = plan.accumulator
        bare = Expression(self.type.shape, [], [("given", self.contraction.result, dtype)], [0])
        nest = self._nest(bare)
        split = replace(plan, dtype=dtype, nest=nest, lanes=self._lanes(nest), deep=False, split=True)
        partial = Scratch(0, self.blocks * self.type.numel * dtype.itemsize)
        first = self._launch(split, [partial], self.tiles * self.blocks, [self.contraction])
        return [first, self._sum(plan, partial)]

    def _bytes_of_operands(self) -> int:
        """Each element once."""
        return sum(tensor_type(operand).nbytes for operand in self.contraction.operands)

    def _bytes_written(self, slots: Sequence[Slot]) -> int:
        results = [slot.value for slot in slots if isinstance(slot, Address) and slot.value in self.yielded]
        return sum(tensor_type(value).nbytes for value in results) + sum(x.nbytes for x in slots if isinstance(x, Scratch))

    def _operations(self) -> list[Operation]:
        return [self.contraction, *[op for op in self.kernel.region.block if op is not self.contraction]]

    def _launch(self, plan: ContractPlan, outputs: Sequence[Slot], items: int, operations: Sequence[Operation]) -> Launch:
        key = plan.key()
        symbol = symbol_of("contract", key)
        left, right = plan.sides
        slots = [*plan.nest.slots(), *left.slots, *right.slots, *outputs, *self.out_strides[:-1], *self.sizes]
        slots += [self.m, self.n, self.k, *([self.type.numel] if plan.split else [])]
        return Launch(
            key=key,
            symbol=symbol,
            build=lambda: self.kind(KernelBuilder(symbol), plan).build(),
            slots=slots,
            flops=2 * self.type.numel * self.k,
            bytes=plan.nest.bytes_read() + self._bytes_of_operands() + self._bytes_written(outputs),
            operations=operations,
            blocks=items,
            threads=self.tile.threads,
        )

    def _sum(self, plan: ContractPlan, partial: Scratch) -> Launch:
        names = (plan.dtype.name, plan.accumulator.name, [dtype.name for dtype in plan.outputs])
        key = f"contract_sum|{names}|{plan.lanes}|{plan.loops}|{plan.nest.key()}"
        symbol = symbol_of("contract_sum", key)
        vectors = self.n // plan.lanes
        slots: list[Slot] = [*plan.nest.slots(), partial, *[Address(value) for value in self.yielded]]
        slots += [*self.out_strides[:-1], *self.sizes, self.m, vectors, self.blocks, self.type.numel]
        return Launch(
            key=key,
            symbol=symbol,
            build=lambda: build_sum(KernelBuilder(symbol), plan),
            slots=slots,
            chunks=self.type.numel // plan.lanes,
            bytes=plan.nest.bytes_read() + self._bytes_written(slots),
            operations=self._operations()[1:] or [self.contraction],
        )
