"""Execution of some blocks of a grid, all their threads at once.

While all threads agree on where to go, a block of instructions executes for all of them. When they part, every thread has its own
program counter (the number of a basic block) and the lowest one executes first, which brings threads together again where paths
join. Threads wait at barriers, and at collective instructions for the lanes that the mask names."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.errors import DivergentSynchronisation, KernelFault, Location, OutOfBoundsAccess
from lazytorch.runtime.ptx_emulator.counters import LaunchReport
from lazytorch.runtime.ptx_emulator.memory import DeviceMemory, Region
from lazytorch.runtime.ptx_emulator.program import (
    Barrier,
    Block,
    Branch,
    Collective,
    End,
    Exit,
    IndirectBranch,
    KernelProgram,
)
from lazytorch.runtime.ptx_emulator.races import RaceShadow
from lazytorch.runtime.ptx_emulator.special import special_register
from lazytorch.runtime.ptx_emulator.asynchronous import PendingCopies
from lazytorch.runtime.ptx_emulator.threads import WARP, Threads
from lazytorch.runtime.ptx_emulator.types import UNSIGNED, Array

Dimensions = tuple[int, int, int]

# In place of a program counter.
WAITING, DONE = 1 << 29, 1 << 30


class Launch:
    """Blocks `first_block` to `first_block + blocks` of a grid."""

    def __init__(
        self,
        program: KernelProgram,
        grid: Dimensions,
        block: Dimensions,
        first_block: int,
        blocks: int,
        memory: DeviceMemory,
        report: LaunchReport,
        shared_bytes: int,
        arguments: bytes,
        symbols: dict[str, int],
        start: int,
        global_races: RaceShadow | None,
        check: bool,
        count: bool,
        clock: int,
    ) -> None:
        self.program, self.memory, self.report = program, memory, report
        self.grid, self.block = grid, block
        self.first_block, self.blocks = first_block, blocks
        self.threads_per_block = block[0] * block[1] * block[2]
        self.total = total = self.threads_per_block * blocks
        self.first_thread = first_block * self.threads_per_block
        self.warps_per_block = -(-self.threads_per_block // WARP)
        self.warp_total = self.warps_per_block * blocks
        self.whole_warps = self.threads_per_block % WARP == 0
        self.check, self.count = check, count
        self.dynamic_shared = shared_bytes
        self.shared_limit = program.shared_bytes + shared_bytes
        self.shared_stride = -(-self.shared_limit // 16) * 16
        self.shared = Region(self.shared_stride * blocks)
        self.local = Region(program.local_bytes * total)
        # Times of accesses and barriers, see races.py.
        self.start, self.clock = start, clock
        self.synced: NDArray[np.int64] = np.full(total, start, np.int64)
        self.warp_synced: NDArray[np.int64] = np.full(total, start, np.int64)
        self.oldest_barrier = start  # the smallest of `synced`
        self.fenced: dict[int, int] = {}
        self.global_races = global_races
        self.shared_races = self._shared_races() if check else None
        self.executed = [0] * len(program.blocks)
        self.executed_by_warps = [0] * len(program.blocks)
        self.copies = PendingCopies()
        self.all = Threads(self, np.arange(total), self._registers(arguments, symbols), is_all=True)

    def _shared_races(self) -> RaceShadow | None:
        if not self.shared_limit:
            return None
        shift = self.program.smallest_access.get("shared", 1).bit_length() - 1
        return RaceShadow(-(-self.shared_stride * self.blocks >> shift), shift, by_warp=True)

    def _registers(self, arguments: bytes, symbols: dict[str, int]) -> list[Array]:
        program = self.program
        registers = program.slots.initial.copy()
        for name, slot in program.slots.special:
            registers[slot] = special_register(name, self)
        for offset, size, slot in program.slots.parameters:
            registers[slot] = np.frombuffer(arguments, UNSIGNED[size * 8], 1, offset)
        for name, bits, slot in program.slots.addresses:
            value = program.shared_offsets.get(name)
            if value is None:
                value = program.local_offsets.get(name)
            registers[slot] = np.array([symbols[name] if value is None else value], UNSIGNED[bits])
        return registers

    # Who is who
    @cached_property
    def thread_of(self) -> NDArray[np.int32]:
        """The number of each thread within its block."""
        return np.tile(np.arange(self.threads_per_block, dtype=np.int32), self.blocks)

    @cached_property
    def block_of(self) -> NDArray[np.int32]:
        """The block of each thread, counted within the chunk."""
        return np.repeat(np.arange(self.blocks, dtype=np.int32), self.threads_per_block)

    @cached_property
    def warp_of(self) -> NDArray[np.int32]:
        return (self.block_of * self.warps_per_block + self.thread_of // WARP).astype(np.int32)

    @cached_property
    def lane_of(self) -> NDArray[np.int32]:
        return (self.thread_of % WARP).astype(np.int32)

    @cached_property
    def shared_base(self) -> NDArray[np.int64]:
        """Where in the shared region each thread's block begins."""
        return self.block_of.astype(np.int64) * self.shared_stride

    def coordinates(self, thread: int) -> tuple[Dimensions, Dimensions]:
        """Thread and block indices of a thread, given its number in the grid."""
        block, inner = divmod(thread, self.threads_per_block)
        return _unravel(inner, self.block), _unravel(block, self.grid)

    def fault(self, kind: type[KernelFault], message: str, location: Location, thread: int) -> KernelFault:
        """A fault of a thread, given its number in the grid."""
        return kind(message, location, *self.coordinates(thread))

    # Fences order accesses of different blocks
    def fence(self, threads: Threads) -> None:
        self.clock += 1
        for block in np.unique(threads.ids // self.threads_per_block):
            self.fenced[int(block)] = self.clock

    def ordered_by_fences(
        self, other: NDArray[np.int32], mine: NDArray[np.int32], times: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether both blocks executed a fence since the other's access, as they do around a flag or a counter in memory."""
        if not self.fenced:
            return np.zeros(len(times), bool)
        theirs = np.array([self.fenced.get(int(block), 0) for block in other], np.int64)
        ours = np.array([self.fenced.get(int(block), 0) for block in mine], np.int64)
        return (theirs > times) & (ours > times)

    # Execution
    def run(self) -> None:
        at: int | None = 0
        while at is not None:
            at = self._together(at)
            if at is None:
                return
            at = self._apart()

    def _together(self, at: int) -> int | None:
        """Execute from this basic block on while all threads go the same way. None when the kernel has ended; otherwise the
        threads' program counters are set and the block returned is the one that parted them."""
        blocks, threads, executed = self.program.blocks, self.all, self.executed
        while True:
            block = blocks[at]
            executed[at] += 1
            for execute in block.body:
                execute(threads)
            following = self._follow(block.end, threads, at)
            if isinstance(following, int):
                if following >= DONE:
                    return None
                at = following
            else:
                self.counters: NDArray[np.int32] = following
                return at

    def _follow(self, end: End | None, threads: Threads, at: int) -> int | NDArray[np.int32]:
        """Where the threads go after a block: one place for all, or one for each. Barriers and collectives are executed, so all
        threads that take part must be here."""
        if end is None:
            return at + 1
        if isinstance(end, Branch):
            return _choose(end.guard, threads, end.target, at + 1)
        if isinstance(end, Exit):
            return _choose(end.guard, threads, DONE, at + 1)
        if isinstance(end, Collective):
            end.execute(threads)
            return at + 1
        if isinstance(end, Barrier):
            self._pass_barrier(end, threads)
            return at + 1
        return self._indirect(end, threads)

    def _indirect(self, end: IndirectBranch, threads: Threads) -> int | NDArray[np.int32]:
        index = end.index(threads.registers)
        if (index >= len(end.targets)).any():
            first = int(np.flatnonzero(threads.full(index) >= len(end.targets))[0])
            raise self.fault(OutOfBoundsAccess, "index beyond the branch table", end.location, int(threads.ids[first]))
        following = end.targets[index]
        return int(following[0]) if (following == following[0]).all() else threads.full(following).astype(np.int32)

    def _apart(self) -> int | None:
        """Execute threads with program counters of their own until they meet (the block where they do) or all have ended."""
        counters, blocks = self.counters, self.program.blocks
        self.waiting_at = np.full(self.total, -1, np.int32)
        while True:
            at = int(counters.min())
            if at >= WAITING:
                if at == DONE:
                    return None
                self._release(counters)
                continue
            block = blocks[at]
            slots = np.flatnonzero(counters == at)
            if isinstance(block.end, Collective):
                slots = self._assemble(block.end, slots, at, counters)
                if not len(slots):
                    continue
            if len(slots) == self.total:
                return at
            self._step(block, slots, at, counters)

    def _step(self, block: Block, slots: NDArray[np.intp], at: int, counters: NDArray[np.int32]) -> None:
        part = self.all.subset(slots, block.reads)
        self.executed_by_part(at, part)
        for execute in block.body:
            execute(part)
        if isinstance(block.end, Barrier):
            self._arrive(block.end, part, at, counters)
        else:
            counters[slots] = self._follow(block.end, part, at)
        self.all.merge(part, slots, block.writes)

    def executed_by_part(self, at: int, part: Threads) -> None:
        report, block = self.report, self.program.blocks[at]
        instructions = block.opcodes.total()
        report.thread_instructions += instructions * part.count
        report.warp_instructions += instructions * part.warp_count
        for opcode, number in block.opcodes.items():
            report.instructions_by_opcode[opcode] = report.instructions_by_opcode.get(opcode, 0) + number * part.count

    def finish_report(self) -> None:
        """Add what all threads executed together."""
        report = self.report
        for times, block in zip(self.executed, self.program.blocks, strict=True):
            if times:
                instructions = block.opcodes.total() * times
                report.thread_instructions += instructions * self.total
                report.warp_instructions += instructions * self.warp_total
                for opcode, number in block.opcodes.items():
                    already = report.instructions_by_opcode.get(opcode, 0)
                    report.instructions_by_opcode[opcode] = already + number * times * self.total

    # Collectives
    def _assemble(self, end: Collective, slots: NDArray[np.intp], at: int, counters: NDArray[np.int32]) -> NDArray[np.intp]:
        """Of the threads that came to a collective, and those waiting there, those whose mask is complete. The rest waits."""
        here = np.flatnonzero((counters == at) | ((counters == WAITING) & (self.waiting_at == at)))
        present = self._lane_bits(here)
        alive = self._lane_bits(np.flatnonzero(counters != DONE))
        warps = self.warp_of[here]
        part = self.all.subset(here, self.program.blocks[at].reads)
        named = part.full(end.mask(part.registers)) if end.mask else np.full(len(here), 0xFFFFFFFF, np.uint32)
        ready = (named & alive[warps] & ~present[warps]) == 0
        counters[here] = np.where(ready, at, WAITING)
        self.waiting_at[here] = np.where(ready, -1, at)
        return here[ready]

    def _lane_bits(self, slots: NDArray[np.intp]) -> NDArray[np.uint32]:
        """For every warp the set of these threads' lanes."""
        bits = np.zeros(self.warp_total, np.uint32)
        np.bitwise_or.at(bits, self.warp_of[slots], np.uint32(1) << self.lane_of[slots].astype(np.uint32))
        return bits

    # Barriers
    def _pass_barrier(self, end: Barrier, threads: Threads) -> None:
        """All threads of their blocks have arrived (those in `threads`)."""
        self.clock += 1
        self.report.barriers += self.blocks if threads.is_all else 1
        if threads.is_all:
            if end.participants is not None:
                self._check_participants(end, threads)
            self.synced = np.full(self.total, self.clock, np.int64)
            self.oldest_barrier = self.clock
        else:
            self.synced[threads.slots] = self.clock
            self.oldest_barrier = int(self.synced.min())
        if end.reduction:
            self._reduce(end, threads)

    def _check_participants(self, end: Barrier, threads: Threads) -> None:
        assert end.participants is not None
        count = int(end.participants(threads.registers).max())
        if count < self.threads_per_block:
            message = f"a barrier for {count} threads that all {self.threads_per_block} threads of the block reach"
            raise self.fault(DivergentSynchronisation, message, end.location, self.first_thread)
        if count > -(-self.threads_per_block // WARP) * WARP:
            message = f"a barrier for {count} threads in a block of {self.threads_per_block}"
            raise self.fault(DivergentSynchronisation, message, end.location, self.first_thread)

    def _reduce(self, end: Barrier, threads: Threads) -> None:
        assert end.source is not None and end.result is not None
        holds = threads.full(end.source(threads.registers))
        blocks = self.block_of[threads.slots]
        votes = np.bincount(blocks[holds], minlength=self.blocks)
        voters = np.bincount(blocks, minlength=self.blocks)
        if end.reduction == "popc":
            end.result(threads.registers, votes[blocks].astype(np.uint32))
        else:
            end.result(threads.registers, ((votes == voters) if end.reduction == "and" else (votes > 0))[blocks])

    def _arrive(self, end: Barrier, part: Threads, at: int, counters: NDArray[np.int32]) -> None:
        if not end.waits:
            self.arrived = getattr(self, "arrived", [])
            self.arrived.append((end, part))
            counters[part.slots] = at + 1
            return
        counters[part.slots] = WAITING
        self.waiting_at[part.slots] = at

    def _release(self, counters: NDArray[np.int32]) -> None:
        """No thread can go on: let complete barriers pass. Raises DivergentSynchronisation if there is none."""
        waiting = np.flatnonzero(counters == WAITING)
        progress = False
        for chunk_block in np.unique(self.block_of[waiting]):
            mine = waiting[self.block_of[waiting] == chunk_block]
            progress |= self._release_block(int(chunk_block), mine, counters)
        if not progress:
            first = int(waiting[0])
            end = self.program.blocks[int(self.waiting_at[first])].end
            assert isinstance(end, Barrier | Collective)
            message = (
                "threads wait here for others of their warp that never come"
                if isinstance(end, Collective)
                else "deadlock: threads wait at a barrier for others that never come"
            )
            raise self.fault(DivergentSynchronisation, message, end.location, first + self.first_thread)

    def _release_block(self, chunk_block: int, mine: NDArray[np.intp], counters: NDArray[np.int32]) -> bool:
        """Pass the barriers of one block that are complete; whether any was."""
        progress = False
        for at in np.unique(self.waiting_at[mine]):
            end = self.program.blocks[int(at)].end
            if not isinstance(end, Barrier):
                continue
            here = mine[self.waiting_at[mine] == at]
            if end.participants is None:
                self._whole_block(end, here, chunk_block, counters)
            elif not self._enough(end, here, int(at), mine):
                continue
            block = self.program.blocks[int(at)]
            part = self.all.subset(here, block.reads | end.result_slots)
            self._pass_barrier(end, part)
            if end.result_slots:
                self.all.merge(part, here, end.result_slots)
            counters[here] = int(at) + 1
            self.waiting_at[here] = -1
            progress = True
        return progress

    def _whole_block(self, end: Barrier, here: NDArray[np.intp], chunk_block: int, counters: NDArray[np.int32]) -> None:
        """A barrier of the whole block: every thread of it has to be here."""
        if len(here) == self.threads_per_block:
            return
        first = chunk_block * self.threads_per_block
        others = np.setdiff1d(np.arange(first, first + self.threads_per_block), here)
        other = int(others[0])
        where = "has ended"
        if counters[other] != DONE:
            stands = self.program.blocks[int(self.waiting_at[other])].end
            where = f"waits in {stands.location}" if isinstance(stands, Barrier | Collective) else "is elsewhere"
        message = f"divergent barrier: {len(here)} of {self.threads_per_block} threads of the block wait, thread {self.coordinates(other + self.first_thread)[0]} {where};"
        raise self.fault(DivergentSynchronisation, message, end.location, int(here[0]) + self.first_thread)

    def _enough(self, end: Barrier, here: NDArray[np.intp], at: int, mine: NDArray[np.intp]) -> bool:
        """Whether a barrier with a count has as many threads as it asks for; those that only arrived are counted too."""
        assert end.participants is not None
        part = self.all.subset(here, self.program.blocks[at].reads)
        wanted = int(end.participants(part.registers).max())
        number = int(end.number(part.registers).max())
        block = self.block_of[here[0]]
        arrivals = 0
        for other, threads in getattr(self, "arrived", []):
            same = self.block_of[threads.slots] == block
            if same.any() and int(other.number(threads.registers).max()) == number:
                arrivals += int(same.sum())
        if len(here) + arrivals < wanted:
            return False
        self.arrived = []
        return True


def _choose(guard: object, threads: Threads, target: int, otherwise: int) -> int | NDArray[np.int32]:
    if guard is None:
        return target
    holds: Array = guard(threads.registers)  # type: ignore[operator]
    if holds.all():
        return target
    if not holds.any():
        return otherwise
    return np.where(threads.full(holds), np.int32(target), np.int32(otherwise))


def _unravel(number: int, shape: Dimensions) -> Dimensions:
    x, y, _ = shape
    return number % x, number // x % y, number // (x * y)
