"""`torch.cuda.memory`: what lazytorch's tensors take on a CUDA device. Without a device every count is 0."""

from __future__ import annotations

from typing import Any

from lazytorch.runtime.cuda.device import CudaDevice, device_named, devices
from lazytorch.runtime.device import Device


def _device(device: Any) -> CudaDevice | None:
    if not devices():
        return None
    return device_named(Device("cuda" if device is None else device).place() or "cuda:0")


def empty_cache() -> None:
    """Give unused memory back to the driver."""
    for device in devices():
        device.empty_cache()


def memory_allocated(device: Any = None) -> int:
    """Bytes in use."""
    found = _device(device)
    return found.allocated if found else 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use at a time."""
    found = _device(device)
    return found.peak_allocated if found else 0


def memory_reserved(device: Any = None) -> int:
    """Bytes held by the allocator."""
    found = _device(device)
    return found.reserved if found else 0


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that the allocator held at a time."""
    found = _device(device)
    return found.peak_reserved if found else 0


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the peaks anew."""
    found = _device(device)
    if found:
        found.peak_allocated, found.peak_reserved = found.allocated, found.reserved
