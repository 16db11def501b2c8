"""The way of two operands' tiles through shared memory: while one stage of it is read, the following ones are filled.

Copies go in the background where the architecture has such, an element has its type there already and several of them lie
together; else through the registers, from which they are stored after the stage that is read was multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.dtypes import DType
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, gpu, loop

COPIED = (4, 8, 16)
"""Bytes that one copy in the background may have."""


def copied_in_background(side: Source, target: GpuTarget, dtype: DType, together: bool) -> bool:
    """Whether an operand can be copied so to tiles of elements of a type. together: what one access moves lies together
    there, too."""
    return target.copies_async and side.dtype is dtype and together and side.lanes * dtype.itemsize in COPIED


class Source(Protocol):
    """An operand in memory: elements `lanes` of which one access moves, from `start` on."""

    dtype: DType
    lanes: int
    along: int
    start: Value

    def place(self, row: Index, depth: Index) -> Index:
        """Where an element lies, from the start on."""


class Layout(Protocol):
    """How a tile of `rows` by `depth` elements lies in shared memory; `size`: how many elements it takes there. together:
    neighbours in the direction of the operand's accesses are neighbours."""

    rows: int
    depth: int
    size: int
    dtype: DType
    together: bool

    def place(self, k: KernelBuilder, row: Index, depth: Index) -> Index:
        """The number of an element."""

    def piece(self, k: KernelBuilder, number: Index, lanes: int) -> tuple[Index, Index]:
        """Row and depth at which the vector of this number begins: neighbouring threads take neighbouring numbers."""


class Fill:
    """The threads of a block fill the stages of one operand's tile, all of them alike."""

    def __init__(
        self,
        k: KernelBuilder,
        side: Source,
        layout: Layout,
        memory: tuple[Value, Index],
        threads: tuple[Value, int],
        background: bool,
    ) -> None:
        """memory: a buffer in shared memory, and where the first stage begins in it. threads: this one, and how many."""
        self.k, self.side, self.layout, self.background = k, side, layout, background
        self.buffer, self.first = memory
        self.thread, self.threads = threads
        self.count = layout.rows * layout.depth // side.lanes
        self.loads = 0 if background else len(self._numbers())

    def at(self, row: Index, end: Index) -> None:
        """The tile's first row, and the operand's last."""
        self.row, self.end = row, end

    def stage(self, number: Index) -> Index:
        """Where a stage begins."""
        return self.k.add(self.first, self.k.mul(number, self.layout.size))

    def begin(self, stage: Index, depth: Index, high: Index) -> list[Value]:
        """Begin to fill a stage with [depth, high) along K: the vectors that `finish` stores."""
        if not self.background:
            return [self._loaded(number, depth, high) for number in self._numbers()]
        for number in self._numbers():
            self._guarded(number, lambda number: self._copy(stage, number, depth, high))
        return []

    def _copy(self, stage: Index, number: Index, depth: Index, high: Index) -> None:
        k = self.k
        own_row, own_depth, inside, place = self._source(number, depth, high)
        target = k.add(self.stage(stage), self.layout.place(k, own_row, own_depth))
        gpu.copy_async(self.buffer, k.value(target), self.side.start, k.value(place), inside, lanes=self.side.lanes)

    def finish(self, stage: Index, values: Sequence[Value]) -> None:
        """Store what `begin` has loaded."""
        for number, value in zip(self._numbers(), values, strict=not self.background):
            self._guarded(number, partial(self._store, stage, value))

    def _numbers(self) -> list[Index]:
        return [self.k.add(self.thread, part * self.threads) for part in range(-(-self.count // self.threads))]

    @property
    def _all_take_part(self) -> bool:
        return self.count % self.threads == 0

    def _guarded(self, number: Index, action: Callable[[Index], None]) -> None:
        """What only the threads do that have a vector of this number."""
        if self._all_take_part:
            action(number)
            return
        with self.k.when(self.k.compare("lt", number, self.count)):
            action(number)

    def _source(self, number: Index, depth: Index, high: Index) -> tuple[Index, Index, Value, Index]:
        """The place in the tile and in memory of a vector. Where there is none, the operand's first one is named instead."""
        k = self.k
        own_row, own_depth = self.layout.piece(k, number, self.side.lanes)
        row, place = k.add(self.row, own_row), k.add(depth, own_depth)
        inside: Value = arith.bit_and(k.compare("lt", row, self.end), k.compare("lt", place, high))
        source = self.side.place(k.select_index(inside, row, 0), k.select_index(inside, place, 0))
        return own_row, own_depth, inside, source

    def _loaded(self, number: Index, depth: Index, high: Index) -> Value:
        k, side = self.k, self.side
        zero = k.splat(0, side.dtype, side.lanes)

        def load() -> list[Value]:
            _, _, inside, place = self._source(number, depth, high)
            value = k.load(side.start, place, lanes=side.lanes, aligned=True)
            return [arith.select(k.broadcast(inside, side.lanes), value, zero)]

        if self._all_take_part:
            return load()[0]
        return k.choose(k.compare("lt", number, self.count), load, lambda: [zero])[0]

    def _store(self, stage: Index, value: Value, number: Index) -> None:
        k, lanes = self.k, self.side.lanes
        value = k.cast(value, self.layout.dtype)
        row, depth = self.layout.piece(k, number, lanes)
        begin = self.stage(stage)
        if self.layout.together or lanes == 1:
            k.store(value, self.buffer, k.add(begin, self.layout.place(k, row, depth)), aligned=True)
            return
        for lane in range(lanes):
            at = (row, k.add(depth, lane)) if self.side.along else (k.add(row, lane), depth)
            k.store(loop.extract(value, lane=lane), self.buffer, k.add(begin, self.layout.place(k, *at)))


class Pipeline:
    """The loop along K of a block of threads."""

    def __init__(self, k: KernelBuilder, fills: Sequence[Fill], stages: int) -> None:
        self.k, self.fills, self.stages = k, fills, stages
        self.step = fills[0].layout.depth
        self.background = any(fill.background for fill in fills)

    def run(
        self,
        low: Index,
        high: Index,
        initial: Sequence[Value],
        multiply: Callable[[Index, Index, Sequence[Value]], Sequence[Value]],
    ) -> Sequence[Value]:
        """Carry values along [low, high): `multiply(stage, index, carried)` gives those after the step that begins at an
        index. All threads of the block are done with shared memory when this ends."""
        k, ahead = self.k, self.stages - 1
        for stage in range(ahead):
            depth = k.add(low, stage * self.step)
            self._finish(stage, self._begin(stage, depth, high))
        with k.carry(low, high, self.step, initial) as state:
            if self.background:
                gpu.wait_copies.build(k.builder, pending=ahead - 1)
            gpu.barrier.build(k.builder)
            number = k.div(k.sub(state.index, low), self.step)
            following = k.rem(k.add(number, ahead), self.stages)
            loaded = self._begin(following, k.add(state.index, ahead * self.step), high)
            results = multiply(k.rem(number, self.stages), state.index, state.carried)
            self._finish(following, loaded)
            state.next(*results)
        if self.background:
            gpu.wait_copies.build(k.builder, pending=0)
        gpu.barrier.build(k.builder)
        return state.results

    def _begin(self, stage: Index, depth: Index, high: Index) -> list[list[Value]]:
        """Begin to fill a stage, if there are elements for it."""
        k = self.k

        def load() -> list[Value]:
            return [value for fill in self.fills for value in fill.begin(stage, depth, high)]

        def nothing() -> list[Value]:
            return [k.splat(0, fill.side.dtype, fill.side.lanes) for fill in self.fills for _ in range(fill.loads)]

        loaded = iter(k.choose(k.compare("lt", depth, high), load, nothing))
        if self.background:
            gpu.commit_copies.build(k.builder)
        return [[next(loaded) for _ in range(fill.loads)] for fill in self.fills]

    def _finish(self, stage: Index, loaded: Sequence[Sequence[Value]]) -> None:
        for fill, values in zip(self.fills, loaded, strict=True):
            fill.finish(stage, values)
