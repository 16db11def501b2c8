"""The multivariate normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lazytorch as torch
from lazytorch.distributions import constraints
from lazytorch.distributions.distribution import Distribution
from lazytorch.distributions.utils import lazy_property, log_determinant, matrix_vector, standard_normal
from lazytorch.size import Size
from lazytorch.tensor import Tensor

__all__ = ["MultivariateNormal"]


def mahalanobis(scale_tril: Tensor, x: Tensor) -> Tensor:
    """|L^-1 x|² for batches of lower triangles L, [..., n, n], and vectors x, [*samples, ..., n].

    One solution per matrix, whose columns are all the vectors that belong to it.
    """
    n = x.shape[-1]
    outer = x.dim() - 1 - (scale_tril.dim() - 2)
    split = list(x.shape[:outer])
    for matrices, vectors in zip(scale_tril.shape[:-2], x.shape[outer:-1], strict=True):
        split += [vectors // matrices, matrices]
    grouped = x.reshape((*split, n))
    free = [*range(outer), *range(outer, len(split), 2)]
    own = list(range(outer + 1, len(split), 2))
    moved = grouped.permute(*own, len(split), *free)
    columns = moved.reshape((-1, n, math.prod([split[d] for d in free])))
    solved = torch.linalg.solve_triangular(scale_tril.reshape(-1, n, n), columns, upper=False)
    squared = solved.pow(2).sum(-2).reshape([split[d] for d in (*own, *free)])
    order = [*own, *free]
    return squared.permute([order.index(d) for d in range(len(split))]).reshape(x.shape[:-1])


def precision_to_scale_tril(precision: Tensor) -> Tensor:
    """The Cholesky factor of the inverse, from a factorization of the matrix turned around."""
    factor = torch.linalg.cholesky(precision.flip((-2, -1)))
    inverse = factor.flip((-2, -1)).transpose(-2, -1)
    return torch.linalg.solve_triangular(inverse, torch.eye(precision.shape[-1], dtype=precision.dtype), upper=False)


class MultivariateNormal(Distribution):
    """Mean `loc`, and one of covariance_matrix, precision_matrix and scale_tril (the covariance's Cholesky factor)."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True
    _kept = ("_unbroadcasted_scale_tril",)

    def __init__(
        self,
        loc: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = {
            "scale_tril": scale_tril,
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
        }
        given = {name: matrix for name, matrix in given.items() if matrix is not None}
        if len(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        ((name, matrix),) = given.items()
        if matrix.dim() < 2:
            label = f"{name} matrix" if name == "scale_tril" else name
            raise ValueError(f"{label} must be at least two-dimensional, with optional leading batch dimensions")
        batch = torch.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        self.__dict__[name] = matrix.expand((*batch, -1, -1))
        self.loc = loc.expand((*batch, -1))
        super().__init__(Size(batch), self.loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = scale_tril_of(name, matrix)

    def _of_matrices(self, matrices: Tensor) -> Tensor:
        return matrices.expand(self._extended_shape() + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance."""
        return self._of_matrices(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance."""
        return self._of_matrices(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return self._of_matrices(torch.cholesky_inverse(self._unbroadcasted_scale_tril))

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand(self._extended_shape())

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        noise = standard_normal(self._extended_shape(sample_shape), self.loc)
        return self.loc + matrix_vector(self._unbroadcasted_scale_tril, noise)

    def log_prob(self, value: Any) -> Tensor:
        self._check_sample(value)
        squared = mahalanobis(self._unbroadcasted_scale_tril, value - self.loc)
        half_log_det = log_determinant(self._unbroadcasted_scale_tril)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + squared) - half_log_det

    def entropy(self) -> Tensor:
        half_log_det = log_determinant(self._unbroadcasted_scale_tril)
        entropy = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + half_log_det
        return entropy.expand(self._batch_shape)


def scale_tril_of(name: str, matrix: Tensor) -> Tensor:
    """The Cholesky factor of a covariance that is given by one of its three names."""
    if name == "scale_tril":
        return matrix
    return precision_to_scale_tril(matrix) if name == "precision_matrix" else torch.linalg.cholesky(matrix)
