"""What few programs use is loaded when a name is first missed, of the package, of `Tensor` or in the table of functions.

The modules below declare their functions when they are imported, as all of ops/ do; no list of their names is kept anywhere.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any

_LATER = (
    "complex_numbers",
    "compositions",
    "einstein",
    "linear_algebra",
    "matrices",
    "norms",
    "random_variables",
    "scans",
    "sorting",
    "sparse_tensors",
    "statistics",
    "windows",
)
_missing = list(_LATER)
_lock = threading.RLock()


def load_rest() -> bool:
    """Load the other modules of functions; whether that is news."""
    with _lock:  # another thread waits; while a module is loaded, what it misses is not there
        if not _missing:
            return False
        _missing.clear()
        for name in _LATER:
            importlib.import_module(f"lazytorch.ops.{name}")
        return True


def missing_attribute(tensor: Any, name: str) -> Any:
    """An attribute that a tensor has not got: a method that is not loaded yet, or an AttributeError."""
    if not name.startswith("_") and load_rest():
        return getattr(tensor, name)
    raise AttributeError(f"'{type(tensor).__name__}' object has no attribute '{name}'")


class TensorMeta(type):
    """The type of tensor classes, which knows the methods that are not loaded yet."""

    def __getattr__(cls, name: str) -> Any:
        if not name.startswith("_") and load_rest():
            return getattr(cls, name)
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")


class Functions(dict[str, Any]):
    """Functions by their names in torch."""

    def __missing__(self, name: str) -> Any:
        if load_rest():
            return self[name]
        raise KeyError(name)
