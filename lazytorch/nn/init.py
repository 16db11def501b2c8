"""Initialisation of parameters, with torch's numbers under a seed (torch.nn.init)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch.autograd.modes import no_grad
from lazytorch.ops.creation import empty, eye
from lazytorch.ops.sampling import randperm
from lazytorch.tensor import Tensor, from_array


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Inputs and outputs of a layer with this weight."""
    shape = tensor.shape
    if len(shape) < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = 1
    for size in shape[2:]:
        field *= size
    return shape[1] * field, shape[0] * field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    """Inputs ("fan_in") or outputs ("fan_out")."""
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode.lower()} not supported, please use one of ['fan_in', 'fan_out']")
    return _calculate_fan_in_and_fan_out(tensor)[mode.lower() == "fan_out"]


_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid")


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """The recommended gain of an activation."""
    if nonlinearity in _LINEAR:
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            slope = 0.01
        elif isinstance(param, int | float) and not isinstance(param, bool):
            slope = param
        else:
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


@no_grad()
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in [a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal."""
    return tensor.normal_(mean, std, generator=generator)


def _normal_distribution(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


@no_grad()
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """Normal, but only in [a, b]: what falls outside is drawn again."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of values may be incorrect.",
            stacklevel=2,
        )
    real = tensor.dtype.numpy.type
    likely = _normal_distribution((b - mean) / std) - _normal_distribution((a - mean) / std) > 0.3

    def drawn(write: str, *arguments: float) -> np.ndarray:
        fresh = empty(*tensor.shape, dtype=tensor.dtype)
        return np.asarray(getattr(fresh, write)(*arguments, generator=generator).numpy())

    if likely:
        values = drawn("normal_", mean, std)
        while (outside := (values < real(a)) | (values > real(b))).any():
            values = np.where(outside, drawn("normal_", mean, std), values)
    else:
        values = _accepted(drawn, mean, std, a, b)
    return tensor.copy_(from_array(values, tensor.dtype))


def _accepted(drawn: Callable[..., np.ndarray], mean: float, std: float, a: float, b: float) -> np.ndarray:
    """Uniform numbers of [a, b], each accepted with the density relative to the greatest one there."""
    log_peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
    values = candidates = drawn("uniform_", a, b)
    pending = np.ones(values.shape, bool)
    while True:
        real = candidates.dtype.type
        density = ((candidates - real(mean)) / real(std)) ** 2 * real(-0.5) - real(log_peak)
        with np.errstate(divide="ignore"):
            pending &= np.log(drawn("uniform_", 0.0, 1.0)) > density
        if not pending.any():
            return values
        candidates = drawn("uniform_", a, b)
        values = np.where(pending, candidates, values)


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    if len(tensor.shape) != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return tensor.copy_(eye(*tensor.shape, dtype=tensor.dtype))


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Weights of a convolution that passes its channels on."""
    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if shape[0] % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    values = np.zeros(shape, tensor.dtype.numpy)
    per_group = shape[0] // groups
    center = tuple([size // 2 for size in shape[2:]])
    for group in range(groups):
        for channel in range(min(per_group, shape[1])):
            values[(group * per_group + channel, channel, *center)] = 1
    return tensor.copy_(from_array(values, tensor.dtype))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Glorot's uniform initialisation."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Glorot's normal initialisation."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """He's uniform initialisation."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """He's normal initialisation."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


@no_grad()
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """Orthogonal rows or columns: the Q of a normal matrix, its signs made unique by R's diagonal."""
    shape = tensor.shape
    if len(shape) < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if 0 in shape:
        return tensor
    rows = int(shape[0])
    columns = int(np.prod(shape)) // rows
    flat = empty(rows, columns, dtype=tensor.dtype).normal_(0, 1, generator=generator).numpy()
    q, r = np.linalg.qr(flat.T if rows < columns else flat)
    q = q * np.sign(np.diag(r))
    values = (q.T if rows < columns else q).reshape(tuple(shape)) * tensor.dtype.numpy.type(gain)
    return tensor.copy_(from_array(np.ascontiguousarray(values), tensor.dtype))


@no_grad()
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal entries, of which a share of each column is set to zero."""
    if len(tensor.shape) != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    count = math.ceil(sparsity * rows)
    values = empty(rows, columns, dtype=tensor.dtype).normal_(0, std, generator=generator).numpy().copy()
    for column in range(columns):
        values[randperm(rows).numpy()[:count], column] = 0
    return tensor.copy_(from_array(values, tensor.dtype))


def _deprecated(new: Callable[..., Any]) -> Callable[..., Any]:
    old = new.__name__[:-1]

    def call(*arguments: Any, **keywords: Any) -> Any:
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new.__name__}`.", FutureWarning, stacklevel=2
        )
        return new(*arguments, **keywords)

    call.__name__, call.__doc__ = old, f"The old name of `{new.__name__}`."
    return call


uniform, normal, constant, dirac = (_deprecated(f) for f in (uniform_, normal_, constant_, dirac_))
xavier_uniform, xavier_normal = _deprecated(xavier_uniform_), _deprecated(xavier_normal_)
kaiming_uniform, kaiming_normal = _deprecated(kaiming_uniform_), _deprecated(kaiming_normal_)
orthogonal, sparse = _deprecated(orthogonal_), _deprecated(sparse_)
