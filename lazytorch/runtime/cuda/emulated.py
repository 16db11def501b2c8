"""The PTX emulator as a device (`LAZYTORCH_CUDA=emulator`): every check of memory and synchronisation, and no speed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lazytorch.codegen.gpu_target import gpu_target
from lazytorch.runtime.ptx_emulator import Emulator

MEMORY = 1 << 29


class EmulatedDriver:
    """One emulated device of an architecture."""

    caches = False
    total_memory = MEMORY
    processors = 108

    def __init__(self, architecture: str) -> None:
        number = int(gpu_target(architecture).name.removeprefix("sm_"))
        self.capability = divmod(number, 10)
        self.name = f"PTX emulator ({architecture})"
        self.emulator = Emulator(memory=MEMORY, capability=self.capability)

    def allocate(self, nbytes: int) -> int:
        """Exactly so many bytes, so that an access past them is found."""
        address: int = self.emulator.allocate(nbytes)
        return address

    def free(self, address: int) -> None:
        """Give memory back."""
        self.emulator.free(address)

    def write(self, address: int, data: npt.NDArray[Any]) -> None:
        """Copy to the device."""
        self.emulator.write(address, data)

    def read(self, address: int, into: npt.NDArray[Any]) -> None:
        """Copy from the device."""
        data = self.emulator.read(address, into.nbytes)
        into.reshape(-1).view(np.uint8)[...] = data

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""
        self.emulator.copy(target, source, nbytes)

    def load(self, ptx: str, symbol: str) -> EmulatedKernel:
        """Parse a module."""
        return EmulatedKernel(self.emulator.load(ptx).kernel(symbol))

    def synchronize(self) -> None:
        """Nothing is asynchronous here."""


class EmulatedKernel:
    """A kernel on the emulator."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.report: Any = None

    def launch(self, blocks: int, threads: int, arguments: bytes) -> None:
        """Run it now; what was counted is in `report`."""
        self.report = self.kernel.launch((blocks,), (threads,), arguments)
