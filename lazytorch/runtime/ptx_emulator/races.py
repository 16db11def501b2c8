"""Data races: who touched each granule of memory last, and whether a barrier lies between.

The emulator executes instructions one after the other, which gives every access a time. Two accesses of different threads, one
of them a write, are ordered if a barrier that both threads took part in lies between; otherwise they race."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.errors import DataRace, Location

if TYPE_CHECKING:
    from lazytorch.runtime.ptx_emulator.threads import Threads

# In place of a thread's number: many readers (of one group: -(group + 2)), or a writer that was atomic.
SEVERAL = -1
ATOMIC = -1

Mask = NDArray[np.bool_]
Ids = NDArray[np.int32]


class RaceShadow:
    """For every granule the last writer and reader with their times. `by_warp`: readers are grouped by warp, else by block."""

    def __init__(self, granules: int, shift: int, by_warp: bool) -> None:
        self.shift = shift
        self.by_warp = by_warp
        self.writer: Ids = np.zeros(granules, np.int32)
        self.written: NDArray[np.int64] = np.zeros(granules, np.int64)
        self.reader: Ids = np.zeros(granules, np.int32)
        self.read: NDArray[np.int64] = np.zeros(granules, np.int64)

    def granules(self, index: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
        first = index >> self.shift
        return [first + number if number else first for number in range(max(1, size >> self.shift))]

    def note_read(
        self, index: NDArray[np.int64], size: int, threads: Threads, location: Location, strong: bool = False
    ) -> None:
        """A read of `size` bytes at each index. A strong (volatile or relaxed) one may meet atomic writers."""
        launch = threads.launch
        launch.clock += 1
        me = threads.ids
        since = self._since(threads)
        for place in self.granules(index, size):
            self._meet(self.writer, self.written, place, threads, location, "read", "wrote", strong)
            earlier, before = self.read[place], self.reader[place]
            self.reader[place] = me if len(place) == len(me) else SEVERAL
            self.read[place] = launch.clock
            if len(place) < len(me):
                continue
            shared = self.reader[place] != me
            also: Mask | None = None
            if int(earlier.max()) >= since:
                also = (earlier >= since) & (before != me)
                chosen = np.flatnonzero(also)
                also[chosen[self._ordered(before[chosen], earlier[chosen], threads, chosen)]] = False
                shared |= also
            if shared.any():
                chosen = np.flatnonzero(shared)
                self._several(place[chosen], before, also, threads, chosen)

    def _since(self, threads: Threads) -> int:
        """Accesses before this time are ordered before every thread's present one."""
        return threads.launch.oldest_barrier if self.by_warp else threads.launch.start

    def _several(
        self, place: NDArray[np.int64], before: Ids, also: Mask | None, threads: Threads, chosen: NDArray[np.intp]
    ) -> None:
        """Mark granules that several threads read by the readers' group if they share one."""
        group = threads.warps[chosen] if self.by_warp else threads.ids[chosen] // threads.launch.threads_per_block
        mark = -(group + 2)
        self.reader[place] = mark
        mixed = self.reader[place] != mark
        if also is not None:
            mixed |= also[chosen] & (self._group(before[chosen], threads) != group)
        if mixed.any():
            self.reader[place[mixed]] = SEVERAL

    def _group(self, who: Ids, threads: Threads) -> Ids:
        """The warp or block of each thread or group of threads; -1 for several."""
        launch = threads.launch
        known = np.maximum(who, launch.first_thread)
        group = (
            launch.warp_of[known - launch.first_thread] if self.by_warp else np.maximum(who, 0) // launch.threads_per_block
        )
        return np.where(who >= 0, group, np.where(who == SEVERAL, -1, -(who + 2))).astype(np.int32)

    def note_write(
        self, index: NDArray[np.int64], size: int, threads: Threads, location: Location, atomic: bool = False
    ) -> Mask | None:
        """A write. Returns which threads wrote a granule that another thread wrote in the same instruction."""
        launch = threads.launch
        launch.clock += 1
        me = threads.ids
        repeated: Mask | None = None
        for place in self.granules(index, size):
            self._meet(self.writer, self.written, place, threads, location, "write", "wrote", atomic)
            self._meet(self.reader, self.read, place, threads, location, "write", "read", False)
            self.written[place] = launch.clock
            if atomic:
                self.writer[place] = ATOMIC
                continue
            self.writer[place] = me
            others = self.writer[place] != me
            if others.any():
                repeated = others if repeated is None else repeated | others
        return repeated

    def _meet(
        self,
        who: Ids,
        when: NDArray[np.int64],
        place: NDArray[np.int64],
        threads: Threads,
        location: Location,
        verb: str,
        earlier_verb: str,
        with_atomics: bool,
    ) -> None:
        """Raise DataRace if an earlier access is not ordered before this one."""
        launch = threads.launch
        times = when[place]
        since = self._since(threads)
        if int(times.max()) < since:
            return
        others, me = who[place], threads.ids
        suspects = (times >= since) & (others != me)
        if with_atomics:
            suspects &= others != ATOMIC
        if not suspects.any():
            return
        chosen = np.flatnonzero(suspects)
        if len(times) == 1 and threads.count > 1:  # one address for all threads
            chosen = np.flatnonzero(others != me)
            times, others = np.broadcast_to(times, me.shape), np.broadcast_to(others, me.shape)
        bad = chosen[~self._ordered(others[chosen], times[chosen], threads, chosen)]
        if bad.size:
            first = int(bad[0])
            culprit = int(others[first])
            name = "another thread" if culprit < 0 else "thread {} of block {}".format(*launch.coordinates(culprit))
            thread, block = launch.coordinates(int(me[first]))
            raise DataRace(
                f"race: this {verb} is not ordered after {name} {earlier_verb} the same place", location, thread, block
            )

    def _ordered(self, others: Ids, times: NDArray[np.int64], threads: Threads, chosen: NDArray[np.intp]) -> Mask:
        """Which of the earlier accesses (by `others` at `times`) happened before the chosen threads' present one."""
        launch = threads.launch
        slots = threads.slots[chosen]
        before_barrier = times < launch.synced[slots]
        group, mine = self._group(others, threads), self._group(threads.ids[chosen], threads)
        ordered: Mask
        if self.by_warp:  # shared memory: all accesses are of one block
            ordered = before_barrier | ((group == mine) & (times < launch.warp_synced[slots]))
            return ordered
        ordered = (group == mine) & before_barrier
        return ordered | launch.ordered_by_fences(group, mine, times)
