"""`torch.backends.cudnn`: cuDNN is not used. The switches keep what is assigned to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

enabled: bool = True
benchmark: bool = False
benchmark_limit: int = 10
deterministic: bool = False
allow_tf32: bool = True


def version() -> int | None:
    """The version of cuDNN: none."""
    return None


def is_available() -> bool:
    """Whether cuDNN is used."""
    return False


def is_acceptable(tensor: Any) -> bool:
    """Whether cuDNN would take the tensor."""
    return False


@contextmanager
def flags(**settings: Any) -> Iterator[None]:
    """Set switches for a block."""
    names = {name: globals()[name] for name in settings}
    globals().update(settings)
    try:
        yield
    finally:
        globals().update(names)
