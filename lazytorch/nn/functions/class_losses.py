"""Margin losses over classes and connectionist temporal classification (torch.nn.functional)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.nn.functions.reduction import reduced, reduction_of
from lazytorch.ops.creation import as_tensor
from lazytorch.ops.recording import FUNCTIONS, require_floating, same_type
from lazytorch.ops.unary import where
from lazytorch.tensor import Tensor, from_array


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over other classes of max(0, margin - x[y] + x[i])^p / classes."""
    kind = reduction_of(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and len(weight.shape) != 1:
        raise ValueError("weight must be one-dimensional")
    require_floating("multi_margin_loss_cpu_kernel", input)
    same_type(input, weight)
    x = input if len(input.shape) == 2 else input.reshape((1, -1))
    y = target.reshape((-1, 1))
    if y.shape[0] != x.shape[0]:
        raise RuntimeError(f"inconsistent target size, expected {[x.shape[0]]} but got {list(target.shape)}")
    z = (margin - x.gather(1, y) + x).clamp_min(0)
    z = z if p == 1 else z * z
    if weight is not None:
        z = z * weight.index_select(0, target.reshape(-1)).unsqueeze(1)
    others = FUNCTIONS["arange"](x.shape[1], device=x.device) != y
    losses = where(others, z, z.new_zeros(())).sum(1) / x.shape[1]
    return reduced(losses if len(input.shape) == 2 else losses.squeeze(0), kind)


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """sum over labels y and other classes i of max(0, 1 - x[y] + x[i]) / classes; a row of labels ends at -1."""
    kind = reduction_of(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    x, y = (v if len(v.shape) == 2 else v.reshape((1, -1)) for v in (input, target))
    rows, classes = x.shape
    numbers = np.asarray(y.cpu().numpy())
    listed = np.cumprod(numbers >= 0, 1).astype(bool)
    is_label = np.zeros((rows, classes), bool)
    is_label[np.nonzero(listed)[0], numbers[listed]] = True
    scores = x.gather(1, from_array(np.where(listed, numbers, 0), dtypes.int64, x))
    z = (1 - scores.unsqueeze(2) + x.unsqueeze(1)).clamp_min(0)
    counted = from_array(listed[:, :, None] & ~is_label[:, None, :], dtypes.bool_, x)
    losses = where(counted, z, z.new_zeros(())).sum((1, 2)) / classes
    return reduced(losses if len(input.shape) == 2 else losses.squeeze(0), kind)


# -- connectionist temporal classification ------------------------------------------------------------


def _lengths(x: Any) -> np.ndarray:
    return np.asarray(as_tensor(x).cpu().numpy()).reshape(-1).astype(np.int64)


def _padded_targets(targets: Tensor, lengths: np.ndarray, count: int) -> np.ndarray:
    """[N, S] labels, whether they were given so or one sequence after the other."""
    labels = np.asarray(targets.cpu().numpy())
    if labels.ndim == 2:
        return labels
    if len(lengths) == 1 and count == 1:
        return labels.reshape(1, -1)
    out = np.zeros((count, max(int(lengths.max(initial=0)), 1)), np.int64)
    at = 0
    for row, length in enumerate(lengths):
        out[row, :length] = labels[at : at + length]
        at += int(length)
    return out


class _Lattice:
    """The states blank, l1, blank, l2, ... blank of every target, and which moves between them are allowed."""

    def __init__(self, labels: np.ndarray, lengths: np.ndarray, blank: int) -> None:
        count = labels.shape[0]
        longest = int(lengths.max(initial=0))
        self.states = np.full((count, 2 * longest + 1), blank, np.int64)
        self.states[:, 1::2] = labels[:, :longest]
        self.last = 2 * lengths
        skips = np.zeros(self.states.shape, bool)
        skips[:, 2:] = (self.states[:, 2:] != blank) & (self.states[:, 2:] != self.states[:, :-2])
        self.skips = skips
        self.alive = np.arange(self.states.shape[1]) <= self.last[:, None]


def _bool(array: np.ndarray, like: Tensor) -> Tensor:
    return from_array(np.ascontiguousarray(array), dtypes.bool_, like)


def _log_sum(parts: list[Tensor], lowest: float) -> Tensor:
    """log of the sum of exp; `lowest` stands for log 0, so that no nan arises."""
    top = parts[0]
    for part in parts[1:]:
        top = FUNCTIONS["maximum"](top, part)
    top = top.detach()
    total = sum([(part - top).exp() for part in parts[1:]], (parts[0] - top).exp())
    return (total.log() + top).clamp_min(lowest)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Negative log likelihood of label sequences under [T, N, C] log probabilities (Graves et al. 2006).

    The mean divides each loss by its target's length first. A target that no alignment fits has the loss inf.
    """
    reduction_of(None, None, reduction)
    batched = len(log_probs.shape) == 3
    logs = log_probs if batched else log_probs.unsqueeze(1)
    count = logs.shape[1]
    inputs, lengths = _lengths(input_lengths), _lengths(target_lengths)
    if not 0 <= blank < logs.shape[2]:
        raise RuntimeError("blank must be in label range")
    if len(inputs) != count or len(lengths) != count:
        raise RuntimeError("input_lengths must be of size batch_size")
    losses = _ctc(logs, _Lattice(_padded_targets(targets, lengths, count), lengths, blank), inputs)
    if zero_infinity:
        losses = losses.masked_fill(losses.detach() == float("inf"), 0)
    if reduction == "mean":
        return (losses / from_array(np.maximum(lengths, 1).astype(logs.dtype.numpy), logs.dtype, logs)).mean()
    return losses.sum() if reduction == "sum" else losses if batched else losses.squeeze(0)


def _ctc(logs: Tensor, lattice: _Lattice, inputs: np.ndarray) -> Tensor:
    """The forward recursion; every step is recorded, so the gradient is derived."""
    steps, count, _ = logs.shape
    lowest = -1e30
    states = lattice.states.shape[1]
    emitted = logs.gather(2, from_array(np.broadcast_to(lattice.states, (steps, count, states)), dtypes.int64, logs))
    alive, skips = _bool(lattice.alive, logs), _bool(lattice.skips, logs)
    low = logs.new_full((), lowest)
    start = _bool((np.arange(states) < 2) & lattice.alive, logs)
    alpha = where(start, emitted[0], low)
    for step in range(1, steps):
        pad = low.expand(count, 1)
        parts = [alpha]
        if states > 1:
            parts.append(FUNCTIONS["cat"]([pad, alpha[:, :-1]], 1))
            parts.append(where(skips, FUNCTIONS["cat"]([pad, pad, alpha[:, :-2]], 1), low))
        moved = where(alive, (_log_sum(parts, lowest) + emitted[step]).clamp_min(lowest), low)
        running = _bool((step < inputs)[:, None], logs)
        alpha = where(running, moved, alpha)
    last = from_array(np.stack([lattice.last, np.maximum(lattice.last - 1, 0)], 1), dtypes.int64, logs)
    ends = alpha.gather(1, last)
    ends = where(_bool(np.stack([np.ones(count, bool), lattice.last > 0], 1), logs), ends, low)
    total = _log_sum([ends[:, 0], ends[:, 1]], lowest)
    # torch's derivative is that of logits under log_softmax: the probabilities minus the posteriors. The first part has the
    # value 0 here.
    running = _bool((np.arange(steps)[:, None] < inputs)[:, :, None], logs)
    mass = where(running, logs.exp(), logs.new_zeros(())).sum((0, 2))
    total = total - (mass - mass.detach())
    return where(total <= lowest / 2, total.new_full((), float("inf")), -total)
