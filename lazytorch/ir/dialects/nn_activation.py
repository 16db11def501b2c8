"""`nn`: activations in pieces (clipped, shrunk, thresholded) and smooth ones that few networks use. The common ones: nn.py.

Every gradient selects the piece last, so that a piece that overflows where it does not count leaves no nan.
"""

from __future__ import annotations

from typing import Any

from lazytorch.ir.declaration import Attributes, Declaration, example
from lazytorch.ir.dialects import arith, math
from lazytorch.ir.dialects.composite import composite, number
from lazytorch.ir.dialects.nn import require_floating
from lazytorch.ir.types import TensorType


def _infer(name: str) -> Any:
    def infer(attributes: Attributes, x: TensorType) -> TensorType:
        require_floating(name, x)
        return x

    return infer


def _is(x: Any, predicate: str, limit: float) -> Any:
    return arith.compare(x, number(limit, x), predicate=predicate)


def _within(x: Any, low: float, high: float, edges: bool) -> Any:
    """low < x < high, or with the edges."""
    return arith.bit_and(_is(x, "ge" if edges else "gt", low), _is(x, "le" if edges else "lt", high))


def _gated(condition: Any, g: Any) -> Any:
    """The cotangent where the condition holds, 0 elsewhere."""
    return arith.select(condition, g, number(0, g))


def _clipped(x: Any, low: float, high: float) -> Any:
    return arith.minimum(arith.maximum(x, number(low, x)), number(high, x))


def _infer_hardtanh(attributes: Attributes, x: TensorType) -> TensorType:
    if x.dtype.kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    return x


hardtanh: Declaration = composite(
    "nn.hardtanh",
    _infer_hardtanh,
    lambda op: _clipped(op.operands[0], op.attributes.low, op.attributes.high),
    gradient=lambda op, g, operand: _gated(_within(op.operands[0], op.attributes.low, op.attributes.high, edges=False), g),
    attributes=("low", "high"),
    defaults={"low": -1.0, "high": 1.0},
    elementwise=True,
    rounds_once=False,
    gradient_name="Hardtanh",
    doc="x limited to [low, high]; the slope at the bounds is 0",
)
_SIXTH = 0.1666666716337204  # in float32, as torch has it for every element type
hardsigmoid: Declaration = composite(
    "nn.hardsigmoid",
    _infer("hardsigmoid_cpu"),
    lambda op: arith.div(_clipped(arith.add(op.operands[0], 3.0), 0.0, 6.0), 6.0),
    gradient=lambda op, g, operand: _gated(_within(op.operands[0], -3.0, 3.0, edges=False), arith.mul(g, _SIXTH)),
    elementwise=True,
    gradient_name="Hardsigmoid",
    doc="min(max(x + 3, 0), 6) / 6",
)


def _hardswish_gradient(op: Any, g: Any, operand: int) -> Any:
    x = op.operands[0]
    middle = arith.mul(g, arith.add(arith.div(x, 3.0), 0.5))
    return arith.select(_is(x, "le", -3.0), number(0, g), arith.select(_is(x, "lt", 3.0), middle, g))


hardswish: Declaration = composite(
    "nn.hardswish",
    _infer("hardswish_cpu"),
    lambda op: arith.div(arith.mul(op.operands[0], _clipped(arith.add(op.operands[0], 3.0), 0.0, 6.0)), 6.0),
    gradient=_hardswish_gradient,
    elementwise=True,
    gradient_name="Hardswish",
    doc="x * min(max(x + 3, 0), 6) / 6",
)
hardshrink: Declaration = composite(
    "nn.hardshrink",
    _infer("hardshrink_cpu"),
    lambda op: arith.select(
        _within(op.operands[0], -op.attributes.bound, op.attributes.bound, edges=True),
        number(0, op.operands[0]),
        op.operands[0],
    ),
    gradient=lambda op, g, operand: arith.select(
        _within(op.operands[0], -op.attributes.bound, op.attributes.bound, edges=True), number(0, g), g
    ),
    attributes=("bound",),
    defaults={"bound": 0.5},
    elementwise=True,
    gradient_name="Hardshrink",
    doc="0 where |x| <= bound, x elsewhere",
)


def _softshrink(op: Any) -> Any:
    x, bound = op.operands[0], op.attributes.bound
    low = arith.select(_is(x, "lt", -bound), arith.add(x, bound), arith.mul(x, 0.0))
    return arith.select(_is(x, "gt", bound), arith.sub(x, bound), low)


softshrink: Declaration = composite(
    "nn.softshrink",
    _infer("softshrink_cpu"),
    _softshrink,
    gradient=lambda op, g, operand: arith.select(
        _within(op.operands[0], -op.attributes.bound, op.attributes.bound, edges=True), number(0, g), g
    ),
    attributes=("bound",),
    defaults={"bound": 0.5},
    elementwise=True,
    gradient_name="Softshrink",
    doc="x moved towards 0 by `bound`, 0 where |x| <= bound",
)
threshold: Declaration = composite(
    "nn.threshold",
    lambda attributes, x: x,
    lambda op: arith.select(
        _is(op.operands[0], "le", op.attributes.threshold), number(op.attributes.value, op.operands[0]), op.operands[0]
    ),
    gradient=lambda op, g, operand: arith.select(_is(op.operands[0], "le", op.attributes.threshold), number(0, g), g),
    attributes=("threshold", "value"),
    elementwise=True,
    rounds_once=False,
    gradient_name="Threshold",
    example=example("tensor<2x3xf32>", threshold=0.5, value=0.0),
    doc="x where it is above the threshold, `value` elsewhere",
)


def _exponential_unit(op: Any) -> Any:
    """scale * x above 0, scale * alpha * (exp(x / width) - 1) below."""
    x, a = op.operands[0], op.attributes
    inner = x if a.width == 1.0 else arith.div(x, a.width)
    positive = x if a.scale == 1.0 else arith.mul(x, a.scale)
    return arith.select(_is(x, "gt", 0.0), positive, arith.mul(math.expm1(inner), a.alpha * a.scale))


def _exponential_unit_gradient(op: Any, g: Any, operand: int) -> Any:
    x, a = op.operands[0], op.attributes
    inner = x if a.width == 1.0 else arith.div(x, a.width)
    negative = arith.mul(arith.mul(g, a.alpha * a.scale / a.width), math.exp(inner))
    positive = g if a.scale == 1.0 else arith.mul(g, a.scale)
    return arith.select(_is(x, "gt", 0.0), positive, negative)


exponential_unit: Declaration = composite(
    "nn.exponential_unit",
    _infer("elu_cpu"),
    _exponential_unit,
    gradient=_exponential_unit_gradient,
    attributes=("alpha", "scale", "width"),
    elementwise=True,
    gradient_name="Elu",
    example=example("tensor<2x3xf32>", alpha=1.0, scale=1.0, width=1.0),
    doc="scale * x where positive, scale * alpha * (exp(x / width) - 1) elsewhere: SELU and CELU",
)


def _mish_gradient(op: Any, g: Any, operand: int) -> Any:
    x = op.operands[0]
    t = math.tanh(math.log1p(math.exp(x)))
    rising = arith.mul(arith.mul(x, math.sigmoid(x)), arith.sub(1.0, arith.mul(t, t)))
    return arith.mul(g, arith.add(t, rising))


mish: Declaration = composite(
    "nn.mish",
    _infer("mish_cpu"),
    lambda op: arith.mul(op.operands[0], math.tanh(math.log1p(math.exp(op.operands[0])))),
    gradient=_mish_gradient,
    elementwise=True,
    gradient_name="Mish",
    doc="x * tanh(log(1 + exp(x)))",
)


def _log_sigmoid_gradient(op: Any, g: Any, operand: int) -> Any:
    x = op.operands[0]
    z = math.exp(arith.neg(arith.abs_(x)))
    share = arith.div(z, arith.add(z, 1.0))
    return arith.mul(g, arith.select(_is(x, "lt", 0.0), arith.sub(1.0, share), share))


log_sigmoid: Declaration = composite(
    "nn.log_sigmoid",
    _infer("log_sigmoid_cpu"),
    lambda op: arith.sub(arith.minimum(op.operands[0], 0.0), math.log1p(math.exp(arith.neg(arith.abs_(op.operands[0]))))),
    gradient=_log_sigmoid_gradient,
    elementwise=True,
    gradient_name="LogSigmoid",
    doc="log(1 / (1 + exp(-x)))",
)


def _infer_prelu(attributes: Attributes, x: TensorType, weight: TensorType) -> TensorType:
    require_floating("prelu_cpu", x)
    if weight.dtype is not x.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {x.dtype} and {weight.dtype}")
    return x


def _prelu_gradient(op: Any, g: Any, operand: int) -> Any:
    x, weight = op.operands
    positive = _is(x, "gt", 0.0)
    if operand == 0:
        return arith.select(positive, g, arith.mul(weight, g))
    return arith.select(positive, number(0, g), arith.mul(x, g))


prelu: Declaration = composite(
    "nn.prelu",
    _infer_prelu,
    lambda op: arith.select(_is(op.operands[0], "gt", 0.0), op.operands[0], arith.mul(op.operands[1], op.operands[0])),
    differentiable=(0, 1),
    gradient=_prelu_gradient,
    elementwise=True,
    gradient_name="PreluKernel",
    doc="x where positive, weight * x elsewhere; the weight broadcasts",
)
