"""Whether operations keep a history: context managers that are decorators too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from lazytorch.ir.trace import STATE


def is_grad_enabled() -> bool:
    """Whether what is recorded now keeps a history."""
    return STATE.trace.grad_enabled


class _Mode:
    """Sets the mode within a block, or within the functions it decorates."""

    wanted = True

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self.function = function
        self.before: list[bool] = []

    def __new__(cls, function: Any = None, *arguments: Any) -> Any:
        if callable(function):
            return object.__new__(cls)(function)
        return object.__new__(cls)

    def __enter__(self) -> Self:
        self.before.append(STATE.trace.grad_enabled)
        STATE.trace.grad_enabled = self.wanted
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        STATE.trace.grad_enabled = self.before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        wanted = self.wanted

        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            trace = STATE.trace
            before, trace.grad_enabled = trace.grad_enabled, wanted
            try:
                return function(*arguments, **keywords)
            finally:
                trace.grad_enabled = before

        return call


class no_grad(_Mode):
    """Nothing recorded within keeps a history."""

    wanted = False


class enable_grad(_Mode):
    """Histories are kept again within a `no_grad`."""

    wanted = True


class inference_mode(_Mode):
    """As `no_grad` (`inference_mode(False)` leaves histories on)."""

    wanted = False

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        if mode is False:
            self.wanted = STATE.trace.grad_enabled


class set_grad_enabled(_Mode):
    """Set the mode: at once, and until the end of a `with` block."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.wanted = bool(mode)
        self.before.append(STATE.trace.grad_enabled)
        STATE.trace.grad_enabled = self.wanted

    def __new__(cls, mode: bool) -> Any:
        return object.__new__(cls)

    def __enter__(self) -> Self:
        return self
