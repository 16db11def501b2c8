"""What the runtime asks of a GPU. pycuda_driver.py and emulated.py answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

INSTALL = (
    "install an NVIDIA driver and pycuda (pip install 'lazytorch[cuda]'), or set LAZYTORCH_CUDA=emulator to emulate one"
)


class NoDevice(Exception):
    """There is no CUDA device; the message says why, and what to do."""


class Stream(Protocol):
    """A queue of work. Work of one stream is done in order, that of different ones in any order."""

    handle: int
    """The driver's own name of it (CUstream), for other libraries."""

    def synchronize(self) -> None:
        """Wait until everything in it is done. Raises RuntimeError for what went wrong meanwhile."""

    def done(self) -> bool:
        """Whether everything in it is done."""

    def wait(self, event: Event) -> None:
        """What comes next begins when the event has happened."""


class Event(Protocol):
    """A place in a stream."""

    def record(self, stream: Stream) -> None:
        """It happens when what is in the stream now is done."""

    def synchronize(self) -> None:
        """Wait for it."""

    def done(self) -> bool:
        """Whether it has happened."""

    def milliseconds_since(self, earlier: Event) -> float:
        """The time between two events that have happened."""


class Pinned(Protocol):
    """Host memory that the device copies from and to by itself."""

    array: npt.NDArray[np.uint8]


class Kernel(Protocol):
    """A kernel of a loaded module."""

    def launch(self, blocks: int, threads: int, arguments: bytes, stream: Stream) -> None:
        """Put a grid of blocks into a stream. arguments: 8 bytes per parameter."""


class KernelCall(NamedTuple):
    """What a launch is given."""

    kernel: Kernel
    blocks: int
    threads: int
    arguments: bytes


class Graph(Protocol):
    """Launches that the driver takes at once."""

    def launch(self, stream: Stream) -> None:
        """Put them into a stream."""


class Driver(Protocol):
    """One device. Addresses are numbers."""

    name: str
    capability: tuple[int, int]
    total_memory: int
    processors: int
    threads_per_processor: int
    caches: bool
    """Whether asking for memory is slow, so that freed memory should be kept."""

    def active(self) -> AbstractContextManager[object]:
        """A block whose calls go to this device; what is called outside of one opens its own."""

    def stream(self, priority: int = 0, main: bool = False) -> Stream:
        """A new stream. main: one that is in order with the work of libraries that name no stream."""

    def event(self, timing: bool = False) -> Event:
        """A new event."""

    def pinned(self, nbytes: int) -> Pinned:
        """Memory of the host for fast copies, given back when nobody refers to it. Raises MemoryError."""

    def allocate(self, nbytes: int) -> int:
        """The address of so many bytes, a multiple of 256. Raises MemoryError."""

    def free(self, address: int) -> None:
        """Give memory back that nothing uses any more."""

    def free_memory(self) -> int:
        """Bytes that nobody has asked for."""

    def write(self, address: int, data: npt.NDArray[Any], stream: Stream) -> None:
        """Copy a contiguous array to the device; it may change at once, unless it is pinned."""

    def read(self, address: int, into: npt.NDArray[Any], stream: Stream, wait: bool = True) -> None:
        """Copy from the device, when everything in the stream is done. wait: it is there on return; else `into` is pinned,
        and kept by the caller."""

    def copy(self, target: int, source: int, nbytes: int, stream: Stream) -> None:
        """Copy within the device."""

    def copy_from(self, other: Any, target: int, source: int, nbytes: int, stream: Stream) -> None:
        """Copy from another device of the same kind of driver, when what is in its streams is done."""

    def load(self, ptx: str, symbol: str) -> Kernel:
        """Make the kernel of a PTX module callable."""

    def graph(self, calls: Sequence[KernelCall]) -> Graph | None:
        """Launches to be repeated as one, or None where the driver does not offer that."""

    def finish_foreign(self, handle: int) -> None:
        """Wait for a stream of another library (1: the legacy default stream, 2: that of the thread)."""

    def synchronize(self) -> None:
        """Wait until everything asked for is done. Raises RuntimeError for what went wrong meanwhile."""
