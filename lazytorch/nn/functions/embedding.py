"""Rows of tables, alone and in bags (torch.nn.functional)."""

from __future__ import annotations

import warnings

import numpy as np

from lazytorch import dtypes
from lazytorch.autograd.modes import no_grad
from lazytorch.ir.dialects import nn as ops
from lazytorch.ops.recording import FUNCTIONS, apply, rounding_once
from lazytorch.ops.unary import where
from lazytorch.tensor import Tensor, from_array, value


@no_grad()
def _renormalise(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Shrink the rows in use whose norm is above `max_norm`, in place."""
    used = from_array(np.unique(input.cpu().numpy()).astype(np.int64), dtypes.int64, input)
    rows = weight.detach()[used]
    norms = rows.norm(norm_type, 1, keepdim=True)
    weight[used] = rows * where(norms > max_norm, max_norm / (norms + 1e-7), norms.new_ones(norms.shape))


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of the weight. No gradient reaches row `padding_idx`; rows above `max_norm` are shrunk first, in place.

    scale_grad_by_freq: the gradient of a row is divided by how often the input has it. With `sparse` torch's gradient is a
    sparse tensor; here it is dense, which a warning says. `optim.SparseAdam` leaves rows of zeros alone.
    """
    if len(weight.shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    if sparse:
        warnings.warn("embedding(sparse=True): the gradient has torch's numbers, but in a dense tensor", stacklevel=2)
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    padding = -1 if padding_idx is None else padding_idx % rows
    index = input if input.dtype is not dtypes.int32 else input.long()
    found = apply(ops.embedding.operator(padding=padding), value(weight), value(index))
    if scale_grad_by_freq:
        each = FUNCTIONS["zeros"](rows, dtype=weight.dtype, device=weight.device).index_add(
            0, index.reshape(-1), found.new_ones(index.numel())
        )
        share = (1.0 / each[index]).unsqueeze(-1)
        return apply(ops.scaled_gradient.operator(), value(found), value(share))
    return found


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sum, mean or maximum of the rows of each bag: a row of a 2-D input, or what lies between offsets of a 1-D one."""
    if weight.dtype is dtypes.int64 and input.is_floating_point():
        raise ValueError("Argument order of nn.functional.embedding_bag was changed. Usage: F.embedding_bag(input, weight)")
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not None, then it must have the "
            f"same shape as the input ({list(input.shape)})"
        )
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}'). Please open a feature request on GitHub."
        )
    if weight.dtype.kind != "f":
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have one of the following scalar types: Half, BFloat16, Float, "
            f"Double; but got {weight.type()} instead (while checking arguments for embedding_bag)"
        )
    if per_sample_weights is not None and per_sample_weights.dtype is not weight.dtype:
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have the same type as tensor for argument #1 'per_sample_weights'; "
            f"but type {weight.type()} does not equal {per_sample_weights.type()}"
        )
    bag, count = _bags(input, offsets, include_last_offset)
    flat = input.reshape(-1)
    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape((-1, 1))
    counts = np.ones(len(bag), bool) if padding_idx is None else flat.cpu().numpy() != padding_idx % weight.shape[0]
    if mode in ("sum", "mean"):
        return _bag_sums(rows, bag, count, counts, mode == "mean")
    if mode != "max":
        raise ValueError("mode has to be one of sum, mean or max")
    return _bag_maxima(rows, bag, count, counts)


def _bags(input: Tensor, offsets: Tensor | None, include_last: bool) -> tuple[np.ndarray, int]:
    """The bag of every element, and how many bags there are."""
    if len(input.shape) == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
        return np.repeat(np.arange(input.shape[0]), input.shape[1]), int(input.shape[0])
    if len(input.shape) != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {len(input.shape)}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if len(offsets.shape) != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    starts = np.asarray(offsets.cpu().numpy())
    if len(starts) and starts[0] != 0:
        raise RuntimeError(
            f"offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
            f"However, got {starts[0]}"
        )
    if include_last:
        starts = starts[:-1]
    return np.searchsorted(starts, np.arange(input.shape[0]), side="right") - 1, len(starts)


@rounding_once
def _bag_sums(rows: Tensor, bag: np.ndarray, count: int, counts: np.ndarray, mean: bool) -> Tensor:
    kept = from_array(np.flatnonzero(counts), dtypes.int64, rows)
    chosen = rows if counts.all() else rows.index_select(0, kept)
    index = from_array(bag[counts].astype(np.int64), dtypes.int64, rows)
    out = rows.new_zeros((count, rows.shape[1])).index_add(0, index, chosen)
    if not mean:
        return out
    sizes = np.maximum(np.bincount(bag[counts], minlength=count), 1).astype(rows.dtype.numpy)
    return out / from_array(sizes[:, None], rows.dtype, rows)


def _bag_maxima(rows: Tensor, bag: np.ndarray, count: int, counts: np.ndarray) -> Tensor:
    """The largest of each bag; the gradient goes to the first largest row. An empty bag gives zeros."""
    members = [np.flatnonzero((bag == number) & counts) for number in range(count)]
    longest = max([len(found) for found in members], default=0)
    if longest == 0:
        return rows.new_zeros((count, rows.shape[1]))
    place = np.stack([np.resize(found, longest) if len(found) else np.zeros(longest, int) for found in members])
    taken = rows.index_select(0, from_array(place.reshape(-1).astype(np.int64), dtypes.int64, rows))
    best = taken.reshape((count, longest, rows.shape[1])).max(1)[0]
    empty = np.array([not len(found) for found in members])
    return best.masked_fill(from_array(empty[:, None], dtypes.bool_, rows), 0) if empty.any() else best
