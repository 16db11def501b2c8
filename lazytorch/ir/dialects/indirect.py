"""`tensor.gather`, `tensor.scatter`, `tensor.scatter_add`, and what an index out of range says when found at run time.

The index of these operations is often computed: a place in several flattened dimensions, say. `refuse` replaces an index
that is out of range by a number far out of any range that still tells the user's own index and which one of several it was;
the attributes `bounds` and `fault` say what else belongs into the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example
from lazytorch.ir.dialects import arith
from lazytorch.ir.types import TensorType

_REFUSED = 1 << 60
_FIELD = 1 << 50
"""A refused index is _REFUSED + position * _FIELD + (index + _FIELD / 2), the index limited to +-_FIELD / 2."""


def inside(index: Any, size: int) -> Any:
    """Whether an i64 index is one of 0 ... size - 1."""
    return arith.bit_and(arith.compare(index, 0, predicate="ge"), arith.compare(index, size, predicate="lt"))


def wrapped(index: Any, size: int) -> Any:
    """The index, a negative one counted from the end."""
    return arith.select(arith.compare(index, 0, predicate="lt"), arith.add(index, size), index)


def refuse(good: Any, place: Any, index: Any, position: int = 0) -> Any:
    """`place` where the user's `index` is good; elsewhere a number that makes the operation raise and tell that index."""
    half = _FIELD // 2
    limited = arith.maximum(arith.minimum(index, half - 1), -half)
    return arith.select(good, place, arith.add(limited, _REFUSED + position * _FIELD + half))


def spread(index: Any, size: int, first: Any) -> Any:
    """An index into `size` rows that begin at row `first` of more; one out of range is refused as it was written."""
    if index.type.dtype is not dtypes.int64:
        index = arith.cast(index, dtype=dtypes.int64)
    good = arith.bit_and(arith.compare(index, -size, predicate="ge"), arith.compare(index, size, predicate="lt"))
    placed = refuse(good, arith.add(wrapped(index, size), first), index)
    return arith.select(arith.compare(index, _REFUSED, predicate="ge"), index, placed)


_BOUNDS = "index {index} is out of bounds for dimension {dimension} with size {size}"
FAULTS: dict[str, tuple[type[Exception], Callable[[int], str]]] = {
    "index": (IndexError, lambda index: _BOUNDS),
    "element": (RuntimeError, lambda index: _BOUNDS),
    "self": (IndexError, lambda index: "index out of range in self"),
    "data": (RuntimeError, lambda index: "INDICES element is out of DATA bounds, id={index} axis_dim={size}"),
    "zero": (RuntimeError, lambda index: "ZeroDivisionError"),
    "target": (IndexError, lambda index: "Target {index} is out of bounds."),
    "class": (
        RuntimeError,
        lambda index: "Class values must be " + ("non-negative." if index < 0 else "smaller than num_classes."),
    ),
}
"""What is raised for an index out of range, by the attribute `fault`: torch's type and text."""


def index_error(attributes: Attributes, index: int, size: int) -> Exception:
    """The error of a gather or scatter that met this number as an index into `size` rows."""
    position = 0
    if index >= _REFUSED:
        position, index = divmod(index - _REFUSED, _FIELD)
        index -= _FIELD // 2
    dimension, size = attributes.bounds[position] if attributes.bounds else (0, size)
    kind, text = FAULTS[attributes.fault]
    if attributes.fault == "index" and size == 0:
        return IndexError("index is out of bounds for dimension with size 0")
    return kind(text(index).format(index=index, dimension=dimension, size=size))


ATTRIBUTES: dict[str, Any] = {"attributes": ("bounds", "fault"), "defaults": {"bounds": (), "fault": "index"}}
"""What every operation here declares: `bounds`, (dimension, size) of each of the user's indices, and `fault`."""


def _infer_gather(attributes: Attributes, x: TensorType, index: TensorType) -> TensorType:
    if index.dtype.kind not in "ui":
        raise IndexError(f"tensor.gather: indices must be integers, not {index.dtype}")
    return TensorType(x.dtype, (*index.shape, *x.shape[1:]))


def checked(attributes: Attributes, index: np.ndarray, size: int) -> np.ndarray:
    """The indices. Raises what `fault` says for one out of range."""
    bad = (index < -size) | (index >= size)
    if bad.any():
        raise index_error(attributes, int(index[bad].flat[0]), size)
    return index


def _zeros(g: Any, type: TensorType) -> Any:
    return arith.constant.build(g.builder, value=0.0, type=type)


def _batch_gather(op: Any) -> Any:
    """One table for all stays that; several lie one after the other."""
    if not op.batched[0]:
        return op.again(op.operands)
    x, index = op.leading()
    size = x.type.shape[1]
    index = spread(index, size, op.numbers(size, index))
    return op.again((op.joined(x), index), bounds=op.attributes.bounds or ((0, size),))


def batch_scatter(op: Any) -> Any:
    """The bases lie one after the other."""
    base, index, value = op.leading()
    size = base.type.shape[1]
    index = spread(index, size, op.numbers(size, index))
    return op.parted(op.again((op.joined(base), index, value), bounds=op.attributes.bounds or ((0, size),)))


gather: Declaration = Declaration(
    "tensor.gather",
    _infer_gather,
    **ATTRIBUTES,
    traits=(Trait.PURE, Trait.ADDITIVE),
    batch=_batch_gather,
    vjp=(
        lambda op, g: scatter_add(_zeros(g, op.operands[0].type), op.operands[1], g, **op.attributes.as_dict()),
        None,
    ),
    reference=lambda attributes, x, index: x[checked(attributes, index, x.shape[0])],
    gradient_name="Index",
    example=example("tensor<5x3xf32>", "tensor<4xi64>"),
    doc="x[index] along the first dimension: index.shape + x.shape[1:]; i64 indices, negative ones count from the end, "
    "one out of range raises at run time what `fault` says",
)


def _reference_scatter_add(attributes: Attributes, base: np.ndarray, index: np.ndarray, value: np.ndarray) -> np.ndarray:
    out = base.copy()
    np.add.at(out, checked(attributes, index, base.shape[0]), value)
    return out


def _reference_scatter(attributes: Attributes, base: np.ndarray, index: np.ndarray, value: np.ndarray) -> np.ndarray:
    out = base.copy()
    flat = checked(attributes, index, base.shape[0]).reshape(-1)
    values = value.reshape(len(flat), *base.shape[1:])
    for i, at in enumerate(flat):
        out[at] = values[i]
    return out


def _infer_scatter(attributes: Attributes, base: TensorType, index: TensorType, value: TensorType) -> TensorType:
    if value.shape != (*index.shape, *base.shape[1:]):
        raise RuntimeError(f"shape mismatch: value {value} does not fit index {index} into {base}")
    if value.dtype is not base.dtype:
        raise RuntimeError(f"scatter: expected dtype {base.dtype} but got {value.dtype}")
    return base


scatter_add: Declaration = Declaration(
    "tensor.scatter_add",
    _infer_scatter,
    **ATTRIBUTES,
    traits=(Trait.PURE, Trait.ADDITIVE),
    batch=batch_scatter,
    vjp=(lambda op, g: g, None, lambda op, g: gather(g, op.operands[1], **op.attributes.as_dict())),
    reference=_reference_scatter_add,
    gradient_name="IndexAdd",
    example=example("tensor<5x3xf32>", "tensor<4xi64>", "tensor<4x3xf32>"),
    doc="base with value[i] added at index[i] along the first dimension, in the order of i (deterministic)",
)
scatter: Declaration = Declaration(
    "tensor.scatter",
    _infer_scatter,
    **ATTRIBUTES,
    traits=(Trait.PURE, Trait.ADDITIVE),
    batch=batch_scatter,
    vjp=(
        lambda op, g: scatter(g, op.operands[1], _zeros(g, op.operands[2].type), **op.attributes.as_dict()),
        None,
        lambda op, g: gather(g, op.operands[1], **op.attributes.as_dict()),
    ),
    reference=_reference_scatter,
    gradient_name="IndexPut",
    example=example("tensor<5x3xf32>", "tensor<4xi64>", "tensor<4x3xf32>"),
    doc="base with value[i] written at index[i] along the first dimension; of equal indices the last wins",
)
