"""What distributions are made with: broadcast parameters, probabilities and their logits, lazily computed attributes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import lazytorch as torch
from lazytorch.nn.functional import softmax
from lazytorch.tensor import Tensor

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]

euler_constant = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Tensors and numbers as tensors of one shape; a number takes the element type of the first tensor.

    Raises ValueError for anything else.
    """
    if not all(isinstance(x, Tensor | int | float) for x in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing __torch_function__."
        )
    dtype = next((x.dtype for x in values if isinstance(x, Tensor)), torch.get_default_dtype())
    tensors = [x if isinstance(x, Tensor) else torch.as_tensor(x, dtype=dtype) for x in values]
    return tuple(torch.broadcast_tensors(*tensors))


def standard_normal(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Normal noise of a shape in the element type of a tensor."""
    return torch.empty(shape, dtype=like.dtype).normal_()


def sum_rightmost(x: Any, count: int) -> Any:
    """The sum over the last `count` dimensions."""
    return x.reshape((*x.shape[:-count], -1)).sum(-1) if count else x


def matrix_vector(matrix: Tensor, vector: Tensor) -> Tensor:
    """Batches of matrices times batches of vectors."""
    return torch.matmul(matrix, vector.unsqueeze(-1)).squeeze(-1)


def log_determinant(triangular: Tensor) -> Tensor:
    """The logarithm of the product of the diagonals of triangular matrices."""
    diagonal: Tensor = triangular.diagonal(dim1=-2, dim2=-1)
    return diagonal.log().sum(-1)


def multivariate_digamma(x: Tensor, p: int) -> Tensor:
    """The derivative of the logarithm of the multivariate gamma function."""
    return torch.digamma(x.unsqueeze(-1) - torch.arange(p, dtype=x.dtype) / 2).sum(-1)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities of logits; of log-probabilities along the last dimension unless `is_binary`."""
    return torch.sigmoid(logits) if is_binary else softmax(logits, dim=-1)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities moved away from 0 and 1 by the element type's epsilon."""
    eps = torch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Logits of (clamped) probabilities: log-odds if `is_binary`, else logarithms."""
    inside = clamp_probs(probs)
    return torch.log(inside) - torch.log1p(-inside) if is_binary else torch.log(inside)


class lazy_property(property):
    """An attribute that is computed, with gradients, when it is first read, and kept from then on."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        super().__init__(wrapped)
        self.wrapped = wrapped
        functools.update_wrapper(self, wrapped)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        name = self.wrapped.__name__
        if name not in instance.__dict__:
            with torch.enable_grad():
                instance.__dict__[name] = self.wrapped(instance)
        return instance.__dict__[name]

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.wrapped.__name__] = value


def _lower_triangle(n: int, diag: int) -> Tensor:
    columns = torch.arange(n)
    mask: Tensor = columns < columns.view(-1, 1) + (diag + 1)
    return mask


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The entries on and below a diagonal, row by row: [..., n, n] to [..., k]. Raises ValueError if there is none."""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    entries: Tensor = mat[..., _lower_triangle(n, diag)]
    return entries


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """The inverse of `tril_matrix_to_vec`, with zeros elsewhere. Raises ValueError where no square fits."""
    a = 1 + 2 * diag
    n = (-a + (a**2 + 8 * vec.shape[-1] + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if round(n) - n > torch.finfo(vec.dtype).eps:
        raise ValueError(
            f"The size of last dimension is {vec.shape[-1]} which cannot be expressed as the lower triangular part of a "
            "square D x D matrix."
        )
    size = round(n)
    mat: Tensor = vec.new_zeros((*vec.shape[:-1], size, size))
    mat[..., _lower_triangle(size, diag)] = vec
    return mat
