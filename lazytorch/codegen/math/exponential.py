"""exp, expm1, exp2, log, log1p, log2, log10, pow.

float32 exp: Cody-Waite reduction and a degree 6 polynomial (shared notes of the project, 0.84 ULP). float64: reduction and
the Taylor polynomial of degree 13; logarithms after fdlibm (e_log.c, Sun Microsystems 1993).
"""

from __future__ import annotations

import math as python_math

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import expansion, like, polynomial, power_of_two, scaled
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, math

F32, F64 = dtypes.float32, dtypes.float64
INFINITY = float("inf")
NAN = float("nan")
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
TAYLOR = [1.0 / python_math.factorial(n) for n in range(13, 1, -1)]


def _clamped(x: Value, low: float, high: float) -> Value:
    """x in [low, high]; a nan stays."""
    x = arith.select(arith.compare(x, high, predicate="gt"), like(x, high), x)
    value: Value = arith.select(arith.compare(x, low, predicate="lt"), like(x, low), x)
    return value


@expansion(math.exp, F32)
def exp_f32(x: Value) -> Value:
    """e**x; overflow gives inf, underflow goes through the subnormals."""
    inside = _clamped(x, -104.5, 89.0)
    n = arith.round_even(arith.mul(inside, 1.44269504))
    r = arith.fma(n, like(x, -0.693145752), inside)
    r = arith.fma(n, like(x, -1.42860677e-6), r)
    p = polynomial(r, [1.37805939e-3, 8.37312452e-3, 4.16695364e-2, 1.66664720e-1, 4.99999851e-1, 1.0, 1.0])
    return scaled(p, _whole(n))


def _whole(n: Value) -> Value:
    """n, or 0 where it is nan: an exponent has to be a number."""
    value: Value = arith.select(arith.compare(n, n, predicate="eq"), n, like(n, 0.0))
    return value


def _reduced(x: Value) -> tuple[Value, Value]:
    """n and r with x = n ln 2 + r."""
    n = arith.round_even(arith.mul(x, 1.4426950408889634))
    r = arith.fma(arith.neg(n), like(x, LN2_HIGH), x)
    return n, arith.fma(arith.neg(n), like(x, LN2_LOW), r)


def _expm1_near_zero(r: Value) -> Value:
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    value: Value = arith.fma(arith.mul(r, r), polynomial(r, TAYLOR), r)
    return value


@expansion(math.exp, F64)
def exp_f64(x: Value) -> Value:
    """e**x"""
    inside = _clamped(x, -746.0, 710.0)
    n, r = _reduced(inside)
    return scaled(arith.add(_expm1_near_zero(r), 1.0), _whole(n))


@expansion(math.exp2, F64)
def exp2_f64(x: Value) -> Value:
    """2**x"""
    inside = _clamped(x, -1080.0, 1025.0)
    n = arith.round_even(inside)
    r = arith.mul(arith.sub(inside, n), python_math.log(2.0))
    return scaled(arith.add(_expm1_near_zero(r), 1.0), _whole(n))


@expansion(math.expm1, F64)
def expm1_f64(x: Value) -> Value:
    """e**x - 1 = 2**n p + (2**n - 1), where p = e**r - 1 keeps its accuracy near 0."""
    inside = _clamped(x, -40.0, 40.0)
    n, r = _reduced(inside)
    scale = power_of_two(_whole(n))
    near = arith.fma(scale, _expm1_near_zero(r), arith.sub(scale, 1.0))
    near = arith.select(arith.compare(x, 0.0, predicate="eq"), x, near)
    value: Value = arith.select(arith.compare(x, 40.0, predicate="gt"), exp_f64(x), near)
    return value


LOG = [
    1.479819860511658591e-01,
    1.531383769920937332e-01,
    1.818357216161805012e-01,
    2.222219843214978396e-01,
    2.857142874366239149e-01,
    3.999999999940941908e-01,
    6.666666666666735130e-01,
]


def _log_parts(x: Value) -> tuple[Value, Value]:
    """Exponent e and mantissa m in [sqrt(1/2), sqrt(2)) of a positive x, subnormal or not."""
    tiny = arith.compare(x, 2.2250738585072014e-308, predicate="lt")
    y = arith.select(tiny, arith.mul(x, 2.0**54), x)
    bits = arith.bitcast(y, dtype=dtypes.int64)
    # Subtracting the bits of sqrt(1/2) makes the exponent step at it.
    shifted = arith.sub(bits, 0x3FE6A09E667F3BCD)
    exponent = arith.shift_right(shifted, 52)
    m = arith.bitcast(arith.sub(bits, arith.shift_left(exponent, 52)), dtype=F64)
    e = arith.cast(exponent, dtype=F64)
    return arith.select(tiny, arith.sub(e, 54.0), e), m


def _log_of(e: Value, m: Value) -> Value:
    """e ln 2 + log m"""
    f = arith.sub(m, 1.0)
    s = arith.div(f, arith.add(f, 2.0))
    z = arith.mul(s, s)
    r = arith.mul(z, polynomial(z, LOG))
    half = arith.mul(arith.mul(f, f), 0.5)
    inner = arith.fma(s, arith.add(half, r), arith.mul(e, LN2_LOW))
    value: Value = arith.fma(e, like(e, LN2_HIGH), arith.sub(f, arith.sub(half, inner)))
    return value


@expansion(math.log, F64)
def log_f64(x: Value) -> Value:
    """Natural logarithm; -inf at 0, nan below."""
    e, m = _log_parts(x)
    return _log_edges(x, _log_of(e, m))


def _log_edges(x: Value, inside: Value) -> Value:
    out = arith.select(arith.compare(x, INFINITY, predicate="lt"), inside, x)
    out = arith.select(arith.compare(x, 0.0, predicate="eq"), like(x, -INFINITY), out)
    value: Value = arith.select(arith.compare(x, 0.0, predicate="lt"), like(x, NAN), out)
    return value


@expansion(math.log2, F64)
def log2_f64(x: Value) -> Value:
    """Logarithm to base 2; exact at powers of two."""
    e, m = _log_parts(x)
    mantissa = _log_of(like(x, 0.0), m)
    return _log_edges(x, arith.fma(mantissa, like(x, 1.0 / python_math.log(2.0)), e))


@expansion(math.log10, F64)
def log10_f64(x: Value) -> Value:
    """Logarithm to base 10."""
    value: Value = arith.mul(log_f64(x), 1.0 / python_math.log(10.0))
    return value


@expansion(math.log1p, F64)
def log1p_f64(x: Value) -> Value:
    """log(u) + (x - (u - 1)) / u with u = 1 + x: the second term is what rounding took from u."""
    u = arith.add(x, 1.0)
    correction = arith.div(arith.sub(x, arith.sub(u, 1.0)), u)
    small = arith.compare(arith.abs_(x), 1e-300, predicate="lt")
    usual = arith.compare(arith.abs_(x), 1e300, predicate="lt")
    positive = arith.compare(u, 0.0, predicate="gt")
    safe = arith.select(arith.bit_and(usual, positive), correction, like(x, 0.0))
    value: Value = arith.select(small, x, arith.add(log_f64(u), safe))
    return value


@expansion(math.pow_, F64)
def pow_f64(x: Value, y: Value) -> Value:
    """|x|**y = exp(y log |x|), with C99's edge cases. Accurate to float32; in float64 the error grows with |y log x|."""
    size = arith.abs_(x)
    plain = exp_f64(arith.mul(y, log_f64(size)))
    plain = arith.select(arith.compare(size, 1.0, predicate="eq"), like(x, 1.0), plain)
    whole = arith.compare(arith.trunc(y), y, predicate="eq")
    half = arith.mul(y, 0.5)
    odd = arith.bit_and(whole, arith.compare(arith.trunc(half), half, predicate="ne"))
    negative = arith.compare(arith.copysign(like(x, 1.0), x), 0.0, predicate="lt")
    signed = arith.select(arith.bit_and(odd, negative), arith.neg(plain), plain)
    below = arith.bit_and(arith.compare(x, 0.0, predicate="lt"), arith.compare(size, INFINITY, predicate="lt"))
    undefined = arith.bit_and(below, arith.bit_not(whole))
    out = arith.select(undefined, like(x, NAN), signed)
    out = arith.select(arith.compare(y, y, predicate="ne"), y, out)
    out = arith.select(arith.compare(x, 1.0, predicate="eq"), like(x, 1.0), out)
    value: Value = arith.select(arith.compare(y, 0.0, predicate="eq"), like(x, 1.0), out)
    return value
