"""Results of several tensors: named tuples that print as `torch.return_types`."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def structure(name: str, *fields: str) -> Any:
    """A named tuple class for the results of the torch function `name`."""
    base = namedtuple(name, fields)  # type: ignore[misc]

    def text(self: Any) -> str:
        parts = ",\n".join(f"{field}={item!r}" for field, item in zip(fields, self, strict=True))
        return f"torch.return_types.{name}(\n{parts})"

    return type(name, (base,), {"__repr__": text, "__slots__": (), "__module__": "torch.return_types"})
