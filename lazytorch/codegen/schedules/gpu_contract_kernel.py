"""What contraction kernels on a GPU have in common: their arguments, the loop over tiles of the result, and the kernel that
adds the sums of the blocks of K where K is divided among blocks of threads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.gpu_operand import Side
from lazytorch.codegen.schedules.gpu_pipeline import Pipeline
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, split_rows, write
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith, gpu

GROUP = 8
"""Rows of tiles that blocks of threads take together, column by column: they share what is in the second-level cache."""


class Tile(Protocol):
    """A part of the result that a block of threads computes: `rows` by `columns`, by `threads` threads. block: elements
    along K that are accumulated before they are added to the result."""

    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def block(self) -> int: ...


@dataclass
class ContractPlan:
    """The structure of a kernel.

    dtype: of the result. accumulator: what products are added in. lanes: elements per access of the epilogue. deep: K has
    several blocks. split: each tile is computed for one block of K, and the sums go to memory. batch, loops: numbers of
    loops over letters that both operands have, and of all loops around the product. stages: tiles in shared memory that are
    filled or read at a time. background: per operand, whether it is copied to shared memory in the background.
    """

    dtype: DType
    accumulator: DType
    nest: Nest
    sides: Sequence[Side]
    tile: Tile
    lanes: int
    deep: bool
    split: bool
    batch: int
    loops: int
    yielded: Sequence[Value]
    stages: int = 1
    background: tuple[bool, ...] = (False, False)

    @property
    def outputs(self) -> list[DType]:
        """The types of what is written."""
        return [self.accumulator] if self.split else [value.type.dtype for value in self.yielded]

    def key(self) -> str:
        """Canonical text."""
        sides = [(side.kinds, side.lanes, side.dtype.name) for side in self.sides]
        numbers = (self.tile, self.lanes, self.deep, self.split, self.batch, self.loops, self.stages, self.background)
        names = (self.dtype.name, [dtype.name for dtype in self.outputs])
        return f"contract|{names}|{numbers}|{sides}|{self.nest.key()}"


class ContractKernel:
    """A contraction kernel under construction."""

    def __init__(self, k: KernelBuilder, plan: ContractPlan) -> None:
        self.k, self.plan = k, plan
        self.emitter = NestEmitter(k, plan.nest, plan.lanes, aligned=True)
        self.left, self.right = plan.sides
        self.left.declare(k, "left")
        self.right.declare(k, "right")
        self.outputs = [k.buffer(dtype, (1,), f"out{i}") for i, dtype in enumerate(plan.outputs)]
        self.out_strides = [k.index_argument(f"out_stride{i}") for i in range(plan.loops + 1)]
        self.sizes = [k.index_argument(f"size{i}") for i in range(plan.loops)]
        self.m, self.n, self.depth = (k.index_argument(name) for name in ("m", "n", "k"))
        self.elements: Index = k.index_argument("elements") if plan.split else 0
        self.thread: Value = gpu.thread_id.build(k.builder)
        self.given = given_entry(plan.nest)

    def build(self) -> Operation:
        """The loop over the tiles that are this block's."""
        k, plan = self.k, self.plan
        row_tiles, column_tiles = k.ceil_div(self.m, plan.tile.rows), k.ceil_div(self.n, plan.tile.columns)
        first, step = gpu.block_id.build(k.builder), gpu.grid_size.build(k.builder)
        sizes = [k.ceil_div(self.depth, plan.tile.block), *self.sizes] if plan.split else self.sizes
        with k.loop(first, k.product([row_tiles, column_tiles, *sizes]), step) as item:
            tiles = k.product([row_tiles, column_tiles])
            index = split_rows(k, k.div(item, tiles), sizes)
            low, high, self.base = self._range(index)
            self.index = index[1:] if plan.split else index
            # The left operand has no outer loops: its offsets are those of the batch.
            self.left.at(self.index[: plan.batch])
            self.right.at(self.index)
            row, column = self._tile(k.rem(item, tiles), row_tiles, column_tiles)
            row, column = k.mul(row, plan.tile.rows), k.mul(column, plan.tile.columns)
            self.store(self.product(row, column, low, high), row, column)
        return k.finish()

    def _range(self, index: Sequence[Index]) -> tuple[Index, Index, Index]:
        """The part of K that is taken, and where its sums go."""
        k = self.k
        if not self.plan.split:
            return 0, self.depth, 0
        low = k.mul(index[0], self.plan.tile.block)
        return low, k.min(k.add(low, self.plan.tile.block), self.depth), k.mul(index[0], self.elements)

    def _tile(self, number: Index, row_tiles: Index, column_tiles: Index) -> tuple[Index, Index]:
        """The row and column of a tile."""
        k = self.k
        together = k.mul(column_tiles, GROUP)
        first = k.mul(k.div(number, together), GROUP)
        rows = k.min(k.sub(row_tiles, first), GROUP)
        within = k.rem(number, together)
        return k.add(first, k.rem(within, rows)), k.div(within, rows)

    @abstractmethod
    def product(self, row: Index, column: Index, low: Index, high: Index) -> Sequence[Value]:
        """What this thread accumulates of a tile, over [low, high) of K."""

    def accumulated(
        self,
        pipeline: Pipeline,
        low: Index,
        high: Index,
        zeros: Sequence[Value],
        multiply: Callable[[Index, Index, Sequence[Value]], Sequence[Value]],
    ) -> Sequence[Value]:
        """The sums of the products of all steps, block by block of K: `multiply(stage, elements left along K, sums)`."""
        k, count = self.k, len(zeros)
        if not self.plan.deep:
            return pipeline.run(low, high, zeros, lambda stage, at, sums: multiply(stage, k.sub(high, at), sums))

        def step(stage: Index, at: Index, carried: Sequence[Value]) -> Sequence[Value]:
            both = next_block(k, at, self.plan.tile.block, carried[:count], carried[count:], zeros)
            return [*both[:count], *multiply(stage, k.sub(high, at), both[count:])]

        nothing = [k.splat(-0.0, zero.type.dtype, getattr(zero.type, "lanes", 1)) for zero in zeros]
        results = pipeline.run(low, high, [*nothing, *zeros], step)
        return [arith.add(a, b) for a, b in zip(results[:count], results[count:], strict=True)]

    @abstractmethod
    def store(self, totals: Sequence[Value], row: Index, column: Index) -> None:
        """Take it through the epilogue to memory."""

    def write(self, elements: Value, m: Index, n: Index) -> None:
        """The epilogue of a vector of elements, from (m, n) on. `emitter.at` has been called for the row."""
        k = self.k
        given = {self.given: k.cast(elements, self.plan.dtype)} if self.given >= 0 else {}
        base = k.add(k.dot((*self.index, m), self.out_strides), self.base)
        values = self.emitter.values(n, self.plan.lanes, None, given)
        for value, out in zip(values, self.outputs, strict=True):
            write(k, value, out, (k.add(base, n),), None, aligned=True)


def next_block(
    k: KernelBuilder, at: Index, block: int, totals: Sequence[Value], sums: Sequence[Value], zeros: Sequence[Value]
) -> Sequence[Value]:
    """Totals and sums, where a further block of K may begin at an index: then the sums are added to the totals, and begin at
    0. The totals begin at -0.0, to which anything can be added."""
    begins = arith.bit_and(k.compare("eq", k.rem(at, block), 0), k.compare("gt", at, 0))

    def added() -> Sequence[Value]:
        return [*[arith.add(a, b) for a, b in zip(totals, sums, strict=True)], *zeros]

    return k.choose(begins, added, lambda: [*totals, *sums])


def given_entry(nest: Nest) -> int:
    """The entry of an expression that the contraction itself is; -1 if nothing reads it."""
    return next((i for i, entry in enumerate(nest.expression.entries) if entry[0] == "given"), -1)


def build_sum(k: KernelBuilder, plan: ContractPlan) -> Operation:
    """The kernel that adds the sums of the blocks of K in order, and applies the epilogue: a vector per thread."""
    emitter = NestEmitter(k, plan.nest, plan.lanes, aligned=True)
    given = given_entry(plan.nest)
    partial = k.buffer(plan.accumulator, (1,), "partial")
    outputs = [k.buffer(dtype, (1,), f"out{i}") for i, dtype in enumerate(plan.outputs)]
    strides = [k.index_argument(f"out_stride{i}") for i in range(plan.loops + 1)]
    *outer_sizes, vectors = [k.index_argument(f"size{i}") for i in range(plan.loops + 2)]
    blocks, elements = k.index_argument("blocks"), k.index_argument("elements")
    with k.parallel(0, k.product([*outer_sizes, vectors])) as item:
        outer = split_rows(k, k.div(item, vectors), outer_sizes)
        n = k.mul(k.rem(item, vectors), plan.lanes)
        emitter.at(*outer)
        place = k.add(k.dot(outer, strides), n)
        first = k.load(partial, place, lanes=plan.lanes, aligned=True)
        with k.carry(1, blocks, 1, [first]) as state:
            where = k.add(place, k.mul(state.index, elements))
            state.next(arith.add(state.carried[0], k.load(partial, where, lanes=plan.lanes, aligned=True)))
        values = {given: k.cast(state.results[0], plan.dtype)} if given >= 0 else {}
        for value, out in zip(emitter.values(n, plan.lanes, None, values), outputs, strict=True):
            write(k, value, out, (place,), None, aligned=True)
    return k.finish()
