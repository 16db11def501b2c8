"""`tensor`: views that only strides express: diagonals and strided windows on memory."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, example, leading
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.types import TensorType


def diagonal_length(rows: int, columns: int, offset: int) -> int:
    """How many elements the diagonal `offset` (above 0: to the right) of a matrix has."""
    return max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)


def diagonal_place(shape: Any, offset: int) -> tuple[int, int, int]:
    """Where the diagonal lies in the flattened matrix: start, length, step."""
    rows, columns = shape[-2:]
    start = offset if offset >= 0 else -offset * columns
    return start, diagonal_length(rows, columns, offset), columns + 1


def embed_diagonal(x: Any, rows: int, columns: int, offset: int) -> Any:
    """Matrices with x on the diagonal and 0 elsewhere: the adjoint of `diagonal`."""
    lead = x.type.shape[:-1]
    start, length, step = diagonal_place((rows, columns), offset)
    none = (0,) * len(lead)
    used = (length - 1) * step + 1 if length else 0
    start = start if length else 0
    zero = 0.0 if x.type.dtype.kind == "f" else 0
    flat = tensor.pad(
        x, low=(*none, start), high=(*none, rows * columns - start - used), interior=(*none, step - 1), value=zero
    )
    return tensor.reshape(flat, shape=(*lead, rows, columns))


def _infer_diagonal(attributes: Attributes, x: TensorType) -> TensorType:
    rows, columns = x.shape[-2:]
    return x.with_shape((*x.shape[:-2], diagonal_length(rows, columns, attributes.offset)))


def _diagonal_vjp(op: Any, g: Any) -> Any:
    rows, columns = op.operands[0].type.shape[-2:]
    return embed_diagonal(g, rows, columns, op.attributes.offset)


diagonal: Declaration = Declaration(
    "tensor.diagonal",
    _infer_diagonal,
    attributes=("offset",),
    traits=tensor.VIEW,
    vjp=(_diagonal_vjp,),
    batch=leading(),
    reference=lambda attributes, x: np.diagonal(x, attributes.offset, -2, -1),
    gradient_name="Diagonal",
    example=example("tensor<2x3xf32>", offset=1),
    doc="the diagonal of the matrices in the last two dimensions; `offset` > 0: to the right of the main one",
)


def strided_index(like: Any, attributes: Any) -> Any:
    """The position in the flat operand of every element of an as_strided, beside `like`."""
    total = None
    rank = len(attributes.shape)
    for d, (size, stride) in enumerate(zip(attributes.shape, attributes.strides, strict=True)):
        steps = positions(like, size, dtypes.int64)
        steps = tensor.reshape(steps, shape=tuple([size if i == d else 1 for i in range(rank)]))
        part = arith.mul(steps, stride)
        total = part if total is None else arith.add(total, part)
    type = TensorType(dtypes.int64, attributes.shape, like.type.device)
    start = arith.constant.build(like.builder, value=attributes.offset, type=type)
    return start if total is None else arith.add(total, start)


def _infer_strided(attributes: Attributes, x: TensorType) -> TensorType:
    if x.rank != 1:
        raise RuntimeError(f"tensor.as_strided: expected a flat operand but got {x}")
    last = attributes.offset + sum(
        (size - 1) * stride for size, stride in zip(attributes.shape, attributes.strides, strict=True)
    )
    if 0 not in attributes.shape and last >= x.numel:
        raise RuntimeError(
            f"setStorage: sizes {list(attributes.shape)}, strides {list(attributes.strides)}, storage offset "
            f"{attributes.offset}, and itemsize {x.dtype.itemsize} requiring a storage size of "
            f"{(last + 1) * x.dtype.itemsize} are out of bounds for storage of size {x.nbytes}"
        )
    return x.with_shape(attributes.shape)


def _reference_strided(attributes: Attributes, x: np.ndarray) -> np.ndarray:
    if 0 in attributes.shape:
        return np.empty(attributes.shape, x.dtype)
    strides = [stride * x.strides[0] for stride in attributes.strides]
    return np.lib.stride_tricks.as_strided(x[attributes.offset :], attributes.shape, strides)


def _strided_vjp(op: Any, g: Any) -> Any:
    zeros = arith.constant.build(g.builder, value=0.0, type=op.operands[0].type)
    return tensor.scatter_add(zeros, strided_index(g, op.attributes), g)


def _batch_strided(op: Any) -> Any:
    """One storage after the other."""
    a = op.attributes
    (x,) = op.leading()
    size, count = x.type.shape
    flat = tensor.reshape(x, shape=(size * count,))
    return op.again((flat,), shape=(size, *a.shape), strides=(count, *a.strides))


as_strided: Declaration = Declaration(
    "tensor.as_strided",
    _infer_strided,
    attributes=("shape", "strides", "offset"),
    traits=tensor.VIEW,
    vjp=(_strided_vjp,),
    batch=_batch_strided,
    reference=_reference_strided,
    gradient_name="AsStrided",
    example=example("tensor<6xf32>", shape=(2, 2), strides=(2, 1), offset=1),
    doc="element i of the result is element offset + sum(i_d strides_d) of the operand, which has one dimension",
)


def overlaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether two elements may share a place: a dimension steps by less than what the smaller ones reach over."""
    reach = 1
    for stride, size in sorted((stride, size) for stride, size in zip(strides, shape, strict=True) if size > 1):
        if stride < reach:
            return True
        reach = stride * (size - 1) + reach
    return False


@lru_cache(4096)
def leading_rows(source: TensorType, a: Attributes) -> tuple[int, int] | None:
    """Of a slice that is whole rows of a value, one after the other: the byte in the value's memory where they begin, and
    their number of bytes. None for any other slice."""
    shape = source.shape
    if not shape or not shape[0] or a.steps[0] != 1 or any(a.starts[1:]) or a.sizes[1:] != shape[1:]:
        return None
    row = source.nbytes // shape[0]
    return a.starts[0] * row, a.sizes[0] * row
