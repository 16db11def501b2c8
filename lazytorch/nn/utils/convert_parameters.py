"""All parameters as one vector, and back (torch.nn.utils)."""

from __future__ import annotations

from collections.abc import Iterable

from lazytorch.ops.shaping import cat
from lazytorch.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after the other."""
    return cat([parameter.reshape((-1,)) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give the parameters the elements of a vector."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec)}")
    at = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.data = vec.detach()[at : at + count].view(tuple(parameter.shape))
        at += count
