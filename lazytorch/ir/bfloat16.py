"""bfloat16 in NumPy, which has no such type: stored as uint16 patterns, computed on as float32."""

from __future__ import annotations

import numpy as np


def widen(patterns: np.ndarray) -> np.ndarray:
    """The numbers of bfloat16 patterns as float32, exactly."""
    return (patterns.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrow(numbers: np.ndarray) -> np.ndarray:
    """float32 numbers as bfloat16 patterns, rounded to nearest even."""
    bits = np.ascontiguousarray(numbers, np.float32).reshape(np.shape(numbers)).view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(numbers), np.uint16(0x7FC0), rounded)
