"""`torch.cuda.random`: seeds of CUDA devices. As in torch without CUDA, setting one is allowed and changes nothing."""

from __future__ import annotations


def manual_seed(seed: int) -> None:
    """Seed the CUDA device: there is none."""
    int(seed)


def manual_seed_all(seed: int) -> None:
    """Seed all CUDA devices: there are none."""
    int(seed)


def seed() -> None:
    """Seed the CUDA device from the operating system: there is none."""


def seed_all() -> None:
    """Seed all CUDA devices from the operating system: there are none."""
