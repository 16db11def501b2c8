"""Reductions: sums, means, extremes and what follows from them."""

from __future__ import annotations

from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, math, tensor
from lazytorch.ir.trace import Node
from lazytorch.ops.elementwise import require_first, require_tensors
from lazytorch.ops.recording import (
    FUNCTIONS,
    cast,
    dimension,
    dimensions,
    emit,
    floating,
    named,
    node_of,
    place,
    result,
    rounded,
    torch_function,
    unreduce,
    widened,
)
from lazytorch.ops.return_types import structure
from lazytorch.tensor import Tensor, value


def reduced(declaration: Declaration, node: Node, dims: tuple[int, ...], keepdim: bool, label: str = "") -> Node:
    """Reduce the dimensions."""
    shape = node.type.shape
    if not dims:
        return emit(tensor.alias, node)
    out = emit(declaration, node, label=label, dims=dims)
    return unreduce(out, shape, dims) if keepdim else out


def _accumulated(dtype: DType, asked: DType | None) -> DType:
    """Sums and products of integers are int64."""
    return asked or (dtypes.int64 if dtype.kind in "uib" else dtype)


@torch_function("sum")
def sum_(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None, **other: Any) -> Tensor:
    """The sum of all elements, or over dimensions."""
    dim, keepdim = other.get("axis", dim), other.get("keepdims", keepdim)
    place()
    x = cast(value(input), _accumulated(input.dtype, dtype))
    dims = dimensions(dim, len(x.type.shape))
    return result(reduced(tensor.reduce_sum, x, dims, keepdim, "Sum0" if dim is None else "Sum1"))


@torch_function("prod")
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The product of all elements, or over one dimension."""
    place()
    x = cast(value(input), _accumulated(input.dtype, dtype))
    dims = dimensions(dim, len(x.type.shape))
    return result(reduced(tensor.reduce_prod, x, dims, keepdim, "Prod0" if dim is None else "Prod1"))


def _count(shape: tuple[int, ...], dims: tuple[int, ...]) -> int:
    count = 1
    for d in dims:
        count *= shape[d]
    return count


@torch_function("mean")
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None, **other: Any) -> Tensor:
    """The arithmetic mean of all elements, or over dimensions."""
    dim, keepdim = other.get("axis", dim), other.get("keepdims", keepdim)
    kind = dtype or input.dtype
    if kind.kind not in "fc":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {kind.title}"
        )
    place()
    x = widened(cast(value(input), kind))
    dims = dimensions(dim, len(x.type.shape))
    total = reduced(tensor.reduce_sum, x, dims, keepdim)
    count = node_of(float(_count(x.type.shape, dims)), x.type.dtype)
    return result(rounded(emit(arith.div, total, count, label="Mean0" if dim is None else "Mean1"), kind))


@torch_function("amax", out="same")
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest element over dimensions; the gradient is shared by equal ones."""
    _refuse_empty("amax", input, dim)
    place()
    x = value(input)
    return result(reduced(tensor.reduce_max, x, dimensions(dim, len(x.type.shape)), keepdim, "Amax"))


@torch_function("amin", out="same")
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest element over dimensions; the gradient is shared by equal ones."""
    _refuse_empty("amin", input, dim)
    place()
    x = value(input)
    return result(reduced(tensor.reduce_min, x, dimensions(dim, len(x.type.shape)), keepdim, "Amin"))


def _refuse_empty(name: str, input: Tensor, dim: Any, error: type[Exception] = RuntimeError) -> None:
    """Raise torch's error for the extreme of nothing."""
    shape = input._node.type.shape
    if 0 not in shape:
        return
    if dim is None or dim == ():
        hint = " Specify the reduction dim with the 'dim' argument." if error is RuntimeError else ""
        raise error(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.{hint}")
    for d in dimensions(dim, len(shape)):
        if shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _argument(declaration: Declaration, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    name = declaration.name.partition(".")[2]
    if input.dtype is dtypes.bool_:
        raise RuntimeError(f"{name}(): does not support bool input")
    _refuse_empty(name, input, dim, IndexError)
    place()
    x = value(input)
    shape = x.type.shape
    if dim is None:
        flat = emit(tensor.reshape, x, shape=(x.type.numel,))
        out = emit(declaration, flat, dim=0)
        return result(emit(tensor.reshape, out, shape=(1,) * len(shape)) if keepdim else out)
    if not shape:
        return result(emit(arith.cast, emit(arith.mul, x, node_of(0, x.type.dtype)), dtype=dtypes.int64))
    d = dimension(dim, len(shape))
    out = emit(declaration, x, dim=d)
    return result(unreduce(out, shape, (d,)) if keepdim else out)


@torch_function("argmax", out="same")
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first largest element, of all or along a dimension."""
    return _argument(tensor.argmax, input, dim, keepdim)


@torch_function("argmin", out="same")
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first smallest element, of all or along a dimension."""
    return _argument(tensor.argmin, input, dim, keepdim)


Max, Min = (structure(name, "values", "indices") for name in ("max", "min"))


def _extreme(name: str, input: Tensor, dim: Any, keepdim: bool) -> Any:
    largest = name == "max"
    label = f"{name.title()}0"
    if isinstance(dim, Tensor):
        require_first(name, input, dim)
        return FUNCTIONS["maximum" if largest else "minimum"](input, dim)
    reduce = tensor.reduce_max if largest else tensor.reduce_min
    place()
    x = value(input)
    shape = x.type.shape
    if dim is None:
        if x.type.numel == 0:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                "Specify the reduction dim with the 'dim' argument."
            )
        return result(reduced(reduce, x, dimensions(None, len(shape)), False, "Max1" if largest else "Min1"))
    d = dimension(dim, len(shape))
    _refuse_empty(name, input, d)
    counted = FUNCTIONS["where"](input, 1, 0) if input.dtype is dtypes.bool_ else input
    indices = _argument(tensor.argmax if largest else tensor.argmin, counted, d, keepdim)
    if not shape:
        return (Max if largest else Min)(named(input, label), indices)
    at = indices if keepdim else FUNCTIONS["unsqueeze"](indices, d)
    values = FUNCTIONS["gather"](input, d, at)
    return (Max if largest else Min)(named(values if keepdim else FUNCTIONS["squeeze"](values, d), label), indices)


@torch_function("max")
def max_(input: Tensor, dim: Any = None, keepdim: bool = False, **other: Any) -> Any:
    """The largest element; along a dimension (values, indices); of two tensors elementwise."""
    return _extreme("max", input, other.get("other", other.get("axis", dim)), keepdim)


@torch_function("min")
def min_(input: Tensor, dim: Any = None, keepdim: bool = False, **other: Any) -> Any:
    """The smallest element; along a dimension (values, indices); of two tensors elementwise."""
    return _extreme("min", input, other.get("other", other.get("axis", dim)), keepdim)


def _logical(declaration: Declaration, input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    place()
    x = cast(value(input), dtypes.bool_)
    out = reduced(declaration, x, dimensions(dim, len(x.type.shape)), keepdim)
    return result(cast(out, dtypes.uint8) if input.dtype is dtypes.uint8 else out)


@torch_function("all", out="same")
def all_(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are true (not 0)."""
    return _logical(tensor.reduce_all, input, dim, keepdim)


@torch_function("any", out="same")
def any_(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether any element is true (not 0)."""
    return _logical(tensor.reduce_any, input, dim, keepdim)


def variance(x: Node, dims: tuple[int, ...], correction: float, keepdim: bool) -> Node:
    """The mean squared distance from the mean, in two passes."""
    shape, dtype = x.type.shape, x.type.dtype
    count = _count(shape, dims)
    average = arith.div(reduced(tensor.reduce_sum, x, dims, True), node_of(float(count), dtype))
    distance = arith.sub(x, average)
    total = reduced(tensor.reduce_sum, arith.mul(distance, distance), dims, keepdim)
    return emit(arith.div, total, node_of(float(max(count - correction, 0)), dtype), label="Var0")


def _spread(input: Tensor, dim: Any, unbiased: Any, correction: Any, keepdim: bool) -> Node:
    """The variance, of 16-bit floats in float32."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    if input.dtype.kind not in "fc":
        raise RuntimeError("std and var only support floating point and complex dtypes")
    place()
    x = widened(value(input))
    return variance(x, dimensions(dim, len(x.type.shape)), correction, keepdim)


@torch_function("var")
def var(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Tensor:
    """The variance, over all elements or dimensions; `correction` 1 unless asked otherwise."""
    return result(rounded(_spread(input, dim, unbiased, correction, keepdim), input.dtype))


@torch_function("std")
def std(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Tensor:
    """The standard deviation: sqrt of `var`."""
    root = emit(arith.sqrt, _spread(input, dim, unbiased, correction, keepdim), label="Std0")
    return result(rounded(root, input.dtype))


@torch_function("logsumexp")
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over dimensions, without overflow."""
    place()
    x = cast(value(input), floating(input))
    dims = dimensions(dim, len(x.type.shape))
    if any(x.type.shape[d] == 0 for d in dims):
        total = math.log(reduced(tensor.reduce_sum, math.exp(x), dims, keepdim))
        return result(total)
    peak = emit(tensor.detach, reduced(tensor.reduce_max, x, dims, True))
    peak = arith.select(arith.compare(arith.abs_(peak), float("inf"), predicate="eq"), _zero(peak), peak)
    total = math.log(reduced(tensor.reduce_sum, math.exp(arith.sub(x, peak)), dims, True))
    out = emit(arith.add, total, peak, label="Logsumexp")
    shape = x.type.shape if not dims else tensor.reduced_shape(x.type.shape, dims)
    return result(out if keepdim else emit(tensor.reshape, out, label="Logsumexp", shape=shape))


def _zero(like: Node) -> Node:
    return node_of(0.0, like.type.dtype)


@torch_function("equal", out=False)
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements."""
    if input.shape != other.shape:
        return False
    return bool(all_(input == other))


@torch_function("isclose", out=False)
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|. Raises RuntimeError for different element types."""
    require_tensors("isclose", input, other)
    for name, limit in (("rtol", rtol), ("atol", atol)):
        if limit < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {limit}")
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.title} did not match {other.dtype.title}")
    if input.dtype is dtypes.bool_:
        return FUNCTIONS["eq"](input, other)
    limit = atol + rtol * other.abs()
    close = (input == other) | (((input - other).abs() <= limit) & FUNCTIONS["isfinite"](input))
    if equal_nan:
        close = close | (FUNCTIONS["isnan"](input) & FUNCTIONS["isnan"](other))
    return close


@torch_function("allclose", out=False)
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are close."""
    return bool(all_(isclose(input, other, rtol, atol, equal_nan)))
