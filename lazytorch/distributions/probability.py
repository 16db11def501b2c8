"""Distributions of a probability: given as such or by its logit."""

from __future__ import annotations

from typing import Any

from lazytorch.distributions.distribution import Distribution
from lazytorch.distributions.utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits
from lazytorch.size import Size
from lazytorch.tensor import Tensor

__all__ = []


class GivenProbability(Distribution):
    """Has `probs` or `logits`, whichever was given; the other follows when it is read."""

    _given: str
    _is_binary = True
    """Whether a logit is log(probs / (1 - probs)); else it is the logarithm of one of several probabilities."""

    @lazy_property
    def logits(self) -> Tensor:
        """The logits of the probabilities."""
        return probs_to_logits(self.probs, is_binary=self._is_binary)

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities."""
        return logits_to_probs(self.logits, is_binary=self._is_binary)

    @property
    def _param(self) -> Tensor:
        given: Tensor = self.__dict__[self._given]
        return given

    @property
    def param_shape(self) -> Size:
        """The shape of the given parameter."""
        return self._param.shape

    def _new(self, *arguments: Any, **keywords: Any) -> Tensor:
        made: Tensor = self._param.new(*arguments, **keywords)
        return made


class OfProbability(GivenProbability):
    """A probability, or its logit, is the parameter."""

    _kept: tuple[str, ...] = ("_given",)

    def _set_probability(self, validate_args: bool | None, probs: Any, logits: Any, **others: Any) -> None:
        """Initialize with one of the two, and with parameters that broadcast against it and take its element type."""
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        self._given = "logits" if probs is None else "probs"
        *values, own = broadcast_all(*others.values(), logits if probs is None else probs)
        self.__dict__[self._given] = self._adjusted(own)
        for name, x in zip(others, values, strict=True):
            setattr(self, name, x.type_as(own))
        super().__init__(own.shape, validate_args=validate_args)

    def _adjusted(self, parameter: Tensor) -> Tensor:
        """The given parameter as it is kept."""
        return parameter
