"""Sliding windows over the last dimensions of arrays, in NumPy: what tensor.window and tensor.fold_windows mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def window(x: np.ndarray, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> np.ndarray:
    """The windows as a view: [..., positions, elements of a window]."""
    lead = x.ndim - len(sizes)
    places = zip(x.shape[lead:], sizes, strides, dilations, strict=True)
    counts = [(extent - dilation * (size - 1) - 1) // stride + 1 for extent, size, stride, dilation in places]
    between = [step * stride for step, stride in zip(x.strides[lead:], strides, strict=True)]
    within = [step * dilation for step, dilation in zip(x.strides[lead:], dilations, strict=True)]
    shape = (*x.shape[:lead], *counts, *sizes)
    return np.lib.stride_tricks.as_strided(x, shape, (*x.strides[:lead], *between, *within))


def fold(g: np.ndarray, shape: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> np.ndarray:
    """The adjoint of `window` on an array of `shape`: every window's elements are added back to their places."""
    out = np.zeros(shape, g.dtype)
    spatial = len(strides)
    counts = g.shape[g.ndim - 2 * spatial : g.ndim - spatial]
    for offset in np.ndindex(*g.shape[g.ndim - spatial :]):
        axes = zip(offset, dilations, counts, strides, strict=True)
        place: list[Any] = [slice(o * d, o * d + (n - 1) * s + 1, s) for o, d, n, s in axes]
        out[(..., *place)] += g[(..., *offset)]
    return out
