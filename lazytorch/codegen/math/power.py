"""pow and hypot.

A relative error of log x grows by |y log x| <= 745 in x**y, so the logarithm is a pair of floats: m in [sqrt(1/2), sqrt(2)),
s = (m - 1) / (m + 1), log m = 2 atanh s = 2 s (1 + s²/3 + s⁴/5 ...), the leading terms in pairs (as SLEEF's logk does).
float32 computes in float64, whose spare bits do the same with short polynomials and no pairs.
"""

from __future__ import annotations

import math as python_math

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import (
    INFINITY,
    NAN,
    clamped,
    expansion,
    like,
    nearest,
    polynomial,
    power_of_two,
    where,
)
from lazytorch.codegen.math.exponential import LN2, exp_of_pair
from lazytorch.codegen.math.logarithm import parts, parts_of_any
from lazytorch.codegen.math.pairs import Pair, divide, fast_two_sum, multiply, two_product, two_sum
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, math

F32, F64 = dtypes.float32, dtypes.float64
THIRD = (1.0 / 3.0, 1.8503717077085943e-17)
ATANH = [
    5.994578733665488e-02,
    5.837400685208685e-02,
    6.668159126531102e-02,
    7.692278424801666e-02,
    9.090909435311920e-02,
    0.11111111108766991,
    0.14285714285722562,
    0.1999999999999999,
]
"""(atanh(s) / s - 1 - s² / 3) / s⁴ in s²"""
ATANH_SHORT = [0.23582139464396495, 0.28537309213141104, 0.40000335179563623, 0.6666666564550969]
"""(2 atanh(s) / s - 2) / s² in s²"""
EXP_SHORT = [
    1.979008373363913e-04,
    1.3944655783600989e-03,
    8.333497680690558e-03,
    4.1666295047257544e-02,
    0.16666665865399613,
    0.5000000067619549,
]
"""(exp(r) - 1 - r) / r²"""


def long_log(x: Value) -> Pair:
    """log x of a positive finite float64, to about 2**-66."""
    e, m = parts_of_any(x)
    below = arith.add(m, 1.0)
    s, s_low = divide(arith.sub(m, 1.0), (below, arith.sub(m, arith.sub(below, 1.0))))
    square, square_low = two_product(s, s)
    square_low = arith.fma(arith.add(s, s), s_low, square_low)
    rest = arith.fma(square, polynomial(square, ATANH), like(x, THIRD[1]))
    series = multiply(fast_two_sum(like(x, THIRD[0]), rest), (square, square_low))
    cubic, cubic_low = multiply(series, (s, s_low))
    # 2 (s + cubic) + e ln 2, largest first
    high, low = fast_two_sum(s, cubic)
    low = arith.add(low, arith.add(cubic_low, s_low))
    high, low = arith.add(high, high), arith.add(low, low)
    total, total_low = fast_two_sum(arith.mul(e, LN2[F64][0]), high)
    return total, arith.add(total_low, arith.fma(e, like(x, LN2[F64][1]), low))


@expansion(math.pow_, F64)
def pow_f64(x: Value, y: Value) -> Value:
    """|x|**y = exp(y log |x|), with C99's edge cases."""
    size = arith.abs_(x)
    high, low = long_log(size)
    high = _log_edges(size, high)
    product, product_low = two_product(high, y)
    return _edges(x, y, exp_of_pair((product, arith.fma(low, y, product_low))))


@expansion(math.pow_, F32)
def pow_f32(x: Value, y: Value) -> Value:
    """As for float64, in float64: a relative error of 2**-37 in the logarithm is enough."""
    size = arith.cast(arith.abs_(x), dtype=F64)
    exponent, m = parts(size)
    s = arith.div(arith.sub(m, 1.0), arith.add(m, 1.0))
    square = arith.mul(s, s)
    log_m = arith.mul(s, arith.fma(square, polynomial(square, ATANH_SHORT), like(size, 2.0)))
    log = arith.fma(arith.cast(exponent, dtype=F64), like(size, python_math.log(2.0)), log_m)
    log = _log_edges(size, log)
    inside = clamped(arith.mul(log, arith.cast(y, dtype=F64)), -110.0, 100.0)
    n, whole = nearest(inside, 1.0 / python_math.log(2.0))
    r = arith.fma(arith.neg(n), like(n, python_math.log(2.0)), inside)
    p = arith.fma(arith.mul(r, r), polynomial(r, EXP_SHORT), arith.add(r, 1.0))
    return _edges(x, y, arith.cast(arith.mul(p, power_of_two(whole, F64)), dtype=F32))


def _log_edges(size: Value, log: Value) -> Value:
    log = where(size, "lt", INFINITY, log, size)
    return where(size, "eq", 0.0, -INFINITY, log)


def _edges(x: Value, y: Value, plain: Value) -> Value:
    """The sign, and nan for a negative base and a fractional exponent; 1 for x = 1 or y = 0 whatever the other is."""
    size = arith.abs_(x)
    plain = where(size, "eq", 1.0, 1.0, plain)
    whole = arith.compare(arith.trunc(y), y, predicate="eq")
    half = arith.mul(y, 0.5)
    odd = arith.bit_and(whole, arith.compare(arith.trunc(half), half, predicate="ne"))
    signed = arith.select(odd, arith.copysign(plain, x), plain)
    below = arith.bit_and(arith.compare(x, 0.0, predicate="lt"), arith.compare(size, INFINITY, predicate="lt"))
    out = arith.select(arith.bit_and(below, arith.bit_not(whole)), like(x, NAN), signed)
    out = where(y, "eq", y, out, y)
    out = where(x, "eq", 1.0, 1.0, out)
    return where(y, "eq", 0.0, 1.0, out)


@expansion(math.hypot, F64)
def hypot_f64(x: Value, y: Value) -> Value:
    """sqrt(x² + y²), scaled by a power of two so that no square overflows or vanishes; inf beside nan is inf."""
    a, b = arith.abs_(x), arith.abs_(y)
    larger = where(a, "gt", b, a, b)
    scale = where(larger, "gt", 2.0**500, 2.0**-600, where(larger, "lt", 2.0**-450, 2.0**600, 1.0))
    back = where(larger, "gt", 2.0**500, 2.0**600, where(larger, "lt", 2.0**-450, 2.0**-600, 1.0))
    a, b = arith.mul(a, scale), arith.mul(b, scale)
    square, square_low = two_product(a, a)
    other, other_low = two_product(b, b)
    total, total_low = two_sum(square, other)
    root = arith.sqrt(total)
    rest = arith.add(arith.fma(arith.neg(root), root, total), arith.add(total_low, arith.add(square_low, other_low)))
    root = arith.add(root, where(root, "gt", 0.0, arith.div(rest, arith.add(root, root)), 0.0))
    return _hypot_edges(x, y, arith.mul(root, back))


@expansion(math.hypot, F32)
def hypot_f32(x: Value, y: Value) -> Value:
    """In float64, where the squares are exact and in range."""
    a, b = arith.cast(x, dtype=F64), arith.cast(y, dtype=F64)
    root = arith.sqrt(arith.fma(a, a, arith.mul(b, b)))
    return _hypot_edges(x, y, arith.cast(root, dtype=F32))


def _hypot_edges(x: Value, y: Value, inside: Value) -> Value:
    out = where(arith.abs_(x), "eq", INFINITY, INFINITY, inside)
    return where(arith.abs_(y), "eq", INFINITY, INFINITY, out)
