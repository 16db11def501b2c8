"""Batches in pinned memory (`DataLoader(pin_memory=True)`), which CUDA devices copy beside their kernels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lazytorch.tensor import Tensor


def can_pin() -> bool:
    """Whether there is a device to pin memory for; warns as torch does where there is none."""
    from lazytorch.runtime.cuda.device import devices  # what belongs to GPUs is loaded when one is asked for

    if not devices():
        warnings.warn(
            "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
            UserWarning,
            stacklevel=3,
        )
    return bool(devices())


def pinned(batch: Any) -> Any:
    """The batch with its tensors pinned: those in dictionaries and sequences, and what has a method `pin_memory`."""
    if isinstance(batch, Tensor):
        return batch.pin_memory()
    if isinstance(batch, str | bytes):
        return batch
    if isinstance(batch, Mapping):
        return type(batch)({key: pinned(item) for key, item in batch.items()})  # type: ignore[call-arg]
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(pinned, batch))
    if isinstance(batch, tuple):
        return tuple(map(pinned, batch))
    if isinstance(batch, Sequence):
        return [pinned(item) for item in batch]
    return batch.pin_memory() if hasattr(batch, "pin_memory") else batch


class PinnedBatches:
    """Another iterator's batches, pinned."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self.batches)

    def __next__(self) -> Any:
        return pinned(next(self.batches))
