"""`torch.cuda`, answered for what there is: no CUDA device yet. Questions are answered, uses raise as torch without CUDA."""

from __future__ import annotations

from typing import Any

from lazytorch.cuda import amp, memory, random
from lazytorch.cuda.memory import (
    empty_cache,
    max_memory_allocated,
    max_memory_reserved,
    memory_allocated,
    memory_reserved,
    reset_peak_memory_stats,
)
from lazytorch.cuda.random import manual_seed, manual_seed_all, seed, seed_all
from lazytorch.errors import OutOfMemoryError
from lazytorch.ops.tensor_types import CUDA_KINDS

MISSING = "Torch not compiled with CUDA enabled"
globals().update(CUDA_KINDS)


def is_available() -> bool:
    """Whether tensors can live on a CUDA device."""
    return False


def is_initialized() -> bool:
    """Whether a CUDA device is in use."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the CUDA device computes in bfloat16."""
    return False


def device_count() -> int:
    """How many CUDA devices there are."""
    return 0


def get_arch_list() -> list[str]:
    """The CUDA architectures that there is code for."""
    return []


def init() -> None:
    """Start using CUDA. Raises AssertionError."""
    raise AssertionError(MISSING)


def synchronize(device: Any = None) -> None:
    """Wait for a CUDA device. Raises AssertionError."""
    raise AssertionError(MISSING)


def set_device(device: Any) -> None:
    """Choose a CUDA device. Raises AssertionError for any but "none" (a negative number)."""
    if not (isinstance(device, int) and device < 0):
        raise AssertionError(MISSING)


def current_device() -> int:
    """The number of the chosen CUDA device. Raises AssertionError."""
    raise AssertionError(MISSING)


def get_device_name(device: Any = None) -> str:
    """The name of a CUDA device. Raises AssertionError."""
    raise AssertionError(MISSING)


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a CUDA device. Raises AssertionError."""
    raise AssertionError(MISSING)


def get_device_properties(device: Any = None) -> Any:
    """The properties of a CUDA device. Raises AssertionError."""
    raise AssertionError(MISSING)


class Stream:
    """A queue of a CUDA device. Raises RuntimeError."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("torch.cuda.Stream requires CUDA support")


class Event:
    """A mark in a CUDA queue. Raises RuntimeError."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("Tried to instantiate dummy base class Event")


__all__ = [
    "Event",
    "OutOfMemoryError",
    "Stream",
    "amp",
    "current_device",
    "device_count",
    "empty_cache",
    "get_arch_list",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "init",
    "is_available",
    "is_bf16_supported",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "memory",
    "memory_allocated",
    "memory_reserved",
    "random",
    "reset_peak_memory_stats",
    "seed",
    "seed_all",
    "set_device",
    "synchronize",
]
