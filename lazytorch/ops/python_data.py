"""Python sequences of numbers as arrays: their shape, their element type, and what is no such thing (torch/csrc/utils/
tensor_new.cpp)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.default_dtype import default_dtype
from lazytorch.dtypes import DType
from lazytorch.ops.promotion import promote_types, python_dtype
from lazytorch.tensor import Tensor

_NO_SEQUENCES = (Tensor, np.generic, str, bytes, dict)
_MOST_DIMENSIONS = 128


def is_sequence(data: Any) -> bool:
    """Whether the items of an object become a dimension: lists, deques, ranges, arrays and their like, but no tensor."""
    kind = type(data)
    if kind is list or kind is tuple:
        return True
    return hasattr(kind, "__getitem__") and hasattr(kind, "__len__") and not isinstance(data, _NO_SEQUENCES)


def elements_of(data: Any, dtype: DType | None) -> tuple[np.ndarray, DType]:
    """The numbers of nested sequences in an element type, by default their own. Raises torch's errors for what is ragged
    and for what is no number."""
    shape, items = _unnested(data)
    if isinstance(items, np.ndarray):
        kind = dtype or dtypes.of_numpy(items.dtype)
        if kind.kind in "ui" and items.dtype.kind not in "ui" and items.size:
            _integer(items.flat[0], kind)
        return items.reshape(shape), kind
    kind = dtype or _common_type(items)
    if kind.kind in "ui":
        return _whole_numbers(items, kind).reshape(shape), kind
    reals = items if set(map(type, items)) <= {int, float, bool} else [_real(x, kind) for x in items]
    return np.array(reals, dtype=np.float32 if kind is dtypes.bfloat16 else kind.numpy).reshape(shape), kind


def _unnested(data: Any) -> tuple[tuple[int, ...], list[Any] | np.ndarray]:
    """The shape of nested sequences, which the first items decide, and all their items in order."""
    shape: list[int] = []
    level: list[Any] = [data]
    while level and (is_sequence(level[0]) or isinstance(level[0], str | bytes)):
        first = level[0]
        if isinstance(first, str | bytes):
            if shape:
                raise ValueError(f"too many dimensions '{type(first).__name__}'")
            raise TypeError(f"new(): invalid data type '{type(first).__name__}'")
        if type(first) is np.ndarray and all(_alike(x, first) for x in level):
            return (*shape, *first.shape), np.array(level)
        length = len(first)
        shape.append(length)
        if len(shape) > _MOST_DIMENSIONS:
            raise ValueError(f"too many dimensions '{type(first).__name__}'")
        inner: list[Any] = []
        for sequence in level:
            if not is_sequence(sequence):
                raise TypeError("not a sequence")
            if len(sequence) != length:
                raise ValueError(f"expected sequence of length {length} at dim {len(shape) - 1} (got {len(sequence)})")
            inner.extend(sequence)
        level = inner
    return tuple(shape), level


def _alike(item: Any, array: np.ndarray) -> bool:
    return type(item) is np.ndarray and item.shape == array.shape and item.dtype == array.dtype


def _common_type(items: Iterable[Any]) -> DType:
    """The element type of numbers: what those of Python, of NumPy and of tensors promote to."""
    found = {_type_of(x) if isinstance(x, Tensor) or is_sequence(x) else type(x) for x in items}
    kinds = [x if isinstance(x, DType) else _python_type(x) for x in found]
    return reduce(promote_types, kinds) if kinds else default_dtype()


def _type_of(item: Any) -> DType:
    if isinstance(item, Tensor):
        return item.dtype
    return dtypes.of_numpy(item.dtype) if isinstance(item, np.ndarray) else _common_type(item)


def _python_type(kind: type) -> DType:
    if issubclass(kind, np.generic):
        return dtypes.of_numpy(np.dtype(kind))
    for python in (bool, int, float, complex):
        if issubclass(kind, python):
            return python_dtype(python())
    if issubclass(kind, str | bytes):
        raise TypeError(f"new(): invalid data type '{kind.__name__}'")
    raise RuntimeError(f"Could not infer dtype of {kind.__name__}")


def _whole_numbers(items: list[Any], kind: DType) -> np.ndarray:
    """Integers of an element type: floats are cut, what is below 0 wraps around in unsigned types."""
    numbers = items if set(map(type, items)) <= {int, bool} else [_integer(x, kind) for x in items]
    if kind.itemsize == 8 and kind.kind == "u":
        return np.array([x % 2**64 for x in numbers], dtype=np.uint64)
    try:
        wide = np.array(numbers, dtype=np.int64)
    except OverflowError as error:
        raise ValueError("Overflow when unpacking long long") from error
    limits = np.iinfo(kind.numpy)
    if kind.itemsize < 8 and ((wide > limits.max) | (wide < (limits.min or -limits.max))).any():
        raise RuntimeError(_OVERFLOW.format(kind.torch_name))
    return wide.astype(kind.numpy)


_OVERFLOW = "value cannot be converted to type {} without overflow"


def _integer(item: Any, kind: DType) -> int:
    if isinstance(item, float):
        if not math.isfinite(item) or (item < 0 and kind.kind == "u"):
            raise RuntimeError(_OVERFLOW.format(kind.torch_name))
        return int(item)
    if not hasattr(type(item), "__index__"):
        given = type(item)
        name = f"{given.__module__}.{given.__name__}" if issubclass(given, np.generic) else given.__name__
        raise TypeError(f"'{name}' object cannot be interpreted as an integer")
    return int(item.__index__())


def _real(item: Any, kind: DType) -> Any:
    if isinstance(item, Tensor):
        return item._scalar()
    if isinstance(item, int | float | np.generic) or (isinstance(item, complex) and kind.kind == "c"):
        return item
    raise TypeError(f"must be real number, not {type(item).__name__}")
