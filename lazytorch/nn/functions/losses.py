"""Losses (torch.nn.functional). Class losses on scores stand in lazytorch.nn.functional and functions/class_losses.py."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from lazytorch import dtypes
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import nn_loss
from lazytorch.nn.functions.activations import logsigmoid
from lazytorch.nn.functions.distance import pairwise_distance
from lazytorch.nn.functions.reduction import reduced, reduction_of
from lazytorch.ops.promotion import promote_types
from lazytorch.ops.recording import FUNCTIONS, apply, require_floating
from lazytorch.ops.unary import in_common_type, where
from lazytorch.tensor import Tensor, value


def _pairwise(declaration: Declaration, input: Tensor, target: Tensor, kind: str, label: str = "", **options: Any) -> Tensor:
    """An elementwise loss; inputs of different shapes broadcast, with a warning. `label` names its grad_fn."""
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely "
            "lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )
    a, b = value(input), value(target)
    if input.dtype is not target.dtype:
        dtype = promote_types(input.dtype, target.dtype)
        a, b = value(input.to(dtype)), value(target.to(dtype))
    return apply(declaration.operator(label, reduction=kind, **options), a, b)


def _weighted(losses: Tensor, weight: Tensor, kind: str) -> Tensor:
    """torch's weighted reduction: the mean is over the weights' sum."""
    weighted = losses * weight
    if kind == "none":
        return weighted
    return weighted.sum() if kind == "sum" else weighted.sum() / weight.expand_as(losses).sum()


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The squared difference."""
    kind = reduction_of(size_average, reduce, reduction)
    if weight is not None:
        return _weighted(_pairwise(nn_loss.mse_loss, input, target, "none"), weight, kind)
    return _pairwise(nn_loss.mse_loss, input, target, kind)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The absolute difference."""
    kind = reduction_of(size_average, reduce, reduction)
    if weight is not None:
        return _weighted(_pairwise(nn_loss.l1_loss, input, target, "none"), weight, kind)
    if input.dtype.kind != "f" or target.dtype.kind != "f":
        return reduced((input - target).abs(), kind)
    return _pairwise(nn_loss.l1_loss, input, target, kind, {"mean": "Mean0", "sum": "Sum0"}.get(kind, "Abs"))


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """0.5 d^2 / beta where |d| < beta, |d| - beta / 2 elsewhere."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    kind = reduction_of(size_average, reduce, reduction)
    return _pairwise(nn_loss.smooth_l1_loss, input, target, kind, beta=float(beta))


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """0.5 d^2 where |d| <= delta, delta * (|d| - delta / 2) elsewhere."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    kind = reduction_of(None, None, reduction)
    if input.dtype.kind != "f" and target.dtype.kind == "f":
        raise RuntimeError(f"result type {target.dtype.title} can't be cast to the desired output type {input.dtype.title}")
    target = target.to(input.dtype)
    if weight is not None:
        losses = _pairwise(nn_loss.huber_loss, input, target, "none", delta=float(delta))
        return reduced(losses * weight, kind)
    return _pairwise(nn_loss.huber_loss, input, target, kind, delta=float(delta))


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-(y log x + (1 - y) log(1 - x)) of probabilities. Raises ValueError for different shapes."""
    kind = reduction_of(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    operands = [value(input), value(target)]
    if weight is not None:
        operands.append(value(weight.expand(input.shape)))
    return apply(nn_loss.bce_loss.operator(reduction=kind), *operands)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), computed without overflow."""
    kind = reduction_of(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    require_floating("log_sigmoid_cpu", input)
    if target.dtype is dtypes.bool_:
        raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported.")
    given = [input, target, *[x for x in (weight, pos_weight) if x is not None]]
    operands = [value(x) for x in in_common_type(*given)]
    return apply(nn_loss.bce_with_logits_loss.operator(reduction=kind, weighted=weight is not None), *operands)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log target - input) with log probabilities as input; 'batchmean' divides by the number of samples."""
    by_batch = reduction == "batchmean" and size_average is None and reduce is None
    if reduction == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides only "
            "by the batch size, and aligns with the KL math definition.'mean' will be changed to behave the same as "
            "'batchmean' in the next major release.",
            stacklevel=2,
        )
    kind = "sum" if by_batch else reduction_of(size_average, reduce, reduction)
    for x in (input, target):
        if x.dtype.kind != "f":
            raise RuntimeError("kl_div: Integral inputs not supported.")
    if log_target:
        losses = target.exp() * (target - input)
    else:
        # 0 log 0 = 0, and the product's derivative there is not asked of the logarithm.
        present = target != 0
        logs = where(present, target, target.new_ones(())).log()
        losses = where(present, target * logs, target * 0) - target * input
    total = reduced(losses, kind)
    return total / input.shape[0] if by_batch and input.shape else total


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: float = 1e-8,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of Poisson counts; `full` adds Stirling's term."""
    kind = reduction_of(size_average, reduce, reduction)
    losses = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        losses = losses + stirling.masked_fill(target <= 1, 0)
    return reduced(losses, kind)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of a normal distribution with given variances (at least eps, without gradient there)."""
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = input.new_ones(input.shape) * var
    elif bool((var < 0).any()):
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif any(have not in (1, want) for have, want in zip(reversed(var.shape), reversed(input.shape), strict=False)):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    # The limit is applied to the values alone: the gradient is that of the variance as given.
    low = var.detach() < eps
    limited = var + where(low, eps - var.detach(), var.new_zeros(()))
    losses = 0.5 * (limited.log() + (input - target) ** 2 / limited)
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return reduced(losses, reduction)


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """log(1 + exp(-target * input)) for targets of 1 and -1."""
    return reduced(((-target * input).exp()).log1p(), reduction_of(size_average, reduce, reduction))


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The input where the target is 1, max(0, margin - input) where it is -1."""
    zero = FUNCTIONS["zeros_like"](input.detach(), dtype=input.dtype)
    margin_part = where(target != 1, (margin - input).clamp_min(0), zero)
    self_part = where(target != -1, input, zero)
    return reduced(margin_part + self_part, reduction_of(size_average, reduce, reduction))


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin)"""
    if len(input1.shape) != len(input2.shape) or len(input1.shape) != len(target.shape):
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    losses = (-target * (input1 - input2) + margin).clamp_min(0)
    return reduced(losses, reduction_of(size_average, reduce, reduction))


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1."""
    rank = len(input1.shape)
    if rank not in (1, 2) or rank != len(input2.shape) or len(target.shape) != rank - 1:
        expected = "1D" if len(target.shape) else "0D"
        raise RuntimeError(
            f"{expected} target tensor expects {'2D' if len(target.shape) else '1D'} input tensors, but found inputs with "
            f"sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    eps = 1e-12
    dim = rank - 1
    product = (input1 * input2).sum(dim)
    cosine = product / (((input1 * input1).sum(dim) + eps) * ((input2 * input2).sum(dim) + eps)).sqrt()
    zero = cosine.new_zeros(())
    losses = where(target == 1, 1 - cosine, zero) + where(target == -1, (cosine - margin).clamp_min(0), zero)
    return reduced(losses, reduction_of(size_average, reduce, reduction))


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, distance(anchor, positive) - distance(anchor, negative) + margin)"""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    kind = reduction_of(size_average, reduce, reduction)
    return _triplet(anchor, positive, negative, distance, margin, swap, kind)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of the caller's."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return _triplet(anchor, positive, negative, distance_function or pairwise_distance, margin, swap, reduction)


def _triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, distance: Any, margin: float, swap: bool, kind: str
) -> Tensor:
    near, far = distance(anchor, positive), distance(anchor, negative)
    reduction_of(None, None, kind)
    if swap:
        far = FUNCTIONS["minimum"](far, distance(positive, negative))
    return reduced((margin + near - far).clamp_min(0), kind)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross entropy of sigmoid(input), averaged over classes."""
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        losses = losses * weight
    return reduced(losses.sum(-1) / input.shape[-1], reduction_of(size_average, reduce, reduction))
