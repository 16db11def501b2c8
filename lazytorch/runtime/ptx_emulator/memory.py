"""Device memory: an arena with live allocations that every access is checked against."""

from bisect import bisect_right, insort
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.errors import DeviceMemoryError, OutOfDeviceMemory
from lazytorch.runtime.ptx_emulator.types import GARBAGE_BYTE, UNSIGNED, Array

# Addresses look like a GPU's, so that a host pointer or an offset passed by mistake is foreign.
BASE = 0x7F00_0000_0000
ALIGNMENT = 256  # of every allocation, as cuMemAlloc promises
REUSE_AFTER = 16 << 20  # bytes that are handed out before freed ones come again
RED_ZONE = 256  # bytes between allocations that belong to nobody

# The state of a byte, and the same for the bytes of wider words.
UNKNOWN, KNOWN, IN_FLIGHT = 0, 1, 2
ALL_KNOWN: dict[int, Any] = {
    size: dtype.type(int.from_bytes(bytes([KNOWN]) * size, "little"))
    for size, dtype in ((bits // 8, dtype) for bits, dtype in UNSIGNED.items())
}


class Region:
    """Bytes that threads access, with a state for each: UNKNOWN (never written), KNOWN, or IN_FLIGHT (of a copy not waited
    for)."""

    def __init__(self, size: int, lazy: bool = False) -> None:
        size = -(-size // 16) * 16
        # Zeros are committed page by page as they are touched, so a large arena costs nothing.
        self.data: Array = np.zeros(size, np.uint8) if lazy else np.full(size, GARBAGE_BYTE, np.uint8)
        self.state: Array = np.zeros(size, np.uint8)
        self.words = {bits // 8: self.data.view(dtype) for bits, dtype in UNSIGNED.items()}
        self.states = {bits // 8: self.state.view(dtype) for bits, dtype in UNSIGNED.items()}

    def load(self, index: NDArray[np.int64], element: int, count: int) -> list[Array]:
        """`count` consecutive words of `element` bytes at each byte index."""
        words, first = self.words[element], index >> _SHIFT[element]
        return [words.take(first + number if number else first) for number in range(count)]

    def store(self, index: NDArray[np.int64], element: int, values: list[Array]) -> None:
        words, states, first = self.words[element], self.states[element], index >> _SHIFT[element]
        for number, value in enumerate(values):
            place = first + number if number else first
            words[place] = value
            states[place] = ALL_KNOWN[element]

    def unknown(self, index: NDArray[np.int64], size: int) -> NDArray[np.intp] | None:
        """Which of the reads of `size` bytes at these indices meet a byte that is not KNOWN; None if none does."""
        step = min(size, 8)
        states, first, known = self.states[step], index >> _SHIFT[step], ALL_KNOWN[step]
        for number in range(size // step):
            bad = states.take(first + number if number else first) != known
            if bad.any():
                return np.flatnonzero(bad)
        return None

    def mark(self, index: NDArray[np.int64], size: int, state: int) -> None:
        """Set the state of `size` bytes at each index."""
        step = min(size, 8)
        states, first = self.states[step], index >> _SHIFT[step]
        for number in range(size // step):
            states[first + number] = ALL_KNOWN[step] * states.dtype.type(state)


_SHIFT = {1: 0, 2: 1, 4: 2, 8: 3}


class DeviceMemory:
    """Allocations of one device. Freed ranges are used again as late as possible, so that stale addresses are noticed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.region = Region(size, lazy=True)
        self.starts: list[int] = []  # offsets of live allocations, ascending
        self.sizes: dict[int, int] = {}
        self.cursor = 0
        self.allocated_bytes = 0
        self.recent = (0, 0)  # the allocation found last: accesses come in runs

    def allocate(self, nbytes: int) -> int:
        """The address of `nbytes` fresh bytes. Raises OutOfDeviceMemory."""
        if nbytes < 0:
            raise ValueError(f"cannot allocate {nbytes} bytes")
        if self.cursor > max(REUSE_AFTER, 4 * self.allocated_bytes):
            self.cursor = 0
        room = -(-(nbytes + RED_ZONE) // ALIGNMENT) * ALIGNMENT
        offset = self._gap(self.cursor, room)
        if offset is None:
            offset = self._gap(0, room)
        if offset is None:
            raise OutOfDeviceMemory(f"{nbytes} bytes do not fit: {self.allocated_bytes} of {self.size} bytes are in use")
        insort(self.starts, offset)
        self.sizes[offset] = nbytes
        self.allocated_bytes += nbytes
        self.cursor = offset + room
        self.region.data[offset : offset + nbytes] = GARBAGE_BYTE
        self.region.state[offset : offset + nbytes] = UNKNOWN
        return BASE + offset

    def _gap(self, start: int, room: int) -> int | None:
        """The first offset from `start` on with `room` free bytes."""
        index = bisect_right(self.starts, start) - 1
        if index >= 0:
            start = max(start, self._end(self.starts[index]))
        for following in self.starts[index + 1 :]:
            if following - start >= room:
                return start
            start = self._end(following)
        return start if self.size - start >= room else None

    def _end(self, offset: int) -> int:
        return offset + -(-(self.sizes[offset] + RED_ZONE) // ALIGNMENT) * ALIGNMENT

    def free(self, address: int) -> None:
        """Give an allocation back. Raises DeviceMemoryError for what is not the start of a live one."""
        offset = address - BASE
        if offset not in self.sizes:
            raise DeviceMemoryError(f"free({address:#x}): no live allocation starts there")
        self.allocated_bytes -= self.sizes.pop(offset)
        del self.starts[bisect_right(self.starts, offset) - 1]
        self.recent = (0, 0)

    def find(self, offset: int) -> tuple[int, int] | None:
        """The live allocation (start, stop), as offsets, that holds this offset."""
        start, stop = self.recent
        if start <= offset < stop:
            return self.recent
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            return None
        start = self.starts[index]
        stop = start + self.sizes[start]
        if offset >= stop:
            return None
        self.recent = (start, stop)
        return self.recent

    @property
    def extent(self) -> int:
        """Bytes up to the end of the last allocation."""
        return self.starts[-1] + self.sizes[self.starts[-1]] if self.starts else 0

    def host_range(self, address: int, nbytes: int) -> slice:
        """The bytes of the arena that a host copy reads or writes. Raises DeviceMemoryError if they are not one live
        allocation's."""
        offset = address - BASE
        if nbytes == 0:
            return slice(0, 0)
        found = self.find(offset)
        if found is None or offset + nbytes > found[1]:
            raise DeviceMemoryError(f"bytes {address:#x} to {address + nbytes:#x} are not within a live allocation")
        return slice(offset, offset + nbytes)

    def outside(self, offsets: NDArray[np.int64], size: int) -> NDArray[np.intp] | None:
        """Which accesses of `size` bytes leave the live allocations; None if none does."""
        low, high = int(offsets.min()), int(offsets.max())
        found = self.find(low)
        if found is not None and high + size <= found[1]:
            return None
        starts = np.array(self.starts, np.int64)
        stops = starts + np.array([self.sizes[start] for start in self.starts], np.int64)
        if not len(starts):
            return np.arange(len(offsets))
        which = np.searchsorted(starts, offsets, side="right") - 1
        bad = (which < 0) | (offsets + size > stops[which])
        return np.flatnonzero(bad) if bad.any() else None

    def describe(self, offset: int) -> str:
        """Where an offset lies, relative to the nearest allocation."""
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            return "before every allocation" if self.starts else "no allocation is live"
        start = self.starts[index]
        size = self.sizes[start]
        return f"{offset - start - size} bytes past the end of the {size}-byte allocation at {BASE + start:#x}"
