"""Memory of a CUDA device: freed blocks are kept by size and stream, and handed out again.

What the program's own stream has freed can be used again in it at once: whatever still uses it comes before. A block that
other streams have used, too, waits until events that were recorded in them when it was freed have happened. So neither the
host nor a stream ever waits for memory, except where the device has no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lazytorch.errors import OutOfMemoryError
from lazytorch.runtime.allocator import block_size
from lazytorch.runtime.cuda.driver import Driver, Event, Stream

_SMALLEST = 512
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class DeviceMemory:
    """The blocks of one device. `allocated` and `reserved` are bytes in use and bytes held, `peak_…` the most there were;
    `counts` how often blocks were asked for, came from the driver, and were freed."""

    def __init__(self, name: str, driver: Driver) -> None:
        self.name = name
        self.driver = driver
        self.limit = driver.total_memory
        self.counts: Counter[str] = Counter()
        self.allocated = self.reserved = self.peak_allocated = self.peak_reserved = 0
        self._idle: dict[tuple[int, Stream], list[int]] = {}
        self._waiting: list[tuple[list[Event], int, int, Stream]] = []

    def allocate(self, nbytes: int, stream: Stream) -> int:
        """The address of at least so many bytes, to be used in a stream. Raises OutOfMemoryError."""
        size = self._size(nbytes)
        idle = self._idle.get((size, stream))
        if not idle and self._waiting:
            self._collect(wait=False)
            idle = self._idle.get((size, stream))
        address = idle.pop() if idle else self._reserve(size)
        self.allocated += size
        self.counts["allocation"] += 1
        if self.allocated > self.peak_allocated:
            self.peak_allocated = self.allocated
        return address

    def release(self, address: int, nbytes: int, stream: Stream, others: Iterable[Stream] = ()) -> None:
        """Take memory back that belongs to a stream, and that others may still be using."""
        size = self._size(nbytes)
        self.allocated -= size
        self.counts["free"] += 1
        events = []
        for other in others:
            event = self.driver.event()
            event.record(other)
            events.append(event)
        if not self.driver.caches:
            self._give_back(size, address)
        elif events:
            self._waiting.append((events, size, address, stream))
        else:
            self._idle.setdefault((size, stream), []).append(address)

    def empty_cache(self) -> None:
        """Give idle memory back to the driver, when the device is done with it."""
        self._collect(wait=True)
        for (size, _), addresses in list(self._idle.items()):
            if addresses:
                self.driver.synchronize()
            while addresses:
                self._give_back(size, addresses.pop())

    def reset_peaks(self) -> None:
        """Count the peaks from now on."""
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def _give_back(self, size: int, address: int) -> None:
        self.driver.free(address)
        self.reserved -= size
        self.counts["driver free"] += 1

    def _size(self, nbytes: int) -> int:
        return max(block_size(nbytes), _SMALLEST) if self.driver.caches else max(nbytes, 1)

    def _collect(self, wait: bool) -> None:
        """Blocks that nothing uses any more become idle."""
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            events, size, address, stream = entry
            if wait:
                for event in events:
                    event.synchronize()
            elif not all(event.done() for event in events):
                self._waiting.append(entry)
                continue
            self._idle.setdefault((size, stream), []).append(address)

    def _reserve(self, size: int) -> int:
        address = self._from_driver(size)
        if address is None:
            self.counts["retry"] += 1
            self.empty_cache()
            address = self._from_driver(size)
        if address is None:
            self.counts["out of memory"] += 1
            raise OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {amount(size)}. GPU {self.name.removeprefix('cuda:')} has a total "
                f"capacity of {amount(self.driver.total_memory)} of which {amount(self.driver.free_memory())} is free. "
                f"{amount(self.allocated)} is allocated by lazytorch, and {amount(self.reserved - self.allocated)} is "
                "reserved by lazytorch but unallocated."
            )
        self.reserved += size
        self.counts["driver allocation"] += 1
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return address

    def _from_driver(self, size: int) -> int | None:
        if self.reserved + size > self.limit:
            return None
        try:
            return self.driver.allocate(size)
        except MemoryError:
            return None


def amount(nbytes: int) -> str:
    """A number of bytes as torch writes it.

    >>> amount(20 << 20), amount(512)
    ('20.00 MiB', '512 bytes')
    """
    for unit, name in _UNITS:
        if nbytes >= unit:
            return f"{nbytes / unit:.2f} {name}"
    return f"{nbytes} bytes"
