"""Sorting and what follows from a sorted order: the largest, medians, quantiles, searches, distinct values, counts."""

from __future__ import annotations

import math as python_math
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.dialects import arith, tensor, tensor_scan, tensor_sort
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.trace import Node
from lazytorch.ops.promotion import promote_types
from lazytorch.ops.recording import (
    FUNCTIONS,
    cast,
    dimension,
    emit,
    node_of,
    place,
    result,
    torch_function,
)
from lazytorch.ops.return_types import structure
from lazytorch.tensor import Tensor, from_array, value

Sort, TopK, KthValue = (structure(name, "values", "indices") for name in ("sort", "topk", "kthvalue"))
Median, NanMedian, Mode = (structure(name, "values", "indices") for name in ("median", "nanmedian", "mode"))
Histogram = structure("histogram", "hist", "bin_edges")


def _comparable(x: Node) -> Node:
    """In a type that kernels compare: bool as uint8, narrow floating types as f32; the order is the same."""
    dtype = x.type.dtype
    if dtype.kind == "c":
        raise RuntimeError(f"\"sort_stable\" not implemented for '{dtype.title}'")
    if dtype.kind == "b":
        return cast(x, dtypes.uint8)
    return cast(x, dtypes.float32) if dtype.kind == "f" and dtype.itemsize == 2 else x


def order(x: Node, d: int, descending: bool = False, count: int = -1) -> Node:
    """The positions along dimension d in sorted order (only the first `count`)."""
    rank = len(x.type.shape)
    last = (*[i for i in range(rank) if i != d], d)
    moved = emit(tensor.permute, emit(tensor.detach, _comparable(x)), order=last)
    found = emit(tensor_sort.argsort, moved, descending=descending, count=count)
    return emit(tensor.permute, found, order=tensor.inverse_order(last))


def _sorted(input: Tensor, dim: int, descending: bool, count: int = -1) -> tuple[Tensor, Tensor]:
    if not input.shape:
        dimension(dim, 0)
        return FUNCTIONS["clone"](input), FUNCTIONS["zeros"]((), dtype=dtypes.int64, device=input.device)
    d = dimension(dim, len(input.shape))
    place()
    indices = result(order(value(input), d, descending, count))
    return FUNCTIONS["gather"](input, d, indices), indices


@torch_function("sort", out="same")
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) in ascending order along a dimension; equal elements keep their order, nan is the largest."""
    return Sort(*_sorted(input, dim, descending))


@torch_function("argsort", out=False)
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort along a dimension."""
    return _sorted(input, dim, descending)[1]


@torch_function("msort", out="same")
def msort(input: Tensor) -> Tensor:
    """Sorted along the first dimension."""
    return _sorted(input, 0, False)[0]


@torch_function("topk", out="same")
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) elements along a dimension, in order, and their indices."""
    d = dimension(dim, len(input.shape))
    if not 0 <= k <= (input.shape[d] if input.shape else 1):
        raise RuntimeError("selected index k out of range")
    return TopK(*_sorted(input, d, largest, k))


def _picked(input: Tensor, indices: Tensor, d: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """The elements at one position per row, and these positions."""
    values = FUNCTIONS["gather"](input, d, indices)
    return (values, indices) if keepdim else (values.squeeze(d), indices.squeeze(d))


@torch_function("kthvalue", out="same")
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element (from 1) along a dimension, and its index."""
    d = dimension(dim, len(input.shape))
    if not input.shape:
        return KthValue(*_sorted(input, d, False))
    if not 1 <= k <= input.shape[d]:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    place()
    at = FUNCTIONS["narrow"](result(order(value(input), d, count=k)), d, k - 1, 1)
    return KthValue(*_picked(input, at, d, keepdim))


def _middle(input: Tensor, d: int, keepdim: bool, skip_nan: bool) -> tuple[Tensor, Tensor]:
    """The lower median; a nan is the result unless it is skipped."""
    values, indices = _sorted(input, d, False)
    size = input.shape[d]
    if input.dtype.kind != "f":
        at = FUNCTIONS["narrow"](indices, d, (size - 1) // 2, 1)
        return _picked(input, at, d, keepdim)
    missing = FUNCTIONS["isnan"](values)
    present = size - missing.sum(d, keepdim=True)
    middle = ((present - 1) // 2).clamp(min=0)
    if not skip_nan:
        middle = FUNCTIONS["where"](present < size, present, middle)
    return _picked(input, FUNCTIONS["gather"](indices, d, middle), d, keepdim)


def _median_function(name: str, kind: Any, skip_nan: bool) -> None:
    def function(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is not None:
            d = dimension(dim, len(input.shape))
            return kind(*(_middle(input, d, keepdim, skip_nan) if input.shape else _sorted(input, d, False)))
        if not input._node.type.numel:
            return FUNCTIONS["full"]((), float("nan"), dtype=input.dtype, device=input.device)
        return _middle(input.reshape(-1), 0, False, skip_nan)[0]

    function.__name__ = name
    function.__doc__ = "The median (the lower of two), of all elements or (values, indices) along a dimension" + (
        ", nan left out." if skip_nan else "; nan if there is any."
    )
    torch_function(name, out="same")(function)


_median_function("median", Median, False)
_median_function("nanmedian", NanMedian, True)


@torch_function("mode", out="same")
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along a dimension (of several the smallest), and an index of it."""
    d = dimension(dim, len(input.shape))
    if not input.shape:
        return Mode(*_sorted(input, d, False))
    values, indices = _sorted(input, d, False)
    size = input.shape[d]
    place()
    x = value(values.detach())
    at = positions(x, size, dtypes.int64)
    at = emit(tensor.reshape, at, shape=tuple([size if i == d else 1 for i in range(len(input.shape))]))
    before = tensor_scan.shifted(_comparable(x), d, 0)
    begins = arith.bit_or(
        arith.compare(_comparable(x), before, predicate="ne"), arith.compare(at, node_of(0), predicate="eq")
    )
    starts = emit(tensor_scan.scan_max, arith.select(begins, at, node_of(0)), dim=d)
    longest = result(emit(arith.sub, at, starts)).argmax(d, keepdim=True)
    return Mode(*_picked(input, FUNCTIONS["gather"](indices, d, longest), d, keepdim))


_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


def _quantile(input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip_nan: bool) -> Tensor:
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, but got " + interpolation
        )
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if isinstance(q, Tensor) and q.dtype is not input.dtype:
        raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
    q = q if isinstance(q, Tensor) else FUNCTIONS["tensor"](q, dtype=input.dtype, device=input.device)
    d = 0 if dim is None else dimension(dim, len(input.shape))
    if not input.shape:
        dim = None
    flat = input.reshape(-1) if dim is None else input
    if not flat._node.type.numel:
        raise RuntimeError("quantile() input tensor must be non-empty")
    ordered = FUNCTIONS["movedim"](_sorted(flat, d, False)[0], d, -1)
    missing = FUNCTIONS["isnan"](ordered)
    size = ordered.shape[-1]
    last = size - 1 - missing.sum(-1, keepdim=True) if skip_nan else FUNCTIONS["full"]((1,), size - 1, device=input.device)
    last = last.clamp(min=0)
    # Positions [..., q] between the sorted elements; with a nan that counts, the nan at the end.
    at = q.reshape(-1) * last.to(input.dtype)
    at = at.expand(*ordered.shape[:-1], at.shape[-1])
    if not skip_nan:
        at = FUNCTIONS["where"](missing.any(-1, keepdim=True), float(size - 1), at)
    low = at.floor()
    if interpolation == "nearest":
        low = at = at.round()
    elif interpolation == "lower":
        at = low
    elif interpolation == "higher":
        low = at = at.ceil()
    below = FUNCTIONS["gather"](ordered, -1, low.long())
    out = below
    if interpolation in ("linear", "midpoint"):
        above = FUNCTIONS["gather"](ordered, -1, at.ceil().long())
        weight = FUNCTIONS["full_like"](at, 0.5) if interpolation == "midpoint" else at - low
        out = FUNCTIONS["lerp"](below, above, weight)
    if keepdim:
        where = (1,) * len(input.shape) if dim is None else None
        out = out.movedim(-1, 0).unsqueeze(-1).movedim(-1, d + 1) if where is None else out.reshape(-1, *where)
    else:
        out = out.movedim(-1, 0)
    return out if q.shape else out.squeeze(0)


@torch_function("quantile", out="same")
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The q-th quantiles (0 to 1) along a dimension, interpolated between the sorted elements; a q of [n] leads."""
    return _quantile(input, q, dim, keepdim, interpolation, False)


@torch_function("nanquantile", out="same")
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of what is not nan."""
    return _quantile(input, q, dim, keepdim, interpolation, True)


# -- searching


def _search(table: Tensor, wanted: Any, right: bool, out_int32: bool) -> Tensor:
    values = wanted if isinstance(wanted, Tensor) else FUNCTIONS["tensor"](wanted)
    if len(table.shape) != 1 and table.shape[:-1] != values.shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor "
            f"and input value tensor must match, but we got boundaries tensor {list(table.shape)} and input value tensor "
            f"{list(values.shape)}"
        )
    dtype = promote_types(table.dtype, values.dtype)
    place()
    found = emit(
        tensor_sort.searchsorted,
        _comparable(emit(tensor.detach, cast(value(table), dtype))),
        _comparable(emit(tensor.detach, cast(value(values), dtype))),
        right=right,
    )
    return result(cast(found, dtypes.int32 if out_int32 else None))


@torch_function("searchsorted", method=False, out="same")
def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where each value would be inserted into an ascending sequence, before equal elements or (right) after them."""
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    table = sorted_sequence if sorter is None else FUNCTIONS["gather"](sorted_sequence, -1, sorter)
    return _search(table, input, right or side == "right", out_int32)


@torch_function("bucketize", method=False, out="same")
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The bucket of each value between ascending boundaries."""
    if len(boundaries.shape) != 1:
        raise RuntimeError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({len(boundaries.shape)})")
    return _search(boundaries, input, right, out_int32)


@torch_function("isin", method=False, out="same")
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is among the test elements."""
    x = elements if isinstance(elements, Tensor) else FUNCTIONS["tensor"](elements)
    if isinstance(test_elements, Tensor):
        among = test_elements
    else:
        among = FUNCTIONS["tensor"](test_elements, device=x.device)
    if not among._node.type.numel:
        return FUNCTIONS["full"](tuple(x.shape), invert, dtype=dtypes.bool_, device=x.device)
    table = _sorted(among.reshape(-1), 0, False)[0]
    at = _search(table, x, False, False).clamp(max=table.shape[0] - 1)
    found = table[at] == x
    return FUNCTIONS["logical_not"](found) if invert else found


# -- counting


@torch_function("bincount", out="same")
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each non-negative integer occurs (or the sum of its weights); asks for the values."""
    if input.dtype.kind not in "ui":
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{input.dtype.title}'")
    array = input._array("bincount()")
    if array.ndim != 1 or (array.size and array.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    size = max(int(array.max()) + 1 if array.size else 0, minlength)
    if weights is None:
        return from_array(np.bincount(array, minlength=size).astype(np.int64), dtypes.int64, input)
    kind = weights.dtype if weights.dtype is dtypes.float32 else dtypes.float64
    return FUNCTIONS["zeros"](size, dtype=kind, device=input.device).index_add(0, input.long(), weights.detach().to(kind))


def _bounds(x: Tensor, low: Any, high: Any) -> tuple[float, float]:
    """The range of a histogram; from the values themselves when none is given."""
    if low == 0 and high == 0 and x._node.type.numel:
        low, high = x.min().item(), x.max().item()
    if not (python_math.isfinite(low) and python_math.isfinite(high)):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError("max must be larger than min")
    return (low - 1, high + 1) if low == high else (low, high)


@torch_function("histc", out="same")
def histc(input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    """How many elements lie in each of equal bins of [min, max] (of all values for 0, 0)."""
    x = input.detach().reshape(-1)
    low, high = _bounds(x, min, max)
    at = ((x - low) * (bins / (high - low))).floor().long().clamp(0, bins - 1)
    inside = ((x >= low) & (x <= high)).to(input.dtype)
    return FUNCTIONS["zeros"](bins, dtype=input.dtype, device=input.device).index_add(0, at, inside)


@torch_function("histogram", out="same")
def histogram(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False) -> Any:
    """(hist, bin_edges): the elements (or their weights) per bin; the last bin holds its upper edge too."""
    x = input.detach().reshape(-1)
    if isinstance(bins, Tensor):
        edges = bins
    else:
        low, high = _bounds(x, *(range or (0, 0)))
        edges = FUNCTIONS["linspace"](low, high, bins + 1, dtype=input.dtype, device=input.device)
    count = edges.shape[0] - 1
    place_of = (_search(edges, x, True, False) - 1).clamp(0, count - 1)
    # torch puts an upper edge of the last bin into it, and leaves out what lies outside of all bins.
    inside = ((x >= edges[0]) & (x <= edges[-1])).to(input.dtype)
    amount = inside if weight is None else inside * weight.detach().reshape(-1)
    hist = FUNCTIONS["zeros"](count, dtype=input.dtype, device=input.device).index_add(0, place_of, amount)
    if density:
        hist = hist / (hist.sum() * FUNCTIONS["diff"](edges))
    return Histogram(hist, edges)


@torch_function("histogramdd", method=False, out=False)
def histogramdd(input: Tensor, bins: Any, range: Any = None, weight: Tensor | None = None, density: bool = False) -> Any:
    """(hist, bin_edges): the rows of [n, d] (or their weights) per cell of a grid; the last bins hold their upper edges."""
    points = input.detach().reshape(-1, input.shape[-1])
    dims = points.shape[1]
    chosen = [bins] * dims if isinstance(bins, int) else list(bins)
    if len(chosen) != dims:
        raise RuntimeError(
            f"histogramdd: The size of bins must be equal to the innermost dimension of the input; got {len(chosen)}"
        )
    edges, cell, inside = [], None, None
    for d, each in enumerate(chosen):
        x = points[:, d]
        if not isinstance(each, Tensor):
            low, high = _bounds(x, *(range[2 * d : 2 * d + 2] if range else (0, 0)))
            each = FUNCTIONS["linspace"](low, high, each + 1, dtype=input.dtype)
        count = each.shape[0] - 1
        found = (_search(each, x, True, False) - 1).clamp(0, count - 1)
        within = (x >= each[0]) & (x <= each[-1])
        cell = found if cell is None else cell * count + found
        inside = within if inside is None else inside & within
        edges.append(each)
    assert cell is not None and inside is not None
    shape = [each.shape[0] - 1 for each in edges]
    amount = inside.to(input.dtype) if weight is None else inside * weight.detach().reshape(-1)
    hist = FUNCTIONS["zeros"](python_math.prod(shape), dtype=input.dtype).index_add(0, cell, amount).reshape(shape)
    if density:
        hist = hist / hist.sum()
        for d, each in enumerate(edges):
            hist = hist / FUNCTIONS["diff"](each).reshape([-1 if i == d else 1 for i, _ in enumerate(edges)])
    return structure("histogramdd", "hist", "bin_edges")(hist, edges)


def _distinct(array: np.ndarray, dim: int | None, consecutive: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct slices along a dimension (of the flat array for None), each slice's number, and the counts."""
    rows = array.reshape(-1, 1) if dim is None else np.moveaxis(array, dim, 0).reshape(array.shape[dim], -1)
    if not consecutive:
        by_row = np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))
        rows = rows[by_row]
    else:
        by_row = np.arange(len(rows))
    begins = np.ones(len(rows), bool)
    begins[1:] = (rows[1:] != rows[:-1]).any(1)
    number = np.cumsum(begins) - 1
    inverse = np.empty(len(rows), np.int64)
    inverse[by_row] = number
    kept = by_row[begins]
    values = array.reshape(-1)[kept] if dim is None else array.take(kept, dim)
    return values, inverse.reshape(array.shape if dim is None else -1), np.bincount(number, minlength=0).astype(np.int64)


def _unique(input: Tensor, dim: int | None, consecutive: bool, inverse: bool, counts: bool) -> Any:
    d = None if dim is None else dimension(dim, len(input.shape))
    values, numbers, count = _distinct(input.detach()._array("unique()"), d, consecutive)
    out = [from_array(values, input.dtype, input)]
    if inverse:
        out.append(from_array(numbers, dtypes.int64, input))
    if counts:
        out.append(from_array(count, dtypes.int64, input))
    return out[0] if len(out) == 1 else tuple(out)


@torch_function("unique", out=False)
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The distinct elements (or slices along a dimension), ascending; asks for the values."""
    return _unique(input, dim, False, return_inverse, return_counts)


@torch_function("unique_consecutive", out=False)
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The first of every run of equal elements (or slices along a dimension); asks for the values."""
    return _unique(input, dim, True, return_inverse, return_counts)
