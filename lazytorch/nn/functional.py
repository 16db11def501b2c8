"""Functions of neural networks (torch.nn.functional): each records one operation."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from lazytorch import dtypes
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import arith, nn_loss, nn_normalization, nn_pooling, tensor
from lazytorch.ir.dialects import nn as ops
from lazytorch.ir.dialects.conv import conv as convolution
from lazytorch.ir.trace import STATE, record_node
from lazytorch.ops.activations import log_softmax, softmax
from lazytorch.ops.creation import one_hot
from lazytorch.ops.recording import FUNCTIONS, apply, place, result, write_into
from lazytorch.ops.sampling import dropout_mask
from lazytorch.ops.unary import clamp
from lazytorch.tensor import Tensor, from_array, value, wrap

__all__ = ["clamp", "log_softmax", "one_hot", "softmax"]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias over the last dimension."""
    x, w = value(input), value(weight)
    if bias is None:
        return apply(ops.linear_without_bias(len(x.type.shape)), x, w)
    return apply(_LINEAR if len(x.type.shape) <= 2 else _LINEAR_OF_MANY, x, w, value(bias))


_LINEAR, _LINEAR_OF_MANY = ops.linear.operator(), ops.linear.operator("View")
_RELU = ops.relu.operator()


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0)"""
    out = apply(_RELU, value(input))
    return write_into(input, out) if inplace else out


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x), by erf or ("tanh") its approximation."""
    return apply(ops.gelu.operator(approximate=approximate), value(input))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)"""
    return apply(ops.silu.operator(), value(input))


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return FUNCTIONS["tanh"](input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))"""
    return FUNCTIONS["sigmoid"](input)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeros with probability p, and the rest scaled by 1 / (1 - p)."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return input * 0.0
    mask = from_array(dropout_mask(input._node.type.numel, p).reshape(tuple(input.shape)), dtypes.bool_)
    return apply(ops.dropout.operator(p=p), value(input), value(mask))


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, **other: Any) -> Tensor:
    """Rows of the weight."""
    padding = -1 if padding_idx is None else padding_idx % weight.shape[0]
    return apply(ops.embedding.operator(padding=padding), value(weight), value(input))


def _reduction(size_average: Any, reduce: Any, reduction: str) -> str:
    if size_average is None and reduce is None:
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"{reduction} is not a valid value for reduction")
        return reduction
    return "none" if reduce is False else "sum" if size_average is False else "mean"


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """log_softmax and negative log-likelihood of class numbers, or of class probabilities."""
    x, y = value(input), value(target)
    kind = _reduction(size_average, reduce, reduction)
    operator = _cross_entropy(y.type.dtype.kind == "f", kind, ignore_index, float(label_smoothing))
    return apply(operator, x, y) if weight is None else apply(operator, x, y, value(weight))


@cache
def _cross_entropy(probabilities: bool, reduction: str, ignore_index: int, label_smoothing: float) -> Operator:
    if probabilities:
        return nn_loss.cross_entropy_probabilities.operator(reduction=reduction, label_smoothing=label_smoothing)
    return nn_loss.cross_entropy.operator(reduction=reduction, ignore_index=ignore_index, label_smoothing=label_smoothing)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative of the scores at the target classes."""
    kind = _reduction(size_average, reduce, reduction)
    operands = [value(input), value(target)] + ([value(weight)] if weight is not None else [])
    return apply(nn_loss.nll_loss.operator(reduction=kind, ignore_index=ignore_index), *operands)


def mse_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> Tensor:
    """The squared difference."""
    kind = _reduction(size_average, reduce, reduction)
    return apply(nn_loss.mse_loss.operator(reduction=kind), value(input), value(target))


def l1_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> Tensor:
    """The absolute difference."""
    kind = _reduction(size_average, reduce, reduction)
    label = {"mean": "Mean0", "sum": "Sum0"}.get(kind, "Abs")
    return apply(nn_loss.l1_loss.operator(label, reduction=kind), value(input), value(target))


def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise over the trailing dimensions."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    operands = [value(input), *[value(x) for x in (weight, bias) if x is not None]]
    return apply(nn_normalization.layer_norm.operator(shape=shape, eps=eps), *operands)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise every channel, by the batch (training) or by running statistics."""
    affine = [value(x) for x in (weight, bias) if x is not None]
    x = value(input)
    if not training:
        assert running_mean is not None and running_var is not None
        operator = nn_normalization.batch_norm_with.operator(eps=eps)
        return apply(operator, x, value(running_mean), value(running_var), *affine)
    out = apply(nn_normalization.batch_norm.operator(eps=eps), x, *affine)
    if running_mean is not None and running_var is not None:
        trace = STATE.trace
        before, trace.grad_enabled = trace.grad_enabled, False
        average = nn_normalization.moving_average.operator(momentum=momentum)
        for running, statistic in (
            (running_mean, nn_normalization.batch_mean),
            (running_var, nn_normalization.batch_variance),
        ):
            new = record_node(trace, average, (value(running), record_node(trace, statistic.operator(), (x,))))
            running.data.copy_(wrap(trace, new))
        trace.grad_enabled = before
    return out


def _sizes(x: Any, count: int) -> tuple[int, ...]:
    return (int(x),) * count if isinstance(x, int) else tuple([int(n) for n in x])


def _conv(
    count: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    batched = len(input.shape) == count + 2
    x = input if batched else input.unsqueeze(0)
    strides, dilations = _sizes(stride, count), _sizes(dilation, count)
    if padding == "valid":
        padding = 0
    elif padding == "same":
        padding = tuple([d * (k - 1) // 2 for d, k in zip(dilations, weight.shape[2:], strict=True)])
    operator = convolution.operator(strides=strides, padding=_sizes(padding, count), dilations=dilations, groups=groups)
    out = apply(operator, value(x), value(weight))
    if bias is not None:
        place()
        node = record_node(STATE.trace, tensor.reshape.operator(shape=(bias.shape[0], *(1,) * count)), (value(bias),))
        out = result(record_node(STATE.trace, arith.add.operator("Convolution"), (value(out), node)))
    return out if batched else out.squeeze(0)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution along one dimension."""
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution over two dimensions."""
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of every window (and where it was)."""
    sizes = _sizes(kernel_size, 2)
    options: dict[str, Any] = {
        "sizes": sizes,
        "strides": _sizes(stride, 2) if stride is not None else sizes,
        "padding": _sizes(padding, 2),
        "dilations": _sizes(dilation, 2),
        "ceil": ceil_mode,
    }
    out = apply(nn_pooling.max_pool.operator(**options), value(input))
    if return_indices:
        return out, apply(nn_pooling.max_pool_index.operator(**options), value(input))
    return out


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value_: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value"""
    if dropout_p:
        raise NotImplementedError("scaled_dot_product_attention with dropout is not supported yet; use dropout_p=0")
    operands = [value(query), value(key), value(value_)] + ([value(attn_mask)] if attn_mask is not None else [])
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    return apply(ops.attention.operator(causal=is_causal, scale=factor), *operands)
