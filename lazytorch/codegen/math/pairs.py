"""Numbers as unevaluated sums of two floats (high, low), |low| <= ulp(high) / 2: twice the precision.

The sums and products are exact (Dekker 1971, Knuth); products and quotients of pairs keep about twice the bits.
"""

from __future__ import annotations

from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith

Pair = tuple[Value, Value]


def fast_two_sum(a: Value, b: Value) -> Pair:
    """a + b exactly, if |a| >= |b| or a is 0."""
    total = arith.add(a, b)
    return total, arith.sub(b, arith.sub(total, a))


def two_sum(a: Value, b: Value) -> Pair:
    """a + b exactly."""
    total = arith.add(a, b)
    b_part = arith.sub(total, a)
    a_part = arith.sub(total, b_part)
    return total, arith.add(arith.sub(a, a_part), arith.sub(b, b_part))


def two_product(a: Value, b: Value) -> Pair:
    """a * b exactly, unless the low part underflows."""
    product = arith.mul(a, b)
    return product, arith.fma(a, b, arith.neg(product))


def multiply(a: Pair, b: Pair) -> Pair:
    """a * b, not normalised."""
    high, low = two_product(a[0], b[0])
    return high, arith.add(low, arith.fma(a[0], b[1], arith.mul(a[1], b[0])))


def divide(a: Value, b: Pair, a_low: Value | None = None) -> Pair:
    """(a + a_low) / b, with one division: the residue of the rounded quotient gives the low part."""
    inverse = arith.div(1.0, b[0])
    ratio = arith.mul(a, inverse)
    minus = arith.neg(ratio)
    rest = arith.fma(minus, b[1], arith.fma(minus, b[0], a))
    rest = rest if a_low is None else arith.add(rest, a_low)
    return ratio, arith.mul(rest, inverse)


def quotient(a: Value, b: Pair, a_low: Value | None = None) -> Value:
    """(a + a_low) / b, within little more than half a unit in the last place."""
    value: Value = arith.add(*divide(a, b, a_low))
    return value
