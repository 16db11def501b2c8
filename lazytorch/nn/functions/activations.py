"""Activations (torch.nn.functional): each records one operation, or a few."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import nn as ops
from lazytorch.ir.dialects import nn_activation as pieces
from lazytorch.ops.activations import softmax
from lazytorch.ops.recording import FUNCTIONS, apply, dimension, rounding_once, takes_out, write_into, written
from lazytorch.ops.sampling import source_for
from lazytorch.tensor import Tensor, from_array, value

_takes_out = partial(takes_out, same=True)


def _activation(input: Tensor, operator: Operator, inplace: bool = False) -> Tensor:
    out = apply(operator, value(input))
    return write_into(input, out) if inplace else out


_RELU = ops.relu.operator()
_SILU = ops.silu.operator()


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0)"""
    out = apply(_RELU, value(input))
    return write_into(input, out) if inplace else out


def relu_(input: Tensor) -> Tensor:
    """In-place form of `relu`."""
    return relu(input, inplace=True)


def gelu(input: Tensor, approximate: str = "none", *, out: Tensor | None = None) -> Tensor:
    """x * Phi(x), by erf or ("tanh") its approximation."""
    found = apply(ops.gelu.operator(approximate=approximate), value(input))
    return found if out is None else written(found, out, "gelu", same=True)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)"""
    return _activation(input, _SILU, inplace)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return FUNCTIONS["tanh"](input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))"""
    return FUNCTIONS["sigmoid"](input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """The input limited to [min_val, max_val]. Raises ValueError when the bounds are exchanged."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _activation(input, pieces.hardtanh.operator(low=float(min_val), high=float(max_val)), inplace)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """In-place form of `hardtanh`."""
    return hardtanh(input, min_val, max_val, inplace=True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input, 0), 6)"""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input + 3, 0), 6) / 6"""
    return _activation(input, pieces.hardsigmoid.operator(), inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * hardsigmoid(input)"""
    return _activation(input, pieces.hardswish.operator(), inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """The input where positive, alpha * (exp(input) - 1) elsewhere."""
    return _activation(input, ops.elu.operator(alpha=float(alpha)), inplace)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """In-place form of `elu`."""
    return elu(input, alpha, inplace=True)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The scaled exponential unit that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    return _activation(input, pieces.exponential_unit.operator(alpha=_SELU_ALPHA, scale=_SELU_SCALE, width=1.0), inplace)


def selu_(input: Tensor) -> Tensor:
    """In-place form of `selu`."""
    return selu(input, inplace=True)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """The input where positive, alpha * (exp(input / alpha) - 1) elsewhere. Raises RuntimeError for alpha = 0."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    operator = pieces.exponential_unit.operator(alpha=float(alpha), scale=1.0, width=float(alpha))
    return _activation(input, operator, inplace)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """In-place form of `celu`."""
    return celu(input, alpha, inplace=True)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """The input where positive, negative_slope * input elsewhere."""
    return _activation(input, ops.leaky_relu.operator(slope=float(negative_slope)), inplace)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """In-place form of `leaky_relu`."""
    return leaky_relu(input, negative_slope, inplace=True)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """The input where positive, weight * input elsewhere; one weight, or one for each channel (dimension 1)."""
    rank, count = len(input.shape), weight._node.type.numel
    if len(weight.shape) > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {len(weight.shape)}")
    if count != 1:
        if rank == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if rank > 1 else 1
        if channels != count:
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{count} and channel size = {channels}."
            )
    wide = weight.reshape((1, -1, *(1,) * (rank - 2))) if rank > 1 else weight.reshape((1,) * rank)
    return apply(pieces.prelu.operator(), value(input), value(wide))


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """A leaky ReLU whose slope is drawn for every element in training, and the mean of the bounds otherwise."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    low = np.asarray(input.detach().cpu().numpy()) <= 0
    drawn = source_for(input._node.type.device, None).uniform(int(low.sum()), dtypes.float64, lower, upper)
    slopes = np.ones(low.shape, input.dtype.numpy)
    slopes[low] = drawn
    out = input * from_array(slopes, input.dtype, input)
    return write_into(input, out) if inplace else out


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """In-place form of `rrelu`."""
    return rrelu(input, lower, upper, training, inplace=True)


@_takes_out
def logsigmoid(input: Tensor) -> Tensor:
    """log(1 / (1 + exp(-input)))"""
    return apply(pieces.log_sigmoid.operator(), value(input))


@_takes_out
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 where |input| <= lambd, the input elsewhere."""
    return apply(pieces.hardshrink.operator(bound=float(lambd)), value(input))


@_takes_out
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """The input moved towards 0 by lambd, 0 where |input| <= lambd."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    return apply(pieces.softshrink.operator(bound=float(lambd)), value(input))


def tanhshrink(input: Tensor) -> Tensor:
    """input - tanh(input)"""
    return input - tanh(input)


@_takes_out
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta; the input itself where beta * input is above the threshold."""
    return apply(ops.softplus.operator(beta=float(beta), threshold=float(threshold)), value(input))


def softsign(input: Tensor) -> Tensor:
    """input / (1 + |input|)"""
    return input / (input.abs() + 1)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input))"""
    return _activation(input, pieces.mish.operator(), inplace)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """The input where it is above the threshold, `value` elsewhere."""
    return _thresholded(input, float(threshold), float(value), inplace)


def _thresholded(input: Tensor, bound: float, fill: float, inplace: bool) -> Tensor:
    return _activation(input, pieces.threshold.operator(threshold=bound, value=fill), inplace)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """In-place form of `threshold`."""
    return _thresholded(input, float(threshold), float(value), True)


@rounding_once
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along a dimension, times the sigmoid of the second."""
    if not input.shape:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    d = dimension(dim, len(input.shape))
    if input.shape[d] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {d} is size {input.shape[d]}")
    first, second = input.chunk(2, d)
    return first * second.sigmoid()


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """softmax(-input) along a dimension."""
    return softmax(-input, dim, dtype=dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """softmax((logits + Gumbel noise) / tau); `hard`: one-hot, with the gradient of the soft sample (Jang et al. 2017)."""
    noise = -FUNCTIONS["empty_like"](logits.detach()).exponential_().log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    chosen = FUNCTIONS["zeros_like"](logits.detach()).scatter_(dim, index, 1.0)
    return chosen - soft.detach() + soft


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """The input divided by its p-norm along a dimension, the norm being at least eps."""
    found = input / input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    return found if out is None else written(found, out, "normalize")
