"""What a pass is, and the table of passes by name."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from lazytorch.ir.core import Operation

_PASSES: dict[str, type[Pass]] = {}


@dataclass(frozen=True)
class Pass:
    """One transformation of a function or kernel, in place.

    A subclass is a frozen dataclass: `name` is what pipelines call it, its fields are its options (bool, int or str,
    all with defaults). Its docstring holds the pre- and postcondition and an example, which is run as a test.
    """

    name: ClassVar[str] = ""

    def run(self, func: Operation) -> None:
        """Transform `func`, an operation with regions (builtin.func, loop.kernel, loop.function)."""
        raise NotImplementedError(f"pass {self.name!r} does not say what it does")

    def run_on(self, bodies: Sequence[Operation]) -> None:
        """Transform the functions and kernels of a module. Raises PassError where none is what the options ask for."""
        for body in bodies:
            self.run(body)

    def __str__(self) -> str:
        changed = [
            f"{option.name.replace('_', '-')}={str(value).lower() if isinstance(value, bool) else value}"
            for option in dataclasses.fields(self)
            if (value := getattr(self, option.name)) != option.default
        ]
        return f"{self.name}{{{' '.join(changed)}}}" if changed else self.name


PassClass = TypeVar("PassClass", bound=type[Pass])


def register(pass_class: PassClass) -> PassClass:
    """Class decorator: make a pass known by its name. Raises ValueError for a name that is taken."""
    if pass_class.name in _PASSES:
        raise ValueError(f"pass {pass_class.name!r} is defined twice")
    _PASSES[pass_class.name] = pass_class
    return pass_class


def all_passes() -> dict[str, type[Pass]]:
    """Every known pass, by name."""
    return dict(sorted(_PASSES.items()))


def make_pass(name: str, options: dict[str, str]) -> Pass:
    """The pass with these options, given as text. Raises ValueError naming what is unknown or does not fit."""
    pass_class = _PASSES.get(name)
    if pass_class is None:
        raise ValueError(f"there is no pass {name!r}; there are {', '.join(sorted(_PASSES))}")
    known = {option.name.replace("_", "-"): option for option in dataclasses.fields(pass_class)}
    values: dict[str, Any] = {}
    for option, text in options.items():
        if option not in known:
            have = ", ".join(known) or "none"
            raise ValueError(f"pass {name!r} has no option {option!r}; its options: {have}")
        values[known[option].name] = _option_value(f"{name}{{{option}={text}}}", known[option].default, text)
    return pass_class(**values)


def _option_value(what: str, default: object, text: str) -> object:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(f"{what}: expected true or false")
        return text == "true"
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{what}: expected a whole number") from None
    return text


class _Collector(threading.local):
    counts: Counter[str] | None = None


_collector = _Collector()


def count(what: str, number: int = 1) -> None:
    """Report to the pass manager, if one collects statistics, that the running pass did `what` so many times."""
    if _collector.counts is not None:
        _collector.counts[what] += number


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """What passes report within the block, by the words they report it with."""
    before = _collector.counts
    counts: Counter[str] = Counter()
    _collector.counts = counts
    try:
        yield counts
    finally:
        _collector.counts = before
