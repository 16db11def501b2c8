"""`torch.xpu`: Intel's GPUs are not used."""

from __future__ import annotations


def is_available() -> bool:
    """Whether there is such a device."""
    return False


def device_count() -> int:
    """How many there are."""
    return 0
