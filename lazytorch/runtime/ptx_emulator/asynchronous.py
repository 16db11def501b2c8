"""Copies from global to shared memory in flight (cp.async): the bytes arrive when the thread waits for their group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.errors import Location
from lazytorch.runtime.ptx_emulator.memory import KNOWN
from lazytorch.runtime.ptx_emulator.types import Array

if TYPE_CHECKING:
    from lazytorch.runtime.ptx_emulator.threads import Threads


@dataclass(slots=True)
class Copy:
    """One cp.async of some threads: where each one's bytes go, the bytes (rows), and the group that each copy belongs to."""

    slots: NDArray[np.intp]
    index: NDArray[np.int64]
    data: Array
    group: NDArray[np.int64]
    location: Location


@dataclass(slots=True)
class PendingCopies:
    copies: list[Copy] = field(default_factory=list)
    committed: NDArray[np.int64] | None = None  # groups that each thread has closed

    def groups(self, threads: Threads) -> NDArray[np.int64]:
        if self.committed is None:
            self.committed = np.zeros(threads.launch.total, np.int64)
        return self.committed

    def start(self, threads: Threads, index: NDArray[np.int64], data: Array, location: Location) -> None:
        self.copies.append(Copy(threads.slots, index, data, self.groups(threads)[threads.slots], location))

    def commit(self, threads: Threads) -> None:
        self.groups(threads)[threads.slots] += 1

    def wait(self, threads: Threads, most: int) -> None:
        """Let the copies of these threads arrive, all but the last `most` groups."""
        until = np.full(threads.launch.total, -1, np.int64)
        until[threads.slots] = self.groups(threads)[threads.slots] - most
        remaining: list[Copy] = []
        for copy in self.copies:
            ready = copy.group < until[copy.slots]
            if not ready.any():
                remaining.append(copy)
                continue
            if ready.all():
                self.arrive(copy, threads, copy.slots, copy.index, copy.data)
                continue
            self.arrive(copy, threads, copy.slots[ready], copy.index[ready], copy.data[ready])
            rest = ~ready
            remaining.append(Copy(copy.slots[rest], copy.index[rest], copy.data[rest], copy.group[rest], copy.location))
        self.copies = remaining

    def arrive(self, copy: Copy, threads: Threads, slots: NDArray[np.intp], index: NDArray[np.int64], data: Array) -> None:
        launch = threads.launch
        region = launch.shared
        size = data.shape[1]
        region.data[index[:, None] + np.arange(size)] = data
        region.mark(index, size, KNOWN)
        if launch.shared_races is not None:
            launch.shared_races.note_write(index, size, launch.all.subset(slots, ()), copy.location)
