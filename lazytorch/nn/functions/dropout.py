"""Dropout of elements, channels and SELU activations, with torch's random numbers (torch.nn.functional)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch.ir.dialects import nn as ops
from lazytorch.ir.dialects import tensor
from lazytorch.ir.trace import STATE
from lazytorch.layout import memory_order
from lazytorch.ops.recording import apply, emit, on_device, write_into
from lazytorch.ops.sampling import dropout_mask, random_tensor, source_for
from lazytorch.tensor import Tensor, value, wrap


def _mask(input: Tensor, p: float) -> Tensor:
    """Which elements of the input are kept: torch draws in the order in which a permuted view lies in memory."""
    shape = tuple(input.shape)
    order = memory_order(shape, [value(input)])
    if order is None:
        return dropout_mask(input, shape, p)
    mask = dropout_mask(input, tuple([shape[d] for d in order]), p)
    back = tuple(np.argsort(order).tolist())
    return wrap(STATE.trace, emit(tensor.permute, value(mask), order=back))


def _dropout(input: Tensor, p: float, training: bool, inplace: bool, dropped: Callable[[], Tensor]) -> Tensor:
    """What every dropout does around its own way of dropping, which is for p > 0 in training."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return input
    out = dropped()
    return write_into(input, out) if inplace else out


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeros with probability p, and the rest scaled by 1 / (1 - p)."""

    def dropped() -> Tensor:
        if p == 1.0:
            return input * 0.0
        return apply(ops.dropout.operator(p=p), value(input), value(on_device(_mask(input, p), input.device)))

    return _dropout(input, p, training, inplace, dropped)


def _noise(shape: tuple[int, ...], p: float, like: Tensor, scale: bool) -> Tensor:
    """Ones with probability 1 - p in the element type of a tensor; with `scale` divided by 1 - p."""
    kept = random_tensor(source_for(like._node.type.device, None), "bernoulli", shape, like.dtype, 1.0 - p)
    return kept / (1.0 - p) if scale else kept


def _feature_shape(input: Tensor) -> tuple[int, ...]:
    if len(input.shape) < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return (*input.shape[:2], *(1,) * (len(input.shape) - 2))


def _feature_dropout(input: Tensor, p: float, training: bool, inplace: bool, unbatched: int) -> Tensor:
    """Whole channels become zero. `unbatched`: the rank at which the batch dimension is missing."""

    def dropped() -> Tensor:
        x = input.unsqueeze(0) if len(input.shape) == unbatched else input
        if p == 1.0:
            out = x * 0.0
        else:
            out = x * on_device(_noise(_feature_shape(x), p, x, scale=True), x.device)
        return out.squeeze(0) if x is not input else out

    return _dropout(input, p, training, inplace, dropped)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of [N, C, L] or [C, L] with probability p."""
    if len(input.shape) not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {len(input.shape)}D input. Note that dropout1d exists to "
            "provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional batch "
            "dimension (i.e. 2D or 3D inputs)."
        )
    return _feature_dropout(input, p, training, inplace, 2)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of [N, C, H, W] with probability p."""
    return _feature_dropout(input, p, training, inplace, 0)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of [N, C, D, H, W] or [C, D, H, W] with probability p."""
    return _feature_dropout(input, p, training, inplace, 4)


_ALPHA = 1.7580993408473766


def _alpha_dropout(input: Tensor, p: float, training: bool, inplace: bool, shape: Any) -> Tensor:
    def dropped() -> Tensor:
        if p == 1.0:
            return input * 0.0
        kept = on_device(_noise(shape, p, input, scale=False), input.device)
        a = 1.0 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
        return input * (kept * a) + ((kept - 1.0) * (_ALPHA * a) + _ALPHA * a * p)

    return _dropout(input, p, training, inplace, dropped)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean and variance of SELU activations (Klambauer et al. 2017)."""
    return _alpha_dropout(input, p, training, inplace, tuple(input.shape))


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels."""
    return _alpha_dropout(input, p, training, inplace, _feature_shape(input) if training and p else ())
