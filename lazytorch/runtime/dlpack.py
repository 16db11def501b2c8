"""DLPack capsules: memory that libraries hand each other with its element type, shape and strides, and without a copy.

The structures are those of dlpack.h 1.0 (https://dmlc.github.io/dlpack/latest/c_api.html), with and without a version.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

from lazytorch import dtypes
from lazytorch.dtypes import DType

CPU, CUDA, CUDA_HOST = 1, 2, 3
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_BFLOAT16 = 4
_VERSION = (1, 0)
_READ_ONLY = 1


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("number", ctypes.c_int32))


class _ElementType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Array(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _ElementType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("array", _Array), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("array", _Array),
    )


_KINDS: dict[bytes, Any] = {b"dltensor": _Managed, b"dltensor_versioned": _ManagedVersioned}
_USED = {b"dltensor": b"used_dltensor", b"dltensor_versioned": b"used_dltensor_versioned"}

_api = ctypes.pythonapi
_new, _get, _is, _rename = _api.PyCapsule_New, _api.PyCapsule_GetPointer, _api.PyCapsule_IsValid, _api.PyCapsule_SetName
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_get.restype, _get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_is.restype, _is.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_rename.restype, _rename.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_get_raw = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_is_raw = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))


class Lent(NamedTuple):
    """Memory with what lies in it; strides in elements."""

    address: int
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    device: tuple[int, int]


_exported: dict[int, tuple[object, ...]] = {}
"""By address of what was exported, all that must live as long."""


def export(lent: Lent, owner: object, versioned: bool) -> Any:
    """A capsule for memory, which keeps its owner alive until the consumer is done with it."""
    kind = _ManagedVersioned if versioned else _Managed
    managed: Any = kind()
    count = len(lent.shape)
    shape, strides = (ctypes.c_int64 * count)(*lent.shape), (ctypes.c_int64 * count)(*lent.strides)
    array = managed.array
    array.data, array.device, array.ndim, array.byte_offset = lent.address, _Device(*lent.device), count, 0
    array.dtype = _ElementType(_code(lent.dtype), 8 * lent.dtype.itemsize, 1)
    array.shape, array.strides = shape, strides
    managed.deleter = ctypes.cast(_FORGET, ctypes.c_void_p)
    if versioned:
        managed.major, managed.minor = _VERSION
    address = ctypes.addressof(managed)
    _exported[address] = (managed, shape, strides, owner)
    name = b"dltensor_versioned" if versioned else b"dltensor"
    return _new(address, name, ctypes.cast(_DROP, ctypes.c_void_p))


def _forget(address: int) -> None:
    """The consumer is done."""
    _exported.pop(address, None)


def _drop(capsule: int) -> None:
    """A capsule goes; nobody may have taken what is in it."""
    for name in _KINDS:
        if _is_raw(capsule, name):
            _exported.pop(_get_raw(capsule, name), None)


_FORGET = _Deleter(_forget)
_DROP = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_drop)


def _code(dtype: DType) -> int:
    return _BFLOAT16 if dtype is dtypes.bfloat16 else _CODES[dtype.kind]


def take(capsule: Any) -> tuple[Lent, Taken]:
    """What is in a capsule, and who owns it now. Raises RuntimeError, with torch's message, for a capsule that has been
    taken, BufferError for what lazytorch has no tensors for."""
    name = next((name for name in _KINDS if _is(capsule, name)), None)
    if name is None:
        raise RuntimeError(
            "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you might "
            "have already constructed a tensor from it once."
        )
    managed = _KINDS[name].from_address(_get(capsule, name))
    if name == b"dltensor_versioned" and managed.major > _VERSION[0]:
        raise BufferError(f"from_dlpack: version {managed.major}.{managed.minor} of DLPack is not known")
    array = managed.array
    shape = tuple(array.shape[: array.ndim]) if array.ndim else ()
    strides = tuple(array.strides[: array.ndim]) if array.ndim and array.strides else contiguous_strides(shape)
    lent = Lent(
        (array.data or 0) + array.byte_offset,
        _dtype(array.dtype),
        shape,
        strides,
        (array.device.type, array.device.number),
    )
    if any(stride < 0 for stride in strides):
        raise BufferError("from_dlpack: tensors with negative strides are not supported; copy the array")
    _rename(capsule, _USED[name])
    return lent, Taken(managed)


def _dtype(given: Any) -> DType:
    for dtype in dtypes.ALL:
        if dtype is not dtypes.index and (_code(dtype), 8 * dtype.itemsize, 1) == (given.code, given.bits, given.lanes):
            return dtype
    raise BufferError(f"from_dlpack: unsupported element type (code {given.code}, {given.bits} bits, {given.lanes} lanes)")


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements, in C order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


class Taken:
    """Another library's memory, given back when nobody refers to it."""

    def __init__(self, managed: Any) -> None:
        self.managed = managed

    @property
    def base(self) -> object:
        """The other library may look at the memory at any time (`Buffer.is_held_outside`)."""
        return self

    def __del__(self) -> None:
        if self.managed.deleter:
            _Deleter(self.managed.deleter)(ctypes.addressof(self.managed))
