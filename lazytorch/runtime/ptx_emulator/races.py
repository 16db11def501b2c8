"""Data races: who touched each granule of memory last, and whether a barrier lies between.

The emulator executes instructions one after the other, which gives every access a time. Two accesses of different
threads, one of them a write, are ordered if a barrier that both threads took part in lies between; otherwise they race.
Accesses of different blocks are ordered by nothing but fences of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.errors import DataRace, Location

if TYPE_CHECKING:
    from lazytorch.runtime.ptx_emulator.launch import Launch
    from lazytorch.runtime.ptx_emulator.threads import Threads

# In place of a thread's number. Readers: several of one group are -(group + 2). Writers: an atomic one is -(thread + 2).
SEVERAL = -1

Mask = NDArray[np.bool_]
Ids = NDArray[np.int32]
Times = NDArray[np.int64]
Places = NDArray[np.int64]


class Shadows:
    """The shadows of a device's memories, by their grain. They are never cleared: only times since the beginning of a
    launch (of its blocks, in shared memory) count."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], RaceShadow] = {}

    def get(self, space: str, smallest_access: dict[str, int], size: int) -> RaceShadow | None:
        """The shadow of `size` bytes with granules as large as the kernel's smallest access to this memory; None if it has
        no access."""
        if space not in smallest_access or not size:
            return None
        shift = smallest_access[space].bit_length() - 1
        granules = (size >> shift) + 32  # an access may begin in the last granule
        shadow = self.known.get((space, shift))
        if shadow is None or len(shadow.writer) < granules:
            shadow = self.known[space, shift] = RaceShadow(2 * granules, shift, is_shared=space == "shared")
        return shadow


class RaceShadow:
    """For every granule (2**shift bytes) the last writer and reader with their times. Readers are grouped by warp in
    shared memory, which is one block's, and by block in global memory."""

    def __init__(self, granules: int, shift: int, is_shared: bool) -> None:
        self.shift = shift
        self.is_shared = is_shared
        self.writer: Ids = np.zeros(granules, np.int32)
        self.written: Times = np.zeros(granules, np.int64)
        self.reader: Ids = np.zeros(granules, np.int32)
        self.read: Times = np.zeros(granules, np.int64)

    def _granules(self, index: Places, size: int, threads: Threads) -> tuple[Places, Ids]:
        """The granules of accesses of `size` bytes at each index, and the thread that touches each."""
        first = index >> self.shift
        number = size >> self.shift
        if number <= 1:
            return first, threads.ids
        places = (first[:, None] + np.arange(number)).reshape(-1)
        return places, np.repeat(threads.ids, number) if len(index) == threads.count else threads.ids

    def _since(self, launch: Launch) -> int:
        """Accesses before this time are ordered before every thread's present one."""
        return launch.oldest_barrier if self.is_shared else launch.start

    def note_read(self, index: Places, size: int, threads: Threads, location: Location, strong: bool = False) -> None:
        """A read of `size` bytes at each index; one index stands for all threads. A strong (volatile or relaxed) read may
        meet atomic writers."""
        launch = threads.launch
        launch.clock += 1
        if len(index) < threads.count:
            self._note_common_read(index, size, threads, location, strong)
            return
        place, me = self._granules(index, size, threads)
        self._meet(self.writer, self.written, place, me, launch, location, "read", strong)
        if strong:
            return
        earlier, before = self.read[place], self.reader[place]
        self.reader[place] = me
        self.read[place] = launch.clock
        shared = self.reader[place] != me
        also: Mask | None = None
        since = self._since(launch)
        if int(earlier.max()) >= since:
            also = (earlier >= since) & (before != me)
            chosen = np.flatnonzero(also)
            also[chosen[self._ordered(before[chosen], earlier[chosen], me[chosen], launch)]] = False
            shared |= also
        if shared.any():
            chosen = np.flatnonzero(shared)
            also = None if also is None else also[chosen]
            self._note_several(place[chosen], before[chosen], also, me[chosen], launch)

    def _note_common_read(self, index: Places, size: int, threads: Threads, location: Location, strong: bool) -> None:
        """All threads read one place."""
        for place in self._granules(index, size, threads)[0]:
            granule = np.array([place])
            if int(self.written[place]) >= self._since(threads.launch):
                granule = np.full(threads.count, place)
            ids = threads.ids[: len(granule)]
            self._meet(self.writer, self.written, granule, ids, threads.launch, location, "read", strong)
            if not strong:
                self.reader[place], self.read[place] = SEVERAL, threads.launch.clock

    def _note_several(self, place: Places, before: Ids, also: Mask | None, me: Ids, launch: Launch) -> None:
        """Mark granules that several threads read by the readers' group if they share one. `also` says where the thread
        that read `before` still counts."""
        group = self._group(me, launch)
        mark = -(group + 2)
        self.reader[place] = mark
        mixed = self.reader[place] != mark
        if also is not None:
            mixed |= also & (self._group(before, launch) != group)
        if mixed.any():
            self.reader[place[mixed]] = SEVERAL

    def _group(self, who: Ids, launch: Launch) -> Ids:
        """The warp or block of each thread or group of threads; -1 for several."""
        if self.is_shared:
            group = launch.warp_of[np.maximum(who - launch.first_thread, 0)]
        else:
            group = np.maximum(who, 0) // launch.threads_per_block
        if int(who.min()) >= 0:
            return group
        return np.where(who >= 0, group, np.where(who == SEVERAL, -1, -(who + 2))).astype(np.int32)

    def note_write(
        self, index: Places, size: int, threads: Threads, location: Location, atomic: bool = False
    ) -> Mask | None:
        """A write; there is an index for every thread. Returns which threads wrote a granule that another thread wrote in
        the same instruction, or None."""
        launch = threads.launch
        launch.clock += 1
        place, me = self._granules(index, size, threads)
        self._meet(self.writer, self.written, place, me, launch, location, "write", atomic)
        self._meet(self.reader, self.read, place, me, launch, location, "write", False)
        if atomic:
            self._note_atomic(place, me, launch)
            return None
        self.written[place] = launch.clock
        self.writer[place] = me
        others: Mask = self.writer[place] != me
        if not others.any():
            return None
        repeated: Mask = np.logical_or.reduce(others.reshape(threads.count, -1), axis=1)
        return repeated

    def _note_atomic(self, place: Places, me: Ids, launch: Launch) -> None:
        """Atomic accesses of several threads to one place are a crowd; those of one thread stay its own."""
        mark = -(me + 2)
        before = self.writer[place]
        others = (before < 0) & (before != mark) & (self.written[place] >= self._since(launch))
        self.writer[place] = mark
        others |= self.writer[place] != mark
        self.writer[place[others]] = SEVERAL
        self.written[place] = launch.clock

    def _meet(
        self,
        who: Ids,
        when: Times,
        place: Places,
        me: Ids,
        launch: Launch,
        location: Location,
        verb: str,
        with_atomics: bool,
    ) -> None:
        """Raise DataRace if an earlier access is not ordered before this one."""
        times = when[place]
        since = self._since(launch)
        if int(times.max()) < since:
            return
        others = who[place]
        suspects = (times >= since) & (others != me)
        if who is self.writer:
            if with_atomics:
                suspects &= others >= 0
            others = np.where(others < SEVERAL, -(others + 2), others)
            suspects &= others != me
        chosen = np.flatnonzero(suspects)
        if not chosen.size:
            return
        bad = chosen[~self._ordered(others[chosen], times[chosen], me[chosen], launch)]
        if bad.size:
            culprit = int(others[bad[0]])
            name = "another thread" if culprit < 0 else "thread {} of block {}".format(*launch.coordinates(culprit))
            earlier = "wrote" if who is self.writer else "read"
            message = f"race: this {verb} is not ordered after {name} {earlier} the same place"
            raise launch.fault(DataRace, message, location, int(me[bad[0]]))

    def _ordered(self, others: Ids, times: Times, me: Ids, launch: Launch) -> Mask:
        """Which of the earlier accesses (by `others` at `times`) happened before the present one (by `me`)."""
        if not len(me):
            return np.zeros(0, bool)
        slots = me - launch.first_thread
        before_barrier: Mask = times < launch.synced[slots]
        if self.is_shared and before_barrier.all():
            return before_barrier
        group, mine = self._group(others, launch), self._group(me, launch)
        same: Mask = group == mine
        if self.is_shared:
            before_barrier |= same & (times < launch.warp_synced[slots])
            return before_barrier
        same &= before_barrier
        return same | launch.ordered_by_fences(group, mine, times)
