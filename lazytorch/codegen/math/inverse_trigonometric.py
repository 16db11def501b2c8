"""asin, acos, atan, atan2.

An angle is k pi/4 ± t with |t| <= pi/8: the tangent of t is a quotient, kept as a pair, and its odd polynomial ends the sum.
"""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import INFINITY, NAN, expansion, like, polynomial, where
from lazytorch.codegen.math.pairs import divide, fast_two_sum, two_sum
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, math

F32, F64 = dtypes.float32, dtypes.float64
ATAN = {
    F32: [-0.06077746, 0.10593634, -0.1424351, 0.1999847, -0.33333316],
    F64: [
        0.01519174194191295,
        -0.03347049029394082,
        0.04503350538790864,
        -0.05218347788970852,
        0.05877011690482362,
        -0.06666225576721119,
        0.07692282667550997,
        -0.09090908139949534,
        0.1111111108803388,
        -0.14285714285385395,
        0.19999999999997645,
        -0.33333333333333326,
    ],
}
"""(atan t - t) / t³ in t², for |t| <= tan(pi/8)"""
ASIN = {
    F32: [0.04216603, 0.024179678, 0.045470346, 0.074952975, 0.16666752],
    F64: [
        0.03262768901591835,
        -0.020997498480550752,
        0.021706292845159063,
        0.0037069030613907936,
        0.010780116798734201,
        0.011398937350144779,
        0.013980817379086517,
        0.01735161228562383,
        0.022372214972069766,
        0.03038194270835369,
        0.044642857174599586,
        0.07499999999970813,
        0.1666666666666676,
    ],
}
"""(asin x - x) / x³ in x², for |x| <= 1/2"""
QUARTER_PI = {F32: (0.78539824, -8.146034e-08), F64: (0.7853981633974483, 3.061616997868383e-17)}
"""pi/4 as a high part of which small multiples are exact, and the rest."""


def _angle(y: Value, x: Value, turned: Value | None) -> Value:
    """The angle in [0, pi] of (±x, y) for y, x >= 0 whose quotients do not overflow; the flags say where x is negative."""
    steep = arith.compare(y, x, predicate="gt")
    small, large = arith.select(steep, x, y), arith.select(steep, y, x)
    diagonal = arith.compare(small, arith.mul(large, 2.0**0.5 - 1.0), predicate="gt")
    difference, difference_low = two_sum(small, arith.neg(large))
    total, total_low = fast_two_sum(large, small)
    zero = like(y, 0.0)
    t, t_low = divide(
        arith.select(diagonal, difference, small),
        (arith.select(diagonal, total, large), arith.select(diagonal, total_low, zero)),
        arith.select(diagonal, difference_low, zero),
    )
    square = arith.mul(t, t)
    t_low = arith.fma(arith.mul(square, t), polynomial(square, ATAN[y.type.dtype]), t_low)
    # k pi/4 + t; steep turns it into pi/2 minus that, a negative x into pi minus that.
    k = arith.select(diagonal, like(y, 1.0), zero)
    flips = steep
    k = arith.select(steep, arith.sub(2.0, k), k)
    if turned is not None:
        flips = arith.bit_xor(steep, turned)
        k = arith.select(turned, arith.sub(4.0, k), k)
    t, t_low = (arith.select(flips, arith.neg(part), part) for part in (t, t_low))
    high, low = QUARTER_PI[y.type.dtype]
    angle, rest = fast_two_sum(arith.mul(k, high), t)
    value: Value = arith.add(angle, arith.add(rest, arith.fma(k, like(y, low), t_low)))
    return value


@expansion(math.atan, F32, F64)
def atan(x: Value) -> Value:
    """The angle of (1, |x|) with the sign of x."""
    size = arith.abs_(x)
    largest = 2.0**60  # beyond, the angle is pi/2 to the last bit
    angle = _angle(where(size, "gt", largest, largest, size), like(x, 1.0), None)
    value: Value = arith.copysign(angle, x)
    return value


@expansion(math.atan2, F32, F64)
def atan2(y: Value, x: Value) -> Value:
    """The angle of (|x|, |y|), scaled by a power of two to have a quotient; C99's edge cases."""
    height, width = arith.abs_(y), arith.abs_(x)
    larger = where(height, "gt", width, height, width)
    # Scaled down only as far as its reciprocal needs, lest the smaller side vanishes from a quotient that is not 0.
    high, down, low, up = (100, -28, -60, 70) if y.type.dtype is F32 else (900, -124, -500, 600)
    scale = where(larger, "gt", 2.0**high, 2.0**down, where(larger, "lt", 2.0**low, 2.0**up, 1.0))
    infinite = arith.compare(larger, INFINITY, predicate="eq")
    one, zero = like(y, 1.0), like(y, 0.0)
    height, width = (
        arith.select(infinite, where(side, "eq", INFINITY, one, zero), arith.mul(side, scale)) for side in (height, width)
    )
    # The angle of the origin is that of (1, 0).
    width = where(larger, "eq", 0.0, one, width)
    turned = arith.compare(arith.copysign(one, x), 0.0, predicate="lt")
    angle = arith.copysign(_angle(height, width, turned), y)
    return where(x, "eq", x, where(y, "eq", y, angle, y), x)


def _arcsine(x: Value, cosine: bool) -> Value:
    """asin s = s + s³ P(s²) with s = |x| below 1/2; above, asin |x| = pi/2 - 2 asin s with s² = (1 - |x|) / 2."""
    size = arith.abs_(x)
    far = arith.compare(size, 0.5, predicate="ge")
    square = arith.select(far, arith.fma(size, like(x, -0.5), like(x, 0.5)), arith.mul(x, x))
    s = arith.select(far, arith.sqrt(square), size)
    tail = arith.mul(arith.mul(square, s), polynomial(square, ASIN[x.type.dtype]))
    s, tail = (arith.select(far, arith.add(part, part), part) for part in (s, tail))
    high, low = (2.0 * part for part in QUARTER_PI[x.type.dtype])
    # pi/2 - (s + tail)
    top, rest = fast_two_sum(like(x, high), arith.neg(s))
    if not cosine:
        other = arith.add(top, arith.sub(arith.add(rest, low), tail))
        value: Value = arith.copysign(arith.select(far, other, arith.add(s, tail)), x)
    else:
        # Near 1 the angle is 2 asin s, near -1 pi minus that, between pi/2 -+ asin |x|.
        negative = arith.compare(x, 0.0, predicate="lt")
        near = arith.select(negative, arith.neg(s), s)
        near_tail = arith.select(negative, arith.neg(tail), tail)
        base = arith.select(far, arith.select(negative, like(x, 2.0 * high), like(x, 0.0)), like(x, high))
        base_low = arith.select(far, arith.select(negative, like(x, 2.0 * low), like(x, 0.0)), like(x, low))
        sign = arith.select(far, like(x, 1.0), like(x, -1.0))
        top, rest = fast_two_sum(base, arith.mul(near, sign))
        value = arith.add(top, arith.add(rest, arith.fma(near_tail, sign, base_low)))
    return where(size, "gt", 1.0, NAN, value)


@expansion(math.asin, F32, F64)
def asin(x: Value) -> Value:
    """nan beyond 1"""
    return _arcsine(x, cosine=False)


@expansion(math.acos, F32, F64)
def acos(x: Value) -> Value:
    """nan beyond 1"""
    return _arcsine(x, cosine=True)
