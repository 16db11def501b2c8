"""Exponential families (torch.distributions.ExponentialFamily)."""

from __future__ import annotations

from typing import Any

from lazytorch.autograd import grad
from lazytorch.distributions.distribution import Distribution
from lazytorch.tensor import Tensor

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """A density exp(<t(x), natural parameters> - log normalizer + k(x)), which gives entropy and divergence by gradients."""

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> float:
        raise NotImplementedError

    def _bregman(self) -> tuple[list[Tensor], Tensor, Any]:
        """Natural parameters as leaves, the log normalizer there, and its gradients."""
        parameters = [p.detach().requires_grad_() for p in self._natural_params]
        normalizer = self._log_normalizer(*parameters)
        return parameters, normalizer, grad(normalizer.sum(), parameters, create_graph=True)

    def entropy(self) -> Tensor:
        """By the Bregman divergence of the log normalizer."""
        base = -self._mean_carrier_measure
        parameters, normalizer, gradients = self._bregman()
        result = normalizer + base
        for p, g in zip(parameters, gradients, strict=True):
            result = result - (p * g).reshape((*self._batch_shape, -1)).sum(-1)
        return result
