"""erf, erfc, erfinv. The rational functions are fdlibm's (s_erf.c, Sun Microsystems 1993), the exponents pairs."""

from __future__ import annotations

import math as python_math

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import INFINITY, NAN, expansion, like, polynomial, where
from lazytorch.codegen.math.exponential import exp_of_pair, exp_within
from lazytorch.codegen.math.logarithm import log
from lazytorch.codegen.math.pairs import fast_two_sum, two_product
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, math

F32, F64 = dtypes.float32, dtypes.float64
PP = [-2.37630166566501626084e-05, -5.77027029648944159157e-03, -2.84817495755985104766e-02]
PP += [-3.25042107247001499370e-01, 1.28379167095512558561e-01]
QQ = [-3.96022827877536812320e-06, 1.32494738004321644526e-04, 5.08130628187576562776e-03]
QQ += [6.50222499887672944485e-02, 3.97917223959155352819e-01, 1.0]
PA = [-2.16637559486879084300e-03, 3.54783043256182359371e-02, -1.10894694282396677476e-01]
PA += [3.18346619901161753674e-01, -3.72207876035701323847e-01, 4.14856118683748331666e-01, -2.36211856075265944077e-03]
QA = [1.19844998467991074170e-02, 1.36370839120290507362e-02, 1.26171219808761642112e-01]
QA += [7.18286544141962662868e-02, 5.40397917702171048937e-01, 1.06420880400844228286e-01, 1.0]
RA = [-9.81432934416914548592e00, -8.12874355063065934246e01, -1.84605092906711035994e02, -1.62396669462573470355e02]
RA += [-6.23753324503260060396e01, -1.05586262253232909814e01, -6.93858572707181764372e-01, -9.86494403484714822705e-03]
SA = [-6.04244152148580987438e-02, 6.57024977031928170135e00, 1.08635005541779435134e02, 4.29008140027567833386e02]
SA += [6.45387271733267880336e02, 4.34565877475229228821e02, 1.37657754143519042600e02, 1.96512716674392571292e01, 1.0]
RB = [-4.83519191608651397019e02, -1.02509513161107724954e03, -6.37566443368389627722e02, -1.60636384855821916062e02]
RB += [-1.77579549177547519889e01, -7.99283237680523006574e-01, -9.86494292470009928597e-03]
SB = [-2.24409524465858183362e01, 4.74528541206955367215e02, 2.55305040643316442583e03, 3.19985821950859553908e03]
SB += [1.53672958608443695994e03, 3.25792512996573918826e02, 3.03380607434824582924e01, 1.0]
AT_ONE = 8.45062911510467529297e-01


def _pieces(x: Value, largest: float) -> tuple[Value, Value]:
    """The rational function of |x|'s interval, and erfc(|x|), which is right from 1.25 to `largest`.

    The rational functions stand for (erf(x) - x) / x on [0, 0.84375), erf(x) - AT_ONE on [0.84375, 1.25), and
    log(x erfc(x)) + x² + 0.5625 on [1.25, 1/0.35) and beyond.
    """
    size = arith.abs_(x)
    limited = where(size, "gt", largest, largest, size)
    limited = where(limited, "lt", 0.5, 0.5, limited)
    square, square_low = two_product(limited, limited)
    inverse = arith.div(1.0, square)
    near, one = arith.mul(x, x), arith.sub(size, 1.0)
    top, bottom = polynomial(inverse, RB), polynomial(inverse, SB)
    for limit, variable, numerator, denominator in (
        (1.0 / 0.35, inverse, RA, SA),
        (1.25, one, PA, QA),
        (0.84375, near, PP, QQ),
    ):
        inside = arith.compare(size, limit, predicate="lt")
        top = arith.select(inside, polynomial(variable, numerator), top)
        bottom = arith.select(inside, polynomial(variable, denominator), bottom)
    ratio = arith.div(top, bottom)
    high, low = fast_two_sum(arith.neg(square), like(x, -0.5625))
    high, lost = fast_two_sum(high, ratio)
    low = arith.add(low, arith.sub(lost, square_low))
    return ratio, arith.div(exp_of_pair((high, low)), limited)


@expansion(math.erf, F64)
def erf_f64(x: Value) -> Value:
    """1 beyond 6"""
    size = arith.abs_(x)
    ratio, beyond = _pieces(x, 6.0)
    outer = where(size, "lt", 1.25, arith.add(ratio, AT_ONE), arith.sub(1.0, beyond))
    value = arith.copysign(where(size, "lt", 0.84375, arith.fma(size, ratio, size), outer), x)
    return where(x, "eq", x, value, x)


@expansion(math.erfc, F64)
def erfc_f64(x: Value) -> Value:
    """1 - erf(x); below 0 2 - erfc(-x), 0 beyond 28"""
    ratio, beyond = _pieces(x, 28.0)
    return where(x, "eq", x, _complement(x, ratio, beyond), x)


def _complement(x: Value, ratio: Value, beyond: Value) -> Value:
    """erfc(x) from the pieces"""
    size = arith.abs_(x)
    beyond = where(x, "lt", 0.0, arith.sub(2.0, beyond), beyond)
    # Around 1 both 1 - AT_ONE and AT_ONE + 1 are exact.
    middle = arith.sub(1.0 - AT_ONE, ratio)
    middle = where(x, "lt", 0.0, arith.add(ratio, 1.0 + AT_ONE), middle)
    high, low = fast_two_sum(like(x, 1.0), arith.neg(x))
    near = arith.add(high, arith.fma(arith.neg(x), ratio, low))
    return where(size, "lt", 0.84375, near, where(size, "lt", 1.25, middle, beyond))


INVERSE_CENTRE = [2.8533012997996975e-08, 3.4372520164682726e-07, -3.528835424773602e-06, -4.39675888222711e-06]
INVERSE_CENTRE += [2.186020861767709e-04, -1.2537075905524843e-03, -4.177707569936141e-03, 0.24664072617261257]
INVERSE_CENTRE += [1.5014094215168916]
"""erfinv(x) / x in w - 5/2, with w = -log(1 - x²) < 5, to 2**-23"""
INVERSE_TAIL = [1.782442478622646e-05, -7.891588204033853e-05, 9.050618891596656e-05, -2.7696868562182853e-05]
INVERSE_TAIL += [2.563063701594874e-04, -9.420864957798982e-04, 1.2928957982699565e-03, 1.009510935452958, 3.839781476249803]
"""erfinv(x) / x in sqrt(w) - 4, for w from 5 to 37, to 2**-19"""


@expansion(math.erfinv, F64)
def erfinv(x: Value) -> Value:
    """A polynomial (as M. Giles's), then three terms of the series of the inverse there; infinite at 1, nan beyond.

    What erf of the approximation misses is taken from erf below 1/2 and from erfc above, where 1 - |x| is exact.
    """
    size = arith.abs_(x)
    rest = arith.sub(1.0, size)
    w = arith.neg(log(arith.mul(rest, arith.add(size, 1.0))))
    centre = polynomial(arith.sub(w, 2.5), INVERSE_CENTRE)
    tail = polynomial(arith.sub(arith.sqrt(w), 4.0), INVERSE_TAIL)
    y = arith.mul(where(w, "lt", 5.0, centre, tail), size)
    ratio, beyond = _pieces(y, 7.0)
    missing = arith.sub(size, arith.fma(y, ratio, y))
    missing = where(size, "lt", 0.5, missing, arith.sub(_complement(y, ratio, beyond), rest))
    square = arith.mul(y, y)
    u = arith.mul(arith.mul(missing, python_math.sqrt(python_math.pi) / 2.0), exp_within(square))
    cubic = arith.fma(square, like(x, 4.0 / 3.0), like(x, 1.0 / 3.0))
    value = arith.fma(u, arith.fma(u, arith.fma(u, cubic, y), like(x, 1.0)), y)
    value = where(size, "eq", 1.0, INFINITY, value)
    out: Value = arith.copysign(where(size, "gt", 1.0, NAN, value), x)
    return out


ERF_NEAR = [-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 0.112819925, -0.376125336, 0.128379166]
"""(erf(x) - x) / x in x², for |x| <= 0.9277 (N. Juffa)"""
ERF_FAR = [-1.72853470e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -0.106777877, -0.634846687, -0.128717512]
"""log(1 - erf(x)) / x + 1 beyond (N. Juffa)"""


@expansion(math.erf, F32)
def erf_f32(x: Value) -> Value:
    """x + x P(x²) near 0, 1 - exp(x Q(x) - x) beyond; 1 from 5 on"""
    size = arith.abs_(x)
    near = arith.fma(polynomial(arith.mul(x, x), ERF_NEAR), size, size)
    limited = where(size, "gt", 5.0, 5.0, size)
    exponent = arith.fma(polynomial(limited, ERF_FAR), limited, arith.neg(limited))
    far = arith.sub(1.0, exp_within(exponent))
    value: Value = arith.copysign(where(size, "gt", 0.9277, far, near), x)
    return value
