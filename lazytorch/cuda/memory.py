"""`torch.cuda.memory`: nothing is allocated on a CUDA device, so every count is 0 and there is nothing to give back."""

from __future__ import annotations

from typing import Any


def empty_cache() -> None:
    """Give unused memory back: there is none."""


def memory_allocated(device: Any = None) -> int:
    """Bytes in use."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use at a time."""
    return 0


def memory_reserved(device: Any = None) -> int:
    """Bytes held by the allocator."""
    return 0


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that the allocator held at a time."""
    return 0


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the peaks anew."""
