"""`optim`: whole optimizer steps as one operation over all parameters, decomposed in torch's order of operations.

Operands are lists laid one after the other; attributes say how many parameters there are and which terms take part.
Learning rates, betas and bias corrections are operands, so that changing them changes no program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.ir.declaration import Attributes, Declaration, Trait, example
from lazytorch.ir.dialects import arith
from lazytorch.ir.dialects.composite import reference_of
from lazytorch.ir.types import TensorType


def add_scaled(x: Any, y: Any, scale: Any) -> Any:
    """`x.add(y, alpha=scale)`: torch's CPU code is one fused multiply-add."""
    return arith.fma(y, scale, x)


def no_gradient(op: Any, g: Any) -> Any:
    raise NotImplementedError("optimizer steps are not differentiable")


def declare_step(
    name: str,
    scalars: Sequence[str],
    lists: Callable[[Attributes], int],
    decompose: Callable[[Any], tuple[Any, ...]],
    options: dict[str, Any],
    doc: str,
) -> Declaration:
    """Declare a step: operands `scalars`, then parameters, gradients and `lists - 2` lists of states; results the new
    parameters and states. `options` are the further attributes, with values for an example."""

    def infer(a: Attributes, *types: TensorType) -> tuple[TensorType, ...]:
        count, states = a.count, lists(a) - 2
        values = types[len(scalars) :]
        if len(values) != count * (2 + states):
            raise ValueError(f"{name}: {count} parameters need {count * (2 + states)} tensors, got {len(values)}")
        for position, value in enumerate(values):
            parameter = values[position % count]
            if value is not parameter:
                raise RuntimeError(f"{name}: a gradient or state is {value} but its parameter is {parameter}")
        return (*values[:count], *values[2 * count :])

    return Declaration(
        name,
        infer,
        attributes=("count", *options),
        traits=(Trait.PURE, Trait.COMPOSITE),
        vjp=no_gradient,
        reference=reference_of(decompose),
        decompose=decompose,
        example=example(
            *["tensor<f32>"] * len(scalars), *["tensor<3xf32>"] * lists(Attributes(options)), count=1, **options
        ),
        doc=doc,
    )


SGD_SCALARS = ("negative_rate", "momentum", "damping", "decay")


def _sgd(op: Any) -> tuple[Any, ...]:
    a = op.attributes
    rate, momentum, damping, decay = op.operands[: len(SGD_SCALARS)]
    values = op.operands[len(SGD_SCALARS) :]
    count = a.count
    parameters, buffers = [], []
    for i in range(count):
        parameter, gradient = values[i], values[count + i]
        if a.maximize:
            gradient = arith.neg(gradient)
        if a.decay:
            gradient = add_scaled(gradient, parameter, decay)
        if a.momentum:
            buffer = add_scaled(arith.mul(values[2 * count + i], momentum), gradient, damping)
            buffers.append(buffer)
            gradient = add_scaled(gradient, buffer, momentum) if a.nesterov else buffer
        parameters.append(add_scaled(parameter, gradient, rate))
    return (*parameters, *buffers)


sgd: Declaration = declare_step(
    "optim.sgd",
    SGD_SCALARS,
    lambda a: 3 if a.momentum else 2,
    _sgd,
    {"momentum": True, "nesterov": False, "decay": False, "maximize": False},
    "one step of SGD; scalars: -lr, momentum, 1 - dampening, weight decay. Without momentum there are no states. The "
    "first step's buffer is the gradient itself: `optim.sgd_first`",
)


def _sgd_first(op: Any) -> tuple[Any, ...]:
    a = op.attributes
    rate, momentum, _, decay = op.operands[: len(SGD_SCALARS)]
    values = op.operands[len(SGD_SCALARS) :]
    count = a.count
    parameters, buffers = [], []
    for i in range(count):
        parameter, gradient = values[i], values[count + i]
        if a.maximize:
            gradient = arith.neg(gradient)
        if a.decay:
            gradient = add_scaled(gradient, parameter, decay)
        buffers.append(gradient)
        if a.nesterov:
            gradient = add_scaled(gradient, gradient, momentum)
        parameters.append(add_scaled(parameter, gradient, rate))
    return (*parameters, *buffers)


def _infer_sgd_first(a: Attributes, *types: TensorType) -> tuple[TensorType, ...]:
    values = types[len(SGD_SCALARS) :]
    if len(values) != 2 * a.count:
        raise ValueError(f"optim.sgd_first: {a.count} parameters need {2 * a.count} tensors, got {len(values)}")
    return (*values[: a.count], *values[: a.count])


sgd_first: Declaration = Declaration(
    "optim.sgd_first",
    _infer_sgd_first,
    attributes=("count", "nesterov", "decay", "maximize"),
    traits=(Trait.PURE, Trait.COMPOSITE),
    vjp=no_gradient,
    reference=reference_of(_sgd_first),
    decompose=_sgd_first,
    example=example(
        *["tensor<f32>"] * len(SGD_SCALARS), *["tensor<3xf32>"] * 2, count=1, nesterov=False, decay=False, maximize=False
    ),
    doc="the first step of SGD with momentum: the momentum buffers begin as the gradients; scalars as `optim.sgd`",
)

ADAM_SCALARS = (
    "lerp",  # 1 - beta1
    "beta2",
    "rest2",  # 1 - beta2
    "negative_step",  # -(lr / (1 - beta1^t))
    "root_correction",  # sqrt(1 - beta2^t)
    "eps",
    "decay",  # Adam: weight decay; AdamW: 1 - lr * weight decay
)


def _adam(op: Any) -> tuple[Any, ...]:
    """torch.optim.adam._single_tensor_adam, per parameter."""
    a = op.attributes
    lerp, beta2, rest2, step, root, eps, decay = op.operands[: len(ADAM_SCALARS)]
    values = op.operands[len(ADAM_SCALARS) :]
    count = a.count
    parameters, firsts, seconds, largest = [], [], [], []
    for i in range(count):
        parameter, gradient = values[i], values[count + i]
        if a.maximize:
            gradient = arith.neg(gradient)
        if a.decay == "decoupled":
            parameter = arith.mul(parameter, decay)
        elif a.decay == "gradient":
            gradient = add_scaled(gradient, parameter, decay)
        first, second = values[2 * count + i], values[3 * count + i]
        first = add_scaled(first, arith.sub(gradient, first), lerp)
        second = add_product(arith.mul(second, beta2), gradient, gradient, rest2)
        under_root = second
        if a.amsgrad:
            under_root = arith.maximum(values[4 * count + i], second)
            largest.append(under_root)
        denominator = arith.add(arith.div(arith.sqrt(under_root), root), eps)
        firsts.append(first)
        seconds.append(second)
        parameters.append(arith.add(parameter, arith.div(arith.mul(first, step), denominator)))
    return (*parameters, *firsts, *seconds, *largest)


def add_product(x: Any, a: Any, b: Any, scale: Any) -> Any:
    """`x.addcmul(a, b, value=scale)`."""
    return arith.add(x, arith.mul(arith.mul(a, scale), b))


adam: Declaration = declare_step(
    "optim.adam",
    ADAM_SCALARS,
    lambda a: 5 if a.amsgrad else 4,
    _adam,
    {"decay": "", "amsgrad": False, "maximize": False},
    "one step of Adam (decay = 'gradient' or '') or AdamW ('decoupled'); states: first and second moments, with amsgrad "
    "also the largest second moments",
)
