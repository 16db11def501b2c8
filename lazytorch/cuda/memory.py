"""`torch.cuda.memory`: what lazytorch's tensors take on a CUDA device. Without a device every count is 0."""

from __future__ import annotations

from typing import Any

from lazytorch.cuda.devices import device_of, run_what_is_pending
from lazytorch.runtime.cuda.device import devices
from lazytorch.runtime.cuda.memory import DeviceMemory, amount


def _memory(device: Any) -> DeviceMemory | None:
    return device_of(device).memory if devices() else None


def empty_cache() -> None:
    """Give unused memory back to the driver."""
    if devices():
        run_what_is_pending("torch.cuda.empty_cache()")
    for device in devices():
        device.memory.empty_cache()


def memory_allocated(device: Any = None) -> int:
    """Bytes in use."""
    found = _memory(device)
    return found.allocated if found else 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use at a time."""
    found = _memory(device)
    return found.peak_allocated if found else 0


def memory_reserved(device: Any = None) -> int:
    """Bytes held by the allocator."""
    found = _memory(device)
    return found.reserved if found else 0


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that the allocator held at a time."""
    found = _memory(device)
    return found.peak_reserved if found else 0


memory_cached, max_memory_cached = memory_reserved, max_memory_reserved


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the peaks anew."""
    found = _memory(device)
    if found:
        found.reset_peaks()


reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats


def memory_stats(device: Any = None) -> dict[str, int]:
    """The allocator's counts under torch's names, as far as it counts them: {} without a device."""
    found = _memory(device)
    if not found:
        return {}
    counts = found.counts
    return {
        "allocated_bytes.all.current": found.allocated,
        "allocated_bytes.all.peak": found.peak_allocated,
        "reserved_bytes.all.current": found.reserved,
        "reserved_bytes.all.peak": found.peak_reserved,
        "allocation.all.allocated": counts["allocation"],
        "allocation.all.freed": counts["free"],
        "allocation.all.current": counts["allocation"] - counts["free"],
        "num_device_alloc": counts["driver allocation"],
        "num_device_free": counts["driver free"],
        "num_alloc_retries": counts["retry"],
        "num_ooms": counts["out of memory"],
    }


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """A table of memory_stats."""
    rows = memory_stats(device).items()
    return "\n".join(f"{name:<32} {amount(value) if 'bytes' in name else value}" for name, value in rows)


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes that the driver has left, and all."""
    driver = device_of(device).driver
    return driver.free_memory(), driver.total_memory


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """Let the allocator hold at most so much of a device's memory. Raises ValueError outside of 0 to 1."""
    if not isinstance(fraction, float):
        raise TypeError("Invalid type for fraction argument, must be `float`")
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    memory = device_of(device).memory
    memory.limit = int(fraction * memory.driver.total_memory)


def get_per_process_memory_fraction(device: Any = None) -> float:
    """The share of a device's memory that the allocator may hold."""
    memory = device_of(device).memory
    return memory.limit / memory.driver.total_memory
