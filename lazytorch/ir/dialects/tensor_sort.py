"""`tensor`: sorting and searching along the last dimension. The values follow by a gather, with its derivative."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example, leading
from lazytorch.ir.dialects import tensor
from lazytorch.ir.types import TensorType

SORT = (Trait.PURE, Trait.EXPENSIVE)


def _infer_argsort(attributes: Attributes, x: TensorType) -> TensorType:
    if not x.rank:
        raise RuntimeError(f"tensor.argsort: expected a dimension to sort along but got {x}")
    size = x.shape[-1]
    kept = size if attributes.count < 0 else min(attributes.count, size)
    return TensorType(dtypes.int64, (*x.shape[:-1], kept))


def _reference_argsort(attributes: Attributes, x: np.ndarray) -> np.ndarray:
    if attributes.descending:
        # Descending and stable: the reverse of the ascending order of the reversed elements.
        order = x.shape[-1] - 1 - np.argsort(x[..., ::-1], -1, kind="stable")[..., ::-1]
    else:
        order = np.argsort(x, -1, kind="stable")
    kept: np.ndarray = order if attributes.count < 0 else order[..., : attributes.count]
    return kept


argsort: Declaration = Declaration(
    "tensor.argsort",
    _infer_argsort,
    attributes=("descending", "count"),
    defaults={"count": -1},
    traits=SORT,
    batch=leading(),
    reference=_reference_argsort,
    example=example("tensor<2x3xf32>", descending=False),
    doc="the positions along the last dimension in sorted order; equal elements keep theirs; nan counts as the largest; "
    "with `count` only the first so many",
)


def _infer_search(attributes: Attributes, table: TensorType, values: TensorType) -> TensorType:
    if table.dtype is not values.dtype:
        raise RuntimeError(f"tensor.searchsorted: expected one dtype but got {table.dtype} and {values.dtype}")
    if table.rank != 1 and table.shape[:-1] != values.shape[:-1]:
        raise RuntimeError(f"tensor.searchsorted: {table} and {values} have different leading dimensions")
    return values.with_dtype(dtypes.int64)


def _reference_search(attributes: Attributes, table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bisection of all values at once; np.searchsorted would order nan otherwise."""
    size = table.shape[-1]
    rows = np.broadcast_to(table, (*values.shape[:-1], size)) if values.ndim else table
    low, high = np.zeros(values.shape, np.int64), np.full(values.shape, size, np.int64)
    for _ in range(size.bit_length()):
        middle = (low + high) // 2
        at = np.minimum(middle, size - 1)
        element = np.take_along_axis(rows, at, -1) if values.ndim else rows[at]
        smaller = ~(element > values if attributes.right else element >= values)
        inside = low < high
        low, high = np.where(inside & smaller, middle + 1, low), np.where(inside & ~smaller, middle, high)
    return low


def _batch_search(op: Any) -> Any:
    """One row for all stays that; a row for each example needs its values in one row too."""
    table, values = op.operands
    if not op.batched[0] and len(table.type.shape) == 1:
        return op.again((table, values))
    table, values = op.leading()
    if len(table.type.shape) != 2:
        return op.again((table, values))
    rows = tensor.reshape(values, shape=(op.size, math.prod(values.type.shape[1:])))
    return tensor.reshape(op.again((table, rows)), shape=values.type.shape)


searchsorted: Declaration = Declaration(
    "tensor.searchsorted",
    _infer_search,
    attributes=("right",),
    traits=SORT,
    batch=_batch_search,
    reference=_reference_search,
    example=example("tensor<4xf32>", "tensor<2x3xf32>", right=False),
    doc="where each value would be inserted into the ascending last dimension of the first operand (one row for all, or a "
    "row each): before equal elements, or with `right` after them; a nan on either side moves on to the right",
)
