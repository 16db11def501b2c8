"""`torch.accelerator`: the device beside the CPU, of which there is none yet."""

from __future__ import annotations

from lazytorch.runtime.device import Device

_NONE = "Cannot access accelerator device when none is available."


def is_available() -> bool:
    """Whether there is an accelerator."""
    return False


def device_count() -> int:
    """How many there are."""
    return 0


def current_accelerator(check_available: bool = False) -> Device | None:
    """The accelerator's device, without an index; None when there is none."""
    return None


def current_device_index() -> int:
    """The number of the device in use. Raises RuntimeError."""
    raise RuntimeError(_NONE)


current_device_idx = current_device_index


def set_device_index(device: object) -> None:
    """Choose a device. Raises RuntimeError."""
    raise RuntimeError(_NONE)


def synchronize(device: object = None) -> None:
    """Wait for the device. Raises RuntimeError."""
    raise RuntimeError(_NONE)
