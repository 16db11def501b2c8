"""`torch.compile` and torch.compiler: everything is compiled anyway, so these hand back what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compile(model: Any = None, **options: Any) -> Any:
    """The model or function itself; without one, a decorator. Options are accepted and have no effect.

    Whatever it does is recorded, compiled and cached when it is called, as without this.
    """
    return (lambda function: function) if model is None else model


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself: there is no tracing of Python to keep away from it."""
    return (lambda function: function) if fn is None else fn


def is_compiling() -> bool:
    """Whether Python code is being traced: never."""
    return False


is_dynamo_compiling = is_compiling


def reset() -> None:
    """Forget what was traced: nothing is."""


def cudagraph_mark_step_begin() -> None:
    """Begin a step of a CUDA graph: there is none."""


def allow_in_graph(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself."""
    return fn
