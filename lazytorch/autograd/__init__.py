"""Gradients: `backward`, `grad`, modes and custom functions (torch.autograd)."""

from __future__ import annotations

import importlib
from typing import Any

from lazytorch.autograd import functional, graph
from lazytorch.autograd.engine import backward, grad
from lazytorch.autograd.function import Function
from lazytorch.autograd.gradcheck import gradcheck, gradgradcheck
from lazytorch.autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from lazytorch.autograd.variable import Variable


def __getattr__(name: str) -> Any:
    """What is loaded when it is first used."""
    if name in ("forward_ad", "profiler"):
        return importlib.import_module(f"lazytorch.autograd.{name}")
    raise AttributeError(f"module 'lazytorch.autograd' has no attribute {name!r}")


__all__ = [
    "Function",
    "Variable",
    "backward",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
]
