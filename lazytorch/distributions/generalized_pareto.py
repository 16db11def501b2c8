"""The generalized Pareto distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lazytorch as torch
from lazytorch.distributions import constraints
from lazytorch.distributions.distribution import Distribution
from lazytorch.tensor import Tensor

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """Excesses over `loc`, of spread `scale` and tail index `concentration` (0: exponential)."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self._broadcast(validate_args, loc=loc, scale=scale, concentration=concentration)

    def _is_exponential(self) -> tuple[Tensor, Tensor]:
        """Whether the concentration is 0, and concentrations that one can divide by."""
        zero = torch.isclose(self.concentration, torch.zeros_like(self.concentration))
        return zero, torch.where(zero, torch.ones_like(self.concentration), self.concentration)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(torch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype))

    def log_prob(self, value: Any) -> Tensor:
        self._check_sample(value)
        z = (value - self.loc) / self.scale
        is_zero, safe = self._is_exponential()
        y = 1 / safe + torch.ones_like(z)
        other = torch.where(y == 0, y, y * torch.log1p(safe * z))
        return -self.scale.log() - torch.where(is_zero, z, other)

    def log_survival_function(self, value: Any) -> Tensor:
        """The logarithm of the probability of values above `value`."""
        self._check_sample(value)
        z = (value - self.loc) / self.scale
        is_zero, safe = self._is_exponential()
        return torch.where(is_zero, -z, -torch.log1p(safe * z) / safe)

    def log_cdf(self, value: Any) -> Tensor:
        """The logarithm of `cdf`."""
        return torch.log1p(-torch.exp(self.log_survival_function(value)))

    def cdf(self, value: Any) -> Tensor:
        return torch.exp(self.log_cdf(value))

    def icdf(self, value: Any) -> Tensor:
        is_zero, safe = self._is_exponential()
        log_survival = torch.log1p(-value)
        other = self.loc + self.scale / safe * torch.expm1(-safe * log_survival)
        return torch.where(is_zero, self.loc - self.scale * log_survival, other)

    @property
    def mean(self) -> Tensor:
        exists = self.concentration < 1
        safe = torch.where(exists, self.concentration, 0.5)
        return torch.where(exists, self.loc + self.scale / (1 - safe), math.nan)

    @property
    def variance(self) -> Tensor:
        exists = self.concentration < 0.5
        safe = torch.where(exists, self.concentration, 0.25)
        return torch.where(exists, self.scale**2 / ((1 - safe) ** 2 * (1 - 2 * safe)), math.nan)

    def entropy(self) -> Tensor:
        return torch.broadcast_to(torch.log(self.scale) + self.concentration + 1, self._batch_shape)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From `loc` up, bounded for negative concentrations."""
        upper = torch.where(self.concentration < 0, self.loc - self.scale / self.concentration, math.inf)
        return constraints.interval(self.loc, upper)
