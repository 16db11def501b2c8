"""`math`: elementwise functions that are approximated inside kernels by our own code (codegen/math), within 2 ULP."""

from __future__ import annotations

import math as python_math
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir import implicit_derivatives
from lazytorch.ir.declaration import Declaration, example
from lazytorch.ir.dialects.arith import (
    ELEMENTWISE,
    FLOATING,
    NUMBERS,
    add,
    compare,
    constant,
    div,
    elementwise,
    mul,
    neg,
    select,
    sqrt,
    sub,
    type_of_constant,
)


def _by_element(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """A NumPy function of one of Python's."""
    vectorized = np.vectorize(function, otypes=[np.float64])

    def reference(x: np.ndarray) -> np.ndarray:
        return np.asarray(vectorized(x.astype(np.float64)) if x.size else x).astype(x.dtype)

    return reference


def _square(x: Any) -> Any:
    return mul(x, x)


def _inverse_root(x: Any) -> Any:
    return div(1.0, sqrt(x))


def _gaussian(x: Any) -> Any:
    """2 / sqrt(pi) exp(-x²), the derivative of erf."""
    return mul(exp(neg(_square(x))), 2.0 / python_math.sqrt(python_math.pi))


exp: Declaration = elementwise(
    "math.exp", np.exp, vjp=(lambda op, g: mul(g, op.result),), gradient_name="Exp", kinds=FLOATING, doc="e to the x"
)
expm1: Declaration = elementwise(
    "math.expm1",
    np.expm1,
    vjp=(lambda op, g: mul(g, add(op.result, 1.0)),),
    gradient_name="Expm1",
    kinds=FLOATING,
    doc="exp(x) - 1, accurate near 0",
)
exp2: Declaration = elementwise(
    "math.exp2",
    np.exp2,
    vjp=(lambda op, g: mul(g, mul(op.result, python_math.log(2.0))),),
    gradient_name="Exp2",
    kinds=FLOATING,
    doc="2 to the x",
)
log: Declaration = elementwise(
    "math.log",
    np.log,
    vjp=(lambda op, g: div(g, op.operands[0]),),
    gradient_name="Log",
    kinds=FLOATING,
    doc="natural logarithm",
)
log1p: Declaration = elementwise(
    "math.log1p",
    np.log1p,
    vjp=(lambda op, g: div(g, add(op.operands[0], 1.0)),),
    gradient_name="Log1P",
    kinds=FLOATING,
    doc="log(1 + x), accurate near 0",
)
log2: Declaration = elementwise(
    "math.log2",
    np.log2,
    vjp=(lambda op, g: div(g, mul(op.operands[0], python_math.log(2.0))),),
    gradient_name="Log2",
    kinds=FLOATING,
    doc="logarithm to base 2",
)
log10: Declaration = elementwise(
    "math.log10",
    np.log10,
    vjp=(lambda op, g: div(g, mul(op.operands[0], python_math.log(10.0))),),
    gradient_name="Log10",
    kinds=FLOATING,
    doc="logarithm to base 10",
)
sin: Declaration = elementwise(
    "math.sin",
    np.sin,
    vjp=(lambda op, g: mul(g, cos(op.operands[0])),),
    gradient_name="Sin",
    kinds=FLOATING,
    doc="sine",
)
cos: Declaration = elementwise(
    "math.cos",
    np.cos,
    vjp=(lambda op, g: mul(g, neg(sin(op.operands[0]))),),
    gradient_name="Cos",
    kinds=FLOATING,
    doc="cosine",
)
tan: Declaration = elementwise(
    "math.tan",
    np.tan,
    vjp=(lambda op, g: mul(g, add(_square(op.result), 1.0)),),
    gradient_name="Tan",
    kinds=FLOATING,
    doc="tangent",
)
tanh: Declaration = elementwise(
    "math.tanh",
    np.tanh,
    vjp=(lambda op, g: mul(g, sub(1.0, _square(op.result))),),
    gradient_name="Tanh",
    kinds=FLOATING,
    doc="hyperbolic tangent",
)
sinh: Declaration = elementwise(
    "math.sinh",
    np.sinh,
    vjp=(lambda op, g: mul(g, cosh(op.operands[0])),),
    gradient_name="Sinh",
    kinds=FLOATING,
    doc="hyperbolic sine",
)
cosh: Declaration = elementwise(
    "math.cosh",
    np.cosh,
    vjp=(lambda op, g: mul(g, sinh(op.operands[0])),),
    gradient_name="Cosh",
    kinds=FLOATING,
    doc="hyperbolic cosine",
)
asin: Declaration = elementwise(
    "math.asin",
    np.arcsin,
    vjp=(lambda op, g: mul(g, _inverse_root(sub(1.0, _square(op.operands[0])))),),
    gradient_name="Asin",
    kinds=FLOATING,
    doc="inverse sine, in [-pi/2, pi/2]",
)
acos: Declaration = elementwise(
    "math.acos",
    np.arccos,
    vjp=(lambda op, g: mul(g, neg(_inverse_root(sub(1.0, _square(op.operands[0]))))),),
    gradient_name="Acos",
    kinds=FLOATING,
    doc="inverse cosine, in [0, pi]",
)
atan: Declaration = elementwise(
    "math.atan",
    np.arctan,
    vjp=(lambda op, g: div(g, add(_square(op.operands[0]), 1.0)),),
    gradient_name="Atan",
    kinds=FLOATING,
    doc="inverse tangent, in [-pi/2, pi/2]",
)


def _inverse_square_sum(op: Any) -> Any:
    """1 / (a² + b²), and 0 at the origin, as torch."""
    total = add(_square(op.operands[0]), _square(op.operands[1]))
    return select(compare(total, 0.0, predicate="eq"), total, div(1.0, total))


atan2: Declaration = elementwise(
    "math.atan2",
    np.arctan2,
    vjp=(
        lambda op, g: mul(mul(g, op.operands[1]), _inverse_square_sum(op)),
        lambda op, g: mul(mul(g, neg(op.operands[0])), _inverse_square_sum(op)),
    ),
    gradient_name="Atan2",
    kinds=FLOATING,
    doc="the angle of the point (b, a), in [-pi, pi]",
)
hypot: Declaration = elementwise(
    "math.hypot",
    np.hypot,
    vjp=(
        lambda op, g: mul(g, div(op.operands[0], op.result)),
        lambda op, g: mul(g, div(op.operands[1], op.result)),
    ),
    gradient_name="Hypot",
    kinds=FLOATING,
    doc="sqrt(a² + b²) without overflow",
)
asinh: Declaration = elementwise(
    "math.asinh",
    np.arcsinh,
    vjp=(lambda op, g: mul(g, _inverse_root(add(_square(op.operands[0]), 1.0))),),
    gradient_name="Asinh",
    kinds=FLOATING,
    doc="inverse hyperbolic sine",
)
acosh: Declaration = elementwise(
    "math.acosh",
    np.arccosh,
    vjp=(lambda op, g: mul(g, _inverse_root(sub(_square(op.operands[0]), 1.0))),),
    gradient_name="Acosh",
    kinds=FLOATING,
    doc="inverse hyperbolic cosine",
)
atanh: Declaration = elementwise(
    "math.atanh",
    np.arctanh,
    vjp=(lambda op, g: mul(g, div(1.0, sub(1.0, _square(op.operands[0])))),),
    gradient_name="Atanh",
    kinds=FLOATING,
    doc="inverse hyperbolic tangent",
)
erf: Declaration = elementwise(
    "math.erf",
    _by_element(python_math.erf),
    vjp=(lambda op, g: mul(g, _gaussian(op.operands[0])),),
    gradient_name="Erf",
    kinds=FLOATING,
    doc="error function",
)
erfc: Declaration = elementwise(
    "math.erfc",
    _by_element(python_math.erfc),
    vjp=(lambda op, g: mul(neg(_gaussian(op.operands[0])), g),),
    gradient_name="Erfc",
    kinds=FLOATING,
    doc="1 - erf(x), accurate for large x",
)


def _reference_erfinv(x: float) -> float:
    """Newton's method from below the root, from where it rises to it."""
    size = abs(x)
    if not size < 1.0:
        return python_math.copysign(python_math.inf, x) if size == 1.0 else python_math.nan
    y = size * python_math.sqrt(python_math.pi) / 2
    for _ in range(100):
        missing = size - python_math.erf(y) if size < 0.5 else python_math.erfc(y) - (1.0 - size)
        y += missing * python_math.sqrt(python_math.pi) / 2 * python_math.exp(y * y)
    return python_math.copysign(y, x)


erfinv: Declaration = elementwise(
    "math.erfinv",
    _by_element(_reference_erfinv),
    vjp=(lambda op, g: mul(mul(g, exp(_square(op.result))), python_math.sqrt(python_math.pi) / 2.0),),
    gradient_name="Erfinv",
    kinds=FLOATING,
    doc="inverse of erf",
)


def _reference_lgamma(x: float) -> float:
    return python_math.inf if x <= 0 and x == python_math.floor(x) else python_math.lgamma(x)


lgamma: Declaration = elementwise(
    "math.lgamma",
    _by_element(_reference_lgamma),
    vjp=(lambda op, g: mul(g, digamma(op.operands[0])),),
    gradient_name="Lgamma",
    kinds=FLOATING,
    doc="log |gamma(x)|",
)


def cotangent_derivative(n: int) -> list[int]:
    """The n-th derivative of cot as a polynomial in cot, the highest power first."""
    lowest_first = [0, 1]
    for _ in range(n):
        slope = [power * c for power, c in enumerate(lowest_first)][1:]
        lowest_first = [-(a + b) for a, b in zip([*slope, 0, 0], [0, 0, *slope], strict=True)]
    return lowest_first[::-1]


def _reflected(n: int, x: np.ndarray, positive: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """polygamma of any x by what it is for positive numbers."""
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        cotangent = 1 / np.tan(np.pi * (wide - np.rint(wide)))
        slope = np.pi ** (n + 1) * np.polyval(cotangent_derivative(n), cotangent)
        return np.where(wide < 0, (-1.0) ** n * positive(1 - wide) - slope, positive(np.abs(wide))).astype(x.dtype)


def _reference_polygamma(n: int, x: np.ndarray) -> np.ndarray:
    """Thirty terms of the sum, and the Euler-Maclaurin sum of the rest."""
    s = n + 1

    def positive(x: np.ndarray) -> np.ndarray:
        y = x + 30.0
        rest = 1 / (s - 1) + 0.5 / y + s / (12 * y**2) - s * (s + 1) * (s + 2) / (720 * y**4)
        zeta = sum((x + k) ** -float(s) for k in range(30)) + y ** (1.0 - s) * rest
        return np.asarray((-1.0) ** s * python_math.factorial(n) * zeta)

    return _reflected(n, x, positive)


polygamma: Declaration = Declaration(
    "math.polygamma",
    lambda attributes, x: digamma.infer(attributes, x),
    attributes=("n",),
    traits=ELEMENTWISE,
    vjp=(lambda op, g: mul(g, polygamma(op.operands[0], n=op.attributes.n + 1)),),
    reference=lambda attributes, x: _reference_polygamma(attributes.n, x),
    gradient_name="Polygamma",
    example=example("tensor<2x3xf32>", n=1),
    doc="the n-th derivative of digamma, n >= 1",
)


def _reference_digamma(x: np.ndarray) -> np.ndarray:
    value = _reflected(0, x, implicit_derivatives.digamma)
    value = np.where((x < 0) & (x == np.floor(x)), np.nan, value)
    return np.where(x == 0, np.copysign(np.inf, -x), value).astype(x.dtype)


digamma: Declaration = elementwise(
    "math.digamma",
    _reference_digamma,
    vjp=(lambda op, g: mul(g, polygamma(op.operands[0], n=1)),),
    gradient_name="Digamma",
    kinds=FLOATING,
    doc="the derivative of lgamma",
)


def _reference_sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x))).astype(x.dtype)


sigmoid: Declaration = elementwise(
    "math.sigmoid",
    _reference_sigmoid,
    vjp=(lambda op, g: mul(mul(g, sub(1.0, op.result)), op.result),),
    gradient_name="Sigmoid",
    kinds=FLOATING,
    doc="1 / (1 + exp(-x))",
)


def _power_base(op: Any, g: Any) -> Any:
    """d/dx x**y = y x**(y-1), and 0 where y is 0 (torch's pow_backward)."""
    x, y = op.operands
    slope = mul(g, mul(y, pow_(x, sub(y, 1.0))))
    return select(compare(y, 0.0, predicate="eq"), 0.0, slope)


def _power_exponent(op: Any, g: Any) -> Any:
    """d/dy x**y = x**y log x, and 0 where x is 0 and y >= 0 (torch's pow_backward_exponent)."""
    x, y = op.operands
    zero = constant.build(x.builder, value=0.0, type=type_of_constant(x.type.dtype, x.type))
    vanishes = select(compare(x, 0.0, predicate="eq"), compare(y, 0.0, predicate="ge"), _false(x))
    return select(vanishes, zero, mul(g, mul(op.result, log(x))))


def _false(like: Any) -> Any:
    return constant.build(like.builder, value=False, type=type_of_constant(dtypes.bool_, like.type))


pow_: Declaration = elementwise(
    "math.pow",
    np.power,
    vjp=(_power_base, _power_exponent),
    gradient_name="Pow",
    kinds=NUMBERS,
    doc="x to the y",
)
