"""Norms and distances."""

from __future__ import annotations

from typing import Any

from lazytorch.dtypes import DType
from lazytorch.ir.dialects import arith, math, tensor
from lazytorch.ir.dialects.linalg_norms import norm_root
from lazytorch.ir.trace import Node
from lazytorch.ops.linear_algebra import singular_values
from lazytorch.ops.recording import (
    FUNCTIONS,
    cast,
    dimension,
    dimensions,
    emit,
    node_of,
    place,
    result,
    rounded,
    same_type,
    torch_function,
    widened,
)
from lazytorch.ops.reductions import reduced
from lazytorch.tensor import Tensor, value

INF = float("inf")


def _root(total: Node, order: float) -> Node:
    return emit(norm_root, total, order=float(order))


def _vector_norm(x: Node, order: float, dims: tuple[int, ...], keepdim: bool) -> Node:
    """The norm over dimensions; of 16-bit floats in float32, rounded once."""
    return rounded(_wide_vector_norm(widened(x), order, dims, keepdim), x.type.dtype)


def _wide_vector_norm(x: Node, order: float, dims: tuple[int, ...], keepdim: bool) -> Node:
    if order == 2:
        return _root(reduced(tensor.reduce_sum, arith.mul(x, x), dims, keepdim), 2)
    size = arith.abs_(x)
    if order in (INF, -INF):
        return reduced(tensor.reduce_max if order > 0 else tensor.reduce_min, size, dims, keepdim, "LinalgVectorNorm")
    if order == 1:
        return reduced(tensor.reduce_sum, size, dims, keepdim, "LinalgVectorNorm")
    if order == 0:
        present = arith.cast(arith.compare(x, 0.0, predicate="ne"), dtype=x.type.dtype)
        count = reduced(tensor.reduce_sum, present, dims, keepdim)
        return emit(tensor.forget, x, count) if x.history is not None else count
    if order < 1:
        # Zeros have no finite derivative here: theirs is 0.
        nothing = arith.compare(size, node_of(0.0, x.type.dtype), predicate="eq")
        one = node_of(1.0, x.type.dtype)
        power = math.pow_(arith.select(nothing, one, size), order)
        none = node_of(0.0 if order > 0 else INF, x.type.dtype)
        return _root(reduced(tensor.reduce_sum, arith.select(nothing, none, power), dims, keepdim), order)
    return _root(reduced(tensor.reduce_sum, math.pow_(size, float(order)), dims, keepdim), order)


def _floating(input: Tensor, dtype: DType | None, name: str) -> Node:
    kind = dtype or input.dtype
    if kind.kind not in "fc":
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {kind.title}")
    return cast(value(input), kind)


def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The p-norm over all elements or over dimensions, as if they were one vector."""
    place()
    node = _floating(x, dtype, "linalg.vector_norm")
    return result(_vector_norm(node, float(ord), dimensions(dim, len(node.type.shape)), keepdim))


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The norm of matrices: "fro", "nuc", or an order of 1, -1, 2, -2, inf, -inf."""
    rank = len(A.shape)
    if rank < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    rows, columns = (dimension(d, rank) for d in dim)
    place()
    node = _floating(A, dtype, "linalg.matrix_norm")
    if ord == "fro":
        return result(_vector_norm(node, 2, tuple(sorted((rows, columns))), keepdim))
    if ord in ("nuc", 2, -2):
        rest = [d for d in range(rank) if d not in (rows, columns)]
        values = singular_values(FUNCTIONS["permute"](result(node), [*rest, rows, columns]))
        if ord == 2 and not values.shape[-1]:
            out = values.sum(-1)  # of no singular values: 0
        else:
            out = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord == 2 else values.amin(-1)
        shape = [1 if d in (rows, columns) else n for d, n in enumerate(A.shape)]
        return out.reshape(shape) if keepdim else out
    if ord not in (1, -1, INF, -INF):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    summed, compared = (rows, columns) if ord in (1, -1) else (columns, rows)
    sums = reduced(tensor.reduce_sum, arith.abs_(node), (summed,), True)
    choose = tensor.reduce_max if ord > 0 else tensor.reduce_min
    if not sums.type.shape[compared]:
        if ord < 0:
            raise IndexError(f"amin(): Expected reduction dim {compared} to have non-zero size.")
        choose = tensor.reduce_sum  # the largest of no sums is 0
    extreme = reduced(choose, sums, (compared,), True)
    if keepdim:
        return result(extreme)
    return result(emit(tensor.reshape, extreme, shape=tensor.reduced_shape(tuple(A.shape), (rows, columns))))


def linalg_norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The vector norm over one dimension, the matrix norm over two; without `ord` the 2-norm of all elements."""
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    dims = list(range(len(A.shape))) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    if len(dims) == 2 or isinstance(ord, str):
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype)
    if len(dims) > 2:
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {len(A.shape)}D."
        )
    return vector_norm(A, ord, dims, keepdim, dtype=dtype)


@torch_function("norm", out="same")
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: DType | None = None) -> Tensor:
    """The p-norm of all elements or over dimensions ("fro", "nuc", inf, -inf, 0 or any number)."""
    if p == "nuc":
        return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
    place()
    node = _floating(input, dtype, "linalg.vector_norm")
    return result(
        _vector_norm(node, 2.0 if p in ("fro", None) else float(p), dimensions(dim, len(node.type.shape)), keepdim)
    )


@torch_function("dist", out=False)
def dist(input: Tensor, other: Tensor, p: Any = 2) -> Tensor:
    """The p-norm of the difference."""
    return norm(input - other, p)


@torch_function("cdist", method=False, out=False)
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "") -> Tensor:
    """[..., m, n]: the p-norm distance between every row of x1 and every row of x2."""
    for number, x in enumerate((x1, x2), 1):
        if x.dtype.kind != "f":
            raise RuntimeError(f"cdist only supports floating-point dtypes, X{number} got: {x.dtype.title}")
    same_type(x1, x2)
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}")
    return vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


@torch_function("renorm", inplace=True, out="same")
def renorm(input: Tensor, p: Any, dim: int, maxnorm: Any) -> Tensor:
    """Scale the slices along a dimension whose p-norm is above maxnorm down to it."""
    d = dimension(dim, len(input.shape))
    rest = [i for i in range(len(input.shape)) if i != d]
    sizes = vector_norm(input, p, rest, True)
    return input * FUNCTIONS["where"](sizes > maxnorm, maxnorm / (sizes + 1e-7), FUNCTIONS["ones_like"](sizes))
