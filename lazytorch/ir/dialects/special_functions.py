"""`special`: Bessel and Airy functions, the scaled error function, the normal quantile.

Composites of polynomials and elementary functions, piece by piece; a piece that is not chosen may overflow. The methods are
those of the Cephes Math Library, whose coefficients stand in special_coefficients.py. Where PyTorch leaves out the leading
one of a denominator (bessel_j0 ... bessel_y1, airy_ai of negative numbers, wrong by up to 3e-6) it is there.
"""

from __future__ import annotations

import math as python_math
from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.ir.declaration import Attributes, Declaration
from lazytorch.ir.dialects import arith, math
from lazytorch.ir.dialects import special_coefficients as coefficients
from lazytorch.ir.dialects.composite import Gradient, composite, number
from lazytorch.ir.types import TensorType

Fraction = tuple[Sequence[float], Sequence[float]]
_PI = python_math.pi
_SQRT_2_OVER_PI = python_math.sqrt(2.0 / _PI)


def _infer(name: str) -> Callable[..., TensorType]:
    def infer(attributes: Attributes, x: TensorType) -> TensorType:
        if x.dtype.kind != "f":
            raise NotImplementedError(f"\"{name}\" not implemented for '{x.dtype.title}'")
        return x

    return infer


def _special(name: str, function: Callable[[Any], Any], doc: str, slope: Callable[[Any], Any] | None = None) -> Declaration:
    """A function of one number. slope: its derivative; without one that of the pieces."""
    gradient: Gradient | None = None
    if slope is not None:
        derivative = slope

        def gradient(op: Any, g: Any, operand: int) -> Any:
            return arith.mul(g, derivative(op.operands[0]))

    return composite(
        f"special.{name}",
        _infer(name),
        lambda op: function(op.operands[0]),
        gradient=gradient,
        elementwise=True,
        gradient_name="Special" + name.title().replace("_", ""),
        doc=doc,
    )


# -- polynomials, choices ------------------------------------------------------------


def _polynomial(x: Any, series: Sequence[float]) -> Any:
    """Horner's scheme, highest power first."""
    total = number(series[0], x)
    for coefficient in series[1:]:
        total = arith.add(arith.mul(total, x), coefficient)
    return total


def _fraction(x: Any, parts: Fraction) -> Any:
    return arith.div(_polynomial(x, parts[0]), _polynomial(x, parts[1]))


def _chebyshev(x: Any, series: Sequence[float]) -> Any:
    """The sum of a Chebyshev series in x / 2, by Clenshaw's recurrence; the constant term counts half."""
    before = number(0.0, x)
    last = before
    total = number(series[0], x)
    for coefficient in series[1:]:
        before, last = last, total
        total = arith.add(arith.sub(arith.mul(x, last), before), coefficient)
    return arith.mul(arith.sub(total, before), 0.5)


def _where(x: Any, predicate: str, limit: float, chosen: Any, other: Any) -> Any:
    return arith.select(arith.compare(x, limit, predicate=predicate), chosen, other)


def _square(x: Any) -> Any:
    return arith.mul(x, x)


def _with_sign(sign: Any, size: Any) -> Any:
    """The size, negative where `sign` is below 0."""
    return _where(sign, "lt", 0.0, arith.neg(size), size)


# -- modified Bessel functions ------------------------------------------------------------


def _i0e(x: Any) -> Any:
    size = arith.abs_(x)
    small = _chebyshev(arith.sub(arith.mul(size, 0.5), 2.0), coefficients.I0_SMALL)
    large = _chebyshev(arith.sub(arith.div(32.0, size), 2.0), coefficients.I0_LARGE)
    return _where(size, "le", 8.0, small, arith.div(large, arith.sqrt(size)))


def _i1e(x: Any) -> Any:
    size = arith.abs_(x)
    small = arith.mul(_chebyshev(arith.sub(arith.mul(size, 0.5), 2.0), coefficients.I1_SMALL), size)
    large = _chebyshev(arith.sub(arith.div(32.0, size), 2.0), coefficients.I1_LARGE)
    return _with_sign(x, _where(size, "le", 8.0, small, arith.div(large, arith.sqrt(size))))


def _i0(x: Any) -> Any:
    return arith.mul(math.exp(arith.abs_(x)), _i0e(x))


def _i1(x: Any) -> Any:
    return arith.mul(math.exp(arith.abs_(x)), _i1e(x))


def _i1_slope(x: Any) -> Any:
    """I0 - I1 / x, 1/2 at 0."""
    return _at_zero(x, 0.5, lambda y: arith.sub(_i0(y), arith.div(_i1(y), y)))


def _i1e_slope(x: Any) -> Any:
    return _at_zero(x, 0.5, lambda y: arith.sub(_i0e(y), arith.mul(_i1e(y), arith.add(arith.sign(y), arith.div(1.0, y)))))


def _at_zero(x: Any, value: float, function: Callable[[Any], Any]) -> Any:
    """The function, and a value of its own at 0, where it is not defined."""
    here = arith.compare(x, 0.0, predicate="eq")
    return arith.select(here, number(value, x), function(arith.select(here, number(1.0, x), x)))


def _k(order: int, x: Any, scaled: bool) -> Any:
    """K0 or K1, times exp(x) if scaled: inf at 0, nan below."""
    square = arith.sub(_square(x), 2.0)
    logarithm = math.log(arith.mul(x, 0.5))
    if order == 0:
        small = arith.sub(_chebyshev(square, coefficients.K0_SMALL), arith.mul(logarithm, _i0(x)))
    else:
        regular = arith.div(_chebyshev(square, coefficients.K1_SMALL), x)
        small = arith.add(arith.mul(logarithm, _i1(x)), regular)
    series = coefficients.K0_LARGE if order == 0 else coefficients.K1_LARGE
    large = arith.div(_chebyshev(arith.sub(arith.div(8.0, x), 2.0), series), arith.sqrt(x))
    if scaled:
        small = arith.mul(small, math.exp(x))
    else:
        large = arith.mul(large, math.exp(arith.neg(x)))
    found = _where(x, "le", 2.0, small, large)
    return _where(x, "eq", 0.0, number(python_math.inf, x), found)


i0: Declaration = _special("i0", _i0, "the modified Bessel function I0", _i1)
i1: Declaration = _special("i1", _i1, "the modified Bessel function I1", _i1_slope)
i0e: Declaration = _special("i0e", _i0e, "exp(-|x|) I0(x)", lambda x: arith.sub(_i1e(x), arith.mul(arith.sign(x), _i0e(x))))
i1e: Declaration = _special("i1e", _i1e, "exp(-|x|) I1(x)", _i1e_slope)
modified_bessel_k0: Declaration = _special(
    "modified_bessel_k0", lambda x: _k(0, x, False), "the modified Bessel function K0", lambda x: arith.neg(_k(1, x, False))
)
modified_bessel_k1: Declaration = _special(
    "modified_bessel_k1",
    lambda x: _k(1, x, False),
    "the modified Bessel function K1",
    lambda x: arith.neg(arith.add(_k(0, x, False), arith.div(_k(1, x, False), x))),
)
scaled_modified_bessel_k0: Declaration = _special(
    "scaled_modified_bessel_k0",
    lambda x: _k(0, x, True),
    "exp(x) K0(x)",
    lambda x: arith.sub(_k(0, x, True), _k(1, x, True)),
)
scaled_modified_bessel_k1: Declaration = _special(
    "scaled_modified_bessel_k1",
    lambda x: _k(1, x, True),
    "exp(x) K1(x)",
    lambda x: arith.sub(arith.sub(_k(1, x, True), _k(0, x, True)), arith.div(_k(1, x, True), x)),
)

# -- Bessel functions ------------------------------------------------------------

_FIRST_ZEROS = {0: (5.78318596294678452118, 30.4712623436620863991), 1: (14.6819706421238932572, 49.2184563216946036703)}
"""The squares of the first two positive zeros of J0 and J1."""
_LARGE = {
    0: (coefficients.AMPLITUDE0, coefficients.PHASE0, _PI / 4),
    1: (coefficients.AMPLITUDE1, coefficients.PHASE1, 3 * _PI / 4),
}


def _small_j(order: int, x: Any) -> Any:
    """J from 0 to 5."""
    square = _square(x)
    first, second = _FIRST_ZEROS[order]
    factors = arith.mul(arith.sub(square, first), arith.sub(square, second))
    rest = _fraction(square, coefficients.J0_SMALL if order == 0 else coefficients.J1_SMALL)
    return arith.mul(factors, rest if order == 0 else arith.mul(rest, x))


def _large_bessel(order: int, x: Any, second: bool) -> Any:
    """J or Y (`second`) from 5 on: a slowly decaying wave."""
    amplitude, phase, shift = _LARGE[order]
    inverse = arith.div(5.0, x)
    even = _fraction(_square(inverse), amplitude)
    odd = arith.mul(inverse, _fraction(_square(inverse), phase))
    angle = arith.sub(x, shift)
    sine, cosine = math.sin(angle), math.cos(angle)
    if second:
        wave = arith.add(arith.mul(even, sine), arith.mul(odd, cosine))
    else:
        wave = arith.sub(arith.mul(even, cosine), arith.mul(odd, sine))
    return arith.div(arith.mul(wave, _SQRT_2_OVER_PI), arith.sqrt(x))


def _j(order: int, x: Any) -> Any:
    size = arith.abs_(x)
    found = _where(size, "le", 5.0, _small_j(order, size), _large_bessel(order, size, False))
    return found if order == 0 else _with_sign(x, found)


def _y(order: int, x: Any) -> Any:
    """-inf at 0, nan below."""
    square = _square(x)
    wave = arith.mul(math.log(x), _small_j(order, x))
    if order == 0:
        regular = _fraction(square, coefficients.Y0_SMALL)
    else:
        regular = arith.mul(x, _fraction(square, coefficients.Y1_SMALL))
        wave = arith.sub(wave, arith.div(1.0, x))
    small = arith.add(regular, arith.mul(wave, 2.0 / _PI))
    found = _where(x, "le", 5.0, small, _large_bessel(order, x, True))
    return _where(x, "eq", 0.0, number(-python_math.inf, x), found)


bessel_j0: Declaration = _special("bessel_j0", lambda x: _j(0, x), "the Bessel function J0", lambda x: arith.neg(_j(1, x)))
bessel_j1: Declaration = _special(
    "bessel_j1",
    lambda x: _j(1, x),
    "the Bessel function J1",
    lambda x: _at_zero(x, 0.5, lambda y: arith.sub(_j(0, y), arith.div(_j(1, y), y))),
)
bessel_y0: Declaration = _special("bessel_y0", lambda x: _y(0, x), "the Bessel function Y0", lambda x: arith.neg(_y(1, x)))
bessel_y1: Declaration = _special(
    "bessel_y1",
    lambda x: _y(1, x),
    "the Bessel function Y1",
    lambda x: arith.sub(_y(0, x), arith.div(_y(1, x), x)),
)


def _spherical_j0(x: Any) -> Any:
    """sin(x) / x; a series around 0; 0 at infinity."""
    series = [(-1.0) ** k / python_math.factorial(2 * k + 1) for k in range(6, -1, -1)]
    near = _polynomial(_square(x), series)
    size = arith.abs_(x)
    endless = arith.compare(size, python_math.inf, predicate="eq")
    y = arith.select(arith.bit_or(endless, arith.compare(size, 0.5, predicate="lt")), number(1.0, x), x)
    far = arith.select(endless, number(0.0, x), arith.div(math.sin(y), y))
    return _where(size, "lt", 0.5, near, far)


spherical_bessel_j0: Declaration = _special("spherical_bessel_j0", _spherical_j0, "the spherical Bessel function sin(x) / x")

# -- the Airy function ------------------------------------------------------------

_AIRY_SERIES = 12
"""Terms of the power series around 0 that float64 needs up to |x| = 2.09."""
_ROOT_PI = python_math.sqrt(_PI)


def _airy_left(x: Any) -> Any:
    """Below -2.09: a wave."""
    zeta = arith.mul(arith.mul(arith.neg(x), arith.sqrt(arith.neg(x))), 2.0 / 3.0)
    inverse = arith.div(1.0, zeta)
    square = _square(inverse)
    even = arith.add(arith.mul(square, _fraction(square, coefficients.AIRY_LEFT_EVEN)), 1.0)
    odd = arith.mul(inverse, _fraction(square, coefficients.AIRY_LEFT_ODD))
    angle = arith.add(zeta, _PI / 4)
    wave = arith.sub(arith.mul(math.sin(angle), even), arith.mul(math.cos(angle), odd))
    return arith.div(arith.mul(wave, 1.0 / _ROOT_PI), arith.sqrt(arith.sqrt(arith.neg(x))))


def _airy_right(x: Any) -> Any:
    """From 2.09 on: it decays as exp(-zeta)."""
    zeta = arith.mul(arith.mul(x, arith.sqrt(x)), 2.0 / 3.0)
    decay = arith.mul(arith.mul(arith.sqrt(arith.sqrt(x)), math.exp(zeta)), 2.0 * _ROOT_PI)
    return arith.div(_fraction(arith.div(1.0, zeta), coefficients.AIRY_RIGHT), decay)


def _airy_near(x: Any) -> Any:
    """The power series, c1 f(x) - c2 g(x)."""
    f = [1.0]
    g = [1.0]
    for term in range(1, _AIRY_SERIES):
        f.append(f[-1] / ((3 * term - 1) * (3 * term)))
        g.append(g[-1] / ((3 * term) * (3 * term + 1)))
    cube = arith.mul(_square(x), x)
    even, odd = _polynomial(cube, f[::-1]), arith.mul(x, _polynomial(cube, g[::-1]))
    return arith.sub(arith.mul(even, 0.355028053887817239260), arith.mul(odd, 0.258819403792806798405))


def _airy(x: Any) -> Any:
    """Every piece is computed of numbers that it is made for, so that the derivative is finite, too."""
    left, right = _airy_left(arith.minimum(x, -2.09)), _airy_right(arith.maximum(x, 2.09))
    near = _where(x, "lt", -2.09, left, _airy_near(arith.minimum(arith.maximum(x, -2.09), 2.09)))
    found = _where(x, "ge", 2.09, right, near)
    found = _where(x, "gt", 103.892, number(0.0, x), found)
    endless = arith.compare(arith.abs_(x), python_math.inf, predicate="eq")
    return arith.select(endless, number(python_math.nan, x), found)


airy_ai: Declaration = _special("airy_ai", _airy, "the Airy function Ai")

# -- error function and normal distribution ------------------------------------------------------------

_CONTINUED = 20
"""Levels of the continued fraction of erfcx, exact in float64 from 4 on."""


def _erfcx_of_positive(x: Any) -> Any:
    """Up to 4 exp(x^2) erfc(x), with what rounding takes from the square; then a continued fraction (Laplace)."""
    square = _square(x)
    rest = arith.fma(x, x, arith.neg(square))
    near = arith.mul(arith.mul(math.exp(square), arith.add(rest, 1.0)), math.erfc(x))
    tail = x
    for level in range(_CONTINUED, 0, -1):
        tail = arith.add(x, arith.div(0.5 * level, tail))
    return _where(x, "lt", 4.0, near, arith.div(1.0 / _ROOT_PI, tail))


def _erfcx(x: Any) -> Any:
    right = _erfcx_of_positive(arith.abs_(x))
    left = arith.sub(arith.mul(math.exp(_square(x)), 2.0), right)
    return _where(x, "lt", 0.0, left, right)


def _log_ndtr(x: Any) -> Any:
    t = arith.mul(x, python_math.sqrt(0.5))
    far = arith.sub(math.log(arith.mul(_erfcx_of_positive(arith.abs_(t)), 0.5)), _square(t))
    return _where(x, "lt", -1.0, far, math.log1p(arith.mul(math.erfc(t), -0.5)))


def _log_ndtr_slope(x: Any) -> Any:
    """The density by the distribution function: sqrt(2 / pi) / erfcx(-x / sqrt(2))."""
    return arith.div(_SQRT_2_OVER_PI, _erfcx(arith.mul(x, -python_math.sqrt(0.5))))


def _ndtri(p: Any) -> Any:
    edge = python_math.exp(-2.0)
    upper = arith.compare(p, 1.0 - edge, predicate="gt")
    q = arith.select(upper, arith.sub(1.0, p), p)
    centred = arith.sub(q, 0.5)
    square = _square(centred)
    correction = arith.mul(centred, arith.mul(square, _fraction(square, coefficients.QUANTILE_MIDDLE)))
    middle = arith.mul(arith.add(centred, correction), python_math.sqrt(2.0 * _PI))
    x = arith.sqrt(arith.mul(math.log(q), -2.0))
    inverse = arith.div(1.0, x)
    tails = [
        arith.mul(inverse, _fraction(inverse, part)) for part in (coefficients.QUANTILE_TAIL, coefficients.QUANTILE_FAR_TAIL)
    ]
    distance = arith.sub(arith.sub(x, arith.div(math.log(x), x)), _where(x, "lt", 8.0, *tails))
    tail = arith.select(upper, distance, arith.neg(distance))
    found = _where(q, "gt", edge, middle, tail)
    found = _where(p, "eq", 0.0, number(-python_math.inf, p), found)
    return _where(p, "eq", 1.0, number(python_math.inf, p), found)


def _ndtri_slope(p: Any) -> Any:
    quantile = _ndtri(p)
    return arith.mul(math.exp(arith.mul(_square(quantile), 0.5)), python_math.sqrt(2.0 * _PI))


erfcx: Declaration = _special(
    "erfcx",
    _erfcx,
    "exp(x^2) erfc(x)",
    lambda x: arith.sub(arith.mul(arith.mul(x, 2.0), _erfcx(x)), 2.0 / _ROOT_PI),
)
log_ndtr: Declaration = _special("log_ndtr", _log_ndtr, "the logarithm of the normal distribution function", _log_ndtr_slope)
ndtri: Declaration = _special("ndtri", _ndtri, "the quantile function of the normal distribution", _ndtri_slope)
