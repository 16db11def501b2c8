"""The CUDA devices of the process, and their memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from lazytorch.codegen.gpu_target import GpuTarget, target_of_capability
from lazytorch.codegen.launch import Launch
from lazytorch.config import config
from lazytorch.errors import OutOfMemoryError
from lazytorch.runtime.allocator import block_size
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.cuda.discovery import drivers
from lazytorch.runtime.cuda.driver import Driver, Kernel, NoDevice


class CudaDevice:
    """One device: its target, the kernels loaded into it, and the memory in use on it."""

    def __init__(self, number: int, driver: Driver) -> None:
        self.name = f"cuda:{number}"
        self.driver = driver
        self.target: GpuTarget = target_of_capability(*driver.capability)
        self.allocated = self.reserved = self.peak_allocated = self.peak_reserved = 0
        self._idle: dict[int, list[int]] = {}
        self._kernels: dict[str, Kernel] = {}

    def kernel(self, launch: Launch, compiled: Callable[[Launch, GpuTarget], str]) -> Kernel:
        """The launch's kernel, compiled to PTX and loaded if it is new."""
        found = self._kernels.get(launch.key)
        if found is None:
            found = self._kernels[launch.key] = self.driver.load(compiled(launch, self.target), launch.symbol)
        return found

    def allocate(self, nbytes: int) -> int:
        """The address of at least so many bytes. Raises OutOfMemoryError."""
        size = self._size(nbytes)
        idle = self._idle.get(size)
        if idle:
            address = idle.pop()
        else:
            address = self._reserve(size)
        self.allocated += size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return address

    def release(self, address: int, nbytes: int) -> None:
        """Take memory back. Kernels that still use it come before whatever uses it next: there is one stream."""
        size = self._size(nbytes)
        self.allocated -= size
        if self.driver.caches:
            self._idle.setdefault(size, []).append(address)
        else:
            self.driver.free(address)
            self.reserved -= size

    def empty_cache(self) -> None:
        """Give idle memory back to the driver."""
        for size, addresses in self._idle.items():
            while addresses:
                self.driver.free(addresses.pop())
                self.reserved -= size

    def _size(self, nbytes: int) -> int:
        return max(block_size(nbytes), 512) if self.driver.caches else max(nbytes, 1)

    def _reserve(self, size: int) -> int:
        for last in (False, True):
            try:
                address = self.driver.allocate(size)
                break
            except MemoryError:
                if last:
                    raise OutOfMemoryError(
                        f"CUDA out of memory. Tried to allocate {size} bytes. GPU {self.name[5:]} has a total capacity of "
                        f"{self.driver.total_memory} bytes of which {self.allocated} bytes are in use by lazytorch"
                    ) from None
                self.empty_cache()
        self.reserved += size
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return address


class DeviceBuffer(Buffer):
    """Memory on a CUDA device. As an array it is a copy."""

    __slots__ = ("device",)

    def __init__(self, device: CudaDevice, nbytes: int) -> None:
        self.owner: object = self  # nothing to give back yet, should the allocation fail
        self.ptr = device.allocate(nbytes)
        self.nbytes = nbytes
        self.device = device
        self.shared = False
        self.owner = None

    def __del__(self, *_: object, _finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if self.owner is None and not _finalizing():
            self.device.release(self.ptr, self.nbytes)

    @classmethod
    def of(cls, device: CudaDevice, array: npt.NDArray[Any]) -> DeviceBuffer:
        """A copy of an array on the device."""
        buffer = cls(device, max(array.nbytes, 1))
        if array.nbytes:
            device.driver.write(buffer.ptr, np.ascontiguousarray(array))
        return buffer

    def numpy(
        self,
        dtype: npt.DTypeLike,
        shape: Sequence[int],
        strides: Sequence[int] | None = None,
        offset: int = 0,
    ) -> npt.NDArray[Any]:
        """A copy of the memory as an array."""
        dtype = np.dtype(dtype)
        if strides is not None:
            whole = Buffer(self.nbytes)
            whole.numpy(np.uint8, (self.nbytes,))[...] = self.numpy(np.uint8, (self.nbytes,))
            return whole.numpy(dtype, shape, strides, offset)
        array: npt.NDArray[Any] = np.empty(tuple(shape), dtype)
        if offset + prod(shape) * dtype.itemsize > self.nbytes:
            raise ValueError(f"an array of {dtype} with shape {tuple(shape)} does not fit into {self.nbytes} bytes")
        if array.nbytes:
            self.device.driver.read(self.ptr + offset, array)
        return array

    def copy(self) -> DeviceBuffer:
        """A new buffer with the same bytes."""
        copy = DeviceBuffer(self.device, self.nbytes)
        self.device.driver.copy(copy.ptr, self.ptr, self.nbytes)
        return copy


@cache
def _devices(setting: str) -> list[CudaDevice] | str:
    """The devices that a setting of LAZYTORCH_CUDA gives, or why there are none."""
    try:
        return [CudaDevice(number, driver) for number, driver in enumerate(drivers())]
    except NoDevice as reason:
        return str(reason)


def devices() -> list[CudaDevice]:
    """All devices; none where CUDA is not there."""
    found = _devices(config.cuda)
    return [] if isinstance(found, str) else found


def why_none() -> str:
    """Why there are no devices, and what to do."""
    found = _devices(config.cuda)
    return found if isinstance(found, str) else ""


_current = [0]


def current() -> int:
    """The number of the device that `cuda` without a number means."""
    return _current[0]


def set_current(number: int) -> None:
    """Change it."""
    _current[0] = number


def device_named(name: str) -> CudaDevice:
    """The device called cuda:0, cuda:1 ..."""
    return devices()[int(name.removeprefix("cuda:"))]
