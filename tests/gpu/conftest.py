"""GPU tests run on the PTX emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lazytorch.config import config


@pytest.fixture
def emulated() -> Iterator[None]:
    """`cuda` is the emulator."""
    with config(cuda="emulator"):
        yield
