"""What inference asks of attributes before it relies on them: text may say anything. Each returns what it checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch.dtypes import DType


def distinct_dimensions(name: str, dims: Sequence[Any], rank: int) -> tuple[int, ...]:
    """Dimensions of a tensor of this rank, each at most once. Raises IndexError."""
    if len(set(dims)) != len(dims) or any(type(dim) is not int or not 0 <= dim < rank for dim in dims):
        raise IndexError(f"{name}: {list(dims)} are not different dimensions of a tensor of rank {rank}")
    return tuple(dims)


def permutation(name: str, order: Sequence[Any], rank: int) -> Sequence[int]:
    """All dimensions of a tensor of this rank in some order. Raises RuntimeError."""
    if sorted(order) != list(range(rank)):
        raise RuntimeError(f"{name}: {list(order)} is no order of {rank} dimensions")
    return order


def sizes(name: str, shape: Sequence[Any]) -> tuple[int, ...]:
    """Sizes of dimensions. Raises RuntimeError."""
    if type(shape) is not tuple or any(type(size) is not int or size < 0 for size in shape):
        raise RuntimeError(f"{name}: {shape} is no shape")
    return shape


def element_type(name: str, dtype: Any) -> DType:
    """An element type. Raises TypeError."""
    if not isinstance(dtype, DType):
        raise TypeError(f"{name}: {dtype} is no element type")
    return dtype


def number_of(name: str, value: Any, dtype: DType) -> Any:
    """A number that the element type can hold. Raises TypeError."""
    kinds = {"c": bool | int | float | complex, "f": bool | int | float}
    if not isinstance(value, kinds.get(dtype.kind, bool | int | float)) or (
        isinstance(value, float) and dtype.kind not in "fc" and not value.is_integer()
    ):
        raise TypeError(f"{name}: {value!r} is no number of type {dtype.name}")
    return value
