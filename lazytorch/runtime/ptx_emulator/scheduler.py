"""Which threads execute when.

While all threads agree on where to go, a basic block executes for all of them at once. When they part, every thread has a
program counter of its own (the number of a basic block) and the lowest one executes first, which brings threads together
again where paths join. Threads wait at barriers, and at collective instructions for the lanes that the mask names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.decoding import Reader
from lazytorch.runtime.ptx_emulator.errors import DivergentSynchronisation, EndlessKernel, KernelFault, OutOfBoundsAccess
from lazytorch.runtime.ptx_emulator.launch import Launch
from lazytorch.runtime.ptx_emulator.program import Block, Branch, Collective, End, Exit, IndirectBranch
from lazytorch.runtime.ptx_emulator.synchronisation import Barrier, check_participants, reduce_over_blocks
from lazytorch.runtime.ptx_emulator.threads import Threads

# In place of a program counter.
WAITING, DONE = 1 << 29, 1 << 30

Slots = NDArray[np.intp]
Counters = NDArray[np.int32]


class Scheduler:
    """Runs the blocks of a launch to their end."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.blocks: list[Block] = launch.program.blocks
        self.executed = [0] * len(self.blocks)  # how often all threads executed a basic block together
        self.visits = [0] * len(self.blocks)  # and how often some of them did
        self.counters: Counters = np.zeros(0, np.int32)
        self.waiting_at: Counters = np.zeros(0, np.int32)  # the basic block whose end a thread waits at
        self.arrived: list[tuple[Barrier, Threads]] = []  # at barriers that they do not wait for

    def run(self) -> None:
        at: int | None = 0
        while at is not None and self._together(at):
            at = self._apart()
        self._count_what_all_executed()

    def _together(self, at: int) -> bool:
        """Execute from this basic block on while all threads go the same way. Whether they parted: then `counters` says
        where each of them goes; otherwise the kernel has ended."""
        blocks, threads, executed = self.blocks, self.launch.all, self.executed
        most = self.launch.request.most_visits
        while True:
            block = blocks[at]
            executed[at] += 1
            if executed[at] > most:
                raise self._endless(block, 0)
            for execute in block.body:
                execute(threads)
            following = self._follow(block.end, threads, at)
            if not isinstance(following, int):
                self.counters = following
                return True
            if following >= DONE:
                return False
            at = following

    def _follow(self, end: End | None, threads: Threads, at: int) -> int | Counters:
        """Where the threads go after a basic block: one place for all, or one for each. Barriers and collectives are
        executed, so all threads that take part must be here."""
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
            check_participants(end, threads)
            self._pass_barrier(end, threads)
            return at + 1
        return self._indirect(end, threads)

    def _indirect(self, end: IndirectBranch, threads: Threads) -> int | Counters:
        index = end.index(threads.registers)
        beyond = np.flatnonzero(threads.full(index) >= len(end.targets))
        if beyond.size:
            thread = int(threads.ids[beyond[0]])
            raise self.launch.fault(OutOfBoundsAccess, "index beyond the branch table", end.location, thread)
        following = end.targets[index]
        return int(following[0]) if (following == following[0]).all() else threads.full(following).astype(np.int32)

    def _apart(self) -> int | None:
        """Execute threads with program counters of their own until they meet (the block where they do) or all have ended."""
        counters, total = self.counters, self.launch.total
        self.waiting_at = np.full(total, -1, np.int32)
        while True:
            at = int(counters.min())
            if at == DONE:
                return None
            if at == WAITING:
                self._release()
                continue
            block = self.blocks[at]
            slots = np.flatnonzero(counters == at)
            if isinstance(block.end, Collective):
                slots = self._assemble(block.end, slots, at)
            if len(slots) == total:
                return at
            if len(slots):
                self._step(block, slots, at)

    def _step(self, block: Block, slots: Slots, at: int) -> None:
        everyone = self.launch.all
        part = everyone.subset(slots, block.reads)
        self.visits[at] += 1
        if self.visits[at] > self.launch.request.most_visits:
            raise self._endless(block, int(slots[0]))
        self.launch.report.count_instructions(block.opcodes, part.count, part.warp_count)
        for execute in block.body:
            execute(part)
        if not isinstance(block.end, Barrier):
            self.counters[slots] = self._follow(block.end, part, at)
        elif block.end.waits:
            self._wait(slots, at)
        else:
            self.arrived.append((block.end, part))
            self.counters[slots] = at + 1
        everyone.merge(part, slots, block.writes)

    def _wait(self, slots: Slots, at: int) -> None:
        self.counters[slots] = WAITING
        self.waiting_at[slots] = at

    def _go_on(self, slots: Slots, at: int) -> None:
        self.counters[slots] = at
        self.waiting_at[slots] = -1

    def _count_what_all_executed(self) -> None:
        launch = self.launch
        for times, block in zip(self.executed, self.blocks, strict=True):
            if times:
                launch.report.count_instructions(block.opcodes, times * launch.total, times * launch.warp_total)

    # Collectives
    def _assemble(self, end: Collective, slots: Slots, at: int) -> Slots:
        """Of the threads that came to a collective, and those waiting there, those whose mask is complete. The rest
        waits."""
        launch = self.launch
        here = np.flatnonzero((self.counters == at) | ((self.counters == WAITING) & (self.waiting_at == at)))
        present = self._lane_bits(here)
        alive = self._lane_bits(np.flatnonzero(self.counters != DONE))
        warps = launch.warp_of[here]
        part = launch.all.subset(here, self.blocks[at].reads)
        named = part.full(end.mask(part.registers)) if end.mask else np.full(len(here), 0xFFFFFFFF, np.uint32)
        ready: NDArray[np.bool_] = (named & alive[warps] & ~present[warps]) == 0
        self._go_on(here[ready], at)
        self._wait(here[~ready], at)
        complete: Slots = here[ready]
        return complete

    def _lane_bits(self, slots: Slots) -> NDArray[np.uint32]:
        """For every warp the set of these threads' lanes."""
        bits = np.zeros(self.launch.warp_total, np.uint32)
        np.bitwise_or.at(bits, self.launch.warp_of[slots], np.uint32(1) << self.launch.lane_of[slots].astype(np.uint32))
        return bits

    # Barriers
    def _pass_barrier(self, end: Barrier, threads: Threads) -> None:
        """All threads that take part have arrived."""
        self.launch.report.barriers += self.launch.blocks if threads.is_all else 1
        self.launch.synchronise(threads)
        if end.reduction:
            reduce_over_blocks(end, threads)

    def _release(self) -> None:
        """No thread can go on: let complete barriers pass. Raises DivergentSynchronisation if there is none."""
        waiting = np.flatnonzero(self.counters == WAITING)
        block_of = self.launch.block_of[waiting]
        passed = [self._release_block(int(number), waiting[block_of == number]) for number in np.unique(block_of)]
        if any(passed):
            return
        first = int(waiting[0])
        end = self.blocks[int(self.waiting_at[first])].end
        assert isinstance(end, Barrier | Collective)
        others = "others of their warp" if isinstance(end, Collective) else "others"
        raise self._fault(f"threads wait here for {others} that never come", end, first)

    def _release_block(self, number: int, waiting: Slots) -> bool:
        """Pass the barriers of one block of threads that are complete; whether any was."""
        passed = False
        for at in np.unique(self.waiting_at[waiting]).tolist():
            end = self.blocks[at].end
            if not isinstance(end, Barrier):
                continue
            here = waiting[self.waiting_at[waiting] == at]
            part = self.launch.all.subset(here, self.blocks[at].reads)
            if end.participants is None:
                self._need_whole_block(end, here, number)
            elif not self._enough(end, part):
                continue
            self._pass_barrier(end, part)
            self.launch.all.merge(part, here, end.result_slots)
            self._go_on(here, at + 1)
            passed = True
        return passed

    def _need_whole_block(self, end: Barrier, here: Slots, number: int) -> None:
        """A barrier of the whole block: every thread of it has to be here."""
        size = self.launch.threads_per_block
        if len(here) == size:
            return
        other = int(np.setdiff1d(np.arange(number * size, (number + 1) * size), here)[0])
        where = "has ended"
        if self.counters[other] != DONE:
            stands = self.blocks[int(self.waiting_at[other])].end
            assert isinstance(stands, Barrier | Collective)
            where = f"waits in {stands.location}"
        name = self.launch.coordinates(other + self.launch.first_thread)[0]
        message = f"divergent barrier: {len(here)} of {size} threads of the block wait, thread {name} {where};"
        raise self._fault(message, end, int(here[0]))

    def _enough(self, end: Barrier, part: Threads) -> bool:
        """Whether a barrier with a count has as many threads as it asks for; those that only arrived count, too."""
        assert end.participants is not None
        wanted = int(end.participants(part.registers).max())
        number = int(end.number(part.registers).max())
        block = self.launch.block_of[part.slots[0]]
        mine = [
            (other, threads)
            for other, threads in self.arrived
            if self.launch.block_of[threads.slots[0]] == block and int(other.number(threads.registers).max()) == number
        ]
        if part.count + sum(threads.count for _, threads in mine) < wanted:
            return False
        self.arrived = [pair for pair in self.arrived if pair not in mine]
        return True

    def _endless(self, block: Block, slot: int) -> KernelFault:
        assert block.location is not None
        message = f"the kernel does not seem to end: this was executed {self.launch.request.most_visits} times"
        return self.launch.fault(EndlessKernel, message, block.location, slot + self.launch.first_thread)

    def _fault(self, message: str, end: Barrier | Collective, slot: int) -> KernelFault:
        return self.launch.fault(DivergentSynchronisation, message, end.location, slot + self.launch.first_thread)


def _choose(guard: Reader | None, threads: Threads, target: int, otherwise: int) -> int | Counters:
    if guard is None:
        return target
    holds = guard(threads.registers)
    if holds.all():
        return target
    if not holds.any():
        return otherwise
    return np.where(threads.full(holds), np.int32(target), np.int32(otherwise))
