"""Small arrays on their way to a device: through pinned memory, so that nobody waits for them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from lazytorch.runtime.cuda.driver import Driver, Event, Pinned, Stream

_BLOCK = 1 << 18
_MOST = 1 << 16  # larger arrays are copied by the driver, which has its own pinned memory


class Uploads:
    """Blocks of pinned memory that are filled from the front; a full one is used again when the copies from it are done."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._lock = threading.Lock()
        self._block: Pinned | None = None
        self._used = 0
        self._streams: dict[Stream, None] = {}
        self._full: list[tuple[Pinned, list[Event]]] = []

    def write(self, address: int, data: npt.NDArray[Any], stream: Stream) -> None:
        """Copy a contiguous array to the device, in order with a stream; it may change as soon as this returns."""
        if data.nbytes > _MOST:
            self.driver.write(address, data, stream)
            return
        with self._lock:
            if self._block is None or self._used + data.nbytes > _BLOCK:
                self._block = self._next_block()
            place = self._block.array[self._used : self._used + data.nbytes]
            place[...] = data.reshape(-1).view(np.uint8)
            self._used += -(-data.nbytes // 64) * 64
            self._streams[stream] = None
            self.driver.write(address, place, stream)

    def _next_block(self) -> Pinned:
        if self._block is not None:
            events = []
            for stream in self._streams:
                event = self.driver.event()
                event.record(stream)
                events.append(event)
            self._full.append((self._block, events))
            self._streams.clear()
        self._used = 0
        for number, (block, events) in enumerate(self._full):
            if all(event.done() for event in events):
                del self._full[number]
                return block
        return self.driver.pinned(_BLOCK)
