"""Normalisation by layer, batch, instance, group, root mean square and neighbours (torch.nn.functional)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.autograd.modes import no_grad
from lazytorch.ir.dialects import nn_normalization
from lazytorch.ir.trace import STATE, record_node
from lazytorch.nn.functions.padding import pad
from lazytorch.nn.functions.pooling import avg_pool2d, avg_pool3d
from lazytorch.ops.recording import FUNCTIONS, apply, require_floating
from lazytorch.ops.unary import cast_to
from lazytorch.tensor import Tensor, value, wrap


def _mixed(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorator: a 16-bit input with float32 parameters computes in float32, and the result is of the input's type."""

    @functools.wraps(function)
    def call(input: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        dtype = input.dtype
        if dtype.kind != "f" or dtype.itemsize != 2:
            return function(input, *arguments, **keywords)
        others = [x for x in (*arguments, *keywords.values()) if isinstance(x, Tensor)]
        if all(x.dtype is dtype for x in others):
            return function(input, *arguments, **keywords)
        return cast_to(function(cast_to(input, others[0].dtype), *arguments, **keywords), dtype)

    return call


@_mixed
def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise over the trailing dimensions."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if weight is None and bias is not None:
        return layer_norm(input, shape, None, None, eps) + bias
    operands = [value(input), *[value(x) for x in (weight, bias) if x is not None]]
    return apply(nn_normalization.layer_norm.operator(shape=shape, eps=eps), *operands)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide by the root mean square over the trailing dimensions; eps is the element type's epsilon by default."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if tuple(input.shape[len(input.shape) - len(shape) :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but got "
            f"input of size{list(input.shape)}"
        )
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    require_floating("rms_norm", input)
    dtype = input.dtype.opmath
    least = float(np.finfo(dtype.numpy).eps) if eps is None else eps
    dims = tuple(range(len(input.shape) - len(shape), len(input.shape)))
    wide = cast_to(input, dtype)
    out = wide * (wide.pow(2).mean(dims, keepdim=True) + least).rsqrt()
    return cast_to(out if weight is None else out * weight, input.dtype)


def _check_batch(shape: Sequence[int], what: str) -> None:
    """One element per channel has no variance."""
    count = int(np.prod([shape[0], *shape[2:]]))
    if count == 1:
        raise ValueError(f"Expected more than 1 {what} when training, got input size {_size(shape)}")


def _size(shape: Sequence[int]) -> str:
    return f"torch.Size({list(shape)})"


@_mixed
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
    if training and eps <= 0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    if weight is None and bias is not None:
        weight = input.new_ones(bias.shape)
    if len(input.shape) == 1 and not input._node.type.numel:
        return FUNCTIONS["clone"](input)
    require_floating("batch_norm", input)
    _require_type_of(input, running_mean, running_var, weight, bias)
    affine = [value(x) for x in (weight, bias) if x is not None]
    x = value(input)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        operator = nn_normalization.batch_norm_with.operator(eps=eps)
        return apply(operator, x, value(running_mean), value(running_var), *affine)
    _check_batch(x.type.shape, "value per channel")
    out = apply(nn_normalization.batch_norm.operator(eps=eps), x, *affine)
    if running_mean is not None and running_var is not None and x.type.numel:
        _track(x, running_mean, running_var, momentum)
    return out


def _require_type_of(input: Tensor, *parameters: Tensor | None) -> None:
    """Raise torch's RuntimeError for parameters of another element type; halves go with float32, too."""
    for x in parameters:
        if x is not None and x.dtype is not input.dtype and not (input.dtype.itemsize == 2 and x.dtype is dtypes.float32):
            raise RuntimeError(f"mixed dtype (CPU): expect parameter to have scalar type of {input.dtype.title}")


def _track(x: Any, running_mean: Tensor, running_var: Tensor, momentum: float) -> None:
    """Move the running statistics towards the batch's."""
    trace = STATE.trace
    average = nn_normalization.moving_average.operator(momentum=momentum)
    with no_grad():
        for running, statistic in (
            (running_mean, nn_normalization.batch_mean),
            (running_var, nn_normalization.batch_variance),
        ):
            new = record_node(trace, average, (value(running), record_node(trace, statistic.operator(), (x,))))
            running.data.copy_(wrap(trace, new))


def _per_channel(x: Tensor, rank: int) -> Tensor:
    return x.reshape((1, -1, *(1,) * (rank - 2)))


def _affine(out: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    rank = len(out.shape)
    out = out if weight is None else out * _per_channel(weight, rank)
    return out if bias is None else out + _per_channel(bias, rank)


@_mixed
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each of `num_groups` groups of channels of each sample of [N, C, ...]."""
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {len(shape)}")
    if shape[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(shape)} and num_groups={num_groups}"
        )
    if input._node.type.numel:
        _check_batch((shape[0] * shape[1] // num_groups, num_groups, *shape[2:]), "value per channel")
    _require_type_of(input, weight, bias)
    grouped = input.reshape((shape[0], num_groups, int(np.prod(shape[1:])) // num_groups))
    out = layer_norm(grouped, (grouped.shape[-1],), eps=eps).reshape(shape)
    return _affine(out, weight, bias)


@_mixed
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample of [N, C, ...] by itself, or by running statistics."""
    shape = tuple(input.shape)
    require_floating("batch_norm", input)
    _require_type_of(input, weight, bias)
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if int(np.prod(shape[2:])) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {_size(shape)}")
    flat = input.reshape((shape[0] * shape[1], -1))
    out = layer_norm(flat, (flat.shape[-1],), eps=eps).reshape(shape)
    if running_mean is not None and running_var is not None:
        _track_instances(input, running_mean, running_var, momentum)
    return _affine(out, weight, bias)


def _track_instances(input: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float) -> None:
    samples = input.detach().reshape((*input.shape[:2], -1))
    for running, statistic in ((running_mean, samples.mean(2)), (running_var, samples.var(2))):
        running.data.copy_(statistic.mean(0) * momentum + running.detach() * (1 - momentum))


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide by a power of the mean square of `size` neighbouring channels (Krizhevsky et al. 2012)."""
    rank = len(input.shape)
    if rank < 3:
        raise ValueError(f"Expected 3D or higher dimensionality                          input (got {rank} dimensions)")
    squares = (input * input).unsqueeze(1)
    if rank == 3:
        squares = avg_pool2d(pad(squares, (0, 0, size // 2, (size - 1) // 2)), (size, 1), stride=1).squeeze(1)
    else:
        shape = input.shape
        squares = squares.reshape((shape[0], 1, shape[1], shape[2], -1))
        squares = pad(squares, (0, 0, 0, 0, size // 2, (size - 1) // 2))
        squares = avg_pool3d(squares, (size, 1, 1), stride=1).squeeze(1).reshape(tuple(shape))
    return input / (squares * alpha + k).pow(beta)
