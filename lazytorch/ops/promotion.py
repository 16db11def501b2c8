"""Type promotion: which element type an operation computes in, by torch's rules."""

from __future__ import annotations

import numpy as np

from lazytorch import dtypes
from lazytorch.default_dtype import default_dtype
from lazytorch.dtypes import DType

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
_COMPLEX_OF = {2: dtypes.complex64, 4: dtypes.complex64, 8: dtypes.complex128}


def promote_types(a: DType, b: DType) -> DType:
    """The smallest element type that holds both (torch.promote_types)."""
    if a is b:
        return a
    high, low = (a, b) if _CATEGORY[a.kind] >= _CATEGORY[b.kind] else (b, a)
    if _CATEGORY[high.kind] != _CATEGORY[low.kind]:
        if high.kind == "c" and low is dtypes.float64:
            return dtypes.complex128
        return high
    if high.kind == "f" and high.itemsize == low.itemsize == 2:
        return dtypes.float32
    if high.kind in "fc":
        return high if high.itemsize >= low.itemsize else low
    return dtypes.of_numpy(np.promote_types(high.numpy, low.numpy))


def python_dtype(number: object) -> DType:
    """The element type of a Python number (NumPy's float64 and complex128 are of Python's classes)."""
    if isinstance(number, bool):
        return dtypes.bool_
    if isinstance(number, int):
        return dtypes.int64
    if isinstance(number, float):
        return default_dtype()
    if isinstance(number, complex):
        return _COMPLEX_OF[default_dtype().itemsize]
    raise TypeError(f"unsupported number {number!r}")


def combine(higher: DType | None, lower: DType | None) -> DType | None:
    """Dimensioned tensors rule over zero-dimensional ones, and both over Python numbers, within a category."""
    if higher is None or lower is None:
        return higher or lower
    if higher.kind == "c":
        return higher
    if higher.kind == "f":
        return _COMPLEX_OF[higher.itemsize] if lower.kind == "c" else higher
    if higher.kind == "b" or lower.kind in "fc":
        return promote_types(higher, lower)
    return higher


def common_type(dtype_a: DType, rank_a: int, dtype_b: DType, rank_b: int) -> DType:
    """The common element type of two tensors (rank -1: a Python number)."""
    by_rank: dict[int, DType | None] = {2: None, 1: None, 0: None}
    for dtype, rank in ((dtype_a, rank_a), (dtype_b, rank_b)):
        level = 2 if rank > 0 else 1 if rank == 0 else 0
        before = by_rank[level]
        by_rank[level] = dtype if before is None else promote_types(before, dtype)
    found = combine(combine(by_rank[2], by_rank[1]), by_rank[0])
    assert found is not None
    return found
