"""exp, exp2, expm1 and what is made of them: sigmoid, tanh, sinh, cosh.

x = n ln 2 + r with |r| <= ln(2) / 2 (Cody and Waite), and exp(r) = 1 + r + r² P(r). The polynomials of this package are
minimax fits (Remez) of the remaining factor to relative accuracy, rounded to the element type.
"""

from __future__ import annotations

import math as python_math

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import (
    clamped,
    expansion,
    like,
    nearest,
    polynomial,
    power_of_two,
    scaled,
    where,
)
from lazytorch.codegen.math.pairs import Pair, fast_two_sum, quotient, two_sum
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, math

F32, F64 = dtypes.float32, dtypes.float64
LN2 = {
    F32: (0.693145752, 1.42860677e-6),
    F64: (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
"""ln 2 as a high part with trailing zero bits, so that n times it is exact, and the rest."""
EXP = {
    F32: [0.0013814651, 0.008368717, 0.041668385, 0.16666521, 0.49999994],
    F64: [
        2.0875334942250435e-09,
        2.5108978678249592e-08,
        2.7557402612367366e-07,
        2.7557244374758383e-06,
        2.480158717259394e-05,
        1.9841269885965303e-04,
        1.3888888888962331e-03,
        8.333333333321691e-03,
        4.166666666666651e-02,
        0.16666666666666677,
        0.5,
    ],
}
"""(exp(r) - 1 - r) / r²"""
EXP2_F32 = [0.00015353374, 0.0013398874, 0.009618437, 0.055503324, 0.24022648, 0.6931472]
"""(2**r - 1) / r for |r| <= 1/2"""
SMALLEST = {F32: -104.5, F64: -746.0}
"""Below, exp is 0."""
LARGEST = {F32: 90.0, F64: 712.0}
"""Above, exp and half of it are infinite."""


def _reduced(x: Value) -> tuple[Value, Value, Value]:
    """The integer n, r with x = n ln 2 + r, and r² P(r)."""
    dtype = x.type.dtype
    high, low = LN2[dtype]
    n, whole = nearest(x, 1.0 / python_math.log(2.0))
    minus = arith.neg(n)
    r = arith.fma(minus, like(x, high), x)
    r = arith.fma(minus, like(x, low), r)
    return whole, r, arith.mul(arith.mul(r, r), polynomial(r, EXP[dtype]))


def exp_within(x: Value) -> Value:
    """e**x of a number whose result is known to be normal (or nan)."""
    whole, r, tail = _reduced(x)
    value: Value = arith.mul(arith.add(arith.add(tail, r), 1.0), power_of_two(whole, x.type.dtype))
    return value


def _exp(x: Value, halvings: int = 0) -> Value:
    """exp(x) / 2**halvings"""
    dtype = x.type.dtype
    whole, r, tail = _reduced(clamped(x, SMALLEST[dtype], LARGEST[dtype]))
    whole = arith.sub(whole, halvings) if halvings else whole
    return scaled(arith.add(arith.add(tail, r), 1.0), whole)


@expansion(math.exp, F32, F64)
def exp(x: Value) -> Value:
    """e**x; overflow gives inf, underflow goes through the subnormals."""
    return _exp(x)


def exp_of_pair(x: Pair) -> Value:
    """e**(high + low) of float64 within 0.6 ULP; the low part counts only while the high one is in range."""
    high, low = x
    low = where(arith.abs_(high), "lt", 1000.0, low, 0.0)
    high = clamped(high, SMALLEST[F64], LARGEST[F64])
    n, whole = nearest(high, 1.0 / python_math.log(2.0))
    minus = arith.neg(n)
    first = arith.fma(minus, like(high, LN2[F64][0]), high)
    r, r_low = two_sum(first, arith.fma(minus, like(high, LN2[F64][1]), low))
    tail = arith.fma(arith.mul(r, r), polynomial(r, EXP[F64]), r_low)
    p, p_low = fast_two_sum(like(high, 1.0), r)
    return scaled(arith.add(p, arith.add(p_low, tail)), whole)


@expansion(math.exp2, F32, F64)
def exp2(x: Value) -> Value:
    """2**x, exact for whole x"""
    single = x.type.dtype is F32
    inside = clamped(x, -151.0, 129.0) if single else clamped(x, -1076.0, 1025.0)
    n, whole = nearest(inside, 1.0)
    r = arith.sub(inside, n)
    if single:
        return scaled(arith.fma(r, polynomial(r, EXP2_F32), like(x, 1.0)), whole)
    r = arith.mul(r, python_math.log(2.0))
    tail = arith.mul(arith.mul(r, r), polynomial(r, EXP[F64]))
    return scaled(arith.add(arith.add(tail, r), 1.0), whole)


@expansion(math.expm1, F32, F64)
def expm1(x: Value) -> Value:
    """e**x - 1 = 2**n ((1 - 2**-n) + r + r² P(r))"""
    single = x.type.dtype is F32
    inside = clamped(x, -20.0, 89.0) if single else clamped(x, -40.0, 710.0)
    whole, r, tail = _reduced(inside)
    # From n = 60 on 1 - 2**-n is 1 in either type; 2**-n would underflow for the largest.
    inverse = power_of_two(arith.neg(arith.minimum(whole, 60)), x.type.dtype)
    near = arith.add(arith.add(arith.sub(1.0, inverse), r), tail)
    # 2**n itself would overflow for the largest x.
    half = power_of_two(arith.sub(whole, 1), x.type.dtype)
    value: Value = arith.copysign(arith.mul(arith.mul(near, half), 2.0), x)
    return value


@expansion(math.sigmoid, F32, F64)
def sigmoid(x: Value) -> Value:
    """With e = exp(-|x|): 1 / (1 + e), or e / (1 + e) for negative x, so that nothing overflows."""
    e = _exp(arith.neg(arith.abs_(x)))
    below = arith.add(e, 1.0)
    rest = arith.sub(e, arith.sub(below, 1.0))
    return quotient(where(x, "lt", 0.0, e, 1.0), (below, rest))


TANH = {
    F32: [-0.0057049994, 0.0206391, -0.05373972, 0.13331442, -0.3333328],
    F64: [
        6.042468876194405e-06,
        -3.0187221686129598e-05,
        9.155841284602269e-05,
        -2.3701173068712587e-04,
        5.894517991058245e-04,
        -1.455725948098138e-03,
        3.592113999880512e-03,
        -8.863234312578924e-03,
        2.1869488468715368e-02,
        -5.396825396605889e-02,
        0.13333333333329742,
        -0.33333333333333315,
    ],
}
"""(tanh x - x) / x³ in x², for |x| <= 0.625"""
SINH = {
    F32: [0.00020372194, 0.008330284, 0.16666716],
    F64: [
        7.75874811227943e-13,
        1.605725979165501e-10,
        2.5052123136426714e-08,
        2.755731915707376e-06,
        1.9841269841431867e-04,
        8.333333333333148e-03,
        0.16666666666666669,
    ],
}
"""(sinh x - x) / x³ in x², for |x| <= 1"""


def odd_polynomial(x: Value, coefficients: list[float]) -> Value:
    """x + x³ P(x²)"""
    square = arith.mul(x, x)
    value: Value = arith.fma(arith.mul(square, x), polynomial(square, coefficients), x)
    return value


@expansion(math.tanh, F32, F64)
def tanh(x: Value) -> Value:
    """1 - 2 / (e**2|x| + 1) with the sign of x; near 0 a polynomial."""
    size = arith.abs_(x)
    limited = where(size, "gt", 20.0, 20.0, size)
    far = arith.sub(1.0, arith.div(2.0, arith.add(exp_within(arith.add(limited, limited)), 1.0)))
    value: Value = arith.copysign(where(size, "lt", 0.625, odd_polynomial(x, TANH[x.type.dtype]), far), x)
    return value


@expansion(math.sinh, F32, F64)
def sinh(x: Value) -> Value:
    """h - 1 / 4h with h = e**|x| / 2 and the sign of x; below 1 a polynomial."""
    size = arith.abs_(x)
    h = _exp(size, halvings=1)
    far = arith.sub(h, arith.div(0.25, h))
    near = odd_polynomial(x, SINH[x.type.dtype])
    value: Value = arith.copysign(where(size, "lt", 1.0, near, far), x)
    return value


@expansion(math.cosh, F32, F64)
def cosh(x: Value) -> Value:
    """h + 1 / 4h with h = e**|x| / 2"""
    h = _exp(arith.abs_(x), halvings=1)
    value: Value = arith.add(h, arith.div(0.25, h))
    return value
