"""The PTX emulator as a device (`LAZYTORCH_CUDA=emulator`): every check of memory and synchronisation, and no speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from lazytorch.codegen.gpu_target import gpu_target
from lazytorch.runtime.cuda.driver import Event, KernelCall, Stream
from lazytorch.runtime.ptx_emulator import Emulator

MEMORY = 1 << 29


class EmulatedDriver:
    """One emulated device of an architecture."""

    caches = False
    total_memory = MEMORY
    processors = 108
    threads_per_processor = 2048

    def __init__(self, architecture: str) -> None:
        number = int(gpu_target(architecture).name.removeprefix("sm_"))
        self.capability = divmod(number, 10)
        self.name = f"PTX emulator ({architecture})"
        self.emulator = Emulator(memory=MEMORY, capability=self.capability)
        self.in_use = 0
        self._sizes: dict[int, int] = {}

    def active(self) -> AbstractContextManager[object]:
        """Nothing has to be chosen."""
        return nullcontext()

    def stream(self, priority: int = 0, main: bool = False) -> EmulatedStream:
        """A name: everything is done at once."""
        return EmulatedStream(0 if main else id(self))

    def event(self, timing: bool = False) -> EmulatedEvent:
        """A moment."""
        return EmulatedEvent()

    def pinned(self, nbytes: int) -> HostMemory:
        """Ordinary memory."""
        return HostMemory(nbytes)

    def allocate(self, nbytes: int) -> int:
        """Exactly so many bytes, so that an access past them is found."""
        address: int = self.emulator.allocate(nbytes)
        self._sizes[address] = nbytes
        self.in_use += nbytes
        return address

    def free(self, address: int) -> None:
        """Give memory back."""
        self.emulator.free(address)
        self.in_use -= self._sizes.pop(address)

    def free_memory(self) -> int:
        """What is left."""
        return MEMORY - self.in_use

    def write(self, address: int, data: npt.NDArray[Any], stream: Stream) -> None:
        """Copy to the device."""
        self.emulator.write(address, data)

    def read(self, address: int, into: npt.NDArray[Any], stream: Stream, wait: bool = True) -> None:
        """Copy from the device."""
        data = self.emulator.read(address, into.nbytes)
        into.reshape(-1).view(np.uint8)[...] = data

    def copy(self, target: int, source: int, nbytes: int, stream: Stream) -> None:
        """Copy within the device."""
        self.emulator.copy(target, source, nbytes)

    def copy_from(self, other: EmulatedDriver, target: int, source: int, nbytes: int, stream: Stream) -> None:
        """Copy from another emulated device."""
        self.emulator.write(target, other.emulator.read(source, nbytes))

    def load(self, ptx: str, symbol: str) -> EmulatedKernel:
        """Parse a module."""
        return EmulatedKernel(self.emulator.load(ptx).kernel(symbol))

    def graph(self, calls: Sequence[KernelCall]) -> None:
        """Not offered: a launch costs nothing beside its execution here."""

    def finish_foreign(self, handle: int) -> None:
        """Nothing is asynchronous here."""

    def synchronize(self) -> None:
        """Nothing is asynchronous here."""


class EmulatedStream:
    """A stream whose work is done at once."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def synchronize(self) -> None:
        """It is done."""

    def done(self) -> bool:
        """Always."""
        return True

    def wait(self, event: Event) -> None:
        """It has happened."""


class EmulatedEvent:
    """The moment at which it was recorded."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def record(self, stream: Stream) -> None:
        """Now."""
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        """It has happened."""

    def done(self) -> bool:
        """Always."""
        return True

    def milliseconds_since(self, earlier: Any) -> float:
        """The time between."""
        return 1e3 * float(self.seconds - earlier.seconds)


class HostMemory:
    """Memory of the host."""

    def __init__(self, nbytes: int) -> None:
        self.array = np.empty(nbytes, np.uint8)


class EmulatedKernel:
    """A kernel on the emulator."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.report: Any = None

    def launch(self, blocks: int, threads: int, arguments: bytes, stream: Stream) -> None:
        """Run it now; what was counted is in `report`."""
        self.report = self.kernel.launch((blocks,), (threads,), arguments)
