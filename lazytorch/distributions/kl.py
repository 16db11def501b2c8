"""The Kullback-Leibler divergence, and the registry of the functions that know it (torch.distributions.kl)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from lazytorch.distributions.distribution import Distribution
from lazytorch.tensor import Tensor

__all__ = ["kl_divergence", "register_kl"]

Pair = tuple[type, type]
_REGISTRY: dict[Pair, Callable[[Any, Any], Tensor]] = {}
_FOUND: dict[Pair, Callable[[Any, Any], Tensor] | None] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """Decorator: a function of instances of two types gives their divergence."""
    for name, kind in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(kind, type) or not issubclass(kind, Distribution):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {kind}")

    def decorator(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
        _REGISTRY[type_p, type_q] = function
        _FOUND.clear()
        return function

    return decorator


def _closest(pairs: list[Pair], first: int) -> Pair:
    """The pair whose type at position `first`, and then the other one, is the most derived."""
    best = pairs[0]
    for pair in pairs[1:]:
        mine, others = (pair[first], pair[1 - first]), (best[first], best[1 - first])
        if issubclass(mine[0], others[0]) and (mine[0] is not others[0] or issubclass(mine[1], others[1])):
            best = pair
    return best


def _dispatch(type_p: type, type_q: type) -> Callable[[Any, Any], Tensor] | None:
    pairs = [pair for pair in _REGISTRY if issubclass(type_p, pair[0]) and issubclass(type_q, pair[1])]
    if not pairs:
        return None
    left, right = _closest(pairs, 0), _closest(pairs, 1)
    if _REGISTRY[left] is not _REGISTRY[right]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please register_kl({left[0].__name__}, "
            f"{right[1].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _REGISTRY[left]


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q), one per element of the batch. Raises NotImplementedError where none is registered for the types."""
    types = type(p), type(q)
    if types not in _FOUND:
        _FOUND[types] = _dispatch(*types)
    function = _FOUND[types]
    if function is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {types[0].__name__} and q type {types[1].__name__}"
        )
    return function(p, q)
