"""Writing by index along a dimension, through views, and in-place changes of a tensor's shape."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytorch import dtypes
from lazytorch.codegen.views import contiguous
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration, Operator
from lazytorch.ir.dialects import arith, tensor, tensor_scan, tensor_scatter
from lazytorch.ir.trace import STATE, Node
from lazytorch.ops.indexing import element_index
from lazytorch.ops.recording import (
    FUNCTIONS,
    attach,
    beside,
    cast,
    dimension,
    emit,
    named,
    node_of,
    place,
    result,
    torch_function,
    without_slope,
)
from lazytorch.tensor import Accumulator, Tensor, assign, caller, from_array, make_view, value

# -- along a dimension


def _moved(x: Node, d: int) -> Node:
    """Dimension d in front."""
    rank = len(x.type.shape)
    return emit(tensor.permute, x, order=(d, *[i for i in range(rank) if i != d]))


def _moved_back(x: Node, d: int, label: str) -> Node:
    rank = len(x.type.shape)
    return emit(tensor.permute, x, label=label, order=tensor.inverse_order((d, *[i for i in range(rank) if i != d])))


def _index(index: Tensor, name: str) -> Node:
    if index.dtype.kind not in "ui":
        raise IndexError(f"{name}(): Expected dtype int64 for index.")
    return cast(value(index), dtypes.int64)


def _rows(name: str, input: Tensor, dim: int, index: Tensor, source: Any) -> Tensor:
    """Write rows of source (or one number) to positions along a dimension."""
    place()
    shape = tuple(input.shape) or (1,)
    d = dimension(dim, len(input.shape))
    base = _moved(emit(tensor.reshape, value(input), shape=shape), d)
    at = _index(index, name)
    at = at if at.type.shape else emit(tensor.reshape, at, shape=(1,))
    if isinstance(source, Tensor) and source.shape:
        new = _moved(cast(value(source), input.dtype), d)
    else:
        number = beside(node_of(source.reshape(()) if isinstance(source, Tensor) else source, input.dtype), base)
        new = emit(tensor.expand, number, shape=(*at.type.shape, *base.type.shape[1:]))
    label = "".join(part.title() for part in name.split("_"))
    out = _moved_back(emit(tensor.scatter, base, at, new), d, label)
    return result(emit(tensor.reshape, out, shape=tuple(input.shape)))


@torch_function("index_fill", inplace=True, out="same")
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """One number at the given positions along a dimension."""
    if isinstance(value, Tensor) and value.shape:
        raise RuntimeError(
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {len(value.shape)} dimension(s)."
        )
    if isinstance(value, Tensor) and value.requires_grad:  # a position named twice counts once in the value's gradient
        d = dimension(dim, len(input.shape))
        flags = index_fill(
            FUNCTIONS["zeros"](input.shape[d] if input.shape else 1, dtype=dtypes.bool_, device=input.device), 0, index, True
        )
        shape = [size if i == d else 1 for i, size in enumerate(input.shape)]
        return named(FUNCTIONS["where"](flags.reshape(shape), value.to(input.dtype), input), "IndexFill")
    return _rows("index_fill", input, dim, index, value)


@torch_function("index_copy", inplace=True, out="same")
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Rows of source at the given positions along a dimension; of equal positions the last wins."""
    if source.dtype is not input.dtype:
        raise RuntimeError("index_copy_(): self and source expected to have the same dtype")
    return _rows("index_copy", input, dim, index, source)


def _index_put_inplace(self: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    """self[indices] = values, or added there if `accumulate`."""
    if values.dtype is not self.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {self.dtype.title} for the destination and "
            f"{values.dtype.title} for the source."
        )
    key = tuple([slice(None) if index is None else index for index in indices])
    if not accumulate:
        self[key] = values
        return self
    # Positions of the elements, counted in the tensor itself: what the index would read of them is where to add.
    count = self._node.type.numel
    where = FUNCTIONS["arange"](count, device=self._node.type.device).reshape(self.shape)[key]
    new = values.expand(where.shape).reshape(-1)
    flat = FUNCTIONS["index_add"](self.reshape(-1), 0, where.reshape(-1), new.to(self.dtype))
    place()
    return assign(self, emit(tensor.reshape, value(flat), label="IndexPut", shape=tuple(self.shape)))


attach("index_put_", _index_put_inplace)


@torch_function("index_put", out=False)
def index_put(input: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with values at the indices, or added there if `accumulate`."""
    return _index_put_inplace(FUNCTIONS["clone"](input), indices, values, accumulate)


# -- elements in order


@torch_function("masked_scatter", inplace=True, out=False)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The elements of source, in order, where the mask holds."""
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype " + repr(mask.dtype))
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got{input.dtype.title} and "
            f"{source.dtype.title}"
        )
    shape = arith.broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    place()
    holds = emit(tensor.expand, value(mask), shape=shape)
    flat = cast(emit(tensor.reshape, holds, shape=(holds.type.numel,)), dtypes.int64)
    # The number of true elements before each one is its position in source.
    at = arith.sub(emit(tensor_scan.scan_sum, flat, dim=0), node_of(1)) if holds.type.numel else flat
    at = arith.select(arith.compare(flat, node_of(0), predicate="ne"), at, node_of(0))
    new = cast(emit(tensor.reshape, value(source), shape=(source._node.type.numel,)), input.dtype)
    if not new.type.numel:
        return FUNCTIONS["clone"](input)
    picked = emit(tensor.reshape, emit(tensor.gather, new, at), shape=shape)
    return result(emit(arith.select, holds, picked, value(input), label="MaskedScatter"))


@torch_function("take", out="same")
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at positions in the flattened tensor."""
    place()
    flat = emit(tensor.reshape, value(input), shape=(input._node.type.numel,))
    return result(emit(tensor.gather, flat, _index(index, "take"), label="Take"))


@torch_function("put", inplace=True, out="same")
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Write (or add) elements at positions in the flattened tensor."""
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{input.dtype.title} and source.dtype = {source.dtype.title}"
        )
    place()
    flat = emit(tensor.reshape, value(input), shape=(input._node.type.numel,))
    at = _index(index, "put_")
    new = emit(tensor.reshape, cast(value(source), input.dtype), shape=at.type.shape)
    out = emit(tensor.scatter_add if accumulate else tensor.scatter, flat, at, new)
    return result(emit(tensor.reshape, out, label="Put", shape=tuple(input.shape)))


@torch_function("take_along_dim", out="same")
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """The elements that `argsort` and the like name along a dimension; the other dimensions broadcast."""
    if indices.dtype is not dtypes.int64:
        raise RuntimeError("torch.take_along_dim(): dtype of indices should be Long but got " + indices.dtype.title)
    if dim is None:
        flat = input.reshape(-1)
        return FUNCTIONS["gather"](flat, 0, _counted_back(indices.reshape(-1), flat.shape[0]))
    d = dimension(dim, len(input.shape))
    if len(indices.shape) != len(input.shape):
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{len(input.shape)} dimensions for input, and {len(indices.shape)} dimensions for indices"
        )

    def wide(x: Tensor) -> list[int]:
        return [1 if i == d else size for i, size in enumerate(x.shape)]

    shape = arith.broadcast_shapes(tuple(wide(input)), tuple(wide(indices)))
    sizes = [(*shape[:d], x.shape[d], *shape[d + 1 :]) for x in (input, indices)]
    return FUNCTIONS["gather"](input.expand(sizes[0]), d, _counted_back(indices, input.shape[d]).expand(sizes[1]))


def _counted_back(indices: Tensor, size: int) -> Tensor:
    """Negative indices count from the end."""
    return FUNCTIONS["where"](indices < 0, indices + size, indices)


class _Reduction(NamedTuple):
    """How scatter_reduce and index_reduce combine, and what combined with x is x."""

    scatter: Declaration
    identity: float


_REDUCTIONS = {
    "sum": _Reduction(tensor.scatter_add, 0),
    "mean": _Reduction(tensor.scatter_add, 0),
    "prod": _Reduction(tensor_scatter.scatter_mul, 1),
    "amax": _Reduction(tensor_scatter.scatter_max, -math.inf),
    "amin": _Reduction(tensor_scatter.scatter_min, math.inf),
}


def _identity(name: str, dtype: DType) -> Any:
    number = _REDUCTIONS[name].identity
    if dtype.kind == "f" or math.isfinite(number):
        return number
    if dtype.kind == "b":
        return number > 0
    bounds = np.iinfo(dtype.numpy)
    return int(bounds.min if number < 0 else bounds.max)


def _reduced(base: Node, at: Node, new: Node, name: str, include_self: bool) -> Node:
    """Combine rows of `new` at positions along the first dimension of `base`."""
    dtype = base.type.dtype
    if not include_self:
        empty = emit(tensor.expand, beside(node_of(_identity(name, dtype), dtype), base), shape=new.type.shape)
        base = emit(tensor.scatter, base, at, empty)
    out = emit(_REDUCTIONS[name].scatter, base, at, new)
    if name != "mean":
        return out
    one, start = (beside(node_of(x, dtype), base) for x in (1, int(include_self)))
    count = emit(
        tensor.scatter_add,
        emit(tensor.expand, start, shape=base.type.shape),
        at,
        emit(tensor.expand, one, shape=new.type.shape),
    )
    quotient = FUNCTIONS["div"](
        result(out), result(arith.maximum(count, one)), rounding_mode=None if dtype.kind == "f" else "floor"
    )
    return value(quotient)


@torch_function("scatter_reduce", inplace=True, out="same")
def scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """Combine src (by "sum", "prod", "mean", "amax" or "amin") at the positions that `gather` would read.

    Without `include_self` the elements that are written to do not take part themselves.
    """
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")
    if src.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if not input.shape:
        wide = [x.reshape(1) for x in (input, index, src)]
        return scatter_reduce(wide[0], dim, wide[1], wide[2], reduce, include_self=include_self).reshape(())
    place()
    shape = tuple(input.shape)
    d = dimension(dim, len(shape))
    at = element_index(shape, d, cast(value(index), dtypes.int64))
    new = value(src)
    if new.type.shape != at.type.shape:
        new = emit(tensor.slice_, new, starts=(0,) * len(shape), sizes=at.type.shape, steps=(1,) * len(shape))
    flat = emit(tensor.reshape, value(input), shape=(input._node.type.numel,))
    out = _reduced(flat, at, new, reduce, include_self)
    return result(emit(tensor.reshape, out, label="ScatterReduce0", shape=shape))


@torch_function("index_reduce", inplace=True, out="same")
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Combine rows of source (by "prod", "mean", "amax" or "amin") at positions along a dimension."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"index_reduce_(): self ({input.dtype.title}) and source ({source.dtype.title}) must have the same scalar type"
        )
    if not input.shape:
        wide = [x.reshape(1) for x in (input, index, source)]
        return index_reduce(wide[0], dim, wide[1], wide[2], reduce, include_self=include_self).reshape(())
    place()
    d = dimension(dim, len(input.shape))
    out = _reduced(_moved(value(input), d), _index(index, "index_reduce"), _moved(value(source), d), reduce, include_self)
    return result(_moved_back(out, d, "IndexReduce"))


# -- through views


def _written(input: Tensor, view: Callable[[Tensor], Tensor], src: Tensor) -> Tensor:
    copy = FUNCTIONS["clone"](input)
    part = view(copy)
    if part.shape != src.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {src.shape}, slice size = {part.shape}"
        )
    part.copy_(src)
    return without_slope(copy, input) if part._node.type.numel == input._node.type.numel else copy


@torch_function("select_scatter", out=False)
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with one element along a dimension replaced."""
    return _written(input, lambda copy: copy.select(dim, index), src)


@torch_function("slice_scatter", out="same")
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy with a slice along a dimension replaced."""
    d = dimension(dim, len(input.shape))
    return _written(input, lambda copy: copy[(slice(None),) * d + (slice(start, end, step),)], src)


@torch_function("diagonal_scatter", out=False)
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy with a diagonal replaced."""
    return _written(input, lambda copy: copy.diagonal(offset, dim1, dim2), src)


@torch_function("as_strided_scatter", out=False)
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A copy with the elements of a strided view replaced."""
    return _written(input, lambda copy: copy.as_strided(size, stride, storage_offset), src)


def _fill_diagonal(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """One number on the main diagonal; with `wrap` it begins anew below a tall matrix's first square."""
    rank = len(self.shape)
    if rank < 2:
        raise RuntimeError("dimensions must larger than 1")
    if rank > 2 and len(set(self.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    strides = contiguous(tuple(self.shape)).strides
    count, step = min(self.shape), sum(strides)
    if rank == 2 and wrap and self.shape[0] > self.shape[1]:
        count = -(-self._node.type.numel // step)
    flat = FUNCTIONS["arange"](count, device=self.device) * step
    return assign(
        self, value(put(self, flat, FUNCTIONS["full"]((count,), fill_value, dtype=self.dtype, device=self.device)))
    )


attach("fill_diagonal_", _fill_diagonal)

# -- in-place changes of the shape


def _become_view(self: Tensor, operator: Operator) -> Tensor:
    """The tensor itself becomes its view through an operation.

    A tensor that owns its storage hands it over to a hidden tensor first, of which it and its views are views from then on.
    """
    trace = STATE.trace
    if trace.grad_enabled and isinstance(value(self).history, Accumulator):
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    seen = make_view(self, operator, caller())
    base = self._base
    if base is None:
        base = object.__new__(Tensor)
        base._node, base._base, base._version_count, base.grad = self._node, None, self._version_count, None
        trace.live.append(base)
        if self in trace.updates:
            trace.updates[base] = trace.updates.pop(self)
        for other in gc.get_referrers(self):
            if isinstance(other, Tensor) and other._base is self:
                other._base = base
    self._node, self._view, self._seen = seen._node, seen._view, seen._seen
    self._base = base
    return self


def _reshaping(name: str, function: Callable[..., Tensor]) -> None:
    def change(self: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        outcome = function(self, *arguments, **keywords)
        for operator in outcome._view[len(self._view) if self._base is not None else 0 :]:
            _become_view(self, operator)
        return self

    change.__name__, change.__doc__ = f"{name}_", f"In-place form of `{name}`: the tensor itself gets the new shape."
    attach(f"{name}_", change)


for _name in ("t", "transpose", "swapaxes", "swapdims", "unsqueeze", "squeeze", "as_strided"):
    _reshaping(_name, FUNCTIONS[_name])


# -- functions and methods that write


def _resize_as(self: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """Give the tensor the shape of another one."""
    return self.resize_(tuple(the_template.shape))


def _detach_inplace(self: Tensor) -> Tensor:
    """Cut the tensor off its history."""
    if self._base is not None:
        raise RuntimeError("Can't detach views in-place. Use detach() instead.")
    self._node = self.detach()._node
    return self


def _apply(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace every element by what a Python function makes of it."""
    array = self.detach()._array("apply_()")
    made = np.array([callable(x) for x in array.reshape(-1).tolist()], array.dtype).reshape(array.shape)
    return assign(self, from_array(made, self.dtype)._node)


def _fill(input: Tensor, value: Any) -> Tensor:
    """A copy with one number everywhere."""
    return FUNCTIONS["clone"](input).fill_(value)


attach("resize_as_", _resize_as)
attach("detach_", _detach_inplace)
attach("apply_", _apply)
FUNCTIONS["fill"] = _fill
for _name in ("fill_", "zero_", "detach_", "index_put_", "resize_as_"):
    FUNCTIONS[_name] = getattr(Tensor, _name)
FUNCTIONS["detach"] = Tensor.detach
