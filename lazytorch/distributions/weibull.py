"""The Weibull distribution."""

from __future__ import annotations

from typing import Any

import lazytorch as torch
from lazytorch.distributions import constraints
from lazytorch.distributions.exponential import Exponential
from lazytorch.distributions.transformed_distribution import TransformedDistribution
from lazytorch.distributions.transforms import AffineTransform, PowerTransform
from lazytorch.distributions.utils import broadcast_all, euler_constant
from lazytorch.tensor import Tensor

__all__ = ["Weibull"]


class Weibull(TransformedDistribution):
    """Lifetimes of scale `scale` whose failures become more frequent with age if `concentration` is above 1."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        transforms = [PowerTransform(exponent=self._reciprocal()), AffineTransform(loc=0, scale=self.scale)]
        base = Exponential(torch.ones_like(self.scale), validate_args=validate_args)
        super().__init__(base, transforms, validate_args=validate_args)

    def _reciprocal(self) -> Tensor:
        return self.concentration.reciprocal()

    @property
    def mean(self) -> Tensor:
        return self.scale * torch.exp(torch.lgamma(1 + self._reciprocal()))

    @property
    def mode(self) -> Tensor:
        return self.scale * ((self.concentration - 1) / self.concentration) ** self._reciprocal()

    @property
    def variance(self) -> Tensor:
        second = torch.exp(torch.lgamma(1 + 2 * self._reciprocal()))
        return self.scale.pow(2) * (second - torch.exp(2 * torch.lgamma(1 + self._reciprocal())))

    def entropy(self) -> Tensor:
        return euler_constant * (1 - self._reciprocal()) + torch.log(self.scale * self._reciprocal()) + 1
