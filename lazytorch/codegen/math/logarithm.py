"""log, log2, log10, log1p, and the inverse hyperbolic functions, which are logarithms too.

x = 2**e m with m in [sqrt(1/2), sqrt(2)), and log m = log(1 + f) = f + tail(f). In float64 the tail is fdlibm's (e_log.c,
Sun Microsystems 1993), in float32 f² (f P(f) - 1/2). The parts are added so that e ln 2 and f meet with one rounding.
"""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import (
    INFINITY,
    NAN,
    bits_of,
    expansion,
    format_of,
    like,
    polynomial,
    power_of_two,
    to_bits,
    where,
)
from lazytorch.codegen.math.exponential import LN2
from lazytorch.codegen.math.pairs import Pair, fast_two_sum, two_product, two_sum
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, math

F32, F64 = dtypes.float32, dtypes.float64
LOG_F32 = [0.06747145, -0.11675832, 0.11888018, -0.12405544, 0.14219567, -0.16668, 0.20002118, -0.2500001, 0.33333313]
"""(log(1 + f) - f + f² / 2) / f³"""
LOG_F64 = [
    1.479819860510658591e-01,
    1.531383769920937332e-01,
    1.818357216161805012e-01,
    2.222219843214978396e-01,
    2.857142874366239149e-01,
    3.999999999940941908e-01,
    6.666666666666735130e-01,
]
"""log((1 + s) / (1 - s)) = s (2 + s² P(s²))"""


def parts(x: Value) -> tuple[Value, Value]:
    """The integer e and m in [sqrt(1/2), sqrt(2)) with x = 2**e m, for a positive normal x."""
    form = format_of(x)
    bits = to_bits(x)
    # Subtracting the bits of sqrt(1/2) makes the exponent step at it.
    exponent = arith.shift_right(arith.sub(bits, bits_of(0.5**0.5, x.type.dtype)), form.mantissa_bits)
    m = arith.bitcast(arith.sub(bits, arith.shift_left(exponent, form.mantissa_bits)), dtype=x.type.dtype)
    return exponent, m


def parts_of_any(x: Value) -> tuple[Value, Value]:
    """e as a float and m, for a positive x, subnormal or not."""
    form = format_of(x)
    shift = form.mantissa_bits + 2
    tiny = arith.compare(x, form.smallest_normal, predicate="lt")
    exponent, m = parts(arith.select(tiny, arith.mul(x, 2.0**shift), x))
    e = arith.cast(exponent, dtype=x.type.dtype)
    return arith.select(tiny, arith.sub(e, float(shift)), e), m


def _tail(f: Value) -> Value:
    """log(1 + f) - f"""
    if f.type.dtype is F32:
        value: Value = arith.mul(arith.mul(f, f), arith.fma(f, polynomial(f, LOG_F32), like(f, -0.5)))
        return value
    s = arith.div(f, arith.add(f, 2.0))
    z = arith.mul(s, s)
    half = arith.mul(arith.mul(f, f), 0.5)
    value = arith.fma(s, arith.fma(z, polynomial(z, LOG_F64), half), arith.neg(half))
    return value


def _edges(x: Value, inside: Value) -> Value:
    out = where(x, "lt", INFINITY, inside, x)
    out = where(x, "eq", 0.0, -INFINITY, out)
    return where(x, "lt", 0.0, NAN, out)


def _log_of(e: Value, f: Value) -> Value:
    """e ln 2 + log(1 + f)"""
    high, low = LN2[f.type.dtype]
    value: Value = arith.fma(e, like(f, high), arith.add(f, arith.fma(e, like(f, low), _tail(f))))
    return value


@expansion(math.log, F32, F64)
def log(x: Value) -> Value:
    """Natural logarithm; -inf at 0, nan below."""
    e, m = parts_of_any(x)
    return _edges(x, _log_of(e, arith.sub(m, 1.0)))


def log_pair(x: Value) -> Pair:
    """log x of a positive finite number, and what its rounding lost: together within an eighth of a unit or so."""
    e, m = parts_of_any(x)
    f = arith.sub(m, 1.0)
    high, low = LN2[x.type.dtype]
    small, lost = two_sum(f, arith.fma(e, like(x, low), _tail(f)))
    total, rest = fast_two_sum(arith.mul(e, high), small)
    return total, arith.add(rest, lost)


def _log_to_base(x: Value, inverse: tuple[float, float], unit: tuple[float, float]) -> Value:
    """e unit + log(m) inverse, both constants as high and low parts; e times the high part of unit is exact."""
    e, m = parts_of_any(x)
    f = arith.sub(m, 1.0)
    log_m, log_m_low = fast_two_sum(f, _tail(f))
    product, low = two_product(log_m, like(x, inverse[0]))
    low = arith.fma(log_m_low, like(x, inverse[0]), arith.fma(log_m, like(x, inverse[1]), low))
    low = arith.fma(e, like(x, unit[1]), low) if unit[1] else low
    return _edges(x, arith.fma(e, like(x, unit[0]), arith.add(product, low)))


LOG2_E = {F32: (1.442695, 1.925963e-08), F64: (1.4426950408889634, 2.0355273740931033e-17)}
LOG10_E = {F32: (0.4342945, -1.010305e-08), F64: (0.4342944819032518, 1.098319650216765e-17)}
LOG10_2 = {F32: (0.3010254, 4.605039e-06), F64: (0.30102999566395283, 2.8363394551044964e-14)}


@expansion(math.log2, F32, F64)
def log2(x: Value) -> Value:
    """Logarithm to base 2; exact at powers of two."""
    return _log_to_base(x, LOG2_E[x.type.dtype], (1.0, 0.0))


@expansion(math.log10, F32, F64)
def log10(x: Value) -> Value:
    """Logarithm to base 10."""
    return _log_to_base(x, LOG10_E[x.type.dtype], LOG10_2[x.type.dtype])


def _log1p_of_pair(x: Value, rest: Value, doublings: Value | None = None) -> Value:
    """log(1 + x + rest) for x > -1, + ln 2 where the flags `doublings` hold.

    What 1 + x loses in rounding, and the rest, are added to f = m - 1 in the scale of m.
    """
    u = arith.add(x, 1.0)
    lost = where(x, "gt", 1.0, arith.sub(1.0, arith.sub(u, x)), arith.sub(x, arith.sub(u, 1.0)))
    exponent, m = parts(u)
    # Beyond 2**64 the rest is nothing, and the scale would underflow.
    scale = power_of_two(arith.neg(arith.minimum(exponent, 64)), x.type.dtype)
    rest = arith.mul(arith.add(lost, rest), scale)
    e = arith.cast(exponent, dtype=x.type.dtype)
    if doublings is not None:
        e = arith.select(doublings, arith.add(e, 1.0), e)
    return _log_of(e, arith.add(arith.sub(m, 1.0), rest))


@expansion(math.log1p, F32, F64)
def log1p(x: Value) -> Value:
    """log(1 + x), accurate near 0"""
    inside = where(x, "lt", INFINITY, _log1p_of_pair(x, like(x, 0.0)), x)
    out = where(x, "eq", -1.0, -INFINITY, arith.copysign(inside, x))
    return where(x, "lt", -1.0, NAN, out)


@expansion(math.asinh, F32, F64)
def asinh(x: Value) -> Value:
    """log1p(|x| + x² / (1 + sqrt(1 + x²))) with the sign of x; log 2|x| where 1 + x² is x²."""
    size = arith.abs_(x)
    big = arith.compare(size, 2.0**28, predicate="gt")
    square = arith.mul(size, size)
    extra = arith.div(square, arith.add(arith.sqrt(arith.add(square, 1.0)), 1.0))
    high, low = fast_two_sum(size, extra)
    value = _log1p_of_pair(arith.select(big, arith.sub(size, 1.0), high), arith.select(big, like(x, 0.0), low), big)
    out: Value = arith.copysign(where(size, "lt", INFINITY, value, size), x)
    return out


@expansion(math.acosh, F32, F64)
def acosh(x: Value) -> Value:
    """log1p(t + sqrt(2t + t²)) with t = x - 1; log 2x for large x, nan below 1."""
    big = arith.compare(x, 2.0**28, predicate="gt")
    t = arith.sub(x, 1.0)
    t_low = arith.sub(arith.sub(x, t), 1.0)
    square, square_low = two_product(t, t)
    total, total_low = two_sum(arith.add(t, t), square)
    root = arith.sqrt(total)
    rest = arith.add(arith.fma(arith.neg(root), root, total), arith.add(total_low, square_low))
    root_low = where(root, "gt", 0.0, arith.div(rest, arith.add(root, root)), 0.0)
    high, low = two_sum(t, root)
    low = arith.add(arith.add(low, root_low), arith.add(t_low, t_low))
    value = _log1p_of_pair(arith.select(big, t, high), arith.select(big, like(x, 0.0), low), big)
    value = where(x, "lt", INFINITY, value, x)
    return where(x, "lt", 1.0, NAN, value)


@expansion(math.atanh, F32, F64)
def atanh(x: Value) -> Value:
    """log1p(2|x| / (1 - |x|)) / 2 with the sign of x; infinite at 1, nan beyond."""
    size = arith.abs_(x)
    below = arith.sub(1.0, size)
    below_low = arith.sub(arith.sub(1.0, below), size)
    double = arith.add(size, size)
    high = arith.div(double, below)
    rest = arith.fma(arith.neg(high), below_low, arith.fma(arith.neg(high), below, double))
    value = arith.mul(_log1p_of_pair(high, arith.div(rest, below)), 0.5)
    value = where(size, "eq", 1.0, INFINITY, value)
    out: Value = arith.copysign(where(size, "gt", 1.0, NAN, value), x)
    return out
