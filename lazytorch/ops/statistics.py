"""Reductions that give two results, leave out nan, or count; numerical derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ops.recording import FUNCTIONS, dimension, torch_function
from lazytorch.ops.reductions import amax, amin, mean, std, sum_, var
from lazytorch.ops.return_types import structure
from lazytorch.tensor import Tensor

AMinMax = structure("aminmax", "min", "max")


@torch_function("aminmax", out="same")
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """(min, max) of all elements or along a dimension."""
    if not input._node.type.numel and dim is None:
        raise RuntimeError("aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity.")
    return AMinMax(amin(input, () if dim is None else dim, keepdim), amax(input, () if dim is None else dim, keepdim))


def _spread_and_mean(name: str, spread: Any) -> None:
    def function(
        input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
    ) -> tuple[Tensor, Tensor]:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        return spread(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)

    function.__name__ = name
    function.__doc__ = f"({name[:3]}, mean) of all elements or over dimensions."
    torch_function(name, method=False, out=False)(function)


_spread_and_mean("var_mean", var)
_spread_and_mean("std_mean", std)


@torch_function("count_nonzero", out=False)
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are not 0, of all or over dimensions."""
    return sum_(FUNCTIONS["ne"](input, 0), dim)


def _without_nan(input: Tensor) -> Tensor:
    if input.dtype.kind != "f":
        return input
    return FUNCTIONS["where"](
        FUNCTIONS["isnan"](input), FUNCTIONS["zeros"]((), dtype=input.dtype, device=input.device), input
    )


@torch_function("nansum")
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum of what is not nan."""
    return sum_(_without_nan(input), dim, keepdim, dtype=dtype)


@torch_function("nanmean")
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean of what is not nan."""
    if (dtype or input.dtype).kind not in "fc":
        raise RuntimeError(f"nanmean(): expected input to have floating point or complex dtype but got {input.type()}")
    present = sum_(FUNCTIONS["logical_not"](FUNCTIONS["isnan"](input)), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / present


def _differences(x: Tensor, d: int, spacing: Any, edge_order: int) -> Tensor:
    """Central differences inside, one-sided ones of order 1 or 2 at the ends."""
    size = x.shape[d]
    if size < edge_order + 1:
        raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    part = FUNCTIONS["narrow"]
    shape = [-1 if i == d else 1 for i in range(len(x.shape))]
    if isinstance(spacing, Tensor):
        steps = FUNCTIONS["diff"](spacing)
        h = steps.reshape(shape)
        before, after = part(h, d, 0, size - 2), part(h, d, 1, size - 2)
        first, second, last, previous = (part(h, d, i, 1) for i in (0, min(1, size - 2), size - 2, max(size - 3, 0)))
    else:
        before = after = first = second = last = previous = spacing
    low, middle, high = (part(x, d, i, size - 2) for i in (0, 1, 2))
    a, b, c = -after / (before * (before + after)), (after - before) / (before * after), before / (after * (before + after))
    inside = a * low + b * middle + c * high
    ends = [part(x, d, i, 1) for i in range(3 if edge_order == 2 else 2)]
    tails = [part(x, d, size - 1 - i, 1) for i in range(3 if edge_order == 2 else 2)]
    if edge_order == 1:
        left, right = (ends[1] - ends[0]) / first, (tails[0] - tails[1]) / last
    else:
        left = _edge(ends, first, second)
        right = _edge(tails, last, previous) * -1
    return FUNCTIONS["cat"]([left, inside, right], d)


def _edge(x: Sequence[Tensor], h: Any, k: Any) -> Tensor:
    """The derivative at the first of three points with distances h and k, of second order."""
    return -(2.0 * h + k) / (h * (h + k)) * x[0] + (h + k) / (h * k) * x[1] - h / (k * (h + k)) * x[2]


@torch_function("gradient", method=False, out=False)
def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """Estimates of the derivative along each dimension; spacing is a step, one per dimension, or coordinates."""
    rank = len(input.shape)
    dims = list(range(rank)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    dims = [dimension(d, rank) for d in dims]
    spacing = 1 if spacing is None else spacing
    many = list(spacing) if isinstance(spacing, list | tuple) else [spacing] * len(dims)
    if len(many) != len(dims):
        raise RuntimeError(
            f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length {len(dims)}, but got a list "
            f"of length {len(many)}"
        )
    x = input if input.dtype.kind == "f" else input.to(dtypes.float32)
    steps = [step if isinstance(step, Tensor) else float(step) for step in many]
    return tuple([_differences(x, d, step, edge_order) for d, step in zip(dims, steps, strict=True)])
