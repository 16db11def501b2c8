"""Threads of a warp that reduce together, in the order that reductions have everywhere (schedules/reduce.py): so the sums on
a GPU are the CPU's, bit by bit.

A team is 4 to 32 consecutive threads of a warp. The 64 lanes of a reduction are dealt out to them as `vectors` registers of
`lanes` elements each: register u of thread t holds the lanes (u * width + t) * lanes and following.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.schedules.reduce import Point
from lazytorch.codegen.schedules.reduction import BLOCK, COMBINE, LANES, identities
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, gpu, loop
from lazytorch.ir.types import INDEX


class Team:
    """The shape of the teams of a kernel: `lanes` elements per access, `width` threads per team."""

    def __init__(self, target: GpuTarget, lanes: int) -> None:
        self.lanes = min(lanes, LANES // 4)
        self.width = min(target.warp, LANES // self.lanes)
        self.vectors = LANES // (self.width * self.lanes)
        self.block = target.block
        self.per_block = target.block // self.width

    def blocks(self, items: int) -> int:
        """The blocks of a grid whose teams have so many items to do."""
        return -(-items // self.per_block)


class TeamMember:
    """One thread of a team in a kernel under construction."""

    def __init__(self, k: KernelBuilder, team: Team) -> None:
        self.k, self.team = k, team
        self.thread: Value = gpu.thread_id.build(k.builder)
        self.number = k.rem(self.thread, team.width)
        self.first = k.mul(self.number, team.lanes)

    @contextmanager
    def items(self, count: Index) -> Iterator[tuple[Value, Value]]:
        """A loop over the items [0, count), one per team at a time: the item, and whether it is one. A team that has none
        left goes along with the others of its block, as the last item, and must not write."""
        k, team = self.k, self.team
        block, grid = gpu.block_id.build(k.builder), gpu.grid_size.build(k.builder)
        own = k.div(self.thread, team.width)
        with k.loop(k.mul(block, team.per_block), count, k.mul(grid, team.per_block)) as base:
            item = k.add(base, own)
            yield k.value(k.min(item, k.sub(count, 1))), k.compare("lt", item, count)

    @contextmanager
    def alone(self, live: Value) -> Iterator[None]:
        """What only the first thread of a team does, if the team has an item."""
        with self.k.when(arith.bit_and(live, self.k.compare("eq", self.number, 0))):
            yield

    def sums(self, reductions: Sequence[Operation], low: Index, high: Index, at: Point) -> list[Value]:
        """Reduce [low, high) to one number per reduction, which the first thread of the team has. Called by whole warps."""
        k, team = self.k, self.team
        lanes, vectors = team.lanes, team.vectors
        combines = [COMBINE[reduction.declaration] for reduction in reductions]
        start = [identities(k, reduction, lanes) for reduction in reductions for _ in range(vectors)]
        main = k.add(low, k.round_down(k.sub(high, low), LANES))
        with k.carry(low, main, LANES, start) as state:
            following = list(state.carried)
            for u in range(vectors):
                for number, value in enumerate(at(self.place(state.index, u), None)):
                    place = number * vectors + u
                    following[place] = combines[number](following[place], value)
            state.next(*following)
        totals = list(state.results)
        for u in range(vectors):
            totals = self._rest(combines, totals, u, self.place(main, u), high, at)
        return [self.fold(combine, totals[n * vectors : (n + 1) * vectors]) for n, combine in enumerate(combines)]

    def place(self, base: Index, register: int) -> Index:
        """Where this thread's vector of a register begins in 64 elements."""
        return self.k.add(self.k.add(base, register * self.team.width * self.team.lanes), self.first)

    def _rest(
        self, combines: Sequence[Declaration], totals: list[Value], u: int, index: Index, high: Index, at: Point
    ) -> list[Value]:
        """The last, incomplete 64 elements of one register."""
        k, lanes, vectors = self.k, self.team.lanes, self.team.vectors

        def more() -> list[Value]:
            mask = k.mask(k.sub(high, index), lanes) if lanes > 1 else None
            out = list(totals)
            for number, value in enumerate(at(index, mask)):
                place = number * vectors + u
                sum_ = combines[number](out[place], value)
                out[place] = sum_ if mask is None else arith.select(mask, sum_, out[place])
            return out

        return list(k.choose(k.compare("lt", index, high), more, lambda: totals))

    def fold(self, combine: Declaration, vectors: list[Value]) -> Value:
        """64 lanes to one number: i with i + 32, then i + 16, 8, 4, 2, 1. The first thread of the team has it."""
        while len(vectors) > 1:
            half = len(vectors) // 2
            vectors = [combine(vectors[i], vectors[i + half]) for i in range(half)]
        (vector,) = vectors
        distance = self.team.width // 2
        while distance:
            vector = combine(vector, gpu.shuffle(vector, distance=distance))
            distance //= 2
        lanes = self.team.lanes
        if lanes == 1:
            return vector
        while lanes > 1:
            lanes //= 2
            low = loop.shuffle(vector, vector, lanes=tuple(range(lanes)))
            high = loop.shuffle(vector, vector, lanes=tuple(range(lanes, 2 * lanes)))
            vector = combine(low, high)
        value: Value = loop.extract(vector, lane=0)
        return value

    def shared(self, value: Value) -> Value:
        """What the first thread of the team has, for all of them."""
        result: Value = gpu.broadcast(value, width=self.team.width)
        return result

    def blocked_sums(self, reductions: Sequence[Operation], count: Index, live: Value, at: Point) -> list[Value]:
        """Reduce [0, count) (nothing if not `live`) block by block; the blocks' results go in turn to 64 second-level lanes,
        folded alike."""
        k, team = self.k, self.team
        lanes, vectors = team.lanes, team.vectors
        combines = [COMBINE[reduction.declaration] for reduction in reductions]
        start = [identities(k, reduction, lanes) for reduction in reductions for _ in range(vectors)]
        with k.carry(0, count, BLOCK, start) as state:
            low = state.index
            high = k.select_index(live, k.min(k.add(low, BLOCK), count), low)
            totals = self.sums(reductions, low, high, at)
            lane = k.rem(k.div(low, BLOCK), LANES)
            following = []
            for number, (combine, total) in enumerate(zip(combines, totals, strict=True)):
                total = k.broadcast(self.shared(total), lanes)
                for u in range(vectors):
                    old = state.carried[number * vectors + u]
                    following.append(arith.select(self._is_lane(k.sub(lane, self.place(0, u))), combine(old, total), old))
            state.next(*following)
        return [
            self.fold(combine, list(state.results[n * vectors : (n + 1) * vectors])) for n, combine in enumerate(combines)
        ]

    def _is_lane(self, lane: Index) -> Value:
        """Per element of a register: whether it has this number within it."""
        k, lanes = self.k, self.team.lanes
        if lanes == 1:
            return k.compare("eq", lane, 0)
        flags: Value = arith.compare(k.lane_ids(lanes, INDEX.dtype), k.broadcast(k.value(lane), lanes), predicate="eq")
        return flags

    def vector_loop(self, low: Index, high: Index, body: Callable[[Index, Value | None], object]) -> None:
        """`body(index, None)` for this thread's vectors of [low, high), whose size is a multiple of a vector's."""
        with self.k.loop(self.k.add(low, self.first), high, self.team.width * self.team.lanes) as index:
            body(index, None)
