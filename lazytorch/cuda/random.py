"""`torch.cuda.random`: the generators of CUDA devices. As in torch without CUDA, setting a seed is allowed where there is
none, and holds for devices that come later; states raise AssertionError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch.cuda.devices import all_devices, device_of
from lazytorch.ops import sampling
from lazytorch.ops.sampling import Generator, device_generator, seed_devices
from lazytorch.runtime.cuda.device import devices
from lazytorch.tensor import Tensor


def _generator(device: Any) -> Generator:
    return device_generator(device_of(None if device == "cuda" else device).name)


def manual_seed(seed: int) -> None:
    """Seed the chosen device's default generator."""
    if devices():
        _generator(None).manual_seed(int(seed))
    else:
        seed_devices(int(seed))


def manual_seed_all(seed: int) -> None:
    """Seed the default generators of all devices."""
    seed_devices(int(seed))


def seed() -> None:
    """Seed the chosen device's default generator from the operating system."""
    if devices():
        _generator(None).seed()


def seed_all() -> None:
    """Seed the default generators of all devices, alike, from the operating system."""
    seed_devices(sampling.Generator().seed())


def initial_seed() -> int:
    """The seed of the chosen device's default generator."""
    return _generator(None).initial_seed()


def get_rng_state(device: Any = "cuda") -> Tensor:
    """The state of a device's default generator: 16 bytes, seed and offset."""
    return _generator(device).get_state()


def get_rng_state_all() -> list[Tensor]:
    """The states of all devices' default generators."""
    return [device_generator(device.name).get_state() for device in all_devices()]


def set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    """Continue a device's default generator from a state."""
    _generator(device).set_state(new_state)


def set_rng_state_all(new_states: Sequence[Tensor]) -> None:
    """Continue all devices' default generators from states."""
    for device, state in zip(all_devices(), new_states, strict=True):
        device_generator(device.name).set_state(state)


def default_generators() -> tuple[Generator, ...]:
    """The default generators of the devices."""
    return tuple(device_generator(device.name) for device in devices())
