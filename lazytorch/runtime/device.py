"""`torch.device`: the name of where a tensor lives."""

from __future__ import annotations

import re
from functools import cache
from types import TracebackType
from typing import Any

from lazytorch.config import config

# The kinds that torch has names for; naming one is no error, using one that is not here is.
_KINDS = ("cpu", "cuda", "meta", "mps", "xpu", "hip", "xla", "hpu", "mtia", "ipu", "vulkan", "privateuseone")
_before: list[str] = []  # what the blocks that are open began with
_PATTERN = re.compile(r"([a-z_]+)(?::(0|[1-9][0-9]*))?")


class Device:
    """A device's type (`cpu`, `cuda`) and, where given, its index. Immutable; equal when both are equal.

    >>> Device("cuda:1"), Device("cpu") == Device("cpu", 0), str(Device("cuda", 0))
    (device(type='cuda', index=1), False, 'cuda:0')
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, device: str | int | Device, index: int | None = None) -> None:
        """From a name with or without an index, `Device("cuda", 1)`, a bare accelerator index, or another device.

        Raises RuntimeError and TypeError as `torch.device` does.
        """
        if isinstance(device, Device):
            kind, number = device.type, device.index
        elif isinstance(device, int) and not isinstance(device, bool):
            kind, number = "cuda", _checked_index(device)
        elif isinstance(device, str):
            kind, number = _parse(device)
        else:
            raise TypeError(f"device(): argument 'type' must be str, not {_type_name(device)}")
        if index is not None:
            if number is not None:
                raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {device}")
            if not isinstance(index, int) or isinstance(index, bool):
                raise TypeError(f"device(): argument 'index' must be int, not {_type_name(index)}")
            number = _checked_index(index)
        object.__setattr__(self, "type", kind)
        object.__setattr__(self, "index", number)

    def check_usable(self) -> None:
        """Raise unless tensors can live on this device here: AssertionError where there is no CUDA device, as torch without
        CUDA, RuntimeError for a number that no device has, and NotImplementedError for other kinds.
        """
        self.place()

    def place(self) -> str | None:
        """The name that types of tensors have for this device: None for the CPU, `cuda:0`. Raises as `check_usable`."""
        if self.type == "cpu":
            if self.index not in (None, 0):
                raise RuntimeError(f"CPU device index must be -1 or zero, got {self.index}")
            return None
        if self.type != "cuda":
            raise NotImplementedError(f"lazytorch has no device of type '{self.type}'; it has cpu and cuda")
        from lazytorch.runtime.cuda import device as cuda  # what belongs to GPUs is loaded when one is used

        count = len(cuda.devices())
        if not count:
            raise AssertionError(f"Torch not compiled with CUDA enabled: there is no device '{self}': {cuda.why_none()}")
        index = cuda.current() if self.index is None else self.index
        if index >= count:
            raise RuntimeError(f"CUDA error: invalid device ordinal: there is no device '{self}', there are {count}")
        return f"cuda:{index}"

    def __enter__(self) -> Device:
        """Make tensors on this device within a `with` block."""
        _before.append(config.device)
        config.device = str(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        config.device = _before.pop()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Device):
            return NotImplemented
        return self.type == other.type and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Device, (self.type,) if self.index is None else (self.type, self.index)


def _parse(text: str) -> tuple[str, int | None]:
    if not text:
        raise RuntimeError("Device string must not be empty")
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise RuntimeError(f"Invalid device string: '{text}'")
    if match[1] not in _KINDS:
        raise RuntimeError(f"Expected one of {', '.join(_KINDS)} device type at start of device string: {match[1]}")
    return match[1], None if match[2] is None else _checked_index(int(match[2]))


def _checked_index(index: int) -> int:
    """torch keeps the index in a signed byte."""
    if not 0 <= index <= 127:
        raise RuntimeError(f"Device index must be from 0 to 127, got {index}")
    return index


def _type_name(value: object) -> str:
    return value.__class__.__name__


@cache
def device_called(name: str | None) -> Device:
    """The device that types of tensors call so; None is the CPU."""
    return Device(name or "cpu")


CPU = Device("cpu")
"""The host."""
