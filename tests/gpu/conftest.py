"""GPU tests run on what `--cuda` says a CUDA device is: the PTX emulator by default."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lazytorch.config import config
from tests.device_option import SETTINGS


@pytest.fixture
def cuda(request: pytest.FixtureRequest) -> Iterator[None]:
    """`cuda` is that device."""
    with config(cuda=SETTINGS[request.config.getoption("--cuda")]):
        yield


@pytest.fixture
def emulated(request: pytest.FixtureRequest) -> Iterator[None]:
    """`cuda` is the emulator itself, whose counters a test reads."""
    with config(cuda="emulator"):
        yield
