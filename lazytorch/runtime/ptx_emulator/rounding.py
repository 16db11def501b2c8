"""Exact floating-point arithmetic where NumPy's own is not what PTX asks for: fused multiply-add, directed rounding,
bfloat16.

A result is formed in float64 *rounded to odd*: truncated, with the last bit set if anything was lost. Rounding that once
more, to a format at least two bits shorter, gives what a single rounding of the exact value gives (Boldo and Melquiond,
"Emulation of FMA and correctly rounded sums", 2008)."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from lazytorch.runtime.ptx_emulator.types import Array, Type

NEAREST, ZERO, DOWN, UP = "rn", "rz", "rm", "rp"


def bfloat16_to_float32(bits: Array) -> Array:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b as a rounded float64 and the error of it, exactly (Knuth)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def to_odd(total: Array, error: Array) -> Array:
    """The exact total + error rounded to odd."""
    bits = np.ascontiguousarray(total).view(np.int64)
    adjust = (error != 0) & ((bits & 1) == 0) & np.isfinite(total)
    if not adjust.any():
        return total
    return (bits + np.where(adjust, np.where((error > 0) == (total > 0), 1, -1), 0)).view(np.float64)


def round_to(value: Array, kind: Type, mode: str = NEAREST) -> Array:
    """float64 values (rounded to odd, if they are not exact) in a shorter format, as that type's view."""
    if kind.kind == "f" and kind.bits == 64:
        return value
    if kind.kind == "f" and mode == NEAREST:
        return value.astype(kind.view)
    digits, least, most = _FORMATS[kind.name]
    mantissa, exponent = np.frexp(np.where(np.isfinite(value), value, 0.0))
    unit = np.maximum(exponent - digits, least)
    scaled = np.ldexp(value, -unit) if mode != NEAREST else np.ldexp(mantissa, exponent - unit)
    whole = _TO_INTEGER[mode](scaled)
    result = np.where(np.isfinite(value), np.copysign(np.ldexp(whole, unit), value), value)
    over = np.isfinite(value) & (np.abs(result) > most)
    if over.any():
        away = (mode in (NEAREST, "rna")) | ((mode == UP) & (value > 0)) | ((mode == DOWN) & (value < 0))
        result = np.where(over, np.copysign(np.where(away, np.inf, most), value), result)
    if kind.kind == "f":
        return result.astype(kind.view)
    if kind.kind == "bf":
        return float32_to_bfloat16_bits(result.astype(np.float32))
    return result.astype(np.float32).view(np.uint32)  # tf32


# Digits of the significand, exponent of the smallest subnormal's unit, largest finite value.
_FORMATS = {
    "f16": (11, -24, 65504.0),
    "bf16": (8, -133, float.fromhex("0x1.fep127")),
    "tf32": (11, -136, float.fromhex("0x1.ffcp127")),
    "f32": (24, -149, float(np.finfo(np.float32).max)),
}


def _ties_away(value: Array) -> Array:
    return np.copysign(np.floor(np.abs(value) + 0.5), value)


_TO_INTEGER: dict[str, Callable[[Array], Array]] = {
    NEAREST: np.rint,
    ZERO: np.trunc,
    DOWN: np.floor,
    UP: np.ceil,
    "rna": _ties_away,
}


def float32_to_bfloat16_bits(value: Array) -> Array:
    """bfloat16 nearest to float32 values; nan is the canonical one."""
    bits = np.ascontiguousarray(value).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(value), np.uint32(0x7FFF), rounded).astype(np.uint16)


def fma32(a: Array, b: Array, c: Array) -> Array:
    """float32 a·b + c rounded once. The product is exact in float64; the sum's rounding matters only if it makes a tie."""
    product = a.astype(np.float64) * b.astype(np.float64)
    total = product + c.astype(np.float64)
    result = total.astype(np.float32)
    ties = (total.view(np.int64) & 0x1FFF_FFFF) == 0x1000_0000
    if ties.any() or float(np.fmin.reduce(np.abs(result))) < 2.0**-126:  # subnormal results tie elsewhere
        return to_odd(*two_sum(product, c.astype(np.float64))).astype(np.float32)
    return result


def fma_to_odd(a: Array, b: Array, c: Array) -> Array:
    """a·b + c for formats whose products are exact in float64, rounded to odd."""
    return to_odd(*two_sum(a.astype(np.float64) * b.astype(np.float64), np.asarray(c, np.float64)))


_SPLIT = float(2**27 + 1)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a·b as a rounded float64 and its error (Dekker), for values far from overflow and underflow."""
    product = a * b
    high_a = a * _SPLIT
    high_a = high_a - (high_a - a)
    high_b = b * _SPLIT
    high_b = high_b - (high_b - b)
    low_a, low_b = a - high_a, b - high_b
    return product, low_a * low_b - (((product - high_a * high_b) - low_a * high_b) - high_a * low_b)


def fma64(a: Array, b: Array, c: Array) -> Array:
    """float64 a·b + c rounded once."""
    a, b, c = np.broadcast_arrays(a, b, c)
    product, low = two_product(a, b)
    middle, tail = two_sum(c, low)
    high, rest = two_sum(product, middle)
    result = high + to_odd(*two_sum(rest, tail))
    # The splitting needs room at both ends of the exponents; there, and nowhere else, count with integers.
    sizes = np.stack([np.abs(a), np.abs(b), np.abs(product)])
    hard = ((sizes > 2.0**960) | (sizes < 2.0**-960)).any(axis=0) | (np.abs(c) > 2.0**1000) | (np.abs(result) < 2.0**-960)
    for place in np.flatnonzero(hard):
        result[place] = _fma_scalar(float(a[place]), float(b[place]), float(c[place]))
    return result


def _fma_scalar(a: float, b: float, c: float) -> float:
    if not (np.isfinite(a) and np.isfinite(b) and np.isfinite(c)):
        product = np.float64(a) * np.float64(b)
        return float(product + c) if np.isfinite(c) or not (np.isfinite(a) and np.isfinite(b)) else c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c if a == 0 or b == 0 else 0.0
    try:
        return float(exact)
    except OverflowError:
        return float("inf") if exact > 0 else float("-inf")


def directed(nearest: Array, error: Array, mode: str) -> Array:
    """From the nearest result and the sign of (exact - nearest), the result rounded in another direction."""
    if mode == NEAREST:
        return nearest
    kind = nearest.dtype.type
    below = np.nextafter(nearest, kind(-np.inf))
    above = np.nextafter(nearest, kind(np.inf))
    if mode == DOWN:
        return np.where(error < 0, below, nearest)
    if mode == UP:
        return np.where(error > 0, above, nearest)
    toward = ((nearest > 0) & (error < 0)) | ((nearest < 0) & (error > 0))
    return np.where(toward, np.where(nearest > 0, below, above), nearest)


def flush(value: Array) -> Array:
    """`.ftz`: float32 subnormals are zero of the same sign."""
    return np.where(np.abs(value) < np.float32(2.0**-126), np.copysign(np.float32(0), value), value)
