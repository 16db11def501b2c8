"""`torch.backends.mps`: Metal is not used."""

from __future__ import annotations


def is_available() -> bool:
    """Whether Metal is used."""
    return False


def is_built() -> bool:
    """Whether there is code for Metal."""
    return False
