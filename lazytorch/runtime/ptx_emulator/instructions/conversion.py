"""cvt: between types, with every rounding mode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, instruction
from lazytorch.runtime.ptx_emulator.instructions.floating import decoded
from lazytorch.runtime.ptx_emulator.instructions.integer import compute
from lazytorch.runtime.ptx_emulator.rounding import directed, flush, round_to, to_odd, two_sum
from lazytorch.runtime.ptx_emulator.types import Array, Type, type_named

INTEGER_ROUNDING: dict[str, Callable[[Array], Array]] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
FLOAT_ROUNDING = ("rn", "rz", "rm", "rp", "rna")


@instruction("cvt")
def convert(decoder: Decoder) -> Execute:
    source = decoder.take_type()
    target = decoder.take_type()
    saturate = decoder.flag("sat")
    finite = decoder.flag("satfinite")
    rounding = decoder.take(*INTEGER_ROUNDING, *FLOAT_ROUNDING)
    ftz = decoder.flag("ftz")
    relu = decoder.flag("relu")
    if target.lanes > 1 or source.lanes > 1:
        return _packed(decoder, source, target, rounding or "rn", relu, finite)
    decoder.arity(2)
    function = conversion(source, target, rounding, saturate, finite)
    inner = function
    if ftz and source.name == "f32":
        function = lambda value: inner(flush(value))  # noqa: E731
    if relu:
        plain = function
        function = lambda value: np.where(value < 0, target.view.type(0), plain(value))  # noqa: E731
    if ftz and target.name == "f32":
        last = function
        function = lambda value: flush(last(value))  # noqa: E731
    return compute(decoder.write(decoder.operands[0], target), function, decoder.read(decoder.operands[1], source))


def conversion(source: Type, target: Type, rounding: str | None, saturate: bool, finite: bool) -> Callable[[Array], Array]:
    """From the source's view to the target's."""
    if source.is_float and target.is_float:
        return _between_floats(source, target, rounding, saturate, finite)
    if source.is_float:
        return _to_integer(source, target, rounding or "rzi")
    if target.is_float:
        return _from_integer(target, rounding or "rn", saturate)
    dtype = target.view
    if saturate:
        limits = np.iinfo(dtype)
        return lambda value: _clipped(value, limits.min, limits.max).astype(dtype)
    return lambda value: value.astype(dtype)


def _clipped(value: Array, low: int, high: int) -> Array:
    own = np.iinfo(value.dtype)
    return np.clip(value, max(low, int(own.min)), min(high, int(own.max)))


def _between_floats(
    source: Type, target: Type, rounding: str | None, saturate: bool, finite: bool
) -> Callable[[Array], Array]:
    decode = decoded(source)
    whole = INTEGER_ROUNDING.get(rounding or "")
    mode = "rn" if rounding is None or whole else rounding
    same = source.name == target.name
    widens = target.kind == "f" and source.bits < target.bits

    def function(value: Array) -> Array:
        number = decode(value)
        if whole:
            number = whole(number)
        if saturate:
            number = np.where(np.isnan(number), number.dtype.type(0), np.clip(number, 0, 1))
        if finite:
            most = {"f16": 65504.0, "bf16": float.fromhex("0x1.fep127"), "tf32": float.fromhex("0x1.ffcp127")}[target.name]
            number = np.where(np.isnan(number), number, np.clip(number, -most, most))
        if same and target.kind == "f":
            return number
        if widens:
            return number.astype(target.view)
        return round_to(number.astype(np.float64), target, mode)

    return function


def _to_integer(source: Type, target: Type, rounding: str) -> Callable[[Array], Array]:
    """Rounded, then clipped to the target's range; nan is 0 between types of at most 32 bits, else only the highest bit."""
    decode, whole = decoded(source), INTEGER_ROUNDING[rounding]
    dtype, limits = target.view, np.iinfo(target.view)
    highest = np.array([1 << (target.bits - 1)], target.storage).view(dtype)[0]
    nan = highest if source.bits == 64 or target.bits == 64 else dtype.type(0)
    above = float(limits.max) + 1.0 if target.bits == 64 else float(limits.max)

    def function(value: Array) -> Array:
        number = whole(decode(value).astype(np.float64))
        inside = np.clip(np.where(np.isnan(number), 0.0, number), float(limits.min), above)
        over = inside >= above
        exact = np.where(over, 0.0, inside).astype(dtype)
        result = np.where(over, dtype.type(limits.max), exact)
        return np.where(np.isnan(number), nan, result)

    return function


def _from_integer(target: Type, mode: str, saturate: bool) -> Callable[[Array], Array]:
    if target.kind == "f" and mode == "rn" and not saturate:
        dtype = target.view
        if target.bits > 16:
            return lambda value: value.astype(dtype)

    def function(value: Array) -> Array:
        number, error = _as_sum(value)
        if saturate:
            number, error = np.clip(number, 0, 1), np.zeros(1)
        return directed(number, error, mode) if target.bits == 64 else round_to(to_odd(number, error), target, mode)

    return function


def _as_sum(value: Array) -> tuple[Array, Array]:
    """Integers as float64 values and what those miss."""
    if value.dtype.itemsize < 8:
        return value.astype(np.float64), np.zeros(1)
    low = (value & value.dtype.type(0xFFFF_FFFF)).astype(np.float64)
    high = (value >> value.dtype.type(32)).astype(np.float64)
    return two_sum(high * 2.0**32, low)


_EIGHT_BITS = {"e4m3": (4, 3), "e5m2": (5, 2)}  # of the exponent, of the fraction


def _packed(decoder: Decoder, source: Type, target: Type, rounding: str, relu: bool, finite: bool) -> Execute:
    """`cvt.rn.bf16x2.f32 d, high, low` and conversions of pairs of 8-bit floats."""
    if target.element.name in ("f16", "bf16") and source.name == "f32":
        decoder.arity(3)
        element = target.element
        narrow = conversion(source, element, rounding, False, finite)

        def pack(high: Array, low: Array) -> Array:
            halves = [narrow(np.where(half < 0, np.float32(0), half) if relu else half) for half in (low, high)]
            pair = np.stack(np.broadcast_arrays(*halves), axis=1)
            return pair.view(np.uint32).reshape(-1)

        sources = [decoder.read(operand, source) for operand in decoder.operands[1:]]
        return compute(decoder.write(decoder.operands[0], target), pack, *sources)
    if target.element.name in _EIGHT_BITS:
        return _to_eight_bits(decoder, source, target, relu)
    if source.element.name in _EIGHT_BITS and target.name == "f16x2":
        decoder.arity(2)
        table = eight_bit_values(source.element).astype(np.float16)
        read = decoder.read(decoder.operands[1], type_named("b16"))

        def widen(pair: Array) -> Array:
            return table[np.ascontiguousarray(pair).view(np.uint8)].view(np.uint32)

        return compute(decoder.write(decoder.operands[0], target), widen, read)
    raise decoder.error(f"unsupported conversion from .{source.name} to .{target.name}")


def eight_bit_values(kind: Type) -> Array:
    """The values of the 256 bit patterns of an 8-bit float."""
    exponent_bits, fraction_bits = _EIGHT_BITS[kind.name]
    bits = np.arange(256)
    exponent, fraction = (bits >> fraction_bits) & ((1 << exponent_bits) - 1), bits & ((1 << fraction_bits) - 1)
    bias = (1 << (exponent_bits - 1)) - 1
    scale = np.ldexp(1.0, np.maximum(exponent, 1) - bias - fraction_bits)
    value = np.where(exponent > 0, fraction + (1 << fraction_bits), fraction) * scale
    if kind.name == "e5m2":
        value = np.where((exponent == 31) & (fraction == 0), np.inf, np.where(exponent == 31, np.nan, value))
    else:
        value = np.where(bits & 127 == 127, np.nan, value)
    return np.where(bits & 128, -value, value)


def _to_eight_bits(decoder: Decoder, source: Type, target: Type, relu: bool) -> Execute:
    """Always with .satfinite: what is too large becomes the largest finite value."""
    element = target.element
    values = eight_bit_values(element)[:128]
    finite = np.flatnonzero(np.isfinite(values))
    steps = values[finite]
    middles = (steps[1:] + steps[:-1]) / 2

    def narrow(number: Array) -> Array:
        size = np.abs(number).astype(np.float64)
        low = np.searchsorted(middles, size, side="left")  # a tie stays with the smaller one
        tie = (low < len(middles)) & (size == middles[np.minimum(low, len(middles) - 1)]) & (low % 2 == 1)
        code = (low + tie).astype(np.uint8)
        code = np.where(np.isnan(size), np.uint8(127), code)
        if relu:
            return np.where(np.signbit(number) & ~np.isnan(number), np.uint8(0), code)
        signed: Array = code | (np.signbit(number) & ~np.isnan(number)).astype(np.uint8) << np.uint8(7)
        return signed

    write = decoder.write(decoder.operands[0], type_named("b16"))
    if source.name == "f32":
        decoder.arity(3)
        sources = [decoder.read(operand, source) for operand in decoder.operands[1:]]
        return compute(write, lambda high, low: _bytes(narrow(low), narrow(high)), *sources)
    if source.name != "f16x2":
        raise decoder.error(f"unsupported conversion from .{source.name} to .{target.name}")
    decoder.arity(2)

    def from_halves(pair: Array) -> Array:
        halves = np.ascontiguousarray(pair).view(np.float16).reshape(-1, 2)
        return _bytes(narrow(halves[:, 0]), narrow(halves[:, 1]))

    return compute(write, from_halves, decoder.read(decoder.operands[1], source))


def _bytes(low: Array, high: Array) -> Array:
    return np.stack(np.broadcast_arrays(low, high), axis=1).astype(np.uint8).view(np.uint16).reshape(-1)
