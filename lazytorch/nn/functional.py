"""Functions of neural networks (torch.nn.functional); what is not defined here is gathered from lazytorch/nn/functions."""

from __future__ import annotations

from functools import cache
from typing import Any

from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import nn as ops
from lazytorch.ir.dialects import nn_loss
from lazytorch.ir.trace import STATE
from lazytorch.nn.functions.activations import (
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    gumbel_softmax,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    logsigmoid,
    mish,
    normalize,
    prelu,
    relu,
    relu6,
    relu_,
    rrelu,
    rrelu_,
    selu,
    selu_,
    sigmoid,
    silu,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
    threshold_,
)
from lazytorch.nn.functions.attention import (
    multi_head_attention_forward,
    scaled_dot_product_attention,
)
from lazytorch.nn.functions.class_losses import (
    ctc_loss,
    multi_margin_loss,
    multilabel_margin_loss,
)
from lazytorch.nn.functions.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    fold,
    unfold,
)
from lazytorch.nn.functions.distance import (
    bilinear,
    cosine_similarity,
    pairwise_distance,
    pdist,
)
from lazytorch.nn.functions.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from lazytorch.nn.functions.embedding import (
    embedding,
    embedding_bag,
)
from lazytorch.nn.functions.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    multilabel_soft_margin_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from lazytorch.nn.functions.normalization import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from lazytorch.nn.functions.padding import (
    pad,
)
from lazytorch.nn.functions.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    fractional_max_pool2d,
    fractional_max_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from lazytorch.nn.functions.reduction import reduction_of
from lazytorch.nn.functions.resampling import (
    affine_grid,
    channel_shuffle,
    grid_sample,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)
from lazytorch.ops.activations import log_softmax, softmax
from lazytorch.ops.autocasting import narrowed, widening
from lazytorch.ops.creation import one_hot
from lazytorch.ops.promotion import promote_types
from lazytorch.ops.recording import FUNCTIONS, apply, cast, require_floating, same_type, written
from lazytorch.ops.unary import clamp
from lazytorch.tensor import Tensor, value

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "affine_grid",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "celu_",
    "channel_shuffle",
    "clamp",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "elu_",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "fold",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "grid_sample",
    "group_norm",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "hinge_embedding_loss",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "mish",
    "mse_loss",
    "multi_head_attention_forward",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rrelu",
    "rrelu_",
    "scaled_dot_product_attention",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias over the last dimension."""
    if out is not None:
        return written(linear(input, weight, bias), out, "linear", same=True)
    dtype = STATE.trace.autocast
    if dtype is not None:
        input, weight, bias = (narrowed(x, dtype) for x in (input, weight, bias))
    x = input._node if input._base is None else value(input)
    w = weight._node if weight._base is None else value(weight)
    rank = len(x.type.shape)
    if rank == 0 or len(w.type.shape) != 2:
        product = FUNCTIONS["matmul"](input, FUNCTIONS["t"](weight))
        return product if bias is None else product + bias
    if bias is None:
        return apply(ops.linear_without_bias(rank), x, w)
    return apply(_LINEAR if rank <= 2 else _LINEAR_OF_MANY, x, w, value(bias))


_LINEAR, _LINEAR_OF_MANY = ops.linear.operator(), ops.linear.operator("View")


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
    kind = reduction_of(size_average, reduce, reduction)
    probabilities = y.type.dtype.kind == "f"
    if probabilities and ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    if label_smoothing and not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if probabilities and y.type.dtype is not x.type.dtype:
        require_floating("log_softmax_kernel_impl", input)
        dtype = promote_types(x.type.dtype, y.type.dtype)
        x, y = cast(x, dtype), cast(y, dtype)
    operator = _cross_entropy(probabilities, kind, ignore_index, float(label_smoothing))
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
    kind = reduction_of(size_average, reduce, reduction)
    require_floating("nll_loss_out_frame", input)
    same_type(input, weight)
    operands = [value(input), value(target)] + ([value(weight)] if weight is not None else [])
    return apply(nn_loss.nll_loss.operator(reduction=kind, ignore_index=ignore_index), *operands)


_IN_FLOAT32 = """
adaptive_avg_pool3d avg_pool3d binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy
ctc_loss grid_sample hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss max_pool3d mse_loss multi_margin_loss
multilabel_margin_loss nll_loss poisson_nll_loss smooth_l1_loss soft_margin_loss triplet_margin_loss
"""
globals().update({name: widening(globals()[name]) for name in _IN_FLOAT32.split()})
_IN_FLOAT32_ON_DEVICES = "softmax softmin log_softmax softplus layer_norm group_norm cosine_similarity"
globals().update({name: widening(globals()[name], ("cuda",)) for name in _IN_FLOAT32_ON_DEVICES.split()})
