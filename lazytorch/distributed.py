"""torch.distributed as it is in a build without it: nothing is available, and what would use it says what to do instead."""

from __future__ import annotations

from typing import Any

__all__ = ["is_available", "is_initialized", "is_torchelastic_launched"]


def is_available() -> bool:
    """Whether processes can work together: no."""
    return False


def is_initialized() -> bool:
    """Whether there is a process group: no."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether torchrun started this process: no."""
    return False


is_nccl_available = is_gloo_available = is_mpi_available = is_available


def __getattr__(name: str) -> Any:
    """Everything else is missing."""
    raise AttributeError(
        f"module 'torch.distributed' has no attribute {name!r}: lazytorch runs in one process, on all its threads. Ask "
        "is_available() first, or run the script's single-process branch"
    )
