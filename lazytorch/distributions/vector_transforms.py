"""Transforms of vectors and matrices, and of the pieces of a dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import lazytorch as torch
from lazytorch.distributions import constraints
from lazytorch.distributions.transform import Transform
from lazytorch.distributions.utils import lazy_property, sum_rightmost, tril_matrix_to_vec, vec_to_tril_matrix
from lazytorch.nn.functional import logsigmoid, pad, softplus
from lazytorch.size import Size
from lazytorch.tensor import Tensor


def clipped_sigmoid(x: Tensor) -> Tensor:
    """A sigmoid kept inside of (0, 1)."""
    finfo = torch.finfo(x.dtype)
    return torch.sigmoid(x).clamp(min=finfo.tiny, max=1.0 - finfo.eps)


class CorrCholeskyTransform(Transform):
    """A vector of n (n - 1) / 2 numbers as the Cholesky factor of a correlation matrix, row by row on hemispheres."""

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x: Any) -> Any:
        x = torch.tanh(x)
        eps = torch.finfo(x.dtype).eps
        r = vec_to_tril_matrix(x.clamp(min=-1 + eps, max=1 - eps), diag=-1)
        left = (1 - r**2).sqrt().cumprod(-1)
        r = r + torch.eye(r.shape[-1], dtype=r.dtype)
        return r * pad(left[..., :-1], [1, 0], value=1)

    def _inverse(self, y: Any) -> Any:
        left = pad((1 - torch.cumsum(y * y, dim=-1))[..., :-1], [1, 0], value=1)
        t = tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(left, diag=-1).sqrt()
        return (t.log1p() - t.neg().log1p()) / 2

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        left = tril_matrix_to_vec(1 - (y * y).cumsum(dim=-1), diag=-2)
        of_tanh = -2 * (x + softplus(-2 * x) - math.log(2.0)).sum(dim=-1)
        return 0.5 * left.log().sum(-1) + of_tanh

    def forward_shape(self, shape: Size) -> Size:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        entries = shape[-1]
        n = round((0.25 + 2 * entries) ** 0.5 + 0.5)
        if n * (n - 1) // 2 != entries:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return Size((*shape[:-1], n, n))

    def inverse_shape(self, shape: Size) -> Size:
        if len(shape) < 2:
            raise ValueError("Too few dimensions on input")
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        return Size((*shape[:-2], shape[-1] * (shape[-1] - 1) // 2))


def _longer(shape: Size, by: int) -> Size:
    """A shape whose last dimension is longer."""
    if len(shape) < 1:
        raise ValueError("Too few dimensions on input")
    return Size((*shape[:-1], shape[-1] + by))


class SoftmaxTransform(Transform):
    """y = exp(x) normalized; its inverse is log, so it is no bijection."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SoftmaxTransform)

    def _call(self, x: Any) -> Any:
        unnormalized = (x - x.max(-1, True)[0]).exp()
        return unnormalized / unnormalized.sum(-1, True)

    def _inverse(self, y: Any) -> Any:
        return y.log()

    def forward_shape(self, shape: Size) -> Size:
        return _longer(shape, 0)

    inverse_shape = forward_shape


class StickBreakingTransform(Transform):
    """A vector as a point of a simplex of one more entry: each entry takes its part of what the ones before left."""

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StickBreakingTransform)

    def _call(self, x: Any) -> Any:
        offset = x.shape[-1] + 1 - x.new_ones(x.shape[-1]).cumsum(-1)
        z = clipped_sigmoid(x - offset.log())
        return pad(z, [0, 1], value=1) * pad((1 - z).cumprod(-1), [1, 0], value=1)

    def _inverse(self, y: Any) -> Any:
        taken = y[..., :-1]
        offset = y.shape[-1] - y.new_ones(taken.shape[-1]).cumsum(-1)
        left = (1 - taken.cumsum(-1)).clamp(min=torch.finfo(y.dtype).tiny)
        return taken.log() - left.log() + offset.log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        offset = x.shape[-1] + 1 - x.new_ones(x.shape[-1]).cumsum(-1)
        x = x - offset.log()
        return (-x + logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Size) -> Size:
        return _longer(shape, 1)

    def inverse_shape(self, shape: Size) -> Size:
        return _longer(shape, -1)


class LowerCholeskyTransform(Transform):
    """A matrix as a lower triangle with a positive diagonal."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LowerCholeskyTransform)

    def _call(self, x: Any) -> Any:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Any) -> Any:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(Transform):
    """A matrix as a positive definite one."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PositiveDefiniteTransform)

    def _call(self, x: Any) -> Any:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Any) -> Any:
        return LowerCholeskyTransform().inv(torch.linalg.cholesky(y))


class _Pieces(Transform):
    """Transforms of the pieces of a dimension."""

    def __init__(self, tseq: Sequence[Any], dim: int = 0, cache_size: int = 0) -> None:
        if not all(isinstance(t, Transform) for t in tseq):
            raise AssertionError("All elements of tseq must be Transform instances")
        super().__init__(cache_size=cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.dim = dim

    @property
    def bijective(self) -> bool:
        """Whether all are."""
        return all(t.bijective for t in self.transforms)

    def _take_apart(self, x: Any, name: str) -> Sequence[Any]:
        """The pieces of a tensor. Raises AssertionError where it has not as many."""
        raise NotImplementedError

    def _put_together(self, pieces: list[Any]) -> Any:
        raise NotImplementedError

    def _map(self, function: Callable[..., Any], *tensors: Any) -> list[Any]:
        pieces = [self._take_apart(x, name) for x, name in zip(tensors, ("x", "y"), strict=False)]
        return [function(t, *own) for t, *own in zip(self.transforms, *pieces, strict=True)]

    def _check_dim(self, x: Any, name: str, length: int, meaning: str) -> None:
        if not -x.dim() <= self.dim < x.dim():
            raise AssertionError(f"dim {self.dim} out of range for {name} with {x.dim()} dimensions")
        if x.size(self.dim) != length:
            raise AssertionError(f"{name}.size({self.dim}) = {x.size(self.dim)} must equal {meaning} {length}")

    def _call(self, x: Any) -> Any:
        return self._put_together(self._map(lambda t, piece: t(piece), x))

    def _inverse(self, y: Any) -> Any:
        return self._put_together(self._map(lambda t, piece: t.inv(piece), y))


class CatTransform(_Pieces):
    """A transform for each of consecutive pieces of a dimension."""

    _settings = ("transforms", "dim", "lengths")

    def __init__(self, tseq: Sequence[Any], dim: int = 0, lengths: Sequence[int] | None = None, cache_size: int = 0) -> None:
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise AssertionError(f"lengths ({len(self.lengths)}) must match transforms ({len(self.transforms)})")

    @lazy_property
    def event_dim(self) -> int:
        """The largest of theirs."""
        return max(t.event_dim for t in self.transforms)

    @lazy_property
    def length(self) -> int:
        """The size of the dimension."""
        return sum(self.lengths)

    def _take_apart(self, x: Any, name: str) -> Sequence[Any]:
        self._check_dim(x, name, self.length, "length")
        return tuple(x.split(self.lengths, self.dim))

    def _put_together(self, pieces: list[Any]) -> Any:
        return torch.cat(pieces, dim=self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        def of_piece(t: Any, before: Any, after: Any) -> Any:
            return sum_rightmost(t.log_abs_det_jacobian(before, after), self.event_dim - t.event_dim)

        parts = self._map(of_piece, x, y)
        dim = (self.dim - x.dim() if self.dim >= 0 else self.dim) + self.event_dim
        return torch.cat(parts, dim=dim) if dim < 0 else sum(parts)

    @constraints.dependent_property
    def domain(self) -> Any:
        """Theirs, one after the other."""
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self) -> Any:
        """Theirs, one after the other."""
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_Pieces):
    """A transform for each index of a dimension."""

    _settings = ("transforms", "dim")

    def _take_apart(self, x: Any, name: str) -> Sequence[Any]:
        self._check_dim(x, name, len(self.transforms), "len(transforms)")
        return tuple(x.unbind(self.dim))

    def _put_together(self, pieces: list[Any]) -> Any:
        return torch.stack(pieces, dim=self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self._put_together(self._map(lambda t, before, after: t.log_abs_det_jacobian(before, after), x, y))

    @constraints.dependent_property
    def domain(self) -> Any:
        """Theirs, stacked."""
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self) -> Any:
        """Theirs, stacked."""
        return constraints.stack([t.codomain for t in self.transforms], self.dim)
