"""Memory of tensors on CUDA devices, and copies between devices and the host."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.cuda.device import CudaDevice
from lazytorch.runtime.cuda.driver import Event, Pinned, Stream


class DeviceBuffer(Buffer):
    """Memory on a CUDA device. As an array it is a copy.

    home: the stream in which it was allocated and written. others: streams that have used it since. ready: when it was
    written, where that is known; else it is taken to be when everything in its home is done.
    """

    __slots__ = ("device", "home", "others", "ready")

    def __init__(self, device: CudaDevice, nbytes: int, stream: Stream | None = None) -> None:
        self.owner: object = self  # nothing to give back yet, should the allocation fail
        self.home = stream or device.stream
        self.others: set[Stream] = set()
        self.ready: Event | None = None
        self.ptr = device.memory.allocate(nbytes, self.home)
        self.nbytes = nbytes
        self.device = device
        self.shared = False
        self.owner = None

    def __del__(self, *_: object, _finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if self.owner is None and not _finalizing():
            self.device.memory.release(self.ptr, self.nbytes, self.home, self.others)

    @classmethod
    def of(cls, device: CudaDevice, array: npt.NDArray[Any], stream: Stream | None = None) -> DeviceBuffer:
        """A copy of an array on the device. One of nothing has some zeros: what a refused index reads before it is told."""
        if not array.nbytes:
            array = np.zeros(16, np.uint8)
        buffer = cls(device, array.nbytes, stream)
        device.uploads.write(buffer.ptr, np.ascontiguousarray(array), buffer.home)
        return buffer

    @classmethod
    def on(cls, device: CudaDevice, address: int, nbytes: int, owner: object) -> DeviceBuffer:
        """Memory on the device that another library lends; the owner is kept alive."""
        buffer = cls.__new__(cls)
        buffer.owner, buffer.ptr, buffer.nbytes, buffer.device = owner, address, nbytes, device
        buffer.home, buffer.others, buffer.ready, buffer.shared = device.stream, set(), None, True
        return buffer

    def use(self, stream: Stream) -> int:
        """The address, for work in a stream, which waits until the memory is written."""
        if stream is not self.home:
            event = self.ready
            if event is None:
                event = self.device.driver.event()
                event.record(self.home)
            stream.wait(event)
            self.others.add(stream)
        return self.ptr

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
            self.device.read(self.use(self.device.stream) + offset, array)
        return array

    def part(self, offset: int, nbytes: int) -> DeviceBuffer:
        """`nbytes` bytes of this memory from `offset` on, which keep it alive; streams that use them use all of it."""
        part = DeviceBuffer.__new__(DeviceBuffer)
        part.owner, part.ptr, part.nbytes, part.device = self, self.ptr + offset, nbytes, self.device
        part.home, part.others, part.ready, part.shared = self.home, self.others, self.ready, self.shared
        return part

    def copy(self) -> DeviceBuffer:
        """A new buffer with the same bytes."""
        copy = DeviceBuffer(self.device, self.nbytes)
        self.device.driver.copy(copy.ptr, self.use(copy.home), self.nbytes, copy.home)
        return copy

    def overwrite(self, source: Buffer) -> None:
        """Take over the bytes of a buffer of the same size and place."""
        assert isinstance(source, DeviceBuffer)
        stream = self.device.stream
        self.device.driver.copy(self.use(stream), source.use(stream), self.nbytes, stream)


def pinned_buffer(device: CudaDevice, nbytes: int) -> Buffer:
    """Host memory that the device copies from by itself."""
    memory = device.driver.pinned(max(nbytes, 1))
    buffer = Buffer.from_numpy(memory.array)
    buffer.owner, buffer.shared = PinnedOwner(memory), False  # nobody else has it
    return buffer


class PinnedOwner:
    """What a buffer of pinned memory keeps alive."""

    def __init__(self, memory: Pinned) -> None:
        self.memory = memory


def is_pinned(buffer: Any) -> bool:
    """Whether a buffer is pinned memory."""
    return type(buffer) is Buffer and type(buffer.owner) is PinnedOwner


def to_device(device: CudaDevice, source: Buffer, nbytes: int) -> DeviceBuffer:
    """A copy of host memory, or of another device's, on a device.

    Pinned memory is copied in the device's own stream for copies, beside the kernels; it is kept until that is done. Who
    writes to it meanwhile through an array changes what arrives, as in torch.
    """
    if isinstance(source, DeviceBuffer):
        copy = DeviceBuffer(device, max(nbytes, 1))
        address = source.use(source.device.stream)
        source.device.stream.synchronize()
        device.driver.copy_from(source.device.driver, copy.ptr, address, nbytes, copy.home)
        return copy
    array = source.numpy(np.uint8, (nbytes,))
    if not is_pinned(source):
        return DeviceBuffer.of(device, array)
    copy = DeviceBuffer(device, max(nbytes, 1), device.copy_stream)
    if nbytes:
        device.driver.write(copy.ptr, array, copy.home)
        device.keep_until_done(source, copy.home)
        copy.ready = device.driver.event()
        copy.ready.record(copy.home)
    return copy
