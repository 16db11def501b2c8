"""CUDA devices through pycuda: imported when a program first uses one, never before."""

from __future__ import annotations

import atexit
from typing import Any

import numpy.typing as npt

from lazytorch.runtime.cuda.driver import INSTALL, Driver, NoDevice


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
    """One device, in its primary context, which other libraries of the process share."""

    caches = True

    def __init__(self, cuda: Any, number: int) -> None:
        self.cuda = cuda
        device = cuda.Device(number)
        self.name = device.name()
        self.capability = device.compute_capability()
        self.total_memory = device.total_memory()
        self.processors = device.get_attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT)
        self.context = device.retain_primary_context()
        self._modules: list[Any] = []
        self._allocations: dict[int, Any] = {}
        with self:
            self.stream = cuda.Stream()
        atexit.register(self._close)

    def __enter__(self) -> PycudaDriver:
        self.context.push()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.context.pop()

    def allocate(self, nbytes: int) -> int:
        """From the driver. Raises MemoryError."""
        with self:
            try:
                allocation = self.cuda.mem_alloc(nbytes)
            except self.cuda.MemoryError as error:
                raise MemoryError(str(error)) from None
        address = int(allocation)
        self._allocations[address] = allocation
        return address

    def free(self, address: int) -> None:
        """Give memory back to the driver, when what uses it is done."""
        with self:
            self.stream.synchronize()
            self._allocations.pop(address).free()

    def write(self, address: int, data: npt.NDArray[Any]) -> None:
        """Copy to the device, in order with the kernels."""
        with self:
            self.cuda.memcpy_htod_async(address, data, self.stream)
            self.stream.synchronize()  # `data` is pageable and may go when this returns

    def read(self, address: int, into: npt.NDArray[Any]) -> None:
        """Copy from the device."""
        with self:
            self.cuda.memcpy_dtoh_async(into, address, self.stream)
            self.stream.synchronize()

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device, in order with the kernels."""
        with self:
            self.cuda.memcpy_dtod_async(target, source, nbytes, self.stream)

    def load(self, ptx: str, symbol: str) -> PycudaKernel:
        """Let the driver compile a module. Raises RuntimeError with its log."""
        with self:
            try:
                module = self.cuda.module_from_buffer(ptx.encode() + b"\0")
            except self.cuda.Error as error:
                raise RuntimeError(f"the CUDA driver does not take kernel {symbol}: {error}") from None
            self._modules.append(module)
            return PycudaKernel(self, module.get_function(symbol))

    def synchronize(self) -> None:
        """Wait for the stream. Raises RuntimeError for a kernel that failed."""
        with self:
            try:
                self.stream.synchronize()
            except self.cuda.Error as error:
                raise RuntimeError(f"CUDA error: {error}") from None

    def _close(self) -> None:
        """In this order: what is destroyed after its context takes the process down."""
        with self:
            self.stream.synchronize()
            for allocation in self._allocations.values():
                allocation.free()
            self._allocations.clear()
            self._modules.clear()
            del self.stream
        self.context.detach()


class PycudaKernel:
    """A kernel that the driver has compiled."""

    def __init__(self, driver: PycudaDriver, function: Any) -> None:
        self.driver, self.function = driver, function

    def launch(self, blocks: int, threads: int, arguments: bytes) -> None:
        """Put it into the stream."""
        with self.driver:
            self.function._launch_kernel((blocks, 1, 1), (threads, 1, 1), arguments, 0, self.driver.stream)
