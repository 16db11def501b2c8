"""softmax and log_softmax: functions of torch and of torch.nn.functional alike."""

from __future__ import annotations

from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import nn as ops
from lazytorch.ir.dialects import tensor
from lazytorch.ir.trace import Node
from lazytorch.ops.recording import cast, dimension, emit, place, result, torch_function
from lazytorch.tensor import Tensor, value


@torch_function("softmax", out=False)
def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along a dimension."""
    place()
    x = cast(value(input), dtype)
    d = dimension(_implicit(input, dim), len(x.type.shape))
    return result(_along(ops.softmax, x, d))


@torch_function("log_softmax", out=False)
def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along a dimension."""
    place()
    x = cast(value(input), dtype)
    d = dimension(_implicit(input, dim), len(x.type.shape))
    return result(_along(ops.log_softmax, x, d))


def _along(declaration: Declaration, x: Node, d: int) -> Node:
    """The function along a dimension; a scalar is one element of it."""
    if x.type.shape:
        return emit(declaration, x, dim=d)
    label = declaration.gradient_name
    return emit(tensor.reshape, emit(declaration, emit(tensor.reshape, x, shape=(1,)), dim=0), label=label, shape=())


def _implicit(input: Tensor, dim: int | None) -> int:
    if dim is not None:
        return dim
    return 0 if len(input.shape) in (0, 1, 3) else 1
