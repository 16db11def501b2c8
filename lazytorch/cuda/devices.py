"""Which CUDA devices there are, which one `cuda` means, and waiting for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lazytorch.codegen.gpu_target import GPU_TARGETS
from lazytorch.ir.trace import STATE
from lazytorch.runtime.cuda import device as cuda_device
from lazytorch.runtime.cuda.device import CudaDevice
from lazytorch.runtime.device import Device
from lazytorch.runtime.session import synchronize as run_pending

MISSING = "Torch not compiled with CUDA enabled"


def all_devices() -> list[CudaDevice]:
    """The devices. Raises AssertionError, as torch without CUDA, where there are none."""
    found = cuda_device.devices()
    if not found:
        raise AssertionError(f"{MISSING}: {cuda_device.why_none()}")
    return found


def device_of(device: Any) -> CudaDevice:
    """The device that an argument names; None: the chosen one."""
    all_devices()
    place = Device("cuda" if device is None else device).place()
    if place is None:
        raise ValueError(f"Expected a cuda device, but got: {device}")
    return cuda_device.device_named(place)


def run_what_is_pending(cause: str) -> None:
    """Put what this thread has recorded into the streams."""
    run_pending(STATE.trace, (), cause)


def is_available() -> bool:
    """Whether tensors can live on a CUDA device. Never raises for a missing driver."""
    return bool(cuda_device.devices())


def is_initialized() -> bool:
    """Whether a CUDA device is in use."""
    return is_available()


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the CUDA device computes in bfloat16: by instructions of its own, unless emulation counts."""
    return is_available() and (including_emulation or device_of(None).driver.capability >= (8, 0))


def device_count() -> int:
    """How many CUDA devices there are."""
    return len(cuda_device.devices())


def get_arch_list() -> list[str]:
    """The CUDA architectures that there is code for."""
    return list(GPU_TARGETS) if is_available() else []


def init() -> None:
    """Start using CUDA. Raises AssertionError where it is not there."""
    all_devices()


def synchronize(device: Any = None) -> None:
    """Run what is pending, and wait for a CUDA device. Raises AssertionError where there is none, and what went wrong on it:
    an index out of range, with the line that it was recorded at, or AcceleratorError."""
    found = device_of(device)
    run_what_is_pending("torch.cuda.synchronize()")
    found.synchronize()


def set_device(device: Any) -> None:
    """Choose the device that `cuda` means from now on in this thread (a negative number: leave it)."""
    if isinstance(device, int) and device < 0:
        return
    cuda_device.set_current(device_of(device).number)


def current_device() -> int:
    """The number of the chosen CUDA device."""
    all_devices()
    return cuda_device.current()


def get_device_name(device: Any = None) -> str:
    """The name of a CUDA device."""
    return device_of(device).driver.name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a CUDA device."""
    return device_of(device).driver.capability


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether kernels of one device read the memory of another: none of them does, copies go between them."""
    first, second = device_of(device), device_of(peer_device)
    if first is second:
        raise AssertionError("Invalid peer device id")
    return False


@dataclass(frozen=True)
class DeviceProperties:
    """What is known of a CUDA device."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    max_threads_per_multi_processor: int
    warp_size: int = 32


def get_device_properties(device: Any = None) -> DeviceProperties:
    """The properties of a CUDA device."""
    driver = device_of(device).driver
    return DeviceProperties(
        driver.name, *driver.capability, driver.total_memory, driver.processors, driver.threads_per_processor
    )


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


class device_of_tensor(device):
    """`with torch.cuda.device_of(x):` chooses the device of a tensor, if it is on one."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if obj.is_cuda else None)
