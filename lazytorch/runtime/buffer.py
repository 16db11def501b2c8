"""Untyped memory that tensors live in: allocated here, or lent by a NumPy array."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from math import prod
from sys import getrefcount
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.runtime.allocator import ALLOCATOR


class Buffer:
    """`nbytes` bytes at address `ptr`, given back when the last reference to the buffer goes.

    `owner` is the object whose memory this is, None when the memory is the buffer's own. `shared` says that somebody
    else may look at the memory at any time (it came from outside or was handed out), so that updates must go to it at
    once and in place. New memory is not initialised.
    """

    __slots__ = ("__weakref__", "nbytes", "owner", "ptr", "shared")

    def __init__(self, nbytes: int, _small: dict[int, list[int]] = ALLOCATOR.small) -> None:
        self.owner: object = self  # nothing to give back yet, should the allocation fail
        try:
            self.ptr = _small[nbytes].pop()
        except (KeyError, IndexError):
            self.ptr = ALLOCATOR.allocate(nbytes)
        self.nbytes = nbytes
        self.owner = None
        self.shared = False

    def __del__(
        self,
        _small: dict[int, list[int]] = ALLOCATOR.small,
        _release: Callable[[int, int], None] = ALLOCATOR.release,
        _finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        if self.owner is None:
            free = _small.get(self.nbytes)
            if free is not None:
                free.append(self.ptr)
            elif not _finalizing():
                _release(self.ptr, self.nbytes)

    @classmethod
    def from_numpy(cls, array: npt.NDArray[Any]) -> Self:
        """The memory of `array`, from its first element on; the array is kept alive. Nothing is copied.

        Raises ValueError, with torch's message, for negative strides and for strides that are no multiple of the
        element size.
        """
        contiguous = array.flags.c_contiguous
        if not contiguous:
            _check_strides(array)
        buffer = cls.__new__(cls)
        buffer.owner = array
        buffer.ptr = array.__array_interface__["data"][0]
        buffer.nbytes = array.nbytes if contiguous else _extent(array.shape, array.strides, array.itemsize)
        buffer.shared = True
        return buffer

    @classmethod
    def holding(cls, array: npt.NDArray[Any]) -> Buffer:
        """A copy of an array's elements, in row-major order."""
        buffer = Buffer(max(array.nbytes, 1))
        buffer.numpy(array.dtype, array.shape)[...] = array
        return buffer

    @classmethod
    def foreign(cls, address: int, nbytes: int, owner: object) -> Self:
        """Memory that an owner lends, who is kept alive."""
        buffer = cls.__new__(cls)
        buffer.owner, buffer.ptr, buffer.nbytes, buffer.shared = owner, address, nbytes, True
        return buffer

    def numpy(
        self,
        dtype: npt.DTypeLike,
        shape: Sequence[int],
        strides: Sequence[int] | None = None,
        offset: int = 0,
    ) -> npt.NDArray[Any]:
        """An array on this memory, which it keeps alive. `strides` and `offset` are in bytes; C order by default.

        Whether the buffer counts as shared from now on is the caller's to say. Raises ValueError when the array would
        reach outside of the buffer.
        """
        dtype = np.dtype(dtype)
        if strides is None:
            extent = prod(shape) * dtype.itemsize
        else:
            if len(strides) != len(shape) or any(stride < 0 for stride in strides):
                raise ValueError(f"expected {len(shape)} strides that are not negative, got {tuple(strides)}")
            extent = _extent(shape, strides, dtype.itemsize)
        if offset < 0 or any(size < 0 for size in shape) or offset + extent > self.nbytes:
            raise ValueError(
                f"an array of {dtype} with shape {tuple(shape)} at byte {offset} does not fit into a buffer of "
                f"{self.nbytes} bytes"
            )
        return np.asarray(_Lent(self, dtype, tuple(shape), None if strides is None else tuple(strides), offset))

    def part(self, offset: int, nbytes: int) -> Buffer:
        """`nbytes` bytes of this memory from `offset` on, which keep it alive; shared as it is."""
        part = Buffer.__new__(Buffer)
        part.owner = self
        part.ptr = self.ptr + offset
        part.nbytes = nbytes
        part.shared = self.shared
        return part

    def is_held_outside(self) -> bool:
        """Whether shared memory may still be written to by somebody else, because an array on it is alive. For a caller
        that has the buffer in one variable, taken from one attribute; whoever else holds it counts as an array."""
        owner = self.owner
        if owner is None:
            return getrefcount(self) > _OWN_BUFFER  # arrays on memory of our own keep the buffer
        if isinstance(owner, Buffer):
            return owner.shared and owner.is_held_outside()
        if getrefcount(owner) > _OWN_OWNER:
            return True
        base = getattr(owner, "base", None)
        return base is not None and (not isinstance(base, np.ndarray) or getrefcount(base) > _OWN_OWNER)

    def copy(self) -> Buffer:
        """A new buffer with the same bytes."""
        copy = Buffer(self.nbytes)
        copy.numpy(np.uint8, (self.nbytes,))[...] = self.numpy(np.uint8, (self.nbytes,))
        return copy

    def overwrite(self, source: Buffer) -> None:
        """Take over the bytes of a buffer of the same size and place."""
        self.numpy(np.uint8, (self.nbytes,))[...] = source.numpy(np.uint8, (self.nbytes,))

    def __repr__(self) -> str:
        return f"Buffer({self.nbytes} bytes at {self.ptr:#x}{', shared' if self.shared else ''})"


class _Probe:
    """A stand-in for a buffer whose references are known."""

    def __init__(self) -> None:
        self.owner = [0]

    def references(self) -> tuple[int, int]:
        """Counted as `Buffer.is_held_outside` counts."""
        owner = self.owner
        return getrefcount(self), getrefcount(owner)


def _calibrate() -> tuple[int, int]:
    """What `getrefcount` says in `Buffer.is_held_outside` of a buffer and of an owner that nobody else holds, in this
    interpreter."""
    holder = [_Probe()]
    buffer = holder[0]
    return buffer.references()


_OWN_BUFFER, _OWN_OWNER = _calibrate()


class _Lent:
    """What NumPy takes an array's memory from, and keeps as its base: the way from the array back to the buffer."""

    __slots__ = ("__array_interface__", "buffer")

    def __init__(
        self,
        buffer: Buffer,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        offset: int,
    ) -> None:
        self.buffer = buffer
        self.__array_interface__ = {
            "version": 3,
            "typestr": dtype.str,
            "shape": shape,
            "strides": strides,
            "data": (buffer.ptr + offset, False),
        }


def _extent(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> int:
    """Bytes from the first element of a strided array to the end of its last one."""
    if 0 in shape:
        return 0
    return sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + itemsize


def _check_strides(array: npt.NDArray[Any]) -> None:
    """Refuse what torch refuses."""
    if any(stride < 0 for stride in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
            "currently supported. (You can probably work around this by making a copy of your array "
            "with array.copy().)"
        )
    if any(stride % array.itemsize for stride in array.strides):
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy array to reallocate "
            "the memory."
        )


READERS: dict[DType, Any] = {
    dtypes.float32: ctypes.c_float,
    dtypes.float64: ctypes.c_double,
    dtypes.int64: ctypes.c_int64,
    dtypes.int32: ctypes.c_int32,
    dtypes.bool_: ctypes.c_bool,
}
"""How one element of the common types is read where it lies."""
