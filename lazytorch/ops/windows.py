"""Window functions of signal processing: `torch.hann_window` and its kin, and those of `torch.signal.windows`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch.default_dtype import default_dtype
from lazytorch.dtypes import DType
from lazytorch.ops.creation import finish, of_numpy_values
from lazytorch.ops.recording import torch_function
from lazytorch.tensor import Tensor

HAMMING, BLACKMAN = (0.54, 0.46), (0.42, 0.5, 0.08)
NUTTALL = (0.3635819, 0.4891775, 0.1365995, 0.0106411)


def window(
    name: str,
    shape: Callable[[np.ndarray], np.ndarray],
    M: int,
    sym: bool,
    dtype: DType | None,
    device: Any,
    requires_grad: bool,
) -> Tensor:
    """M samples of a function of the position in [0, 1]; without `sym` the M first of M + 1."""
    kind = dtype or default_dtype()
    if kind.kind != "f":
        raise RuntimeError(f"{name} expects floating point dtypes, got: {kind}")
    if M < 0:
        raise ValueError(f"requires non-negative window length, got M={M}")
    steps = M - 1 if sym else M
    position = np.arange(M, dtype=np.float64) / max(steps, 1)
    samples = shape(position) if M > 1 else np.ones(M)
    return finish(of_numpy_values(np.asarray(samples, np.float64), kind), {"requires_grad": requires_grad}, device)


def cosine_sum(coefficients: Sequence[float]) -> Callable[[np.ndarray], np.ndarray]:
    """a_0 - a_1 cos(2 pi x) + a_2 cos(4 pi x) - ..."""

    def shape(x: np.ndarray) -> np.ndarray:
        out = np.zeros_like(x)
        for k, a in enumerate(coefficients):
            out = out + (-1) ** k * a * np.cos(2 * np.pi * k * x)
        return out

    return shape


def triangle(x: np.ndarray) -> np.ndarray:
    """Rising to 1 in the middle, and falling (Bartlett)."""
    out: np.ndarray = 1 - np.abs(2 * x - 1)
    return out


def kaiser(beta: float) -> Callable[[np.ndarray], np.ndarray]:
    """The Kaiser window: I0(beta sqrt(1 - (2x - 1)^2)) / I0(beta)."""
    return lambda x: np.i0(beta * np.sqrt(np.maximum(1 - (2 * x - 1) ** 2, 0))) / np.i0(np.asarray(beta))


def _older(name: str, shape: Callable[[np.ndarray], np.ndarray]) -> None:
    def function(
        window_length: int, periodic: bool = True, *, dtype: DType | None = None, device: Any = None, **options: Any
    ) -> Tensor:
        return window(label, shape, window_length, not periodic, dtype, device, options.get("requires_grad", False))

    label = function.__name__ = f"{name}_window"
    function.__doc__ = f"The {name.title()} window, periodic unless asked otherwise."
    torch_function(f"{name}_window", method=False, out=False)(function)


_older("hann", cosine_sum((0.5, 0.5)))
_older("blackman", cosine_sum(BLACKMAN))
_older("bartlett", triangle)


@torch_function("hamming_window", method=False, out=False)
def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = HAMMING[0],
    beta: float = HAMMING[1],
    *,
    dtype: DType | None = None,
    device: Any = None,
    **options: Any,
) -> Tensor:
    """The Hamming window: alpha - beta cos(2 pi x)."""
    shape = cosine_sum((alpha, beta))
    return window("hamming_window", shape, window_length, not periodic, dtype, device, options.get("requires_grad", False))


@torch_function("kaiser_window", method=False, out=False)
def kaiser_window(
    window_length: int,
    periodic: bool = True,
    beta: float = 12.0,
    *,
    dtype: DType | None = None,
    device: Any = None,
    **options: Any,
) -> Tensor:
    """The Kaiser window of parameter beta."""
    return window(
        "kaiser_window", kaiser(beta), window_length, not periodic, dtype, device, options.get("requires_grad", False)
    )
