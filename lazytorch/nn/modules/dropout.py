"""Dropout (torch.nn)."""

from __future__ import annotations

from typing import Any

from lazytorch.nn import functional as F
from lazytorch.nn.modules.module import Module
from lazytorch.tensor import Tensor


class _DropoutNd(Module):
    """What dropouts share."""

    function: Any = None

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = type(self).function(input, self.p, self.training, self.inplace)
        return out

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """Zeros with probability p in training."""

    function = staticmethod(F.dropout)


class Dropout1d(_DropoutNd):
    """Whole channels of [N, C, L] become zero with probability p in training."""

    function = staticmethod(F.dropout1d)


class Dropout2d(_DropoutNd):
    """Whole channels of [N, C, H, W] become zero with probability p in training."""

    function = staticmethod(F.dropout2d)


class Dropout3d(_DropoutNd):
    """Whole channels of [N, C, D, H, W] become zero with probability p in training."""

    function = staticmethod(F.dropout3d)


class AlphaDropout(_DropoutNd):
    """Dropout that keeps mean and variance of SELU activations."""

    function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(_DropoutNd):
    """`AlphaDropout` of whole channels."""

    function = staticmethod(F.feature_alpha_dropout)
