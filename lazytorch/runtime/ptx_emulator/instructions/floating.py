"""Floating-point arithmetic, and the opcodes that it shares with integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, Reader, instruction
from lazytorch.runtime.ptx_emulator.instructions import integer
from lazytorch.runtime.ptx_emulator.instructions.integer import compute
from lazytorch.runtime.ptx_emulator.rounding import (
    bfloat16_to_float32,
    directed,
    float32_to_bfloat16_bits,
    flush,
    fma32,
    fma64,
    fma_to_odd,
    round_to,
    to_odd,
    two_product,
    two_sum,
)
from lazytorch.runtime.ptx_emulator.threads import Threads
from lazytorch.runtime.ptx_emulator.types import Array, Type, is_type, type_named

Function = Callable[..., Array]


def last_type(decoder: Decoder) -> Type:
    """The type that decides which family an opcode belongs to."""
    for modifier in reversed(decoder.modifiers):
        if is_type(modifier):
            return type_named(modifier)
    raise decoder.error("no type")


def decoded(kind: Type) -> Function:
    """From a scalar type's view to what NumPy computes with."""
    return bfloat16_to_float32 if kind.kind == "bf" else lambda bits: bits


def encoded(kind: Type) -> Function:
    return float32_to_bfloat16_bits if kind.kind == "bf" else lambda value: value


def lanewise(kind: Type, function: Function) -> Function:
    """`function` of NumPy floats as a function of operands of this type, which may be packed or bfloat16."""
    element = kind.element
    if kind.lanes == 1 and kind.kind == "f":
        return function
    decode, encode, view = decoded(element), encoded(element), element.view

    def on_words(*words: Array) -> Array:
        if kind.lanes == 1:
            return np.ascontiguousarray(encode(function(*(decode(word) for word in words))))
        lanes = [decode(np.ascontiguousarray(word).view(view).reshape(-1, kind.lanes)) for word in words]
        result = np.ascontiguousarray(encode(function(*lanes)))
        return result.view(kind.storage).reshape(-1)

    return on_words


def saturated(function: Function) -> Function:
    def clamp(*values: Array) -> Array:
        result = function(*values)
        return np.where(np.isnan(result), result.dtype.type(0), np.clip(result, 0, 1)).astype(result.dtype)

    return clamp


def flushed(function: Function) -> Function:
    return lambda *values: flush(function(*(flush(value) for value in values)))


def rectified(function: Function) -> Function:
    """`.relu`: negative results are zero, nan stays."""

    def relu(*values: Array) -> Array:
        result = function(*values)
        return np.where(result < 0, result.dtype.type(0), result)

    return relu


def _modified(decoder: Decoder, kind: Type, function: Function) -> Function:
    """The function with the modifiers that change operands or the result."""
    if decoder.flag("ftz") and kind.element.bits == 32:
        function = flushed(function)
    if decoder.flag("sat"):
        function = saturated(function)
    if decoder.flag("relu"):
        function = rectified(function)
    return function


def _apply(decoder: Decoder, kind: Type, function: Function, operands: int) -> Execute:
    return integer.apply(decoder, kind, lanewise(kind, function), operands)


# Addition, subtraction, multiplication
def _sum_exactly(kind: Type, mode: str, sign: float) -> Function:
    if kind.bits == 64:
        return lambda a, b: directed(*two_sum(a, sign * b), mode)
    return lambda a, b: round_to(to_odd(*two_sum(a.astype(np.float64), sign * b.astype(np.float64))), kind, mode)


def _product_exactly(kind: Type, mode: str) -> Function:
    if kind.bits == 64:
        return lambda a, b: directed(*two_product(a, b), mode)
    return lambda a, b: round_to(a.astype(np.float64) * b.astype(np.float64), kind, mode)


@instruction("add", "sub", "mul")
def arithmetic(decoder: Decoder) -> Execute:
    kind = last_type(decoder)
    if not kind.is_float:
        return integer.multiply(decoder) if decoder.opcode == "mul" else integer.add_or_subtract(decoder)
    mode = decoder.take("rn", "rz", "rm", "rp") or "rn"
    plain = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[decoder.opcode]
    function: Function = plain
    if mode != "rn":
        if kind.element.name not in ("f32", "f64"):
            raise decoder.error(f".{mode} is not supported for .{kind.name}")
        signs = {"add": 1.0, "sub": -1.0}
        exact = _product_exactly(kind.element, mode) if decoder.opcode == "mul" else None
        function = exact or _sum_exactly(kind.element, mode, signs[decoder.opcode])
    function = _modified(decoder, kind, function)
    decoder.take_type()
    if decoder.modifiers and is_type(decoder.modifiers[-1]):
        return _mixed(decoder, kind, function)
    return _apply(decoder, kind, function, 2)


def _mixed(decoder: Decoder, short: Type, function: Function) -> Execute:
    """`add.f32.bf16 d, a, c`: the first source is of a shorter type."""
    kind = decoder.take_type()
    if kind.name != "f32" or short.name not in ("f16", "bf16"):
        raise decoder.error(f"unsupported types .{kind.name}.{short.name}")
    write = decoder.write(decoder.operands[0], kind)
    sources = [decoder.read(operand, short) for operand in decoder.operands[1:-1]]
    last = decoder.read(decoder.operands[-1], kind)
    widen = decoded(short)

    def wide(*values: Array) -> Array:
        return function(*(widen(value).astype(np.float32) for value in values[:-1]), values[-1])

    return compute(write, wide, *sources, last)


@instruction("fma")
def fused_multiply_add(decoder: Decoder) -> Execute:
    mode = decoder.choose("rn", "rz", "rm", "rp")
    kind = last_type(decoder)
    element = kind.element
    function: Function
    if mode != "rn":
        if element.name != "f32":
            raise decoder.error(f".{mode} is not supported for .{kind.name}")
        function = lambda a, b, c: round_to(fma_to_odd(a, b, c), element, mode)  # noqa: E731
    elif element.kind == "bf":
        # The value is rounded here; encoding an exact bfloat16 changes nothing.
        function = lambda a, b, c: bfloat16_to_float32(round_to(fma_to_odd(a, b, c), element))  # noqa: E731
    elif element.bits == 16:
        function = lambda a, b, c: fma_to_odd(a, b, c).astype(np.float16)  # noqa: E731
    else:
        function = fma32 if element.bits == 32 else fma64
    function = _modified(decoder, kind, function)
    decoder.take_type()
    if decoder.modifiers and is_type(decoder.modifiers[-1]):
        wide = fma32 if mode == "rn" else function
        return _mixed(decoder, kind, wide)
    return _apply(decoder, kind, function, 3)


@instruction("div")
def divide(decoder: Decoder) -> Execute:
    kind = last_type(decoder)
    if not kind.is_float:
        return integer.divide(decoder)
    mode = decoder.choose("rn", "rz", "rm", "rp", "approx", "full")
    function: Function = np.divide
    if mode in ("rz", "rm", "rp"):
        function = _quotient_exactly(kind, mode)
    function = _modified(decoder, kind, function)
    decoder.take_type()
    return _apply(decoder, kind, function, 2)


def _quotient_exactly(kind: Type, mode: str) -> Function:
    def function(a: Array, b: Array) -> Array:
        x, y = a.astype(np.float64), b.astype(np.float64)
        quotient = x / y
        product, low = two_product(quotient, y)
        residual = ((x - product) - low) * np.sign(y)
        residual = np.where(np.isfinite(quotient) & np.isfinite(y), residual, 0.0)
        return directed(quotient, residual, mode) if kind.bits == 64 else round_to(to_odd(quotient, residual), kind, mode)

    return function


def _root_exactly(kind: Type, mode: str) -> Function:
    def function(a: Array) -> Array:
        x = a.astype(np.float64)
        root = np.sqrt(x)
        product, low = two_product(root, root)
        residual = np.where(np.isfinite(root), (x - product) - low, 0.0)
        return directed(root, residual, mode) if kind.bits == 64 else round_to(to_odd(root, residual), kind, mode)

    return function


@instruction("sqrt", "rcp")
def root_or_reciprocal(decoder: Decoder) -> Execute:
    mode = decoder.choose("rn", "rz", "rm", "rp", "approx")
    kind = last_type(decoder)
    root = decoder.opcode == "sqrt"
    function: Function
    if mode in ("rn", "approx"):
        function = np.sqrt if root else lambda a: a.dtype.type(1) / a
    elif root:
        function = _root_exactly(kind, mode)
    else:
        quotient = _quotient_exactly(kind, mode)
        function = lambda a: quotient(np.ones(1, a.dtype), a)  # noqa: E731
    function = _modified(decoder, kind, function)
    decoder.take_type()
    return _apply(decoder, kind, function, 1)


def _via_float64(function: Function) -> Function:
    return lambda a: function(a.astype(np.float64)).astype(a.dtype)


APPROXIMATE: dict[str, Function] = {
    "rsqrt": lambda a: 1.0 / np.sqrt(a),
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
}


@instruction(*APPROXIMATE)
def approximate(decoder: Decoder) -> Execute:
    """Hardware approximations, which are exact here: a tolerance of their documented error is the tests' business."""
    decoder.flag("approx")
    kind = last_type(decoder)
    function = _modified(decoder, kind, _via_float64(APPROXIMATE[decoder.opcode]))
    decoder.take_type()
    return _apply(decoder, kind, function, 1)


# Signs, minima, comparisons
@instruction("neg", "abs")
def sign_bits(decoder: Decoder) -> Execute:
    kind = last_type(decoder)
    if not kind.is_float:
        return integer.negate(decoder) if decoder.opcode == "neg" else integer.absolute(decoder)
    ftz = decoder.flag("ftz")
    decoder.take_type()
    if ftz:
        return _apply(decoder, kind, flushed(np.negative if decoder.opcode == "neg" else np.abs), 1)
    bits = kind.bits // kind.lanes
    mask = kind.storage.type(sum(1 << (bits * (lane + 1) - 1) for lane in range(kind.lanes)))
    storage = type_named(f"b{kind.bits}")
    if decoder.opcode == "neg":
        return integer.apply(decoder, storage, lambda a: a ^ mask, 1)
    return integer.apply(decoder, storage, lambda a: a & ~mask, 1)


@instruction("copysign")
def copy_sign(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    return _apply(decoder, kind, lambda sign, magnitude: np.copysign(magnitude, sign), 2)


def minimum(a: Array, b: Array) -> Array:
    """The smaller number, the other operand if one is nan; -0 is smaller than +0."""
    return _zero_signs(np.fmin(a, b), a, b, np.logical_or)


def maximum(a: Array, b: Array) -> Array:
    return _zero_signs(np.fmax(a, b), a, b, np.logical_and)


def _zero_signs(result: Array, a: Array, b: Array, combine: Function) -> Array:
    zeros = (a == 0) & (b == 0)
    if not zeros.any():
        return result
    negative = combine(np.signbit(a), np.signbit(b))
    zero = result.dtype.type(0)
    return np.where(zeros, np.where(negative, -zero, zero), result)


@instruction("min", "max")
def extremum(decoder: Decoder) -> Execute:
    kind = last_type(decoder)
    if not kind.is_float:
        return integer.minimum_or_maximum(decoder)
    inner = minimum if decoder.opcode == "min" else maximum
    function: Function = inner
    if decoder.flag("NaN"):
        function = lambda a, b: np.where(np.isnan(a) | np.isnan(b), a.dtype.type(np.nan), inner(a, b))  # noqa: E731
    if decoder.flag("xorsign"):
        decoder.choose("abs")
        unsigned = function

        def function(a: Array, b: Array) -> Array:
            negative = np.signbit(a) ^ np.signbit(b)
            signed: Array = np.copysign(unsigned(np.abs(a), np.abs(b)), np.where(negative, -1.0, 1.0).astype(a.dtype))
            return signed

    function = _modified(decoder, kind, function)
    decoder.take_type()
    return _apply(decoder, kind, function, 2)


CLASSES: dict[str, Function] = {
    "finite": np.isfinite,
    "infinite": np.isinf,
    "number": lambda a: ~np.isnan(a),
    "notanumber": np.isnan,
    "normal": lambda a: np.isfinite(a) & (np.abs(a) >= np.finfo(a.dtype).tiny),
    "subnormal": lambda a: (np.abs(a) < np.finfo(a.dtype).tiny) & (a != 0),
}


@instruction("testp")
def test_class(decoder: Decoder) -> Execute:
    function = CLASSES[decoder.choose(*CLASSES)]
    kind = decoder.take_type()
    return integer.apply(decoder, kind, function, 1, type_named("pred"))


_ORDERED: dict[str, Function] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
COMPARISONS = (*_ORDERED, *_UNSIGNED, *(f"{name}u" for name in _ORDERED), "num", "nan")
COMBINATIONS: dict[str, Function] = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def comparison(name: str, kind: Type) -> Function:
    """The comparison of two operands of this type, as truth values."""
    if not kind.is_float:
        return _ORDERED[_UNSIGNED.get(name, name)]
    if name in ("num", "nan"):
        ordered = name == "num"
        return lambda a, b: (np.isnan(a) | np.isnan(b)) != ordered
    if name == "ne":  # ordered: false if an operand is nan
        return lambda a, b: (a != b) & ~(np.isnan(a) | np.isnan(b))
    if name in _ORDERED:
        return _ORDERED[name]
    inner = _ORDERED[name[:-1]]
    return lambda a, b: inner(a, b) | np.isnan(a) | np.isnan(b)


def _compare(decoder: Decoder, kind: Type) -> Function:
    function = comparison(decoder.choose(*COMPARISONS), kind.element)
    if decoder.flag("ftz"):
        inner = function
        function = lambda a, b: inner(flush(a), flush(b))  # noqa: E731
    if not kind.is_float:
        return function
    decode = decoded(kind.element)
    if kind.lanes == 1:
        return lambda a, b: function(decode(a), decode(b))
    view = kind.element.view

    def on_lanes(a: Array, b: Array) -> Array:
        return function(*(decode(np.ascontiguousarray(word).view(view).reshape(-1, kind.lanes)) for word in (a, b)))

    return on_lanes


@instruction("setp")
def set_predicate(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    count = decoder.arity(3, 4)
    function = _compare(decoder, kind)
    combine: Function | None = None
    other: Reader | None = None
    if count == 4:
        combine = COMBINATIONS[decoder.choose(*COMBINATIONS)]
        other = decoder.predicate(decoder.operands[3])
    names = str(decoder.operands[0]).split("|")
    writes = [decoder.write(name.strip(), type_named("pred")) for name in names]
    first, second = (decoder.read(operand, kind) for operand in decoder.operands[1:3])
    if len(writes) == 1 and combine is None and kind.lanes == 1:
        return compute(writes[0], function, first, second)

    def execute(threads: Threads) -> None:
        registers = threads.registers
        holds = function(first(registers), second(registers))
        results = [holds, ~holds] if kind.lanes == 1 else [holds[:, 0], holds[:, 1]]
        if combine is not None and other is not None:
            condition = other(registers)
            results = [combine(result, condition) for result in results]
        for write, result in zip(writes, results, strict=False):
            write(registers, result)

    return execute


@instruction("set")
def set_value(decoder: Decoder) -> Execute:
    """A comparison whose result is all ones, or 1.0."""
    kind = decoder.take_type()
    result = decoder.take_type()
    decoder.arity(3)
    if kind.lanes > 1:
        raise decoder.error("packed comparisons are supported by setp only")
    function = _compare(decoder, kind)
    write = decoder.write(decoder.operands[0], result)
    sources = [decoder.read(operand, kind) for operand in decoder.operands[1:]]
    true = result.view.type(1.0) if result.kind == "f" else ~result.storage.type(0)

    def value(a: Array, b: Array) -> Array:
        chosen: Array = np.where(function(a, b), true, true.dtype.type(0)).view(result.view)
        return chosen

    return compute(write, value, *sources)
