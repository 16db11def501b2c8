"""What `torch.compile` is told besides the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytorch.capturing.function import CapturedFunction

BACKENDS = ("inductor", "lazytorch", "eager", "aot_eager")
MODES = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
OPTIONS = frozenset(
    ("trace.enabled", "trace.graph_diagram", "triton.cudagraphs", "max_autotune", "epilogue_fusion", "fallback_random")
)
"""Options of torch's compiler that have nothing to say here, as they change no result: they are accepted."""


def check_options(
    fullgraph: Any, dynamic: Any, backend: str | Callable[..., Any] | None, mode: str | None, options: Any
) -> None:
    """Raise RuntimeError (AssertionError, as torch, for a flag that is none) for what is not known."""
    for flag in (fullgraph, dynamic):
        if flag is not None and not isinstance(flag, bool):
            raise AssertionError(f"Expected enable to be a bool, got {type(flag)}")
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if backend is not None and callable(backend):
        raise RuntimeError("backend: a function that takes an FX graph cannot be called: there is no FX graph")
    if backend is not None and backend not in BACKENDS:
        raise RuntimeError(f"Invalid backend: {backend!r}, see `torch.compiler.list_backends()` for available backends.")
    for name in options or ():
        if name.replace("-", "_") not in OPTIONS:
            raise RuntimeError(f"Unexpected optimization option {name}, known options are {sorted(OPTIONS)}")


def compiled(
    function: Callable[..., Any],
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable[..., Any] | None = None,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    name: str | None = None,
    disable: bool = False,
    recompile_limit: int | None = None,
) -> Callable[..., Any]:
    """The function as `torch.compile` with these options makes it. Raises as `check_options`."""
    check_options(fullgraph, dynamic, backend, mode, options)
    if disable or backend in ("eager", "aot_eager") or isinstance(function, CapturedFunction):
        return function
    return CapturedFunction(function, fullgraph, recompile_limit)
