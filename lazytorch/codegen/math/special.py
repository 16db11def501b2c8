"""tanh, sigmoid, erf. erf's rational approximations are fdlibm's (s_erf.c, Sun Microsystems 1993)."""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.codegen.math.expansion import expansion, like, polynomial
from lazytorch.codegen.math.exponential import exp
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


@expansion(math.erf, F64)
def erf_f64(x: Value) -> Value:
    """Rational functions on [0, 0.84375), [0.84375, 1.25), [1.25, 1/0.35) and [1/0.35, 6); 1 beyond."""
    size = arith.abs_(x)
    z = arith.mul(x, x)
    near = arith.fma(x, arith.div(polynomial(z, PP), polynomial(z, QQ)), x)
    s = arith.sub(size, 1.0)
    middle = arith.add(arith.div(polynomial(s, PA), polynomial(s, QA)), AT_ONE)
    limited = arith.select(arith.compare(size, 6.0, predicate="gt"), like(x, 6.0), size)
    far = _erf_far(arith.select(arith.compare(limited, 1.25, predicate="lt"), like(x, 1.25), limited))
    far = arith.select(arith.compare(size, 6.0, predicate="ge"), like(x, 1.0), far)
    outer = arith.copysign(arith.select(arith.compare(size, 1.25, predicate="lt"), middle, far), x)
    value: Value = arith.select(arith.compare(size, 0.84375, predicate="lt"), near, outer)
    nan = arith.compare(x, x, predicate="ne")
    out: Value = arith.select(nan, x, value)
    return out


def _erf_far(size: Value) -> Value:
    """1 - exp(-x² - 0.5625 + R/S) / x, with x² split so that the exponent keeps its low bits."""
    s = arith.div(1.0, arith.mul(size, size))
    closer = arith.compare(size, 1.0 / 0.35, predicate="lt")
    ratio = arith.select(
        closer,
        arith.div(polynomial(s, RA), polynomial(s, SA)),
        arith.div(polynomial(s, RB), polynomial(s, SB)),
    )
    bits = arith.bitcast(size, dtype=dtypes.int64)
    high = arith.bitcast(arith.shift_left(arith.shift_right(bits, 32), 32), dtype=F64)
    first = exp(arith.sub(arith.neg(arith.mul(high, high)), 0.5625))
    second = exp(arith.add(arith.mul(arith.sub(high, size), arith.add(high, size)), ratio))
    value: Value = arith.sub(1.0, arith.div(arith.mul(first, second), size))
    return value
