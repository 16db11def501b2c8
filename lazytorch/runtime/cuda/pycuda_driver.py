"""CUDA devices through pycuda: imported when a program first uses one, never before."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from lazytorch.errors import AcceleratorError
from lazytorch.runtime.cuda.driver import INSTALL, Driver, KernelCall, NoDevice
from lazytorch.runtime.cuda.libcuda import DriverGraph, LibCuda

_NON_BLOCKING = 1
_DISABLE_TIMING = 2


def pycuda_drivers() -> list[Driver]:
    """One driver per device that the NVIDIA driver tells of. Raises NoDevice."""
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise NoDevice(f"pycuda cannot be loaded ({error}); {INSTALL}") from None
    try:
        cuda.init()
        count = cuda.Device.count()
    except (cuda.Error, RuntimeError) as error:
        raise NoDevice(f"CUDA cannot be started ({error}); {INSTALL}") from None
    if not count:
        raise NoDevice(f"the NVIDIA driver finds no device; {INSTALL}")
    return [PycudaDriver(cuda, number) for number in range(count)]


class PycudaDriver:
    """One device, in its primary context, which other libraries of the process share.

    The context is current within `active` only, so that what other libraries made current stays so.
    """

    caches = True

    def __init__(self, cuda: Any, number: int) -> None:
        self.cuda = cuda
        device = cuda.Device(number)
        attribute = cuda.device_attribute
        self.name = device.name()
        self.capability = device.compute_capability()
        self.total_memory = device.total_memory()
        self.processors = device.get_attribute(attribute.MULTIPROCESSOR_COUNT)
        self.threads_per_processor = device.get_attribute(attribute.MAX_THREADS_PER_MULTIPROCESSOR)
        self.context = device.retain_primary_context()
        self.library = LibCuda()
        self._depth = threading.local()
        self._modules: list[Any] = []
        self._allocations: dict[int, Any] = {}
        atexit.register(self._close)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the context current. Errors of the driver become AcceleratorError, or MemoryError, as torch's."""
        depth = getattr(self._depth, "value", 0)
        if not depth:
            self.context.push()
        self._depth.value = depth + 1
        try:
            yield
        except self.cuda.MemoryError as error:
            raise MemoryError(str(error)) from None
        except self.cuda.Error as error:
            raise AcceleratorError(f"CUDA error: {str(error).partition('failed: ')[2] or error} ({error})") from None
        finally:
            self._depth.value = depth
            if not depth:
                self.context.pop()

    def stream(self, priority: int = 0, main: bool = False) -> PycudaStream:
        """A new stream; the main one is in order with the legacy default stream."""
        with self.active():
            return PycudaStream(self, self.cuda.Stream(0 if main else _NON_BLOCKING))

    def event(self, timing: bool = False) -> PycudaEvent:
        """A new event."""
        with self.active():
            return PycudaEvent(self, self.cuda.Event(0 if timing else _DISABLE_TIMING))

    def pinned(self, nbytes: int) -> PinnedMemory:
        """Page-locked memory."""
        with self.active():
            return PinnedMemory(self, self.cuda.pagelocked_empty(nbytes, np.uint8))

    def allocate(self, nbytes: int) -> int:
        """From the driver. Raises MemoryError."""
        with self.active():
            allocation = self.cuda.mem_alloc(nbytes)
        address = int(allocation)
        self._allocations[address] = allocation
        return address

    def free(self, address: int) -> None:
        """Give memory back to the driver."""
        with self.active():
            self._allocations.pop(address).free()

    def free_memory(self) -> int:
        """What the driver has left."""
        with self.active():
            return int(self.cuda.mem_get_info()[0])

    def write(self, address: int, data: npt.NDArray[Any], stream: Any) -> None:
        """Copy to the device. The driver is done with pageable memory when this returns."""
        with self.active():
            self.cuda.memcpy_htod_async(address, data, stream.stream)

    def read(self, address: int, into: npt.NDArray[Any], stream: Any, wait: bool = True) -> None:
        """Copy from the device."""
        with self.active():
            self.cuda.memcpy_dtoh_async(into, address, stream.stream)
            if wait:
                stream.stream.synchronize()

    def copy(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy within the device."""
        with self.active():
            self.cuda.memcpy_dtod_async(target, source, nbytes, stream.stream)

    def copy_from(self, other: Any, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy from another device."""
        other.synchronize()
        with self.active():
            self.cuda.memcpy_peer_async(target, source, nbytes, self.context, other.context, stream.stream)

    def load(self, ptx: str, symbol: str) -> PycudaKernel:
        """Let the driver compile a module (it keeps what it compiled in its own cache). Raises AcceleratorError with its
        log."""
        with self.active():
            try:
                module = self.cuda.module_from_buffer(ptx.encode() + b"\0")
            except self.cuda.Error as error:
                raise AcceleratorError(f"the CUDA driver does not take kernel {symbol}: {error}") from None
            self._modules.append(module)
            return PycudaKernel(self, module.get_function(symbol))

    def graph(self, calls: Sequence[KernelCall]) -> DriverGraph | None:
        """A CUDA graph of launches."""
        if not self.library.has_graphs:
            return None
        with self.active():
            stream = PycudaStream(self, self.cuda.Stream(_NON_BLOCKING))

            def launch_all() -> None:
                for call in calls:
                    call.kernel.launch(call.blocks, call.threads, call.arguments, stream)

            return self.library.graph(stream.handle, launch_all, self.active)

    def finish_foreign(self, handle: int) -> None:
        """Wait for it."""
        with self.active():
            self.library.call("cuStreamSynchronize", handle)

    def synchronize(self) -> None:
        """Wait for the context. Raises AcceleratorError for a kernel that failed."""
        with self.active():
            self.cuda.Context.synchronize()

    def _close(self) -> None:
        """In this order: what is destroyed after its context takes the process down. A context that a kernel has broken
        cannot give anything back, and need not."""
        try:
            with self.active():
                self.cuda.Context.synchronize()
                for allocation in self._allocations.values():
                    allocation.free()
        except (AcceleratorError, MemoryError):
            pass
        self._allocations.clear()
        self._modules.clear()
        self.context.detach()  # what is destroyed from now on is left to the driver


class PycudaStream:
    """A CUstream."""

    def __init__(self, driver: PycudaDriver, stream: Any) -> None:
        self.driver, self.stream = driver, stream
        self.handle = int(stream.handle)

    def synchronize(self) -> None:
        """Wait. Raises AcceleratorError for what failed in it."""
        with self.driver.active():
            self.stream.synchronize()

    def done(self) -> bool:
        """Whether there is nothing to wait for."""
        with self.driver.active():
            return bool(self.stream.is_done())

    def wait(self, event: Any) -> None:
        """Wait on the device."""
        with self.driver.active():
            self.stream.wait_for_event(event.event)


class PycudaEvent:
    """A CUevent."""

    def __init__(self, driver: PycudaDriver, event: Any) -> None:
        self.driver, self.event = driver, event

    def record(self, stream: Any) -> None:
        """Put it into a stream."""
        with self.driver.active():
            self.event.record(stream.stream)

    def synchronize(self) -> None:
        """Wait for it."""
        with self.driver.active():
            self.event.synchronize()

    def done(self) -> bool:
        """Whether it has happened."""
        with self.driver.active():
            return bool(self.event.query())

    def milliseconds_since(self, earlier: Any) -> float:
        """The time between."""
        with self.driver.active():
            return float(self.event.time_since(earlier.event))


class PinnedMemory:
    """Page-locked memory, freed with its context current."""

    def __init__(self, driver: PycudaDriver, array: npt.NDArray[np.uint8]) -> None:
        self.driver, self.array = driver, array


class PycudaKernel:
    """A kernel that the driver has compiled."""

    def __init__(self, driver: PycudaDriver, function: Any) -> None:
        self.driver, self.function = driver, function

    def launch(self, blocks: int, threads: int, arguments: bytes, stream: Any) -> None:
        """Put it into a stream."""
        with self.driver.active():
            self.function._launch_kernel((blocks, 1, 1), (threads, 1, 1), arguments, 0, stream.stream)
