"""Rules of elementwise operations."""

from __future__ import annotations

import math
from typing import Any

from lazytorch import dtypes
from lazytorch.codegen.stablehlo.emitter import Emitter, Rule, Term, rule, tensor_type
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith
from lazytorch.ir.dialects import math as math_dialect
from lazytorch.ir.types import TensorType

_SAME: dict[Declaration, str] = {
    arith.add: "stablehlo.add",
    arith.sub: "stablehlo.subtract",
    arith.mul: "stablehlo.multiply",
    arith.div: "stablehlo.divide",
    arith.remainder: "stablehlo.remainder",
    arith.neg: "stablehlo.negate",
    arith.maximum: "stablehlo.maximum",
    arith.minimum: "stablehlo.minimum",
    arith.sqrt: "stablehlo.sqrt",
    arith.round_even: "stablehlo.round_nearest_even",
    arith.bit_and: "stablehlo.and",
    arith.bit_or: "stablehlo.or",
    arith.bit_xor: "stablehlo.xor",
    arith.bit_not: "stablehlo.not",
    arith.shift_left: "stablehlo.shift_left",
    math_dialect.exp: "stablehlo.exponential",
    math_dialect.expm1: "stablehlo.exponential_minus_one",
    math_dialect.log: "stablehlo.log",
    math_dialect.log1p: "stablehlo.log_plus_one",
    math_dialect.sin: "stablehlo.sine",
    math_dialect.cos: "stablehlo.cosine",
    math_dialect.tan: "stablehlo.tan",
    math_dialect.tanh: "stablehlo.tanh",
    math_dialect.sigmoid: "stablehlo.logistic",
    math_dialect.pow_: "stablehlo.power",
    math_dialect.atan2: "stablehlo.atan2",
    math_dialect.sinh: "chlo.sinh",
    math_dialect.cosh: "chlo.cosh",
    math_dialect.asin: "chlo.asin",
    math_dialect.acos: "chlo.acos",
    math_dialect.atan: "chlo.atan",
    math_dialect.asinh: "chlo.asinh",
    math_dialect.acosh: "chlo.acosh",
    math_dialect.atanh: "chlo.atanh",
    math_dialect.erf: "chlo.erf",
    math_dialect.erfc: "chlo.erfc",
    math_dialect.erfinv: "chlo.erf_inv",
    math_dialect.lgamma: "chlo.lgamma",
    math_dialect.digamma: "chlo.digamma",
}
"""Operations that StableHLO has too."""

_IDENTITY_OF_INTEGERS: dict[Declaration, str] = {
    arith.floor: "stablehlo.floor",
    arith.ceil: "stablehlo.ceil",
    arith.abs_: "stablehlo.abs",
}

_DIRECTIONS = {"eq": "EQ", "ne": "NE", "lt": "LT", "le": "LE", "gt": "GT", "ge": "GE"}


def broadcast(e: Emitter, operation: Operation, operands: list[Term]) -> list[Term]:
    """All operands in the shape of the result."""
    shape = tensor_type(operation.result).shape
    return [e.broadcast(term, shape) for term in operands]


def _same(name: str) -> Rule:
    def emit(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
        return e.op(name, broadcast(e, operation, operands), tensor_type(operation.result))

    return emit


for _declaration, _name in _SAME.items():
    rule(_declaration)(_same(_name))


def _like(e: Emitter, value: Any, term: Term) -> Term:
    return e.constant(value, term.type)


@rule(*_IDENTITY_OF_INTEGERS)
def _rounding(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    (x,) = operands
    has_less = "fc" if operation.declaration is not arith.abs_ else "fci"
    if x.type.dtype.kind not in has_less:
        return x
    return e.op(_IDENTITY_OF_INTEGERS[operation.declaration], operands, tensor_type(operation.result))


@rule(arith.trunc)
def _trunc(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    (x,) = operands
    if x.type.dtype.kind != "f":
        return x
    below = e.compare("LT", x, _like(e, 0.0, x))
    return e.select(below, e.op("stablehlo.ceil", [x], x.type), e.op("stablehlo.floor", [x], x.type))


@rule(arith.sign)
def _sign(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    (x,) = operands
    if x.type.dtype.kind == "f":  # XLA's sign of nan is nan, and that of -0.0 is -0.0
        zero = _like(e, 0.0, x)
        below = e.select(e.compare("LT", x, zero), _like(e, -1.0, x), zero)
        return e.select(e.compare("GT", x, zero), _like(e, 1.0, x), below)
    if x.type.dtype.kind != "u":
        return e.op("stablehlo.sign", [x], x.type)
    return e.op("stablehlo.minimum", [x, _like(e, 1, x)], x.type)


@rule(arith.fma)
def _fma(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    a, b, c = broadcast(e, operation, operands)
    return e.op("stablehlo.add", [e.op("stablehlo.multiply", [a, b], a.type), c], a.type)


@rule(arith.copysign)
def _copysign(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    a, b = broadcast(e, operation, operands)
    bits = {2: dtypes.int16, 4: dtypes.int32, 8: dtypes.int64}[a.type.dtype.itemsize]
    type = a.type.with_dtype(bits)
    negative = e.compare("LT", e.op("stablehlo.bitcast_convert", [b], type), e.constant(0, type))
    size = e.op("stablehlo.abs", [a], a.type)
    return e.select(negative, e.op("stablehlo.negate", [size], a.type), size)


@rule(math_dialect.polygamma)
def _polygamma(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    (x,) = operands
    return e.op("chlo.polygamma", [_like(e, operation.attributes.n, x), x], x.type)


@rule(math_dialect.hypot)
def _hypot(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """The larger times sqrt(1 + (smaller / larger)²), which overflows only where the result does."""
    a, b = [e.op("stablehlo.abs", [term], term.type) for term in broadcast(e, operation, operands)]
    large, small = (e.op(f"stablehlo.{name}", [a, b], a.type) for name in ("maximum", "minimum"))
    ratio = e.op("stablehlo.divide", [small, large], a.type)
    under_root = e.op("stablehlo.add", [e.op("stablehlo.multiply", [ratio, ratio], a.type), _like(e, 1.0, a)], a.type)
    scaled = e.op("stablehlo.multiply", [large, e.op("stablehlo.sqrt", [under_root], a.type)], a.type)
    infinite = e.compare("EQ", large, _like(e, math.inf, a))
    plain = e.op("stablehlo.or", [infinite, e.compare("EQ", large, _like(e, 0.0, a))], infinite.type)
    return e.select(plain, large, scaled)


@rule(arith.shift_right)
def _shift_right(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    kind = "logical" if operands[0].type.dtype.kind == "u" else "arithmetic"
    return _same(f"stablehlo.shift_right_{kind}")(e, operation, operands)


def _scaled(name: str, inner: float = 1.0, outer: float = 1.0) -> Rule:
    """A function of another base: name(x * inner) * outer."""

    def emit(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
        (x,) = operands
        if inner != 1.0:
            x = e.op("stablehlo.multiply", [x, _like(e, inner, x)], x.type)
        y = e.op(name, [x], x.type)
        return y if outer == 1.0 else e.op("stablehlo.multiply", [y, _like(e, outer, y)], y.type)

    return emit


rule(math_dialect.exp2)(_scaled("stablehlo.exponential", inner=math.log(2.0)))
rule(math_dialect.log2)(_scaled("stablehlo.log", outer=1.0 / math.log(2.0)))
rule(math_dialect.log10)(_scaled("stablehlo.log", outer=1.0 / math.log(10.0)))


@rule(arith.compare)
def _compare(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    a, b = broadcast(e, operation, operands)
    return e.compare(_DIRECTIONS[operation.attributes.predicate], a, b)


@rule(arith.select)
def _select(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return e.select(*broadcast(e, operation, operands))


@rule(arith.constant)
def _constant(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return e.constant(operation.attributes.value, tensor_type(operation.result))


@rule(arith.cast)
def _cast(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return convert(e, operands[0], operation.attributes.dtype)


@rule(arith.bitcast)
def _bitcast(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return e.op("stablehlo.bitcast_convert", operands, tensor_type(operation.result))


def convert(e: Emitter, term: Term, dtype: DType) -> Term:
    """The numbers in another element type; to bool: whether they are not 0, between integers: modulo, as in C."""
    source = term.type.dtype
    type: TensorType = term.type.with_dtype(dtype)
    if source is dtype:
        return term
    if dtype is dtypes.bool_:
        return e.compare("NE", term, _like(e, 0, term))
    if source.kind == "c" and dtype.kind != "c":
        part = dtypes.float32 if source is dtypes.complex64 else dtypes.float64
        return convert(e, e.op("stablehlo.real", [term], term.type.with_dtype(part)), dtype)
    return e.op("stablehlo.convert", [term], type)
