"""Tensors out of nothing: from data, constants, ranges."""

from __future__ import annotations

import math as python_math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.config import config
from lazytorch.default_dtype import default_dtype
from lazytorch.dtypes import DType
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.indirect import inside, refuse
from lazytorch.ir.trace import RECORDER, STATE, leaf
from lazytorch.ir.types import TensorType
from lazytorch.ops.promotion import python_dtype
from lazytorch.ops.python_data import elements_of
from lazytorch.ops.recording import (
    FUNCTIONS,
    NUMBERS,
    attach,
    beside,
    called,
    cast,
    device_of,
    element_type,
    emit,
    node_of,
    on_device,
    place,
    result,
    torch_function,
    wrong_argument,
)
from lazytorch.ops.shaping import sizes_of
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.device import Device
from lazytorch.tensor import Tensor, assign, from_array, of_leaf, value

_OPTIONS = {"requires_grad", "layout", "pin_memory", "memory_format", "names"}


def finish(out: Tensor, options: dict[str, Any], device: Any = None) -> Tensor:
    """Check the device and the other options of a function that makes a tensor, and set requires_grad."""
    for name in options.keys() - _OPTIONS:
        raise TypeError(f"{called()[0]}() got an unexpected keyword argument '{name}'")
    if device is not None:
        out = on_device(out, device)
    elif config.device != "cpu":
        out = on_device(out, config.device)
    return out.requires_grad_() if options.get("requires_grad") else out


def _bfloat16(array: np.ndarray) -> np.ndarray:
    """float32 to bfloat16 patterns, rounded to nearest even."""
    bits = array.astype(np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(array), np.uint16(0x7FC0), rounded)


def of_numpy_values(array: np.ndarray, dtype: DType) -> Tensor:
    """A tensor with the array's numbers in an element type."""
    if dtype is dtypes.bfloat16:
        return from_array(_bfloat16(array), dtype)
    with np.errstate(all="ignore"):
        return from_array(array.astype(dtype.numpy), dtype)


@torch_function("tensor", method=False, out=False)
def tensor_(
    data: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A tensor with a copy of the data: numbers, nested sequences, arrays, tensors."""
    if isinstance(data, Tensor):
        copied = FUNCTIONS["clone"](data.detach())
        converted = copied.to(element_type(dtype, data.dtype))
        return finish(converted, {"requires_grad": requires_grad}, device_of(data, device))
    if isinstance(data, np.ndarray | np.generic):
        array = np.asarray(data)
        return finish(
            of_numpy_values(array, element_type(dtype, dtypes.of_numpy(array.dtype))),
            {"requires_grad": requires_grad},
            device,
        )
    array, kind = elements_of(data, None if dtype is None else element_type(dtype, dtypes.int64))
    return finish(of_numpy_values(array, kind), {"requires_grad": requires_grad}, device)


@torch_function("as_tensor", "asarray", method=False, out=False)
def as_tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """The data as a tensor; a tensor or array of the same type is not copied."""
    if isinstance(data, Tensor):
        moved = data if device is None else on_device(data, device)
        return moved if dtype is None else moved.to(dtype)
    if isinstance(data, np.ndarray) and device is None and (dtype is None or dtypes.of_numpy(data.dtype) is dtype):
        return from_numpy(data)
    if hasattr(data, "__cuda_array_interface__"):
        shared = FUNCTIONS["_from_cuda_array"](data)
        moved = shared if device is None else on_device(shared, device)
        return moved if dtype is None else moved.to(dtype)
    return tensor_(data, dtype=dtype, device=device)


@torch_function("from_numpy", method=False, out=False)
def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor on the array's own memory."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtype = dtypes.of_numpy(array.dtype)
    buffer = Buffer.from_numpy(array)
    if array.flags.c_contiguous:
        return of_leaf(leaf(TensorType(dtype, array.shape), buffer))
    return from_array(array, dtype)


def _filled(number: Any, shape: tuple[int, ...], dtype: DType, *like: Tensor) -> Tensor:
    """A constant of the program: it takes no memory until somebody needs it."""
    if any(size < 0 for size in shape):
        if number == 0:
            raise RuntimeError("zeros: Dimension size must be non-negative.")
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    place()
    kind = dtype.kind
    number = float(number) if kind == "f" else bool(number) if kind == "b" else number
    operator = arith.constant.operator(value=number, type=TensorType(dtype, shape))
    return result(RECORDER.emit(operator, ()), *like)


def _maker(name: str, number: Any) -> Callable[..., Tensor]:
    def function(*size: Any, dtype: DType | None = None, device: Any = None, **options: Any) -> Tensor:
        shape = sizes_of(size if size else options.pop("size", size))
        out = _filled(number, shape, element_type(dtype, default_dtype()))
        return finish(out, options, device)

    function.__name__, function.__doc__ = name, f"A tensor of {name}." if number is not None else "Any contents."
    torch_function(name, method=False, out="made")(function)

    def like(input: Tensor, *, dtype: DType | None = None, device: Any = None, **options: Any) -> Tensor:
        out = _filled(number, tuple(input.shape), element_type(dtype, input.dtype), input)
        return finish(out, options, device_of(input, device))

    like.__name__, like.__doc__ = f"{name}_like", f"`{name}` in the shape and element type of a tensor."
    torch_function(f"{name}_like", method=False, out=False)(like)

    def new(self: Tensor, *size: Any, dtype: DType | None = None, device: Any = None, **options: Any) -> Tensor:
        shape = sizes_of(size if size else options.pop("size", size))
        return finish(_filled(number, shape, element_type(dtype, self.dtype)), options, device_of(self, device))

    setattr(Tensor, f"new_{name}", new)
    return function


zeros, ones, empty = _maker("zeros", 0), _maker("ones", 1), _maker("empty", 0)


@torch_function("full", method=False, out="made")
def full(size: Sequence[int], fill_value: Any, *, dtype: DType | None = None, device: Any = None, **options: Any) -> Tensor:
    """One number everywhere."""
    if isinstance(fill_value, Tensor) and not fill_value.shape:
        fill_value = fill_value.item()
    if not isinstance(fill_value, NUMBERS):
        raise wrong_argument("fill_value", "Number", fill_value)
    out = _filled(fill_value, tuple(size), element_type(dtype, python_dtype(fill_value)))
    return finish(out, options, device)


@torch_function("full_like", method=False, out=False)
def full_like(input: Tensor, fill_value: Any, *, dtype: DType | None = None, device: Any = None, **options: Any) -> Tensor:
    """One number in the shape and element type of a tensor."""
    kind = element_type(dtype, input.dtype)
    return full(tuple(input.shape), fill_value, dtype=kind, device=device_of(input, device), **options)


def _new_full(self: Tensor, size: Sequence[int], fill_value: Any, **options: Any) -> Tensor:
    return full(size, fill_value, **{"dtype": self.dtype, "device": self._node.type.device, **options})


def _new_tensor(self: Tensor, data: Any, **options: Any) -> Tensor:
    return tensor_(data, **{"dtype": self.dtype, "device": self._node.type.device, **options})


attach("new_full", _new_full)
attach("new_tensor", _new_tensor)


@torch_function("arange", method=False, out="made")
def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: DType | None = None, device: Any = None, **options: Any
) -> Tensor:
    """start, start + step, ... below end."""
    first = 1 if end is None else 2  # arange(end)
    if end is None:
        start, end = 0, start
    start, end, step = (x.item() if isinstance(x, Tensor) and not x.shape else x for x in (start, end, step))
    for name, x in (("start", start), ("end", end), ("step", step)):
        if not isinstance(x, NUMBERS):
            raise wrong_argument(name, "Number", x, first if name == "end" else 0)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (python_math.isfinite(start) and python_math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = all(isinstance(x, int) for x in (start, end, step))
    kind = element_type(dtype, dtypes.int64 if whole else default_dtype())
    if kind is dtypes.int64 and not whole:  # it counts in that type
        start, end, step, whole = int(start), int(end), int(step), True
        if step == 0:
            raise ValueError("step must be nonzero")
    count = max(0, -(-(end - start) // step)) if whole else int(np.ceil((end - start) / step))
    wide = dtypes.int64 if kind.kind in "uib" else dtypes.float64
    place()
    steps = RECORDER.emit(tensor.iota.operator(size=count, dtype=wide), ())
    number = int if wide is dtypes.int64 else float
    out = arith.add(arith.mul(steps, node_of(number(step), wide)), node_of(number(start), wide))
    return finish(result(cast(out, kind)), options, device)


def _check_range(function: str, start: Any, end: Any, steps: Any) -> None:
    """Raise torch's errors for what is no range of `steps` numbers."""
    if not isinstance(steps, int):
        raise TypeError(f"{function}(): argument 'steps' (position 3) must be int, not {type(steps).__name__}")
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    for name, x in (("start", start), ("end", end)):
        if isinstance(x, Tensor) and x.shape:
            raise RuntimeError(
                f"{function} only supports 0-dimensional start and end tensors, but got {name} with {len(x.shape)} "
                "dimension(s)."
            )


@torch_function("linspace", method=False, out="made")
def linspace(start: Any, end: Any, steps: int, *, dtype: DType | None = None, device: Any = None, **options: Any) -> Tensor:
    """`steps` numbers from start to end inclusive; the second half counts back from the end, as torch."""
    kind = element_type(dtype, default_dtype())
    _check_range("linspace", start, end, steps)
    real: Any = np.float64 if kind.itemsize == 8 or kind.kind in "ui" else np.float32
    whole = int if kind.kind in "ui" else float
    first, last = real(whole(start)), real(whole(end))
    step = (last - first) / real(max(steps - 1, 1))
    position: Any = np.arange(steps)
    rising = first + step * position.astype(real)
    falling = last - step * (steps - 1 - position).astype(real)
    array: Any = np.where(position < steps // 2, rising, falling) if steps != 1 else np.array([first])
    return finish(of_numpy_values(array.astype(real), kind), options, device)


@torch_function("logspace", method=False, out="made")
def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: DType | None = None, device: Any = None, **options: Any
) -> Tensor:
    """base ** start to base ** end, with equal steps of the exponent."""
    kind = dtype or default_dtype()
    _check_range("logspace", start, end, steps)
    real: Any = np.float32 if kind.itemsize < 8 else np.float64
    if kind.kind in "ui":
        start, end = int(start), int(end)
    step = (real(end) - real(start)) / real(max(steps - 1, 1))
    position: Any = np.arange(steps)
    rising = real(start) + step * position.astype(real)
    falling = real(end) - step * (steps - 1 - position).astype(real)
    exponents: Any = np.where(position < steps // 2, rising, falling) if steps != 1 else np.array([start], real)
    array = np.power(real(base), exponents.astype(real), dtype=real)
    return finish(of_numpy_values(array, kind), options, device)


@torch_function("eye", method=False, out="made")
def eye(n: int, m: int | None = None, *, dtype: DType | None = None, device: Any = None, **options: Any) -> Tensor:
    """Ones on the diagonal, zeros elsewhere."""
    columns = n if m is None else m
    for name, count in (("n", n), ("m", columns)):
        if not isinstance(count, int):
            raise wrong_argument(name, "int", count)
        if count < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {count}")
    place()
    row = RECORDER.emit(tensor.iota.operator(size=n, dtype=dtypes.int64), ())
    column = RECORDER.emit(tensor.iota.operator(size=columns, dtype=dtypes.int64), ())
    same = arith.compare(emit(tensor.reshape, row, shape=(n, 1)), column, predicate="eq")
    return finish(result(cast(same, element_type(dtype, default_dtype()))), options, device)


@torch_function("one_hot", method=False, out=False)
def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """int64 ones at the classes along a new last dimension (nn.functional.one_hot)."""
    if input.dtype is not dtypes.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    num_classes = int(num_classes)
    count = num_classes if num_classes >= 0 else int(FUNCTIONS["max"](input)) + 1
    place()
    at = cast(value(input), dtypes.int64)
    classes = beside(RECORDER.emit(tensor.iota.operator(size=count, dtype=dtypes.int64), ()), at)
    # The numbers of the classes, picked by themselves: the same, but one that is no class raises.
    at = emit(tensor.gather, classes, refuse(inside(at, count), at, at), fault="class")
    node = emit(tensor.reshape, at, shape=(*input.shape, 1))
    return result(cast(arith.compare(node, classes, predicate="eq"), dtypes.int64))


# -- writing whole tensors


def _fill(self: Tensor, value: Any) -> Tensor:
    """Every element becomes the number."""
    place()
    node = node_of(value, self.dtype)
    return assign(self, emit(tensor.expand, beside(node, self._node), shape=tuple(self.shape)))


def _zero(self: Tensor) -> Tensor:
    return _fill(self, 0)


def _copy(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """The elements of another tensor, broadcast and converted."""
    place()
    node = value(on_device(src, self.device)) if src._node.type.device != self._node.type.device else value(src)
    node = cast(node, self.dtype)
    if node.type.shape != self.shape:
        node = emit(tensor.expand, node, shape=tuple(self.shape))
    else:
        node = emit(tensor.alias, node, label="CopyBackwards")
    return assign(self, node)


def _resize(self: Tensor, *size: Any) -> Tensor:
    shape = sizes_of(size)
    if tuple(self.shape) != shape:
        self._node = value(on_device(_filled(0, shape, self.dtype), self.device))
        STATE.trace.live.append(self)
    return self


attach("fill_", _fill)
attach("zero_", _zero)
attach("copy_", _copy)
attach("resize_", _resize)
FUNCTIONS["device"] = Device


def _cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    return on_device(self, "cpu")


def _cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    return on_device(self, "cuda" if device is None else device)


attach("cpu", _cpu)
attach("cuda", _cuda)
