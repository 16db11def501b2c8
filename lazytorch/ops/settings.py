"""Switches of the torch namespace: the default device, determinism, precision of products."""

from __future__ import annotations

import warnings
from typing import Any

from lazytorch.config import config
from lazytorch.ops.recording import torch_function
from lazytorch.runtime.device import Device


@torch_function("get_default_device", method=False, out=False)
def get_default_device() -> Device:
    """Where tensors are made that name no device."""
    return Device(config.device)


@torch_function("set_default_device", method=False, out=False)
def set_default_device(device: Any) -> None:
    """Where tensors are made from now on that name no device (None: the CPU)."""
    config.device = "cpu" if device is None else str(Device(device))


class _Switches:
    """What programs set and read again; everything is deterministic in any case. fast: what precision of products means that
    is not "highest"."""

    def __init__(self) -> None:
        self.deterministic = False
        self.warn_only = False
        self.fast = "high"


_switches = _Switches()


@torch_function("use_deterministic_algorithms", method=False, out=False)
def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same bits every time, which is what there is."""
    _switches.deterministic, _switches.warn_only = bool(mode), warn_only


@torch_function("are_deterministic_algorithms_enabled", method=False, out=False)
def are_deterministic_algorithms_enabled() -> bool:
    """What was asked for."""
    return _switches.deterministic


@torch_function("set_float32_matmul_precision", method=False, out=False)
def set_float32_matmul_precision(precision: str) -> None:
    """Allow products in tf32 ("high", "medium") on GPUs that multiply matrices of it, in what is computed from now on."""
    if precision not in ("highest", "high", "medium"):
        warnings.warn(f"{precision} is not one of 'highest', 'high', or 'medium'; nothing is changed", stacklevel=2)
        return
    config.tf32 = precision != "highest"
    if config.tf32:
        _switches.fast = precision


@torch_function("get_float32_matmul_precision", method=False, out=False)
def get_float32_matmul_precision() -> str:
    """What was allowed."""
    return _switches.fast if config.tf32 else "highest"


@torch_function("set_num_interop_threads", method=False, out=False)
def set_num_interop_threads(count: int) -> None:
    """Threads for independent operations: a program runs its steps one after the other, so there is one."""


@torch_function("get_num_interop_threads", method=False, out=False)
def get_num_interop_threads() -> int:
    """Threads for independent operations."""
    return 1


@torch_function("set_flush_denormal", method=False, out=False)
def set_flush_denormal(mode: bool) -> bool:
    """Ask for denormal numbers to become 0; they are kept (False: not supported)."""
    return False
