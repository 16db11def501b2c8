"""sin, cos, tan. In float64 the polynomials for |r| <= pi/4 are fdlibm's (k_sin.c, k_cos.c, Sun Microsystems 1993)."""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import expansion, like, polynomial, to_bits, where
from lazytorch.codegen.math.pairs import Pair, fast_two_sum, quotient
from lazytorch.codegen.math.reduction import reduced
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, math

F32, F64 = dtypes.float32, dtypes.float64
SIN = {
    F32: [-0.00019515152, 0.008332159, -0.16666655],
    F64: [
        1.58969099521155010221e-10,
        -2.50507602534068634195e-08,
        2.75573137070700676789e-06,
        -1.98412698298579493134e-04,
        8.33333333332248946124e-03,
        -1.66666666666666324348e-01,
    ],
}
"""(sin r - r) / r³ in r²"""
COS = {
    F32: [2.4433048e-05, -0.0013887315, 0.041666646],
    F64: [
        -1.13596475577881948265e-11,
        2.08757232129817482790e-09,
        -2.75573143513906633035e-07,
        2.48015872894767294178e-05,
        -1.38888888888741095749e-03,
        4.16666666666666019037e-02,
    ],
}
"""(cos r - 1 + r²/2) / r⁴ in r²"""
TAN_F32 = [0.0043784487, 8.522856e-05, 0.010839133, 0.021280937, 0.054060154, 0.13332662, 0.3333335]
"""(tan r - r) / r³ in r²"""


def sine(r: Pair) -> Pair:
    """sin r for |r| <= pi/4, as a high and a low part."""
    high, low = r
    z = arith.mul(high, high)
    return high, arith.fma(arith.mul(z, high), polynomial(z, SIN[z.type.dtype]), low)


def cosine(r: Pair) -> Pair:
    """cos r = 1 - r²/2 + r⁴ P(r²) for |r| <= pi/4, as a high and a low part."""
    high, low = r
    z = arith.mul(high, high)
    half = arith.mul(z, 0.5)
    first = arith.sub(1.0, half)
    rest = arith.sub(arith.sub(1.0, first), half)
    tail = arith.fma(arith.mul(z, z), polynomial(z, COS[z.type.dtype]), arith.neg(arith.mul(high, low)))
    return first, arith.add(rest, tail)


def _is_odd(quadrant: Value) -> Value:
    value: Value = arith.compare(arith.bit_and(quadrant, 1), 1, predicate="eq")
    return value


def _negated(x: Value, count: Value) -> Value:
    """-x where the last bit of an integer is set."""
    sign_bit = 8 * x.type.dtype.itemsize - 1
    flipped = arith.bit_xor(to_bits(x), arith.shift_left(count, sign_bit))
    value: Value = arith.bitcast(flipped, dtype=x.type.dtype)
    return value


def _circular(x: Value, quarter: int) -> Value:
    """sin(x + quarter pi/2)"""
    r, quadrant = reduced(x)
    quadrant = arith.add(quadrant, quarter) if quarter else quadrant
    value = arith.select(_is_odd(quadrant), arith.add(*cosine(r)), arith.add(*sine(r)))
    return _negated(value, arith.shift_right(quadrant, 1))


@expansion(math.sin, F32, F64)
def sin(x: Value) -> Value:
    """sin x; the zero keeps its sign"""
    return where(x, "eq", 0.0, x, _circular(x, 0))


@expansion(math.cos, F32, F64)
def cos(x: Value) -> Value:
    """cos x = sin(x + pi/2)"""
    return _circular(x, 1)


@expansion(math.tan, F64)
def tan_f64(x: Value) -> Value:
    """sin r / cos r, or -cos r / sin r in odd quadrants"""
    r, quadrant = reduced(x)
    s, c = fast_two_sum(*sine(r)), fast_two_sum(*cosine(r))
    odd = _is_odd(quadrant)
    top, top_low, bottom, bottom_low = (arith.select(odd, a, b) for a, b in zip((*c, *s), (*s, *c), strict=True))
    value = _negated(quotient(top, (bottom, bottom_low), top_low), quadrant)
    return where(x, "eq", 0.0, x, value)


@expansion(math.tan, F32)
def tan_f32(x: Value) -> Value:
    """tan r, or -1 / tan r in odd quadrants"""
    (high, low), quadrant = reduced(x)
    z = arith.mul(high, high)
    t, t_low = fast_two_sum(high, arith.fma(arith.mul(z, high), polynomial(z, TAN_F32), low))
    odd = _is_odd(quadrant)
    zero = like(x, 0.0)
    top, top_low = arith.select(odd, like(x, 1.0), t), arith.select(odd, zero, t_low)
    bottom, bottom_low = arith.select(odd, t, like(x, 1.0)), arith.select(odd, t_low, zero)
    value = _negated(quotient(top, (bottom, bottom_low), top_low), quadrant)
    return where(x, "eq", 0.0, x, value)
