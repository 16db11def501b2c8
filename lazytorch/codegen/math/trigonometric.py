"""sin, cos, tan. The argument is reduced by multiples of pi/2 in three parts; the kernels are fdlibm's (k_sin.c, k_cos.c).

Accurate up to LARGEST; beyond it the reduction would need more of pi than three parts hold, and the result is nan.
"""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import expansion, like, polynomial
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, math

F64 = dtypes.float64
HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33)
LARGEST = 1e12
SIN = [
    1.58969099521155010221e-10,
    -2.50507602534068634195e-08,
    2.75573137070700676789e-06,
    -1.98412698298579493134e-04,
    8.33333333332248946124e-03,
    -1.66666666666666324348e-01,
]
COS = [
    -1.13596475577881948265e-11,
    2.08757232129817482790e-09,
    -2.75573143513906633035e-07,
    2.48015872894767294178e-05,
    -1.38888888888741095749e-03,
    4.16666666666666019037e-02,
]


def _parts(x: Value) -> tuple[Value, Value, Value]:
    """sin r, cos r and the quadrant (an i64 modulo 4) of x = quadrant pi/2 + r."""
    inside = arith.compare(arith.abs_(x), LARGEST, predicate="le")
    x = arith.select(inside, x, like(x, float("nan")))
    n = arith.round_even(arith.mul(x, 0.6366197723675814))
    minus = arith.neg(n)
    r = x
    for part in HALF_PI:
        r = arith.fma(minus, like(x, part), r)
    z = arith.mul(r, r)
    sine = arith.fma(arith.mul(z, r), polynomial(z, SIN), r)
    cosine = arith.fma(arith.mul(z, z), polynomial(z, COS), arith.fma(z, like(x, -0.5), like(x, 1.0)))
    whole = arith.select(inside, n, like(x, 0.0))
    return sine, cosine, arith.bit_and(arith.cast(whole, dtype=dtypes.int64), 3)


def _choose(quadrant: Value, even: Value, odd: Value) -> Value:
    """One of two by the quadrant's last bit, negated by the next."""
    is_odd = arith.compare(arith.bit_and(quadrant, 1), 1, predicate="eq")
    value = arith.select(is_odd, odd, even)
    flip = arith.compare(arith.bit_and(quadrant, 2), 2, predicate="eq")
    out: Value = arith.select(flip, arith.neg(value), value)
    return out


@expansion(math.sin, F64)
def sin_f64(x: Value) -> Value:
    """sin x; the zero keeps its sign"""
    sine, cosine, quadrant = _parts(x)
    value: Value = arith.select(arith.compare(x, 0.0, predicate="eq"), x, _choose(quadrant, sine, cosine))
    return value


@expansion(math.cos, F64)
def cos_f64(x: Value) -> Value:
    """cos x = sin(x + pi/2)"""
    sine, cosine, quadrant = _parts(x)
    return _choose(arith.add(quadrant, 1), sine, cosine)


@expansion(math.tan, F64)
def tan_f64(x: Value) -> Value:
    """tan x"""
    sine, cosine, quadrant = _parts(x)
    top, bottom = _choose(quadrant, sine, cosine), _choose(arith.add(quadrant, 1), sine, cosine)
    value: Value = arith.select(arith.compare(x, 0.0, predicate="eq"), x, arith.div(top, bottom))
    return value
