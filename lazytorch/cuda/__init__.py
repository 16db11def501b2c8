"""`torch.cuda`: the devices, waiting for them, and their memory. Where there are none, questions are answered and uses raise
as in torch without CUDA."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from lazytorch.codegen.gpu_target import GPU_TARGETS
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
from lazytorch.ir.trace import STATE
from lazytorch.ops.tensor_types import CUDA_KINDS
from lazytorch.runtime.cuda import device as cuda_device
from lazytorch.runtime.cuda.device import CudaDevice
from lazytorch.runtime.device import Device
from lazytorch.runtime.session import synchronize as run_pending

MISSING = "Torch not compiled with CUDA enabled"
globals().update(CUDA_KINDS)


def _devices() -> list[CudaDevice]:
    """The devices. Raises AssertionError, as torch without CUDA, where there are none."""
    found = cuda_device.devices()
    if not found:
        raise AssertionError(f"{MISSING}: {cuda_device.why_none()}")
    return found


def _device(device: Any) -> CudaDevice:
    """The device that an argument names; None: the chosen one."""
    _devices()
    place = Device("cuda" if device is None else device).place()
    if place is None:
        raise ValueError(f"Expected a cuda device, but got: {device}")
    return cuda_device.device_named(place)


def is_available() -> bool:
    """Whether tensors can live on a CUDA device."""
    return bool(cuda_device.devices())


def is_initialized() -> bool:
    """Whether a CUDA device is in use."""
    return is_available()


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the CUDA device computes in bfloat16."""
    return is_available()


def device_count() -> int:
    """How many CUDA devices there are."""
    return len(cuda_device.devices())


def get_arch_list() -> list[str]:
    """The CUDA architectures that there is code for."""
    return list(GPU_TARGETS) if is_available() else []


def init() -> None:
    """Start using CUDA. Raises AssertionError where it is not there."""
    _devices()


def synchronize(device: Any = None) -> None:
    """Run what is pending, and wait for a CUDA device. Raises AssertionError where there is none."""
    found = _device(device)
    run_pending(STATE.trace, (), "torch.cuda.synchronize()")
    found.driver.synchronize()


def set_device(device: Any) -> None:
    """Choose the device that `cuda` means from now on (a negative number: leave it)."""
    if isinstance(device, int) and device < 0:
        return
    cuda_device.set_current(_devices().index(_device(device)))


def current_device() -> int:
    """The number of the chosen CUDA device."""
    _devices()
    return cuda_device.current()


def get_device_name(device: Any = None) -> str:
    """The name of a CUDA device."""
    return _device(device).driver.name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a CUDA device."""
    return _device(device).driver.capability


@dataclass(frozen=True)
class DeviceProperties:
    """What is known of a CUDA device."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    warp_size: int = 32


def get_device_properties(device: Any = None) -> DeviceProperties:
    """The properties of a CUDA device."""
    driver = _device(device).driver
    return DeviceProperties(driver.name, *driver.capability, driver.total_memory, driver.processors)


class device:  # torch's name
    """`with torch.cuda.device(1):` chooses a device for a block; None or a negative number: the chosen one."""

    def __init__(self, device: Any) -> None:
        self.wanted = device
        self.before = 0

    def __enter__(self) -> None:
        self.before = cuda_device.current()
        if self.wanted is not None:
            set_device(self.wanted)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        cuda_device.set_current(self.before)


class Stream:
    """The queue of a CUDA device: there is one per device, so work is done in the order in which it was asked for. Raises
    RuntimeError where there is no device."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        if not is_available():
            raise RuntimeError("torch.cuda.Stream requires CUDA support")
        self.device = Device(_device(device).name)

    def synchronize(self) -> None:
        """Run what is pending, and wait."""
        synchronize(self.device)

    def wait_stream(self, stream: Stream) -> None:
        """What comes next waits for another stream: it does anyway."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        pass


def current_stream(device: Any = None) -> Stream:
    """The queue that work goes to."""
    return Stream(device)


def stream(stream: Stream | None) -> Any:
    """Use a stream in a block."""
    return nullcontext() if stream is None else stream


class Event:
    """A moment at which everything asked for before is done: `record` waits for it. Raises RuntimeError where there is no
    device."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        if not is_available():
            raise RuntimeError("Tried to instantiate dummy base class Event")
        self.seconds: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Run what is pending, wait, and note the time."""
        synchronize()
        self.seconds = time.perf_counter()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds to a later event."""
        if self.seconds is None or end.seconds is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return 1e3 * (end.seconds - self.seconds)

    def query(self) -> bool:
        """Whether everything before it is done."""
        return True

    def synchronize(self) -> None:
        """Wait for it: `record` did."""


__all__ = [
    "DeviceProperties",
    "Event",
    "OutOfMemoryError",
    "Stream",
    "amp",
    "current_device",
    "current_stream",
    "device",
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
    "stream",
    "synchronize",
]
