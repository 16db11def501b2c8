"""What `torch.autocast` changes: products take their operands in a narrow type, losses take theirs in float32.

The lists are those of ATen/autocast_mode.h for the CPU. `Trace.autocast` is the narrow type of the open block, or None.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.trace import STATE
from lazytorch.ops.unary import cast_to
from lazytorch.tensor import Tensor

_NARROW = (dtypes.bfloat16, dtypes.float16)


def narrowed(x: Any, dtype: DType) -> Any:
    """A tensor of float32 (or another narrow type) in the narrow type; anything else as it is."""
    if isinstance(x, Tensor) and x.dtype is not dtype and x.dtype.kind == "f" and x.dtype is not dtypes.float64:
        return cast_to(x, dtype)
    return x


def _widened(x: Any) -> Any:
    return cast_to(x, dtypes.float32) if isinstance(x, Tensor) and x.dtype in _NARROW else x


def narrowing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a product: within an autocast block its operands are narrowed."""

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        dtype = STATE.trace.autocast
        if dtype is None:
            return function(*arguments, **keywords)
        named = {name: narrowed(x, dtype) for name, x in keywords.items()}
        return function(*[narrowed(x, dtype) for x in arguments], **named)

    return call


def widening(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a function that needs the digits: within an autocast block it computes in float32."""

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if STATE.trace.autocast is None:
            return function(*arguments, **keywords)
        named = {name: _widened(x) for name, x in keywords.items()}
        return function(*[_widened(x) for x in arguments], **named)

    return call
