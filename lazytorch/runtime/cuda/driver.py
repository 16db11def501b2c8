"""What the runtime asks of a GPU. pycuda_driver.py and emulated.py answer."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

INSTALL = (
    "install an NVIDIA driver and pycuda (pip install 'lazytorch[cuda]'), or set LAZYTORCH_CUDA=emulator to emulate one"
)


class NoDevice(Exception):
    """There is no CUDA device; the message says why, and what to do."""


class Kernel(Protocol):
    """A kernel of a loaded module."""

    def launch(self, blocks: int, threads: int, arguments: bytes) -> None:
        """Run a grid of blocks, after what was launched before. arguments: 8 bytes per parameter."""


class Driver(Protocol):
    """One device. Addresses are numbers; work is done in the order in which it is asked for."""

    name: str
    capability: tuple[int, int]
    total_memory: int
    processors: int
    caches: bool
    """Whether asking for memory is slow, so that freed memory should be kept."""

    def allocate(self, nbytes: int) -> int:
        """The address of so many bytes, a multiple of 256. Raises MemoryError."""

    def free(self, address: int) -> None:
        """Give memory back."""

    def write(self, address: int, data: npt.NDArray[Any]) -> None:
        """Copy a contiguous array to the device."""

    def read(self, address: int, into: npt.NDArray[Any]) -> None:
        """Copy from the device, when everything asked for is done."""

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""

    def load(self, ptx: str, symbol: str) -> Kernel:
        """Make the kernel of a PTX module callable."""

    def synchronize(self) -> None:
        """Wait until everything asked for is done. Raises RuntimeError for what went wrong meanwhile."""
