"""`torch.compile` and torch.compiler: calls that are recorded once and replayed (docs/compile.md)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lazytorch.capturing.function import OFF, CapturedFunction
from lazytorch.capturing.options import check_options, compiled
from lazytorch.ir.trace import STATE
from lazytorch.nn.modules.module import Module


class OptimizedModule(Module):
    """What `torch.compile(module)` is: the module `_orig_mod`, whose calls are captured. Attributes are the module's."""

    def __init__(self, module: Module, dispatch: Callable[..., Any]) -> None:
        super().__init__()
        self._orig_mod = module
        self._dispatch = dispatch

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """The module's call, captured."""
        return self._dispatch(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        modules = self.__dict__.get("_modules")
        if not modules or "_orig_mod" not in modules:
            raise AttributeError(name)
        return getattr(modules["_orig_mod"], name)

    def __setattr__(self, name: str, entry: Any) -> None:
        if name in ("_orig_mod", "_dispatch", "training") or "_orig_mod" not in self.__dict__.get("_modules", ()):
            super().__setattr__(name, entry)
        else:
            setattr(self._orig_mod, name, entry)


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable[..., Any] | None = None,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    name: str | None = None,
    disable: bool = False,
    recompile_limit: int | None = None,
) -> Any:
    """A function, or module, whose calls are recorded twice and then replayed; without one, a decorator (torch.compile).

    A replay runs the program of the whole call at once and none of the Python code that recorded it, as long as what that
    code can read (types of arguments, plain values, attributes, options) is as it was. Results, gradients, updates in place
    and random numbers are those of the function itself.

    fullgraph: raise RuntimeError where a call cannot be captured, instead of recording it every time.
    dynamic: True, False or None; a program is planned for every shape in any case, from kernels that take any size.
    backend: "inductor", "lazytorch" or None; "eager" and "aot_eager" record every call. mode, options: names that torch
    knows; kernels are made as they always are. disable: hand back the function itself. recompile_limit: forms kept.
    Raises RuntimeError for what torch refuses, and for a backend that is not there.
    """
    options_given: dict[str, Any] = {"fullgraph": fullgraph, "dynamic": dynamic, "backend": backend, "mode": mode}
    options_given |= {"options": options, "name": name, "disable": disable, "recompile_limit": recompile_limit}
    if model is None:
        check_options(fullgraph, dynamic, backend, mode, options)
        return functools.partial(compile, **options_given)
    if not callable(model):
        raise AssertionError(f"A callable function is expected, but {type(model)} is provided.")
    if not isinstance(model, Module) or disable or isinstance(model, OptimizedModule):
        return compiled(model, **options_given) if not isinstance(model, Module) else model
    return OptimizedModule(model, compiled(model, **options_given))


class _Disabled:
    """A function in which, and in whatever it calls, nothing is captured."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        observer = STATE.trace.observer
        if observer is not None:
            observer.refuse("a function is called that torch.compiler.disable has marked")
        with _off():
            return self.function(*arguments, **keywords)


@contextmanager
def _off() -> Iterator[None]:
    OFF.count += 1
    try:
        yield
    finally:
        OFF.count -= 1


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function, such that calls of it are recorded and never captured, those of compiled functions in it neither."""
    return functools.partial(disable, recursive=recursive, reason=reason) if fn is None else _Disabled(fn)


class set_stance:
    """What compiled functions do: "default", or "force_eager" to record every call; at once, or within a block."""

    def __init__(self, stance: str = "default", **options: Any) -> None:
        if stance not in ("default", "force_eager"):
            raise RuntimeError(f"invalid torch.compile stance '{stance}': there are 'default' and 'force_eager'")
        self.before = OFF.count
        OFF.count = int(stance == "force_eager")

    def __enter__(self) -> set_stance:
        return self

    def __exit__(self, *error: object) -> None:
        OFF.count = self.before


def is_compiling() -> bool:
    """Whether Python code is being traced in place of running: never, a call that is captured does what it does."""
    return False


is_dynamo_compiling = is_compiling


def reset() -> None:
    """Forget all captured forms."""
    CapturedFunction.forget_all()


def cudagraph_mark_step_begin() -> None:
    """Begin a step of a CUDA graph: there is none."""


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """The names that `backend` takes."""
    return ["inductor", "lazytorch"]


def allow_in_graph(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself."""
    return fn
