"""`math`: elementwise functions that are approximated inside kernels by our own code (codegen/math), within 2 ULP."""

from __future__ import annotations

import math as python_math
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects.arith import (
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
    sub,
    type_of_constant,
)

_erf = np.vectorize(python_math.erf, otypes=[np.float64])


def _reference_erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(_erf(x.astype(np.float64)) if x.size else x).astype(x.dtype)


def _square(x: Any) -> Any:
    return mul(x, x)


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
erf: Declaration = elementwise(
    "math.erf",
    _reference_erf,
    vjp=(lambda op, g: mul(g, mul(exp(neg(_square(op.operands[0]))), 2.0 / python_math.sqrt(python_math.pi))),),
    gradient_name="Erf",
    kinds=FLOATING,
    doc="error function",
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
