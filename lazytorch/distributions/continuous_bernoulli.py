"""The continuous Bernoulli distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lazytorch as torch
from lazytorch.distributions import constraints
from lazytorch.distributions.exp_family import ExponentialFamily
from lazytorch.distributions.probability import OfProbability
from lazytorch.distributions.utils import broadcast_all, clamp_probs, lazy_property, logits_to_probs
from lazytorch.nn.functional import binary_cross_entropy_with_logits
from lazytorch.tensor import Tensor

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(OfProbability, ExponentialFamily):
    """A number of [0, 1] of density proportional to probs**x (1 - probs)**(1 - x) (Loaiza-Ganem and Cunningham, 2019).

    lims: between these probabilities Taylor series replace formulas that are unstable around 1/2.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0
    _kept = ("_given", "_lims")

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        checked = probs is not None and validate_args is not None
        if checked and not constraints.unit_interval.check(broadcast_all(probs)[0]).all():
            raise ValueError("The parameter probs has invalid values")
        self._lims = lims
        self._set_probability(validate_args, probs, logits)

    def _adjusted(self, parameter: Tensor) -> Tensor:
        return clamp_probs(parameter) if self._given == "probs" else parameter

    @lazy_property
    def probs(self) -> Tensor:
        """1 / (1 + exp(-logits)), away from 0 and 1"""
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _stable(self, x: Any, middle: float = 0.0) -> Tensor:
        return (x <= self._lims[0] - middle) | (x > self._lims[1] - middle)

    def _cut_probs(self) -> Tensor:
        """The probabilities, and one at the edge in the place of those too close to 1/2."""
        return torch.where(self._stable(self.probs), self.probs, self._lims[0] * torch.ones_like(self.probs))

    def _cont_bern_log_norm(self) -> Tensor:
        """The logarithm of the normalizing factor."""
        cut = self._cut_probs()
        below = torch.where(cut <= 0.5, cut, torch.zeros_like(cut))
        above = torch.where(cut >= 0.5, cut, torch.ones_like(cut))
        denominator = torch.where(cut <= 0.5, torch.log1p(-2.0 * below), torch.log(2.0 * above - 1.0))
        exact = torch.log((torch.log1p(-cut) - torch.log(cut)).abs()) - denominator
        x = (self.probs - 0.5) ** 2
        return torch.where(self._stable(self.probs), exact, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x)

    @property
    def mean(self) -> Tensor:
        cut = self._cut_probs()
        exact = cut / (2.0 * cut - 1.0) + 1.0 / (torch.log1p(-cut) - torch.log(cut))
        x = self.probs - 0.5
        return torch.where(self._stable(self.probs), exact, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x**2) * x)

    @property
    def variance(self) -> Tensor:
        cut = self._cut_probs()
        exact = cut * (cut - 1.0) / (1.0 - 2.0 * cut) ** 2 + 1.0 / (torch.log1p(-cut) - torch.log(cut)) ** 2
        x = (self.probs - 0.5) ** 2
        return torch.where(self._stable(self.probs), exact, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(torch.rand(self._extended_shape(sample_shape), dtype=self.probs.dtype))

    def log_prob(self, value: Any) -> Tensor:
        self._check_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none") + self._cont_bern_log_norm()

    def cdf(self, value: Any) -> Tensor:
        self._check_sample(value)
        cut = self._cut_probs()
        exact = (cut**value * (1.0 - cut) ** (1.0 - value) + cut - 1.0) / (2.0 * cut - 1.0)
        inside = torch.where(self._stable(self.probs), exact, value)
        outside = torch.where(value >= 1.0, torch.ones_like(value), inside)
        return torch.where(value <= 0.0, torch.zeros_like(value), outside)

    def icdf(self, value: Any) -> Tensor:
        cut = self._cut_probs()
        start = torch.log1p(-cut)
        exact = (torch.log1p(-cut + value * (2.0 * cut - 1.0)) - start) / (torch.log(cut) - start)
        return torch.where(self._stable(self.probs), exact, value)

    def entropy(self) -> Tensor:
        log_failure, log_success = torch.log1p(-self.probs), torch.log(self.probs)
        return self.mean * (log_failure - log_success) - self._cont_bern_log_norm() - log_failure

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.logits,)

    def _log_normalizer(self, x: Any) -> Tensor:  # type: ignore[override]
        stable = self._stable(x, middle=0.5)
        cut = torch.where(stable, x, (self._lims[0] - 0.5) * torch.ones_like(x))
        exact = torch.log(torch.expm1(cut).abs()) - torch.log(cut.abs())
        return torch.where(stable, exact, 0.5 * x + x**2 / 24.0 - x**4 / 2880.0)
