"""The line of the user's program that an operation is recorded for."""

from __future__ import annotations

from sys import _getframe
from types import CodeType
from typing import Any

from lazytorch.ir.trace import STATE

PACKAGE = __name__.partition(".")[0]
_package_spaces: set[int] = set()
"""Identities of the package's own module namespaces (which live as long as the process)."""
_user_space: list[dict[str, Any]] = [{}]
"""The namespace that last recorded something: most of the time it is the next one, too."""


def caller() -> tuple[CodeType, int]:
    """The innermost place outside of the package: what an operation is recorded for."""
    call = STATE.trace.call
    if call is not None:
        return call
    frame = _getframe(2)
    space = frame.f_globals
    while space is not _user_space[0] and (id(space) in _package_spaces or _is_of_package(space)):
        if frame.f_back is None:
            break
        frame = frame.f_back
        space = frame.f_globals
    return frame.f_code, frame.f_lasti


def _is_of_package(space: dict[str, Any]) -> bool:
    """Whether a frame's globals belong to a module of the package; notes it, so that the name is compared once."""
    if space.get("__name__", "").partition(".")[0] != PACKAGE:
        _user_space[0] = space
        return False
    _package_spaces.add(id(space))
    return True
