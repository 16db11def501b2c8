"""softmax and log_softmax: functions of torch and of torch.nn.functional alike."""

from __future__ import annotations

from collections.abc import Callable

from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import nn as ops
from lazytorch.ir.dialects import tensor
from lazytorch.ops.recording import cast, dimension, emit, place, result, torch_function
from lazytorch.tensor import Tensor, value


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along a dimension."""
    return _along(ops.softmax, input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along a dimension."""
    return _along(ops.log_softmax, input, dim, dtype)


def _along(declaration: Declaration, input: Tensor, dim: int | None, dtype: DType | None) -> Tensor:
    place()
    x = cast(value(input), dtype)
    shape = x.type.shape
    d = dimension(_implicit(input, dim), len(shape))
    if not shape:  # a number by itself is a dimension of size 1
        x = emit(tensor.reshape, x, shape=(1,))
    out = emit(declaration, x, dim=d)
    return result(out if shape else emit(tensor.reshape, out, label=declaration.gradient_name, shape=()))


def _registered(name: str, function: Callable[..., Tensor]) -> None:
    """torch's own function and the method: the element type comes right after the dimension."""

    def along(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
        return function(input, dim, dtype=dtype)

    along.__name__, along.__doc__ = name, function.__doc__
    torch_function(name, out="same")(along)


_registered("softmax", softmax)
_registered("log_softmax", log_softmax)


def _implicit(input: Tensor, dim: int | None) -> int:
    if dim is not None:
        return dim
    return 0 if len(input.shape) in (0, 1, 3) else 1
