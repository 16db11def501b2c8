"""Student's t distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lazytorch as torch
from lazytorch.distributions import constraints
from lazytorch.distributions.chi2 import Chi2
from lazytorch.distributions.distribution import Distribution
from lazytorch.distributions.utils import standard_normal
from lazytorch.tensor import Tensor

__all__ = ["StudentT"]


class StudentT(Distribution):
    """`df` degrees of freedom, around `loc`, of spread `scale`."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _parts = ("_chi2",)

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self._broadcast(validate_args, df=df, loc=loc, scale=scale)
        self._chi2 = Chi2(self.df)

    @property
    def mean(self) -> Tensor:
        return self.loc.masked_fill(self.df <= 1, math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        exact = self.scale.pow(2) * self.df / (self.df - 2)
        return exact.masked_fill(self.df <= 2, math.inf).masked_fill(self.df <= 1, math.nan)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        normal = standard_normal(self._extended_shape(sample_shape), self.df)
        chi2 = self._chi2.rsample(sample_shape)
        return self.loc + self.scale * (normal * torch.rsqrt(chi2 / self.df))

    def _log_beta(self) -> Tensor:
        return torch.lgamma(0.5 * self.df) - torch.lgamma(0.5 * (self.df + 1.0)) + 0.5 * self.df.log()

    def log_prob(self, value: Any) -> Tensor:
        self._check_sample(value)
        y = (value - self.loc) / self.scale
        normalizer = self.scale.log() + 0.5 * math.log(math.pi) + self._log_beta()
        return -0.5 * (self.df + 1.0) * torch.log1p(y**2.0 / self.df) - normalizer

    def entropy(self) -> Tensor:
        half = 0.5 * (self.df + 1)
        slope = torch.digamma(half) - torch.digamma(0.5 * self.df)
        return self.scale.log() + half * slope + self._log_beta() + math.lgamma(0.5)
