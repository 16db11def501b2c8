"""torch.jit for programs that only run what they script or trace: the model or function itself comes back.

TorchScript files are neither written nor read; `save` and `load` say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytorch.nn.modules.module import Module

Final = Any


class ScriptModule(Module):
    """What `torch.jit.script` makes of a module in PyTorch: nothing here is one."""


def script(obj: Any = None, *arguments: Any, **options: Any) -> Any:
    """The module or function itself, which is compiled as it runs."""
    return (lambda function: function) if obj is None else obj


def trace(func: Any, example_inputs: Any = None, *arguments: Any, **options: Any) -> Any:
    """The module or function itself (so that what depends on its inputs stays so)."""
    return func


def ignore(drop: Any = False, **options: Any) -> Any:
    """Decorator: the function itself."""
    return drop if callable(drop) else (lambda function: function)


def unused(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself."""
    return fn


export = unused
script_if_tracing = unused


def is_scripting() -> bool:
    """Whether TorchScript runs this: never."""
    return False


def is_tracing() -> bool:
    """Whether a trace is being made: never."""
    return False


def freeze(mod: Any, *arguments: Any, **options: Any) -> Any:
    """The module itself."""
    return mod


def optimize_for_inference(mod: Any, *arguments: Any, **options: Any) -> Any:
    """The module itself."""
    return mod


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value


def save(m: Any, f: Any, *arguments: Any, **options: Any) -> None:
    """Raises NotImplementedError: save the state dict with `torch.save`."""
    raise NotImplementedError("TorchScript files are not supported; save model.state_dict() with torch.save")


def load(f: Any, *arguments: Any, **options: Any) -> Any:
    """Raises NotImplementedError: load a state dict with `torch.load`."""
    raise NotImplementedError("TorchScript files are not supported; load a state dict with torch.load")
