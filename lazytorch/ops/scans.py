"""Running sums, products and extremes along a dimension, and what is made of neighbouring differences."""

from __future__ import annotations

from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, math, tensor, tensor_scan
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.trace import Node
from lazytorch.ops.recording import FUNCTIONS, cast, dimension, emit, floating, node_of, place, result, torch_function
from lazytorch.ops.return_types import structure
from lazytorch.tensor import Tensor, value

_WIDE = {dtypes.float32: dtypes.float64, dtypes.float16: dtypes.float32, dtypes.bfloat16: dtypes.float32}
"""Running sums and products are kept in a wider type and rounded once per element, as torch does on a CPU."""


def _accumulated(declaration: Declaration, input: Tensor, dim: int, dtype: DType | None, label: str) -> Tensor:
    place()
    kind = dtype or (dtypes.int64 if input.dtype.kind in "uib" else input.dtype)
    x = cast(value(input), kind)
    d = dimension(dim, len(x.type.shape))
    if not x.type.shape:
        return result(emit(tensor.alias, x, label=label))
    running = emit(declaration, cast(x, _WIDE.get(kind, kind)), label=label, dim=d)
    return result(cast(running, kind))


@torch_function("cumsum", inplace=True)
def cumsum(input: Tensor, dim: Any = None, *, dtype: DType | None = None, axis: Any = None) -> Tensor:
    """The sum of the elements up to each one along a dimension; integers add in int64."""
    return _accumulated(tensor_scan.scan_sum, input, axis if dim is None else dim, dtype, "Cumsum0")


@torch_function("cumprod", inplace=True)
def cumprod(input: Tensor, dim: Any = None, *, dtype: DType | None = None, axis: Any = None) -> Tensor:
    """The product of the elements up to each one along a dimension; integers multiply in int64."""
    return _accumulated(tensor_scan.scan_prod, input, axis if dim is None else dim, dtype, "Cumprod0")


def _positions(x: Node, d: int) -> Node:
    """0, 1, 2 ... along dimension d, broadcastable to x."""
    rank, size = len(x.type.shape), x.type.shape[d]
    steps = positions(x, size, dtypes.int64)
    return emit(tensor.reshape, steps, shape=tuple([size if i == d else 1 for i in range(rank)]))


def _running_extreme(name: str, declaration: Declaration) -> None:
    kind = structure(name, "values", "indices")

    def function(input: Tensor, dim: int) -> Any:
        d = dimension(dim, len(input.shape))
        if not input.shape:
            return kind(FUNCTIONS["clone"](input), FUNCTIONS["zeros"]((), dtype=dtypes.int64, device=input.device))
        place()
        x = emit(tensor.detach, value(input))
        wide = cast(x, dtypes.float32 if x.type.dtype.itemsize == 2 and x.type.dtype.kind == "f" else None)
        wide = cast(wide, dtypes.uint8 if x.type.dtype.kind == "b" else None)
        running = emit(declaration, wide, dim=d)
        # The latest element that equals the running extreme (a nan equals one) is where it was found.
        hit = arith.compare(wide, running, predicate="eq")
        if wide.type.dtype.kind == "f":
            hit = arith.bit_or(hit, arith.compare(wide, wide, predicate="ne"))
        marks = arith.select(hit, _positions(x, d), node_of(0, dtypes.int64))
        indices = result(emit(tensor_scan.scan_max, marks, dim=d))
        return kind(FUNCTIONS["gather"](input, d, indices), indices)

    function.__name__ = name
    function.__doc__ = f"The {'largest' if name == 'cummax' else 'smallest'} element so far along a dimension, and where."
    torch_function(name, out="same")(function)


_running_extreme("cummax", tensor_scan.scan_max)
_running_extreme("cummin", tensor_scan.scan_min)


@torch_function("logcumsumexp", out="same")
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log(cumsum(exp(input))) along a dimension; the largest element so far keeps it from overflowing.

    y_i = exp(m_{i-1} - m_i) y_{i-1} + exp(x_i - m_i) with the running maximum m; the result is m_i + log(y_i).
    """
    place()
    x = cast(value(input), floating(input))
    if not x.type.shape:
        return result(emit(tensor.alias, x))
    d = dimension(dim, len(x.type.shape))
    peak = emit(tensor.detach, emit(tensor_scan.scan_max, x, dim=d))
    peak = arith.select(arith.compare(arith.abs_(peak), float("inf"), predicate="eq"), node_of(0.0, x.type.dtype), peak)
    factor = math.exp(arith.sub(tensor_scan.shifted(peak, d, float("-inf")), peak))
    running = emit(tensor_scan.scan_linear, factor, math.exp(arith.sub(x, peak)), dim=d)
    return result(emit(arith.add, math.log(running), peak, label="Logcumsumexp"))


@torch_function("diff", out="same")
def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None) -> Tensor:
    """The n-th differences of neighbours along a dimension."""
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    if n == 0:
        return FUNCTIONS["clone"](input)
    pieces = [x for x in (prepend, input, append) if x is not None]
    out = FUNCTIONS["cat"](pieces, dim) if len(pieces) > 1 else input
    for _ in range(n):
        size = max(out.shape[dim] - 1, 0)
        high, low = FUNCTIONS["narrow"](out, dim, min(1, out.shape[dim]), size), FUNCTIONS["narrow"](out, dim, 0, size)
        out = FUNCTIONS["logical_xor"](high, low) if out.dtype is dtypes.bool_ else high - low
    return out


def _trapezoids(y: Tensor, x: Tensor | None, dx: Any, dim: int) -> Tensor:
    """Width times mean height of each strip."""
    size = max(y.shape[dim] - 1, 0)
    both = FUNCTIONS["narrow"](y, dim, min(1, y.shape[dim]), size) + FUNCTIONS["narrow"](y, dim, 0, size)
    if x is None:
        return both * (dx / 2.0)
    width = diff(x, dim=dim if len(x.shape) == len(y.shape) else -1)
    if len(width.shape) < len(y.shape):
        d = dimension(dim, len(y.shape))
        width = width.reshape([size if i == d else 1 for i in range(len(y.shape))])
    return both * width / 2.0


@torch_function("trapezoid", "trapz", method=False, out=False)
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integral along a dimension by the trapezoidal rule."""
    if dtypes.bool_ in (y.dtype, y.dtype if x is None else x.dtype):
        raise RuntimeError("trapezoid: received a bool input for `x` or `y`, but bool is not supported")
    return _trapezoids(y, x, dx, dim).sum(dim)


@torch_function("cumulative_trapezoid", method=False, out=False)
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The running integral along a dimension by the trapezoidal rule."""
    return cumsum(_trapezoids(y, x, dx, dim), dim)
