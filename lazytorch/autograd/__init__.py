"""Gradients: `backward`, `grad`, modes and custom functions (torch.autograd)."""

from __future__ import annotations

import importlib
from typing import Any

from lazytorch.autograd.anomaly import detect_anomaly, set_detect_anomaly
from lazytorch.autograd.engine import backward, grad
from lazytorch.autograd.function import Function
from lazytorch.autograd.gradcheck import gradcheck, gradgradcheck  # the name of its module as well
from lazytorch.autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)

_MODULES = ("forward_ad", "functional", "graph", "profiler")
_ELSEWHERE = {"Variable": "variable"}


def __getattr__(name: str) -> Any:
    """What is loaded when it is first used."""
    if name in _MODULES:
        return importlib.import_module(f"lazytorch.autograd.{name}")
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(f"lazytorch.autograd.{_ELSEWHERE[name]}"), name)
    raise AttributeError(f"module 'lazytorch.autograd' has no attribute {name!r}")


__all__ = [
    "Function",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
