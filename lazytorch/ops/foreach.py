"""Functions of lists of tensors (`torch._foreach_add`), which optimizers of users call: one operation per tensor, recorded
together and run as one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.ops.recording import FUNCTIONS, NUMBERS
from lazytorch.tensor import Tensor

_UNARY = """
abs acos asin atan ceil cos cosh erf erfc exp expm1 floor frac lgamma log log10 log1p log2 neg reciprocal round rsqrt sigmoid
sign sin sinh sqrt tan tanh trunc
"""
_BINARY = "add sub mul div clamp_max clamp_min maximum minimum pow"
_TERNARY = "addcdiv addcmul lerp"


LISTS: dict[str, Callable[..., Any]] = {}
"""The functions, by torch's names."""


def _each(argument: Any, count: int) -> list[Any]:
    """An argument per tensor: a list's entries, or the same number or tensor for all."""
    if isinstance(argument, NUMBERS) or (isinstance(argument, Tensor) and not argument.shape):
        return [argument] * count
    several = list(argument)
    if len(several) != count:
        raise RuntimeError(f"Tensor lists must have the same number of tensors, got {count} and {len(several)}")
    return several


def _declare(name: str, one: Callable[..., Tensor], scaled: str = "") -> None:
    """`_foreach_NAME` and `_foreach_NAME_`. scaled: a keyword that takes a number per tensor."""

    def function(self: Sequence[Tensor], *arguments: Any, **keywords: Any) -> tuple[Tensor, ...]:
        tensors = list(self)
        fixed, scales = arguments, keywords.pop("value", 1)
        if scaled and len(arguments) > 2:
            *fixed, scales = arguments  # type: ignore[assignment]
        columns = [_each(argument, len(tensors)) for argument in fixed]
        if scaled:
            rows = zip(tensors, *columns, _each(scales, len(tensors)), strict=True)
            return tuple([one(x, *rest, value=scale) for x, *rest, scale in rows])
        return tuple([one(x, *rest, **keywords) for x, *rest in zip(tensors, *columns, strict=True)])

    def write(self: Sequence[Tensor], *arguments: Any, **keywords: Any) -> Sequence[Tensor]:
        for target, outcome in zip(self, function(self, *arguments, **keywords), strict=True):
            target.copy_(outcome)
        return self

    for spelled, form, meaning in ((name, function, "of"), (f"{name}_", write, "of, in place,")):
        form.__name__, form.__doc__ = f"_foreach_{spelled}", f"`{name}` {meaning} every tensor of a list."
        LISTS[form.__name__] = form


def _limited(limit: str) -> Callable[..., Tensor]:
    """`maximum` with a number, `clamp_max` with a tensor."""

    def one(x: Tensor, bound: Any) -> Tensor:
        return FUNCTIONS["clamp"](x, **{limit: bound})

    return one


for _name in _UNARY.split():
    _declare(_name, FUNCTIONS[_name])
for _name in _BINARY.split():
    _limit = {"clamp_max": "max", "minimum": "max", "clamp_min": "min", "maximum": "min"}.get(_name)
    _declare(_name, _limited(_limit) if _limit else FUNCTIONS[_name])
for _name in _TERNARY.split():
    _declare(_name, FUNCTIONS[_name], scaled="" if _name == "lerp" else "value")


def _norm(self: Sequence[Tensor], ord: float = 2, dtype: Any = None) -> tuple[Tensor, ...]:
    """The norm of every tensor of a list."""
    return tuple([FUNCTIONS["norm"](x, ord, dtype=dtype) for x in self])


def _max(self: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The largest element of every tensor of a list."""
    return tuple([x.max() for x in self])


def _zero(self: Sequence[Tensor]) -> Sequence[Tensor]:
    """Zeros in every tensor of a list."""
    for x in self:
        x.zero_()
    return self


def _copy(self: Sequence[Tensor], src: Sequence[Tensor], non_blocking: bool = False) -> Sequence[Tensor]:
    """The tensors of another list into those of a list."""
    for target, source in zip(self, src, strict=True):
        target.copy_(source)
    return self


LISTS.update(_foreach_norm=_norm, _foreach_max=_max, _foreach_zero_=_zero, _foreach_copy_=_copy)
