"""What the emulator reports: PTX that it cannot load, and faults of running kernels."""

from typing import NamedTuple


class Location(NamedTuple):
    """Where an instruction stands: its kernel, its line in the PTX text, that text, and the user's line if the PTX names
    it."""

    kernel: str
    line: int
    text: str
    source: str | None = None

    def __str__(self) -> str:
        user = f" [{self.source}]" if self.source else ""
        return f"{self.kernel}, PTX line {self.line}: {self.text}{user}"


class PtxError(ValueError):
    """PTX text that the emulator does not accept: a syntax error, an unknown instruction, an unresolved name."""

    def __init__(self, message: str, line: int = 0, text: str = "") -> None:
        super().__init__(f"PTX line {line}: {message}" + (f": {text}" if text else "") if line else message)
        self.line = line


class DeviceMemoryError(RuntimeError):
    """A host-side use of device memory that is not allocated."""


class OutOfDeviceMemory(DeviceMemoryError, MemoryError):
    """An allocation that does not fit."""


class LaunchError(RuntimeError):
    """A launch whose grid, block or arguments do not fit the kernel."""


class KernelFault(RuntimeError):
    """What a running kernel did wrong. `location` says where, `thread` and `block` who (the first offender)."""

    def __init__(
        self,
        message: str,
        location: Location,
        thread: tuple[int, int, int] | None = None,
        block: tuple[int, int, int] | None = None,
    ) -> None:
        who = f" (thread {thread} of block {block})" if thread is not None else ""
        super().__init__(f"{message}{who} in {location}")
        self.location = location
        self.thread = thread
        self.block = block


class OutOfBoundsAccess(KernelFault):
    """An access outside every live allocation, or outside the block's shared memory or the thread's local memory."""


class MisalignedAccess(KernelFault):
    """An address that is not a multiple of the access's size."""


class UninitialisedRead(KernelFault):
    """A read of memory that nobody wrote, or that an asynchronous copy has not reached yet."""


class DataRace(KernelFault):
    """Two threads touched one location, one of them writing, without a barrier between."""


class DivergentSynchronisation(KernelFault):
    """A barrier, or an instruction of a whole warp, that not all threads that it names reach."""


class Trap(KernelFault):
    """The kernel executed `trap`."""


class EndlessKernel(KernelFault):
    """A basic block was executed so often that the kernel seems never to end."""


class UnsupportedOperation(KernelFault):
    """Legal PTX whose operands, known only now, the emulator does not handle."""
