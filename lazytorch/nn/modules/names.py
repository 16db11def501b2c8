"""How modules write values and themselves in messages and texts."""

from __future__ import annotations

from typing import Any

from lazytorch.tensor import PACKAGE, Tensor


def type_name(entry: Any) -> str:
    """The name of a value's type as torch writes it."""
    kind = type(entry)
    if kind is Tensor:
        return str(entry.type())
    if kind.__module__ == "builtins":
        return kind.__name__
    package, _, rest = kind.__module__.partition(".")
    return f"{'torch' if package == PACKAGE else package}.{rest}.{kind.__qualname__}".replace("..", ".")


def indented(text: str) -> str:
    """The text with every line after the first moved in by two places."""
    return text.replace("\n", "\n  ")
