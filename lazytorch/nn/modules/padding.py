"""Padding (torch.nn)."""

from __future__ import annotations

from typing import Any

from lazytorch.nn import functional as F
from lazytorch.nn.modules.module import Module
from lazytorch.nn.modules.utils import _ntuple
from lazytorch.tensor import Tensor


class _PadNd(Module):
    """Elements around the input; `padding`: one number, or low and high of the last dimension, the one before ..."""

    spatial = 1
    mode = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self.spatial)(padding)

    def forward(self, input: Tensor) -> Tensor:
        if self.mode == "circular" and len(input.shape) not in (self.spatial + 1, self.spatial + 2):
            ranks = f"{self.spatial + 1}D or {self.spatial + 2}D"
            raise ValueError(f"expected {ranks} input (got {len(input.shape)}D input)")
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_PadNd):
    """One number around the input."""

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """One number around the last dimension."""


class ConstantPad2d(_ConstantPadNd):
    """One number around the last two dimensions."""

    spatial = 2


class ConstantPad3d(_ConstantPadNd):
    """One number around the last three dimensions."""

    spatial = 3


class ZeroPad1d(_ConstantPadNd):
    """Zeros around the last dimension."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ZeroPad1d):
    """Zeros around the last two dimensions."""

    spatial = 2


class ZeroPad3d(ZeroPad1d):
    """Zeros around the last three dimensions."""

    spatial = 3


class ReflectionPad1d(_PadNd):
    """The last dimension continued by its mirror image."""

    mode = "reflect"


class ReflectionPad2d(ReflectionPad1d):
    """The last two dimensions continued by their mirror images."""

    spatial = 2


class ReflectionPad3d(ReflectionPad1d):
    """The last three dimensions continued by their mirror images."""

    spatial = 3


class ReplicationPad1d(_PadNd):
    """The last dimension continued by its outermost elements."""

    mode = "replicate"


class ReplicationPad2d(ReplicationPad1d):
    """The last two dimensions continued by their outermost elements."""

    spatial = 2


class ReplicationPad3d(ReplicationPad1d):
    """The last three dimensions continued by their outermost elements."""

    spatial = 3


class CircularPad1d(_PadNd):
    """The last dimension continued from its other end."""

    mode = "circular"


class CircularPad2d(CircularPad1d):
    """The last two dimensions continued from their other ends."""

    spatial = 2


class CircularPad3d(CircularPad1d):
    """The last three dimensions continued from their other ends."""

    spatial = 3
