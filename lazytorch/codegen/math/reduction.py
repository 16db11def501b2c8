"""x modulo pi/2 for the trigonometric functions: x = quadrant pi/2 + r, |r| <= pi/4, with r as a pair of floats.

Up to LARGEST, by Cody and Waite: n = x 2/pi rounded, r = x - n pi/2 with pi/2 in three parts. Beyond, by Payne and Hanek
(1983): those bits of 2/pi that matter, times the mantissa of x, in integers, computed only where a vector holds such x.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import INFINITY, NAN, format_of, like, nearest, once, rarely, to_bits, where
from lazytorch.codegen.math.pairs import Pair, fast_two_sum, multiply, two_product, two_sum
from lazytorch.dtypes import DType
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith

F32, F64 = dtypes.float32, dtypes.float64
HALF_PI = {
    F32: (1.5707964, -4.371139e-08, -1.7151245e-15),
    F64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
TWO_OVER_PI = (
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921cfe1deb1c"
    "b129a73ee88235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f"
    "6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046"
)
"""The bits of 2/pi after the point, in hexadecimal."""
WORDS = [0, *[int(TWO_OVER_PI[8 * i : 8 * i + 8], 16) for i in range(len(TWO_OVER_PI) // 8)]]
"""2/pi / 2**32 in words of 32 bits."""
WORD = 0xFFFFFFFF
LARGEST = {F32: 2.0**17, F64: 2.0**40}
FACTORS = {F32: 3, F64: 6}
"""Words of 2/pi that count: no number of the type comes closer to a multiple of pi/2 than 2**-30 or 2**-61."""
STEPS = {F32: (4, 2, 1), F64: (16, 8, 4, 2, 1)}
"""The bits of the number of the first word that counts."""


def reduced(x: Value) -> tuple[Pair, Value]:
    """r as a pair of floats, and the quadrant as an integer of which the last two bits count; nan for infinities."""

    def reduce() -> tuple[Pair, Value]:
        large = arith.compare(arith.abs_(x), LARGEST[x.type.dtype], predicate="gt")
        high, low, quadrant = rarely(large, lambda: _payne_hanek(x), _cody_waite(x))
        return (high, low), quadrant

    outcome: tuple[Pair, Value] = once(x, "reduced", reduce)
    return outcome


def _cody_waite(x: Value) -> tuple[Value, Value, Value]:
    first, second, third = HALF_PI[x.type.dtype]
    n, quadrant = nearest(x, 1.0 / HALF_PI[F64][0])
    minus = arith.neg(n)
    # Exact: both sides are multiples of the last bit of x or of pi/2, and the difference is small.
    r = arith.fma(minus, like(x, first), x)
    product, product_low = two_product(minus, like(x, second))
    high, low = two_sum(r, product)
    return high, arith.fma(minus, like(x, third), arith.add(low, product_low)), quadrant


def _payne_hanek(x: Value) -> tuple[Value, Value, Value]:
    """The reduction of numbers from 2**17 on.

    |x| = M 2**k with an integer M. Of 2**k 2/pi, what is a multiple of 4 does not matter, nor what lies below FACTORS words
    of the rest. M times these words, modulo 4, is the quadrant and a fraction.
    """
    dtype, form = x.type.dtype, format_of(x)
    bits = arith.cast(to_bits(x), dtype=dtypes.int64)
    exponent = arith.bit_and(arith.shift_right(bits, form.mantissa_bits), 2 * form.bias + 1)
    # The first bit that counts, k + 30 in WORDS, whose first bit has the value 2**-33.
    position = arith.sub(exponent, form.bias + form.mantissa_bits - 30)
    words = _words_from(position, FACTORS[dtype] + 1, STEPS[dtype])
    shift = arith.bit_and(position, 31)
    factors = [_upper(arith.shift_left(_joined(upper, lower), shift)) for upper, lower in itertools.pairwise(words)]
    implicit = 1 << form.mantissa_bits
    mantissa = arith.bit_or(arith.bit_and(bits, implicit - 1), implicit)
    top, second, *rest = _product(factors, mantissa, form.mantissa_bits >= 32)
    number = _joined(top, second)  # in units of 2**-62, modulo 4
    quadrant = arith.shift_right(arith.add(number, 2**61), 62)
    number = arith.sub(number, arith.shift_left(quadrant, 62))
    high, low = _fraction([arith.shift_right(number, 32), arith.bit_and(number, WORD), *rest], dtype)
    negative = arith.compare(x, 0.0, predicate="lt")
    quadrant = arith.cast(quadrant, dtype=form.integer)
    return (
        where(arith.abs_(x), "lt", INFINITY, arith.select(negative, arith.neg(high), high), NAN),
        arith.select(negative, arith.neg(low), low),
        arith.select(negative, arith.neg(quadrant), quadrant),
    )


def _words_from(position: Value, count: int, steps: Sequence[int]) -> list[Value]:
    """`count` words from the one that holds the bit at `position`: selected by one bit of its number after another."""
    words = [arith.constant.build(position.builder, value=word, type=position.type) for word in WORDS]
    last = words[-1]
    for place, step in enumerate(steps):
        far = arith.compare(arith.bit_and(position, 32 * step), 0, predicate="ne")
        words += [last] * step
        words = [arith.select(far, words[i + step], words[i]) for i in range(count + sum(steps[place + 1 :]))]
    return words


def _fraction(pieces: Sequence[Value], dtype: DType) -> Pair:
    """pi/2 times the number whose words are the pieces, the first (signed) of value 2**-30."""
    floats = [arith.mul(arith.cast(piece, dtype=F64), 2.0 ** (-30 - 32 * i)) for i, piece in enumerate(pieces)]
    half_pi, half_pi_low = (like(floats[0], part) for part in HALF_PI[F64][:2])
    if dtype is F32:
        r = arith.mul(arith.add(floats[0], floats[1]), half_pi)
        high = arith.cast(r, dtype=F32)
        return high, arith.cast(arith.sub(r, arith.cast(high, dtype=F64)), dtype=F32)
    high, low = floats[0], floats[-1]
    for piece in floats[1:-1]:
        high, lost = two_sum(high, piece)
        low = arith.add(low, lost)
    return fast_two_sum(*multiply((high, low), (half_pi, half_pi_low)))


def _joined(upper: Value, lower: Value) -> Value:
    value: Value = arith.bit_or(arith.shift_left(upper, 32), lower)
    return value


def _upper(x: Value) -> Value:
    """The upper 32 bits of 64, as an unsigned number."""
    value: Value = arith.bit_and(arith.shift_right(x, 32), WORD)
    return value


def _product(factors: Sequence[Value], number: Value, wide: bool) -> list[Value]:
    """Words, the highest first, times an integer of one or two words, modulo 2**(32 words): all words but the last."""
    last = len(factors) - 1
    by_low = [arith.mul(factor, arith.bit_and(number, WORD)) for factor in factors]
    by_high = [arith.mul(factor, _upper(number)) for factor in factors] if wide else []
    carry: list[Value] = []
    out: list[Value] = []
    for i in range(last - 1, -1, -1):
        # The column of word i: lower halves of its own products, upper halves of those one word below.
        column = [arith.bit_and(by_low[i], WORD), _upper(by_low[i + 1]), *carry]
        if wide:
            column.append(arith.bit_and(by_high[i + 1], WORD))
        if wide and i + 2 <= last:
            column.append(_upper(by_high[i + 2]))
        total = functools.reduce(arith.add, column)
        out.insert(0, arith.bit_and(total, WORD))
        carry = [_upper(total)]
    return out
