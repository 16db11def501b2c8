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


def _inverse_erf(values: np.ndarray) -> np.ndarray:
    """torch's CPU erfinv: a rational start and two Newton steps, in the element type."""
    real = values.dtype.type
    central = np.abs(values) <= 0.7
    x = np.where(central, values, 0)
    z = x * x
    a = [real(c) for c in (0.886226899, -1.645349621, 0.914624893, -0.140543331)]
    b = [real(c) for c in (-2.118377725, 1.442710462, -0.329097515, 0.012229801)]
    middle = x * (((a[3] * z + a[2]) * z + a[1]) * z + a[0])
    middle = middle / ((((b[3] * z + b[2]) * z + b[1]) * z + b[0]) * z + real(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.sqrt(-np.log((real(1) - np.abs(np.where(central, 0.5, values)).astype(values.dtype)) / real(2)))
        c = [real(n) for n in (-1.970840454, -1.62490649, 3.429567803, 1.641345311)]
        d = [real(n) for n in (3.543889200, 1.637067800)]
        tail = (((c[3] * z + c[2]) * z + c[1]) * z + c[0]) / ((d[1] * z + d[0]) * z + real(1))
        y = np.where(central, middle, np.copysign(tail, values)).astype(values.dtype)
        for _ in range(2):
            error = np.vectorize(math.erf, otypes=[np.float64])(y.astype(np.float64)).astype(values.dtype)
            slope = real(2.0 / math.sqrt(math.pi)) * np.exp(-y * y)
            y = y - (error - values) / slope
    limit = np.where(np.abs(values) == 1, np.copysign(np.inf, values), y)
    return np.asarray(limit.astype(values.dtype))


@no_grad()
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """Normal, but only in [a, b]: uniform between the distribution's values there, through its inverse."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of values may be incorrect.",
            stacklevel=2,
        )
    low, high = _normal_distribution((a - mean) / std), _normal_distribution((b - mean) / std)
    tensor.uniform_(2 * low - 1, 2 * high - 1, generator=generator)
    values = from_array(_inverse_erf(tensor.detach().numpy()), tensor.dtype)
    return tensor.copy_((values * (std * math.sqrt(2.0)) + mean).clamp(a, b))


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
