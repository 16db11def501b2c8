"""Anomaly detection: the first gradient that is nan raises, and a warning shows the forward line it belongs to.

Every gradient is computed when it is recorded, so a backward pass is slow; torch's is, too.
"""

from __future__ import annotations

import functools
import linecache
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from lazytorch.ir.location import UNKNOWN, from_frame_place
from lazytorch.ir.trace import STATE, Node, gradient_name
from lazytorch.tensor import wrap


@dataclass
class _Settings:
    enabled: bool = False
    check_nan: bool = True


ANOMALY = _Settings()
"""What `detect_anomaly` and `set_detect_anomaly` say."""


class set_detect_anomaly:
    """Turn anomaly detection on or off, from the call on or within a block."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = (ANOMALY.enabled, ANOMALY.check_nan)
        ANOMALY.enabled, ANOMALY.check_nan = mode, check_nan

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ANOMALY.enabled, ANOMALY.check_nan = self._before


class detect_anomaly:
    """A block (or function) in which a gradient that is nan raises RuntimeError, unless `check_nan` is false."""

    def __init__(self, check_nan: bool = True) -> None:
        self._check_nan = check_nan
        self._outer: list[tuple[bool, bool]] = []
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> Self:
        self._outer.append((ANOMALY.enabled, ANOMALY.check_nan))
        ANOMALY.enabled, ANOMALY.check_nan = True, self._check_nan
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ANOMALY.enabled, ANOMALY.check_nan = self._outer.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            with self:
                return function(*arguments, **keywords)

        return call


def check_numbers(node: Node, position: int, gradient: Node) -> None:
    """Raise torch's RuntimeError for a gradient with a nan, after a warning that shows where the function was called."""
    array = wrap(STATE.trace, gradient).detach().numpy()
    if not (array != array).any():
        return
    name, place = gradient_name(node), from_frame_place(node.place)
    known = f'  File "{place.file}", line {place.line}\n    {linecache.getline(place.file, place.line).strip()}\n'
    warnings.warn(
        f"Error detected in {name}. Traceback of forward call that caused the error:\n{'' if place == UNKNOWN else known}",
        stacklevel=5,
    )
    raise RuntimeError(f"Function '{name}' returned nan values in its {position}th output.")


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return ANOMALY.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """Whether it looks for nan."""
    return ANOMALY.check_nan
