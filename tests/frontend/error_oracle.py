"""Runs a wrong call in torch and in lazytorch, and hands both messages back for comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch as oracle

import lazytorch


def messages(call: Callable[[Any], object]) -> tuple[str, str]:
    """lazytorch's and torch's message. Fails unless both raise, and lazytorch the type that torch raises."""
    with pytest.raises(Exception) as want:
        call(oracle)
    with pytest.raises(type(want.value)) as got:
        call(lazytorch)
    return str(got.value), str(want.value)
