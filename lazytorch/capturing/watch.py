"""What Python code can read besides its arguments, watched for changes.

Nothing looks into the code as it runs. Watched is what it can reach: its closure, the globals that it names, the attributes
of objects and modules there, elements of lists and dictionaries, and the same for the user's functions that it names.
Tensors are no part of this: their values are a program's inputs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from operator import is_
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from lazytorch.calling import PACKAGE
from lazytorch.changes import CHANGES
from lazytorch.tensor import Tensor

_GONE = object()
_PLAIN = (int, float, str, bytes, bool, complex, type(None))
_SELDOM = frozenset((PACKAGE, "numpy", *sys.stdlib_module_names)) - {"__main__"}
"""Packages whose own functions and modules are not looked into."""
_MOST = 20_000
"""Objects that are looked at; what lies beyond is not watched."""


class Watch:
    """A state of what some objects, and all that can be reached from them, hold; `difference()` says what is another now."""

    def __init__(self, roots: Iterable[Any]) -> None:
        self._entries: list[tuple[dict[Any, Any], Any, Any]] = []
        self._cells: list[tuple[Any, Any]] = []
        self._rows: list[tuple[Any, tuple[Any, ...]]] = []
        self._of_optimizers: list[tuple[Any, dict[Any, Any], tuple[Any, ...], tuple[Any, ...]]] = []
        self._of_modules: list[tuple[dict[Any, Any], tuple[Any, ...], tuple[Any, ...]]] = []
        self._seen: set[int] = set()
        self._kept: list[Any] = []
        self._changes = CHANGES.modules
        pending: list[tuple[Any, frozenset[str]]] = [(root, frozenset()) for root in roots]
        while pending and len(self._seen) < _MOST:
            pending += self._look_at(*pending.pop())

    def forget(self, optimizers: Iterable[Any]) -> None:
        """The options of these optimizers may change."""
        known = set(map(id, optimizers))
        self._of_optimizers = [each for each in self._of_optimizers if id(each[0]) not in known]

    def difference(self) -> str | None:
        """What differs from the state that was watched, in words; None if nothing does."""
        for space, name, known in self._entries:
            found = space.get(name, _GONE)
            if found is not known and not _equal(found, known):
                return f"{name!r} is {_shown(found)} and was {_shown(known)}"
        for cell, known in self._cells:
            found = _contents(cell)
            if found is not known and not _equal(found, known):
                return f"a variable of the enclosing function is {_shown(found)} and was {_shown(known)}"
        for row, elements in self._rows:
            if len(row) != len(elements) or not all(map(is_, row, elements)):
                return f"a {type(row).__name__} of {len(elements)} elements has others now"
        for _, group, names, values in self._of_optimizers:
            if len(group) != len(names) or not all(map(is_, group.values(), values)):
                return _difference(group, dict(zip(names, values, strict=True)))
        if self._changes != CHANGES.modules:
            changes = CHANGES.modules
            for space, names, values in self._of_modules:
                if len(space) != len(names) or not all(map(is_, space.values(), values)):
                    return _difference(space, dict(zip(names, values, strict=True)))
            self._changes = changes
        return None

    def _look_at(self, x: Any, names: frozenset[str]) -> list[tuple[Any, frozenset[str]]]:
        """Watch an object, of a module or class only what the names tell; what is to be looked at next."""
        if isinstance(x, Tensor | type | CodeType) or type(x) in _PLAIN or id(x) in self._seen:
            return []
        self._seen.add(id(x))
        self._kept.append(x)
        if isinstance(x, FunctionType):
            return self._look_at_function(x)
        if isinstance(x, MethodType):
            return [(x.__self__, names), (x.__func__, names)]
        if isinstance(x, ModuleType):
            if _is_foreign(x.__name__):
                return []
            return self._watch_entries(vars(x), names.intersection(vars(x)), names)
        if isinstance(x, dict):
            return self._watch_entries(x, list(x), names)
        if isinstance(x, list | tuple | set | frozenset):
            self._rows.append((x, tuple(x)))
            return [(element, names) for element in x]
        own = getattr(x, "__dict__", None)
        if own is None:
            return []
        found = [(member, names) for member in _methods(type(x), names)]
        if "_parameters" in own and "_modules" in own:
            return found + self._look_at_module(x, own, names)
        for group in own.get("param_groups", ()):
            self._of_optimizers.append((x, group, tuple(group), tuple(group.values())))
        return [] if _is_foreign(type(x).__module__) else found + self._watch_entries(own, list(own), names)

    def _look_at_module(self, module: Any, own: dict[str, Any], names: frozenset[str]) -> list[tuple[Any, frozenset[str]]]:
        self._of_modules.append((own, tuple(own), tuple(own.values())))
        found: list[tuple[Any, frozenset[str]]] = []
        for name, entry in own.items():
            if name in ("_modules", "_parameters", "_buffers") or name.endswith("_hooks"):
                self._of_modules.append((entry, tuple(entry), tuple(entry.values())))
                found += [(each, names) for each in entry.values()]
            elif not isinstance(entry, ModuleType):
                found.append((entry, names))
        if not _is_foreign(type(module).__module__):
            found.append((type(module).forward, names))
        return found

    def _look_at_function(self, function: FunctionType) -> list[tuple[Any, frozenset[str]]]:
        space = function.__globals__
        if _is_foreign(space.get("__name__", "")):
            return []
        names = frozenset(_names(function.__code__))
        found = [(x, names) for x in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())]
        for cell in function.__closure__ or ():
            contents = _contents(cell)
            self._cells.append((cell, contents))
            found.append((contents, names))
        return found + self._watch_entries(space, names.intersection(space), names)

    def _watch_entries(
        self, space: dict[Any, Any], keys: Iterable[Any], names: frozenset[str]
    ) -> list[tuple[Any, frozenset[str]]]:
        found = []
        for key in keys:
            entry = space[key]
            if isinstance(entry, ModuleType) and _is_foreign(entry.__name__):
                continue
            self._entries.append((space, key, entry))
            found.append((entry, names))
        return found


def _names(code: CodeType) -> Iterable[str]:
    """The globals and attributes that code names, functions within it included."""
    stack = [code]
    while stack:
        each = stack.pop()
        yield from each.co_names
        stack += [constant for constant in each.co_consts if isinstance(constant, CodeType)]


def _methods(kind: type, names: frozenset[str]) -> list[Callable[..., Any]]:
    """The methods of a user's class that are named, or called without a name."""
    if _is_foreign(kind.__module__):
        return []
    members = [getattr(kind, name, None) for name in (*names, "__call__")]
    return [member for member in members if isinstance(member, FunctionType)]


def _is_foreign(module: str) -> bool:
    return module.partition(".")[0] in _SELDOM


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing has been assigned yet
        return _GONE


def _equal(found: Any, known: Any) -> bool:
    """Whether two plain values are the same, the signs of zeros included."""
    return type(found) is type(known) and type(known) in _PLAIN and repr(found) == repr(known)


def _shown(x: Any) -> str:
    text = "missing" if x is _GONE else repr(x) if type(x) in _PLAIN else f"a {type(x).__name__}"
    return text if len(text) < 60 else f"{text[:57]}..."


def _difference(space: dict[Any, Any], before: dict[Any, Any]) -> str:
    for name in {**before, **space}:
        found, known = space.get(name, _GONE), before.get(name, _GONE)
        if found is not known:
            if type(found) not in _PLAIN and type(known) not in _PLAIN:
                return f"attribute {name!r} of a module is another {type(found).__name__}"
            return f"attribute {name!r} of a module is {_shown(found)} and was {_shown(known)}"
    return "a module has other attributes"
