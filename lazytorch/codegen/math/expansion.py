"""The registry of expansions, the step that replaces math operations in kernels by them, and what all of them share."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.errors import CompileError
from lazytorch.ir.core import Block, IRBuilder, Operation, Region, Value, current_builder, inserting
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, loop
from lazytorch.ir.types import VectorType

Expansion = Callable[..., Value]
_EXPANSIONS: dict[tuple[Declaration, DType], Expansion] = {}
INFINITY = float("inf")
NAN = float("nan")


def expansion(declaration: Declaration, *types: DType) -> Callable[[Expansion], Expansion]:
    """Decorator: how the function is computed in these element types, on scalars and vectors alike."""

    def register(function: Expansion) -> Expansion:
        for dtype in types:
            _EXPANSIONS[declaration, dtype] = function
        return function

    return register


def expand(declaration: Declaration, *operands: Value, **attributes: Any) -> Value:
    """The function of kernel values; a type without its own expansion computes in the next wider one."""
    dtype = operands[0].type.dtype
    found = _EXPANSIONS.get((declaration, dtype))
    if found is not None:
        return found(*operands, **attributes)
    wider = dtypes.float32 if dtype.itemsize < 4 else dtypes.float64
    if dtype.kind != "f" or dtype is dtypes.float64:
        raise CompileError(f"{declaration.name} of {dtype} has no expansion", stage="math")
    wide = expand(declaration, *[arith.cast(x, dtype=wider) for x in operands], **attributes)
    result: Value = arith.cast(wide, dtype=dtype)
    return result


class ExpansionBuilder(IRBuilder):
    """The insertion point of an expansion, with what earlier expansions have computed in each block."""

    __slots__ = ("known",)

    def __init__(self, operation: Operation, known: dict[tuple[Block, Value, str], Any]) -> None:
        assert operation.parent is not None
        super().__init__(operation.parent, operation, operation.location)
        self.known = known


def once(x: Value, name: str, compute: Callable[[], Any]) -> Any:
    """compute(), a step that several functions of x share: done once in a block (sin and cos of an angle)."""
    builder = current_builder()
    if not isinstance(builder, ExpansionBuilder):
        return compute()
    key = (builder.block, x, name)
    if key not in builder.known:
        builder.known[key] = compute()
    return builder.known[key]


def expand_math(module: Operation) -> None:
    """Replace every math operation in the kernels of a module by its expansion."""
    known: dict[tuple[Block, Value, str], Any] = {}
    for operation in list(module.walk()):
        if operation.name.startswith("math."):
            with inserting(ExpansionBuilder(operation, known)):
                value = expand(operation.declaration, *operation.operands, **operation.attributes.as_dict())
            operation.replace_with([value])


@dataclass(frozen=True)
class Format:
    """The layout of a floating type's bits."""

    integer: DType
    mantissa_bits: int
    bias: int
    smallest_normal: float
    rounder: float
    """1.5 * 2**mantissa_bits: a number added to it loses its fraction, and the low bits of the sum are its whole part."""


FORMATS = {
    dtypes.float32: Format(dtypes.int32, 23, 127, 2.0**-126, 1.5 * 2.0**23),
    dtypes.float64: Format(dtypes.int64, 52, 1023, 2.0**-1022, 1.5 * 2.0**52),
}


def format_of(x: Value) -> Format:
    """The layout of x's element type."""
    return FORMATS[x.type.dtype]


def bits_of(number: float, dtype: DType) -> int:
    """The bits of a constant."""
    code, integer = ("<f", "<i") if dtype is dtypes.float32 else ("<d", "<q")
    bits: int = struct.unpack(integer, struct.pack(code, number))[0]
    return bits


def to_bits(x: Value) -> Value:
    """The bits of x as a signed integer of its size."""
    value: Value = arith.bitcast(x, dtype=format_of(x).integer)
    return value


def like(x: Value, number: float) -> Value:
    """A constant of x's type."""
    value: Value = x.builder.constant(number, x)
    return value


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's scheme with fused steps, highest power first."""
    total = like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = arith.fma(total, x, like(x, coefficient))
    return total


def where(a: Value, predicate: str, b: Value | float, then: Value | float, otherwise: Value | float) -> Value:
    """`then` where a compares so with b, else `otherwise`; numbers are constants of a's type."""
    then, otherwise = (v if isinstance(v, Value) else like(a, v) for v in (then, otherwise))
    value: Value = arith.select(arith.compare(a, b, predicate=predicate), then, otherwise)
    return value


def clamped(x: Value, low: float, high: float) -> Value:
    """x in [low, high]; a nan stays."""
    x = where(x, "gt", high, high, x)
    return where(x, "lt", low, low, x)


def nearest(x: Value, scale: float) -> tuple[Value, Value]:
    """x * scale rounded to the nearest whole number, as a float and as an integer; |x * scale| < 2**(mantissa bits - 1).

    The integer of a nan is some number.
    """
    form = format_of(x)
    shifted = arith.fma(x, like(x, scale), like(x, form.rounder))
    whole = arith.sub(to_bits(shifted), bits_of(form.rounder, x.type.dtype))
    return arith.sub(shifted, form.rounder), whole


def power_of_two(k: Value, dtype: DType) -> Value:
    """2**k of an integer k, if that is a normal number of `dtype`."""
    form = FORMATS[dtype]
    value: Value = arith.bitcast(arith.shift_left(arith.add(k, form.bias), form.mantissa_bits), dtype=dtype)
    return value


def scaled(p: Value, k: Value) -> Value:
    """p * 2**k in two steps, so that subnormal results and overflow come out right; rounds once."""
    half = arith.shift_right(k, 1)
    dtype = p.type.dtype
    value: Value = arith.mul(arith.mul(p, power_of_two(half, dtype)), power_of_two(arith.sub(k, half), dtype))
    return value


def rarely(condition: Value, special: Callable[[], Sequence[Value]], usual: Sequence[Value]) -> tuple[Value, ...]:
    """`usual`, but `special()` in the lanes where the condition holds: computed only if it holds in some lane.

    What a lane gets does not depend on its neighbours, so every vector width gives the same bits.
    """
    builder = current_builder()
    some = loop.any_(condition) if isinstance(condition.type, VectorType) else condition
    then, otherwise = Block(), Block()
    with inserting(IRBuilder(then, None, builder.location)) as inside:
        values = [arith.select(condition, a, b) for a, b in zip(special(), usual, strict=True)]
        inside.emit(loop.yield_.operator(), values)
    with inserting(IRBuilder(otherwise, None, builder.location)) as inside:
        inside.emit(loop.yield_.operator(), list(usual))
    types = tuple([value.type for value in usual])
    branch = Operation(loop.if_.operator(types=types), [some], types, [Region([then]), Region([otherwise])])
    return tuple(builder.insert(branch).results)
