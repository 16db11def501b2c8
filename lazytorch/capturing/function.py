"""Functions that are recorded twice and then replayed (`torch.compile`)."""

from __future__ import annotations

import copy
import os
import sys
import weakref
from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any

from lazytorch.capturing.observation import Observation, observe
from lazytorch.capturing.variant import Variant
from lazytorch.config import config
from lazytorch.default_dtype import default_dtype
from lazytorch.ir.trace import STATE
from lazytorch.runtime.session import synchronize
from lazytorch.tensor import Tensor
from lazytorch.trees import Structure, flatten

MOST_VARIANTS = 64
"""Captured forms of a function, the oldest of which are forgotten."""
MOST_ATTEMPTS = 8
"""Calls in a row that were recorded and could not be captured, after which a function is no longer observed."""
_CONTAINERS = (list, tuple, dict)


class Off:
    """Whether captured functions run as if they were not (`torch.compiler.disable`, `set_stance`)."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


OFF = Off()


_all: weakref.WeakSet[CapturedFunction] = weakref.WeakSet()


class CapturedFunction:
    """A function whose calls are replayed where that gives what the function itself would.

    A call is recorded like any other code. When two calls in a row with like arguments record the same program, the
    program is kept with its conditions (see docs/compile.md), and a further call for which they hold runs it at once.
    fullgraph: a call that cannot be captured raises RuntimeError. limit: how many captured forms are kept.
    """

    def __init__(self, function: Callable[..., Any], fullgraph: bool = False, limit: int | None = None) -> None:
        update_wrapper(self, function)
        self.function = function
        self.fullgraph = fullgraph
        self.limit = MOST_VARIANTS if limit is None else limit
        _all.add(self)
        self.reset()

    @staticmethod
    def forget_all() -> None:
        """Reset every captured function that there is."""
        for function in list(_all):
            function.reset()

    def reset(self) -> None:
        """Forget what was captured."""
        self.variants: dict[Any, list[Variant]] = {}
        self.count = 0
        self.attempts = 0
        self.seen: dict[Any, Observation] = {}
        self.said: set[str] = set()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __deepcopy__(self, memo: dict[int, Any]) -> CapturedFunction:
        return CapturedFunction(copy.deepcopy(self.function, memo), self.fullgraph, self.limit)

    def __reduce__(self) -> Any:
        return CapturedFunction, (self.function, self.fullgraph, self.limit)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        trace = STATE.trace
        if OFF.count or trace.observer is not None or trace.levels or not trace.limit or self.attempts >= MOST_ATTEMPTS:
            return self.function(*arguments, **keywords)
        structure = None
        given: Any = arguments
        if keywords or not _is_flat(arguments):
            given, structure = flatten((arguments, keywords))
        key = (trace.grad_enabled, trace.autocast, default_dtype(), structure, *[_kind(x) for x in given])
        if trace.key:
            synchronize(trace, (), "a compiled function is called")
        reason: Any = None
        for variant in self.variants.get(key, ()):
            bound = variant.bind(given)
            if type(bound) is list:
                outcome = variant.replay(bound, given)
                if outcome is not NotImplemented:
                    return outcome
                bound = "an option of an optimizer is another"
            reason = bound
        return self._record(arguments, keywords, given, key, reason)

    def _record(
        self, arguments: tuple[Any, ...], keywords: dict[str, Any], given: Any, key: Any, mismatch: str | None
    ) -> Any:
        """Run the function itself, and capture it if it did what it did before."""
        if self.count and key not in self.seen:
            self._say("recompiles", f"{self._name()} is captured again: {mismatch or self._new_arguments(key)}")
        outcome, found, reason = observe(self.function, arguments, keywords, given, self.seen.get(key), self.fullgraph)
        if found is None:
            self.attempts += 1
            self._say("graph_breaks", f"{self._name()} is not captured: {reason}")
            if self.attempts == MOST_ATTEMPTS:
                self._say("graph_breaks", f"{self._name()} is not observed any more: {reason}")
        elif found.variant is None:
            self.attempts += bool(reason)
            if reason:
                self._say("graph_breaks", f"{self._name()} is not captured yet: {reason}")
            if len(self.seen) >= MOST_VARIANTS:
                del self.seen[next(iter(self.seen))]
            self.seen[key] = found
        else:
            self.attempts = 0
            self.seen.pop(key, None)
            self._keep(key, found.variant)
        return outcome

    def _keep(self, key: Any, variant: Variant) -> None:
        if self.count >= self.limit:
            oldest = next(iter(self.variants))
            self.count -= len(self.variants.pop(oldest))
        self.variants.setdefault(key, []).insert(0, variant)
        self.count += 1

    def _new_arguments(self, key: Any) -> str:
        """How the arguments' kinds differ from those of the form captured last."""
        known = next(reversed(self.variants))
        names = ("grad mode", "autocast", "default dtype", "structure of the arguments")
        for position, (now, before) in enumerate(zip(key, known, strict=False)):
            if now != before:
                what = names[position] if position < len(names) else f"argument {position - len(names)}"
                return f"{what} is {_shown(now)} and was {_shown(before)}"
        return f"there are {len(key) - len(names)} arguments and were {len(known) - len(names)}"

    def _name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def _say(self, topic: str, text: str) -> None:
        if topic in config.log or topic in os.environ.get("TORCH_LOGS", "").replace("+", "").split(","):
            print(f"lazytorch: {topic}: {text}", file=sys.stderr)


def _is_flat(arguments: tuple[Any, ...]) -> bool:
    return True not in [isinstance(x, _CONTAINERS) for x in arguments]


def _kind(x: Any) -> Any:
    """What of an argument must be the same for a replay, as part of a key: of a tensor its type, of a number its value."""
    if isinstance(x, Tensor):
        node, base = x._node, x._base
        if base is None:
            return type(x), node.type, node.history is None
        return type(x), node.type, node.history is None, base._node.type, x._view
    if type(x) in (int, float, bool, complex):
        return type(x), repr(x)
    try:
        hash(x)
    except TypeError:
        return type(x), id(x)
    return type(x), x


def _shown(part: Any) -> str:
    return str(part) if not isinstance(part, tuple | Structure) else repr(part)
