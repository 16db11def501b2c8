"""CUDA graphs, which lazytorch makes by itself: programs that are run again with memory at the same addresses are launched
as one graph where the driver offers that. What torch's interface asks for beside is refused, with this as the reason."""

from __future__ import annotations

from typing import Any, NoReturn

_REASON = (
    "lazytorch has no torch.cuda.{}: it records programs anyway, and launches those that come again as CUDA graphs by "
    "itself; run the step as it is"
)


def _refuse(name: str) -> NoReturn:
    raise NotImplementedError(_REASON.format(name))


class CUDAGraph:
    """Refused: NotImplementedError says what to do instead."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        _refuse("CUDAGraph")


class graph:
    """Refused: NotImplementedError says what to do instead."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        _refuse("graph")


def make_graphed_callables(*arguments: Any, **keywords: Any) -> NoReturn:
    """Refused: NotImplementedError says what to do instead."""
    _refuse("make_graphed_callables")


def is_current_stream_capturing() -> bool:
    """Whether a graph is being captured: never by the user."""
    return False
