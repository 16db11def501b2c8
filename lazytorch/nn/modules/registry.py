"""The registries of a module: parameters, buffers and submodules by name."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class Mirror(OrderedDict[str, Any]):
    """A registry of a module whose entries are plain attributes too: reading one costs no more than any attribute."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        super().__init__()
        self._attributes = attributes

    def __setitem__(self, name: str, entry: Any) -> None:
        super().__setitem__(name, entry)
        self._attributes[name] = entry

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._attributes.pop(name, None)

    def pop(self, name: str, *default: Any) -> Any:
        """Take an entry away and return it."""
        if name not in self and default:
            return default[0]
        entry = self[name]
        del self[name]
        return entry

    def clear(self) -> None:
        """Take all entries away."""
        for name in list(self):
            del self[name]

    def __reduce__(self) -> Any:
        return OrderedDict, (list(self.items()),)
