"""What `torch.autocast` changes: products take their operands in a narrow type, losses take theirs in float32.

The lists are those of ATen/autocast_mode.h for the CPU, and of its longer list for CUDA the functions of `nn.functional`.
`Trace.autocast` holds the narrow types of the open blocks by kind of device, and is None where no block is open.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.trace import STATE
from lazytorch.ops.unary import cast_to
from lazytorch.tensor import Tensor

_NARROW = (dtypes.bfloat16, dtypes.float16)


def _kind(x: Tensor) -> str:
    return "cpu" if x._node.type.device is None else "cuda"


def narrowed(x: Any, types: Mapping[str, DType]) -> Any:
    """A tensor of float32 (or another narrow type) in the narrow type of its kind of device; anything else as it is."""
    if not isinstance(x, Tensor) or x.dtype.kind != "f" or x.dtype is dtypes.float64:
        return x
    dtype = types.get(_kind(x))
    return x if dtype is None or x.dtype is dtype else cast_to(x, dtype)


def _widened(x: Any, types: Mapping[str, DType]) -> Any:
    if isinstance(x, Tensor) and x.dtype in _NARROW and _kind(x) in types:
        return cast_to(x, dtypes.float32)
    return x


def narrowing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a product: within an autocast block its operands are narrowed."""

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        types = STATE.trace.autocast
        if types is None:
            return function(*arguments, **keywords)
        named = {name: narrowed(x, types) for name, x in keywords.items()}
        return function(*[narrowed(x, types) for x in arguments], **named)

    return call


def widening(function: Callable[..., Any], kinds: Sequence[str] = ("cpu", "cuda")) -> Callable[..., Any]:
    """Decorator of a function that needs the digits: within an autocast block for these kinds of devices it computes in
    float32."""

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        types = STATE.trace.autocast
        if types is None:
            return function(*arguments, **keywords)
        types = {kind: dtype for kind, dtype in types.items() if kind in kinds}
        named = {name: _widened(x, types) for name, x in keywords.items()}
        return function(*[_widened(x, types) for x in arguments], **named)

    return call
