"""Window functions (torch.signal.windows), each with `M` samples, symmetric unless `sym` is False."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch.dtypes import DType, float32, float64
from lazytorch.ops import windows as shapes
from lazytorch.ops.tensor_types import STRIDED
from lazytorch.tensor import Tensor

__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]

Shape = Callable[[np.ndarray], np.ndarray]


def _window(name: str, shape: Shape, doc: str) -> Any:
    def function(
        M: int,
        *,
        sym: bool = True,
        dtype: DType | None = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        if layout not in (None, STRIDED):
            raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
        if dtype not in (None, float32, float64):
            raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
        return shapes.window(name, shape, M, sym, dtype, device, requires_grad)

    function.__name__, function.__doc__ = name, doc
    return function


hann = _window("hann", shapes.cosine_sum((0.5, 0.5)), "0.5 - 0.5 cos(2 pi x)")
blackman = _window("blackman", shapes.cosine_sum(shapes.BLACKMAN), "0.42 - 0.5 cos(2 pi x) + 0.08 cos(4 pi x)")
nuttall = _window("nuttall", shapes.cosine_sum(shapes.NUTTALL), "The minimum 4-term Blackman-Harris window of Nuttall.")
bartlett = _window("bartlett", shapes.triangle, "A triangle from 0 to 1 and back.")


def hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Tensor:
    """alpha - (1 - alpha) cos(2 pi x)"""
    return general_hamming(M, alpha=alpha, sym=sym, **options)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Tensor:
    """alpha - (1 - alpha) cos(2 pi x)"""
    return general_cosine(M, a=(alpha, 1.0 - alpha), sym=sym, **options)


def general_cosine(M: int, *, a: Sequence[float], sym: bool = True, **options: Any) -> Tensor:
    """a_0 - a_1 cos(2 pi x) + a_2 cos(4 pi x) - ..."""
    if not len(a):
        raise ValueError("Coefficients cannot be empty")
    return _window("general_cosine", shapes.cosine_sum(tuple(a)), "")(M, sym=sym, **options)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, **options: Any) -> Tensor:
    """I0(beta sqrt(1 - (2x - 1)^2)) / I0(beta)"""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _window("kaiser", shapes.kaiser(beta), "")(M, sym=sym, **options)


def cosine(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """sin(pi (n + 0.5) / M), for the M samples n (of M + 1 without `sym`)"""
    count = M if sym else M + 1
    return _window("cosine", lambda x: np.sin(np.pi * (np.arange(M) + 0.5) / count), "")(M, sym=sym, **options)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """exp(-(n - middle)^2 / (2 std^2))"""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    middle = (M - 1 if sym else M) / 2
    return _window("gaussian", lambda x: np.exp(-(((np.arange(M) - middle) / std) ** 2) / 2), "")(M, sym=sym, **options)


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """exp(-|n - center| / tau); the centre is the middle unless given (without `sym` only)."""
    if center is not None and sym:
        raise ValueError("Center must be None for symmetric windows")
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    middle = (M - 1 if sym else M) / 2 if center is None else center
    return _window("exponential", lambda x: np.exp(-np.abs(np.arange(M) - middle) / tau), "")(M, sym=sym, **options)
