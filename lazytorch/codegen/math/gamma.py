"""lgamma, digamma, polygamma, in float64 (narrower types compute there).

lgamma of a positive number is fdlibm's (e_lgamma_r.c, Sun Microsystems 1993), digamma on [1, 2] Boost's rational function
around its root (J. Maddock, digamma.hpp), polygamma the Euler-Maclaurin sum of the Hurwitz zeta function. Numbers up to 0 go
through the reflection formulas, computed only where a vector holds some. lgamma and digamma are within 2 ULP for positive
arguments; for negative float64 arguments the error is relative to the larger of the terms that cancel near a root.
"""

from __future__ import annotations

import math as python_math
from fractions import Fraction

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import INFINITY, NAN, expansion, like, polynomial, rarely, where
from lazytorch.codegen.math.logarithm import log as log_of
from lazytorch.codegen.math.logarithm import log_pair
from lazytorch.codegen.math.pairs import divide, fast_two_sum, two_product, two_sum
from lazytorch.codegen.math.trigonometric import cosine, sine
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, math

F64 = dtypes.float64
PI = python_math.pi
# Around 1 and 2, in y = 1 - x or 2 - x: even and odd coefficients.
A_EVEN = [2.52144565451257326939e-05, 2.20862790713908385557e-04, 1.19270763183362067845e-03]
A_EVEN += [7.38555086081402883957e-03, 6.73523010531292681824e-02, 7.72156649015328655494e-02]
A_ODD = [4.48640949618915160150e-05, 1.08011567247583939954e-04, 5.10069792153511336608e-04]
A_ODD += [2.89051383673415629091e-03, 2.05808084325167332806e-02, 3.22467033424113591611e-01]
# Around the minimum at MINIMUM, where lgamma is MINIMUM_VALUE: coefficients 0, 3, 6 ...; 1, 4 ...; 2, 5 ...
MINIMUM = 1.46163214496836224576e00
MINIMUM_VALUE = -1.21486290535849611461e-01
MINIMUM_LOW = -3.63867699703950536541e-18
T_0 = [3.15632070903625950361e-04, -1.40346469989232843813e-03, 6.10053870246291332635e-03]
T_0 += [-3.27885410759859649565e-02, 4.83836122723810047042e-01]
T_1 = [-3.12754168375120860518e-04, 8.81081882437654011382e-04, -3.68452016781138256760e-03]
T_1 += [1.79706750811820387126e-02, -1.47587722994593911752e-01]
T_2 = [3.35529192635519073543e-04, -5.38595305356740546715e-04, 2.25964780900612472250e-03]
T_2 += [-1.03142241298341437450e-02, 6.46249402391333854778e-02]
# From 1 to 1.23, in y = x - 1.
U = [1.33810918536787660377e-02, 2.28963728064692451092e-01, 9.77717527963372745603e-01]
U += [1.45492250137234768737e00, 6.32827064025093366517e-01, -7.72156649015328655494e-02]
V = [3.21709242282423911810e-03, 1.04222645593369134254e-01, 7.69285150456672783825e-01]
V += [2.12848976379893395361e00, 2.45597793713041134822e00, 1.0]
# From 2 to 3, in y = x - 2.
S = [3.19475326584100867617e-05, 1.84028451407337715652e-03, 2.66422703033638609560e-02, 1.46350472652464452805e-01]
S += [3.25778796408930981787e-01, 2.14982415960608852501e-01, -7.72156649015328655494e-02]
R = [7.32668430744625636189e-06, 7.77942496381893596434e-04, 1.86459191715652901344e-02, 1.71933865632803078993e-01]
R += [7.21935547567138069525e-01, 1.39200533467621045958e00, 1.0]
# Stirling's series from 8 on, in 1/x².
W = [-1.63092934096575273989e-03, 8.36339918996282139126e-04, -5.95187557450339963135e-04]
W += [7.93650558643019558500e-04, -2.77777777728775536470e-03, 8.33333333333329678849e-02]
W_0 = 4.18938533204672725052e-01


def _lgamma_positive(x: Value) -> Value:
    """lgamma of x > 0"""
    small = arith.compare(x, 0.9, predicate="le")
    far = arith.compare(x, 8.0, predicate="ge")
    fraction = arith.sub(x, arith.floor(x))
    product = like(x, 1.0)
    for k in range(2, 7):
        product = where(x, "ge", float(k + 1), arith.mul(product, arith.add(fraction, float(k))), product)
    log, log_low = log_pair(arith.select(arith.bit_or(small, far), x, product))
    # Below 0.9 lgamma(x) = lgamma(1 + x) - log x.
    low = _after_one(arith.select(small, x, arith.sub(x, 1.0)))
    low = arith.select(small, arith.sub(arith.sub(low, log_low), log), low)
    ratio = arith.div(arith.mul(fraction, polynomial(fraction, S)), polynomial(fraction, R))
    recurrence = arith.add(log, arith.add(log_low, arith.fma(fraction, like(x, 0.5), ratio)))
    inverse = arith.div(1.0, x)
    series = arith.fma(inverse, polynomial(arith.mul(inverse, inverse), W), like(x, W_0))
    factor = arith.sub(x, 0.5)
    stirling = arith.fma(factor, arith.sub(log, 1.0), arith.fma(factor, log_low, series))
    value = where(x, "lt", 2.0, low, arith.select(far, stirling, recurrence))
    return where(x, "lt", INFINITY, value, x)


def _after_one(y: Value) -> Value:
    """lgamma(1 + y) for y in [-0.1, 1): around its roots 0 and 1, and around its minimum between them."""
    z = arith.sub(1.0, y)
    square = arith.mul(z, z)
    around_two = arith.fma(z, polynomial(square, A_EVEN), arith.mul(square, polynomial(square, A_ODD)))
    around_two = arith.fma(z, like(y, -0.5), around_two)
    m = arith.sub(y, MINIMUM - 1.0)
    square = arith.mul(m, m)
    cube = arith.mul(square, m)
    rest = arith.fma(cube, arith.fma(m, polynomial(cube, T_2), polynomial(cube, T_1)), like(y, -MINIMUM_LOW))
    middle = arith.add(arith.fma(square, polynomial(cube, T_0), rest), MINIMUM_VALUE)
    ratio = arith.div(arith.mul(y, polynomial(y, U)), polynomial(y, V))
    around_one = arith.add(arith.fma(y, like(y, -0.5), ratio), 0.0)  # not -0.0 at 1
    return where(y, "ge", 0.7316, around_two, where(y, "ge", 0.23164, middle, around_one))


def _of_half_turns(x: Value) -> tuple[Value, Value]:
    """|sin(pi x)| and cos(pi x) with the sign that makes their quotient cot(pi x), for finite x."""
    f = arith.sub(x, arith.round_even(x))
    size = arith.abs_(f)
    steep = arith.compare(size, 0.25, predicate="gt")
    angle = arith.mul(arith.select(steep, arith.sub(0.5, size), size), PI)
    r = angle, like(x, 0.0)
    s, c = arith.add(*sine(r)), arith.add(*cosine(r))
    return arith.select(steep, c, s), arith.copysign(arith.select(steep, s, c), f)


@expansion(math.lgamma, F64)
def lgamma(x: Value) -> Value:
    """log |gamma(x)|; infinite at 0, -1, -2, ... and at both infinities"""
    usual = _lgamma_positive(arith.abs_(x))

    def reflected() -> list[Value]:
        """log(pi / |x sin(pi x)|) - lgamma(|x|)"""
        sine_part, _ = _of_half_turns(x)
        size = arith.abs_(x)
        value = arith.sub(log_of(arith.div(PI, arith.mul(size, sine_part))), usual)
        pole = arith.compare(arith.floor(x), x, predicate="eq")
        return [arith.select(pole, like(x, INFINITY), value)]

    (value,) = rarely(arith.compare(x, 0.0, predicate="le"), reflected, [usual])
    return where(x, "eq", x, value, x)


ROOT = (1569415565.0 / 2.0**30, 381566830.0 / 2.0**60, 0.9016312093258695918615325266959189453125e-19)
ROOT_SCALE = 0.99558162689208984
ROOT_TOP = [-0.0020713321167745952, -0.045251321448739056, -0.28919126444774784, -0.65031853770896507]
ROOT_TOP += [-0.32555031186804491, 0.25479851061131551]
ROOT_BOTTOM = [-0.55789841321675513e-6, 0.0021284987017821144, 0.054151797245674225, 0.43593529692665969]
ROOT_BOTTOM += [1.4606242909763515, 2.0767117023730469, 1.0]


def _bernoulli(count: int) -> list[Fraction]:
    """B(0), B(1), ... B(count - 1)"""
    numbers: list[Fraction] = []
    for n in range(count):
        total = sum((python_math.comb(n + 1, k) * b for k, b in enumerate(numbers)), Fraction(0))
        numbers.append(Fraction(1) if n == 0 else -total / (n + 1))
    return numbers


BERNOULLI = _bernoulli(21)
DIGAMMA = [17.902266149244763, -22.796224069327284, 13.586791501702972, -5.136655573287475, 1.4345810779304684]
DIGAMMA += [-0.3374709040787028, 0.07782544575207301, -0.020868033008752677, 0.007555010663056881, -0.004134004374004505]
DIGAMMA += [0.003844244788324006, -0.0072916666593642225, 0.04166666666665101]
"""(digamma(x) - log(x - 1/2)) / u in u = (x - 1/2)**-2, for x >= 3"""


def _digamma_positive(x: Value) -> Value:
    """Around the root on [1, 2); beside it by digamma(y + 1) = digamma(y) + 1 / y; from 3 on log(x - 1/2) and a series."""
    far = arith.compare(x, 3.0, predicate="ge")
    below, above = arith.compare(x, 1.0, predicate="lt"), arith.compare(x, 2.0, predicate="ge")
    f = arith.select(below, x, arith.sub(x, arith.select(above, like(x, 2.0), like(x, 1.0))))
    distance, distance_low = two_sum(arith.sub(arith.add(f, 1.0), ROOT[0]), like(x, -ROOT[1]))
    f = arith.select(far, like(x, 0.0), f)
    ratio = arith.div(polynomial(f, ROOT_TOP), polynomial(f, ROOT_BOTTOM))
    product, product_low = two_product(distance, like(x, ROOT_SCALE))
    product_low = arith.fma(arith.sub(distance_low, ROOT[2]), arith.add(ratio, ROOT_SCALE), product_low)
    base, base_low = fast_two_sum(product, arith.fma(distance, ratio, product_low))
    # -1 / x, 1 / (x - 1), or 1 / (x - 1/2) for the series: one division
    divisor = arith.sub(x, arith.select(far, like(x, 0.5), like(x, 1.0)))
    divisor = arith.select(below, arith.neg(x), divisor)
    inverse, inverse_low = divide(like(x, 1.0), (divisor, like(x, 0.0)))
    high, low = two_sum(inverse, base)
    outer = arith.bit_or(below, above)
    low = where(x, "gt", 1e-300, arith.add(low, arith.add(base_low, inverse_low)), 0.0)  # 1 / x may be infinite
    near = arith.select(outer, arith.add(high, low), base)
    log, log_low = log_pair(divisor)
    u = arith.mul(inverse, inverse)
    beyond = arith.add(log, arith.fma(u, polynomial(u, DIGAMMA), log_low))
    beyond = where(x, "lt", INFINITY, beyond, x)
    value: Value = arith.select(far, beyond, near)
    return value


@expansion(math.digamma, F64)
def digamma(x: Value) -> Value:
    """The derivative of lgamma; at 0 -inf or inf by its sign, nan at -1, -2, ..., as torch"""
    negative = arith.compare(x, 0.0, predicate="lt")
    usual = _digamma_positive(arith.select(negative, arith.sub(1.0, x), x))

    def reflected() -> list[Value]:
        """digamma(1 - x) - pi cot(pi x)"""
        s, c = _of_half_turns(x)
        value = arith.fma(arith.div(c, s), like(x, -PI), usual)
        return [where(arith.floor(x), "eq", x, NAN, value)]

    (value,) = rarely(negative, reflected, [usual])
    value = where(x, "eq", 0.0, arith.copysign(like(x, INFINITY), arith.neg(x)), value)
    return where(x, "eq", x, value, x)


def _zeta(s: int, x: Value) -> Value:
    """The sum of (x + k)**-s over k >= 0, for x > 0: ten terms and more, and the Euler-Maclaurin sum of the rest."""
    terms = 10 + s
    total = like(x, 0.0)
    for k in range(terms - 1, -1, -1):
        total = arith.add(total, _power(arith.div(1.0, arith.add(x, float(k))), s))
    inverse = arith.div(1.0, arith.add(x, float(terms)))
    series = [float(BERNOULLI[2 * j] * python_math.comb(s + 2 * j - 2, 2 * j - 1) / (2 * j)) for j in range(10, 0, -1)]
    square = arith.mul(inverse, inverse)
    rest = arith.fma(inverse, polynomial(square, series), like(x, 0.5))
    rest = arith.fma(inverse, rest, like(x, 1.0 / (s - 1)))
    value: Value = arith.fma(_power(inverse, s - 1), rest, total)
    return value


def _power(x: Value, n: int) -> Value:
    """x**n for n >= 1"""
    if n == 1:
        return x
    half = _power(x, n // 2)
    square = arith.mul(half, half)
    value: Value = arith.mul(square, x) if n % 2 else square
    return value


@expansion(math.polygamma, F64)
def polygamma(x: Value, n: int) -> Value:
    """The n-th derivative of digamma, n >= 1: (-1)**(n + 1) n! zeta(n + 1, x)"""
    factor = float((-1) ** (n + 1) * python_math.factorial(n))
    negative = arith.compare(x, 0.0, predicate="lt")
    usual = arith.mul(_zeta(n + 1, arith.select(negative, arith.sub(1.0, x), x)), factor)

    def reflected() -> list[Value]:
        """(-1)**n polygamma(n, 1 - x) - pi**(n + 1) times the n-th derivative of cot at pi x"""
        s, c = _of_half_turns(x)
        slope = polynomial(arith.div(c, s), [float(number) for number in math.cotangent_derivative(n)])
        return [arith.fma(slope, like(x, -(PI ** (n + 1))), arith.mul(usual, float((-1) ** n)))]

    (value,) = rarely(negative, reflected, [usual])
    return value
