"""Memory shared with other libraries (DLPack, `__cuda_array_interface__`), and pinned memory."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.trace import STATE, leaf
from lazytorch.ir.types import TensorType
from lazytorch.ops.recording import FUNCTIONS, attach, torch_function
from lazytorch.runtime import dlpack
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.device import Device
from lazytorch.runtime.session import synchronize
from lazytorch.tensor import Tensor, memory_of, of_leaf

_LEGACY_STREAM, _NO_ORDER = 1, -1


def _lend(self: Tensor, cause: str) -> tuple[Buffer, dlpack.Lent]:
    """The storage's memory and where the tensor lies in it."""
    buffer, access = memory_of(self, cause)
    if any(stride < 0 for stride in access.strides):
        return _lend(self.detach().clone(), cause)
    address = buffer.ptr + access.offset * self.dtype.itemsize
    place = _device(self)
    return buffer, dlpack.Lent(address, self.dtype, tuple(access.shape), tuple(access.strides), place)


def _device(self: Tensor) -> tuple[int, int]:
    return (dlpack.CUDA, self.get_device()) if self.is_cuda else (dlpack.CPU, 0)


def _dlpack(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """A DLPack capsule on the tensor's memory. stream: the consumer's CUDA stream (None or 1: the default one, -1: it waits
    by itself). Raises BufferError for a tensor that requires grad, and for another device."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if dl_device is not None and tuple(map(int, dl_device)) != _device(self):
        raise BufferError("the tensor is on another device: move it with Tensor.to() first")
    if stream is not None and not self.is_cuda:
        raise AssertionError("stream should be None on cpu.")
    source = self.clone() if copy else self
    buffer, lent = _lend(source, "__dlpack__()")
    if self.is_cuda and stream != _NO_ORDER:
        device = _cuda_device(self)
        if stream != device.stream.handle:
            device.stream.synchronize()
    return dlpack.export(lent, buffer, versioned=max_version is not None and tuple(max_version) >= (1, 0))


def _cuda_device(self: Tensor) -> Any:
    from lazytorch.runtime.cuda.device import device_named  # what belongs to GPUs is loaded when one is used

    return device_named(str(self.device))


@torch_function("from_dlpack", method=False, out=False)
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on another library's memory: an object with `__dlpack__`, or a capsule. device, copy: where to, and whether
    to copy (None: only if it is needed; False: BufferError if it is)."""
    if hasattr(ext_tensor, "__dlpack__"):
        keywords: dict[str, Any] = {}
        kind, number = map(int, ext_tensor.__dlpack_device__())
        if kind == dlpack.CUDA:
            from lazytorch.runtime.cuda.device import devices

            keywords["stream"] = devices()[number].stream.handle or _LEGACY_STREAM
        try:
            capsule = ext_tensor.__dlpack__(max_version=(1, 0), **keywords)
        except TypeError:  # a producer from before versions
            capsule = ext_tensor.__dlpack__(**keywords)
    else:
        capsule = ext_tensor
    out = _borrowed(*dlpack.take(capsule)) if _is_capsule(capsule) else _refuse()
    if device is not None and Device(device).place() != (None if not out.is_cuda else str(out.device)):
        if copy is False:
            raise BufferError("from_dlpack: the tensor is on another device, and copy=False")
        return out.to(device)
    return out.clone() if copy else out


def _is_capsule(thing: object) -> bool:
    return type(thing).__name__ == "PyCapsule"


def _refuse() -> Tensor:
    raise RuntimeError(
        "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you might have "
        "already constructed a tensor from it once."
    )


def _borrowed(lent: dlpack.Lent, owner: object) -> Tensor:
    """A tensor on memory that somebody else owns."""
    extent = 0 if 0 in lent.shape else 1 + sum((n - 1) * step for n, step in zip(lent.shape, lent.strides, strict=True))
    nbytes = extent * lent.dtype.itemsize
    kind, number = lent.device
    if kind == dlpack.CUDA:
        from lazytorch.runtime.cuda.buffer import DeviceBuffer
        from lazytorch.runtime.cuda.device import devices

        buffer: Buffer = DeviceBuffer.on(devices()[number], lent.address, nbytes, owner)
        place: str | None = f"cuda:{number}"
    elif kind in (dlpack.CPU, dlpack.CUDA_HOST):
        buffer, place = Buffer.foreign(lent.address, nbytes, owner), None
    else:
        raise BufferError(f"from_dlpack: unsupported device type {kind}; lazytorch has CPU (1) and CUDA (2)")
    if lent.strides == dlpack.contiguous_strides(lent.shape) or extent == 0:
        return of_leaf(leaf(TensorType(lent.dtype, lent.shape).on(place), buffer))
    flat = of_leaf(leaf(TensorType(lent.dtype, (extent,)).on(place), buffer))
    view: Tensor = FUNCTIONS["as_strided"](flat, lent.shape, lent.strides, 0)
    return view


def _cuda_array_interface(self: Tensor) -> dict[str, Any]:
    if not self.is_cuda:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()} If CUDA data is required use "
            "tensor.cuda() to copy tensor to device memory."
        )
    if self.requires_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients aren't required, use "
            "var.detach() to get Variable that doesn't require grad."
        )
    if self.dtype is dtypes.bfloat16:
        raise TypeError("bfloat16 has no type string in __cuda_array_interface__; use DLPack")
    _, lent = _lend(self, "__cuda_array_interface__")
    strides = None
    if lent.strides != dlpack.contiguous_strides(lent.shape):
        strides = tuple(step * self.dtype.itemsize for step in lent.strides)
    return {
        "typestr": self.dtype.numpy.str,
        "shape": lent.shape,
        "strides": strides,
        "data": (lent.address if prod(lent.shape) else 0, False),
        "version": 3,
        "stream": _cuda_device(self).stream.handle or _LEGACY_STREAM,
    }


@torch_function("_from_cuda_array", method=False, out=False)
def from_cuda_array(source: Any) -> Tensor:
    """A tensor on the memory of an object with `__cuda_array_interface__`; what its stream has to do is waited for."""
    from lazytorch.runtime.cuda import device as cuda_device

    given = source.__cuda_array_interface__
    dtype: DType = dtypes.of_numpy(np.dtype(given["typestr"]))
    shape, strides = tuple(given["shape"]), given.get("strides")
    steps = dlpack.contiguous_strides(shape)
    if strides is not None:
        if any(stride < 0 or stride % dtype.itemsize for stride in strides):
            raise ValueError("strides must be multiples of the element size, and not negative; copy the array")
        steps = tuple(stride // dtype.itemsize for stride in strides)
    number = cuda_device.current()
    if given.get("stream"):
        cuda_device.devices()[number].driver.finish_foreign(given["stream"])
    return _borrowed(dlpack.Lent(given["data"][0], dtype, shape, steps, (dlpack.CUDA, number)), _Owner(source))


class _Owner:
    """Keeps an object alive that lends its memory."""

    def __init__(self, base: object) -> None:
        self.base = base


def _pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """A copy in pinned memory, which CUDA devices copy from and to by themselves; the tensor itself if it is there. Raises
    RuntimeError for a tensor of a device, and where there is no device."""
    if self.is_cuda:
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
    from lazytorch.runtime.cuda.buffer import pinned_buffer
    from lazytorch.runtime.cuda.device import current, devices

    if not devices():
        raise RuntimeError("Cannot access accelerator device when none is available.")
    if _is_pinned(self):
        return self
    array = self.detach()._array("pin_memory()")
    buffer = pinned_buffer(devices()[current()], array.nbytes)
    buffer.numpy(array.dtype, array.shape)[...] = array
    return of_leaf(leaf(TensorType(self.dtype, tuple(self.shape)), buffer))


def _is_pinned(self: Tensor, device: Any = None) -> bool:
    """Whether the tensor lies in pinned memory."""
    if self.is_cuda:
        return False
    from lazytorch.runtime.cuda.buffer import is_pinned

    synchronize(STATE.trace, (), "is_pinned()")
    return is_pinned((self if self._base is None else self._base)._node.buffer)


attach("__dlpack__", _dlpack)
attach("__dlpack_device__", _device)
attach("__cuda_array_interface__", property(_cuda_array_interface))
attach("pin_memory", _pin_memory)
attach("is_pinned", _is_pinned)
