"""Composite operations: defined by their decomposition, from which meaning and derivative follow.

`composite` declares an operation and its backward operation. Both are single operations in a recorded graph, so
recording a forward and its backward costs two nodes, however much they compute. Unless a gradient is given, the backward
operation's decomposition is the reverse-mode derivative of the forward's decomposition; what the two have in common is
merged by cse after decomposing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, Example, Infer, Operator, Rule, Trait
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.types import TensorType, Type


class OperationView:
    """What rules and decompositions read of an operation: operands, attributes, result."""

    __slots__ = ("attributes", "operands", "result")

    def __init__(self, operands: Sequence[Any], attributes: Attributes, result: Any = None) -> None:
        self.operands = tuple(operands)
        self.attributes = attributes
        self.result = result


class ArrayValue:
    """A NumPy array in the place of an IR value: operations on it are computed at once, by their references."""

    __slots__ = ("array", "type")

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.type = TensorType(dtypes.of_numpy(array.dtype), array.shape)

    @property
    def builder(self) -> ArrayBuilder:
        """The builder that computes."""
        return ARRAYS


class ArrayBuilder:
    """Evaluates every operation as it is emitted."""

    def emit(self, operator: Operator, operands: Sequence[ArrayValue]) -> Any:
        """The result of the operation's reference."""
        reference = operator.declaration.reference
        if reference is None:
            raise NotImplementedError(f"{operator.declaration.name} has no reference meaning")
        outcome = reference(operator.attributes, *[operand.array for operand in operands])
        if isinstance(outcome, tuple):
            return tuple([ArrayValue(np.asarray(array)) for array in outcome])
        return ArrayValue(np.asarray(outcome))

    def constant(self, value: Any, like: ArrayValue) -> ArrayValue:
        """A rank-0 array of `like`'s element type."""
        return ArrayValue(np.asarray(value, like.array.dtype))


ARRAYS = ArrayBuilder()


def reference_of(decompose: Rule) -> Callable[..., Any]:
    """The NumPy meaning that a decomposition gives."""

    def reference(attributes: Attributes, *arrays: np.ndarray) -> Any:
        made = decompose(OperationView([ArrayValue(np.asarray(array)) for array in arrays], attributes))
        if isinstance(made, tuple | list):
            return tuple([value.array for value in made])
        return made.array

    return reference


class _TapedValue:
    """A value of the real builder that remembers how it was made."""

    __slots__ = ("builder", "type", "value")

    def __init__(self, value: Any, builder: _TapeBuilder) -> None:
        self.value = value
        self.type = value.type
        self.builder = builder


class _TapeBuilder:
    """Passes operations on to the real builder and keeps the list of them."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.steps: list[tuple[Operator, Sequence[_TapedValue], _TapedValue]] = []

    def emit(self, operator: Operator, operands: Sequence[_TapedValue]) -> _TapedValue:
        result = _TapedValue(self.inner.emit(operator, [operand.value for operand in operands]), self)
        self.steps.append((operator, operands, result))
        return result

    def constant(self, value: Any, like: _TapedValue) -> _TapedValue:
        return _TapedValue(self.inner.constant(value, like.value), self)


def conform(cotangent: Any, type: Any) -> Any:
    """A rule's cotangent in the operand's own type: expanded to it, or summed over what was broadcast, and cast."""
    shape = type.shape
    if cotangent.type.shape != shape:
        have = cotangent.type.shape
        if len(have) <= len(shape) and arith.broadcast_shapes(have, shape) == shape:
            cotangent = tensor.expand(cotangent, shape=shape)
        else:
            cotangent = tensor.sum_to(cotangent, shape)
    return cotangent if cotangent.type.dtype is type.dtype else arith.cast(cotangent, dtype=type.dtype)


def derivative(decompose: Rule, operation: Any, cotangent: Any, wanted: int) -> Any:
    """The cotangent of operand `wanted`, by reverse-mode differentiation of the decomposition.

    Emits the decomposition and its derivative through the operands' own builder.
    """
    tape = _TapeBuilder(operation.operands[wanted].builder)
    inputs = [_TapedValue(value, tape) for value in operation.operands]
    output = decompose(OperationView(inputs, operation.attributes))
    active = {id(inputs[wanted])}
    for _, operands, result in tape.steps:
        if result.type.dtype.kind in "fc" and any(id(operand) in active for operand in operands):
            active.add(id(result))
    flowing: dict[int, Any] = {id(output): cotangent}
    for operator, operands, result in reversed(tape.steps):
        arriving = flowing.pop(id(result), None)
        if arriving is None or id(result) not in active:
            continue
        view = OperationView([operand.value for operand in operands], operator.attributes, result.value)
        for operand, part in zip(operands, _contributions(operator, operands, view, arriving, active), strict=True):
            if part is None:
                continue
            part = conform(part, operand.type)
            before = flowing.get(id(operand))
            flowing[id(operand)] = part if before is None else arith.add(before, part)
    found = flowing.get(id(inputs[wanted]))
    return zeros_like(operation.operands[wanted]) if found is None else found


def _contributions(
    operator: Operator, operands: Sequence[_TapedValue], view: OperationView, arriving: Any, active: set[int]
) -> Sequence[Any]:
    rules = operator.declaration.vjp
    if rules is None:
        raise NotImplementedError(f"derivative for {operator.declaration.name} is not implemented")
    if callable(rules):
        joint = rules(view, arriving)
        return [part if id(operand) in active else None for operand, part in zip(operands, joint, strict=True)]
    return [
        rule(view, arriving) if rule is not None and id(operand) in active else None
        for operand, rule in zip(operands, rules, strict=True)
    ]


def number(value: float, like: Any) -> Any:
    """A rank-0 constant of `like`'s element type."""
    return like.builder.constant(float(value) if like.type.dtype.kind == "f" else int(value), like)


def zeros_like(like: Any) -> Any:
    """Zeros in the type of `like`."""
    return filled(0.0, like, like.type.shape)


def filled(value: float, like: Any, shape: tuple[int, ...]) -> Any:
    """A constant tensor of a shape, in `like`'s element type."""
    dtype = like.type.dtype
    content = float(value) if dtype.kind == "f" else int(value)
    return arith.constant.build(like.builder, value=content, type=TensorType(dtype, shape, like.type.device))


Gradient = Callable[[Any, Any, int], Any]


def composite(
    name: str,
    infer: Infer,
    decompose: Rule,
    *,
    differentiable: Sequence[int] = (0,),
    gradient: Gradient | None = None,
    attributes: Sequence[str] = (),
    defaults: dict[str, Any] | None = None,
    elementwise: bool = False,
    gradient_name: str = "",
    saves: Sequence[int] | None = None,
    example: Example | str | None = None,
    doc: str = "",
) -> Declaration:
    """Declare a composite operation of one result, and `NAME_backward`, the cotangent of one of its operands.

    decompose(operation) -> value, from the operation's operands and attributes alone.
    differentiable: the operands that have a gradient (the number of operands may vary: trailing ones may be absent).
    gradient(operation, cotangent, operand) -> that operand's cotangent in primitives; by default derived.
    elementwise: result element i reads operand elements i only.
    """
    extra = (Trait.ELEMENTWISE,) if elementwise else ()
    backward = _declare_backward(name, infer, decompose, gradient, attributes, defaults, extra)
    operators: dict[Attributes, tuple[tuple[int, Operator], ...]] = {}

    def vjp(operation: Any, cotangent: Any) -> Sequence[Any]:
        """The backward operation for every differentiable operand; recorded operands without history have none."""
        attributes, operands = operation.attributes, operation.operands
        own = operators.get(attributes)
        if own is None:
            options = attributes.as_dict()
            own = tuple([(position, backward.operator(**options, operand=position)) for position in differentiable])
            operators[attributes] = own
        count = len(operands)
        out: list[Any] = [None] * count
        for position, operator in own:
            if position < count and getattr(operands[position], "history", True) is not None:
                out[position] = cotangent.builder.emit(operator, (cotangent, *operands))
        return out

    return Declaration(
        name,
        infer,
        attributes=attributes,
        defaults=defaults,
        traits=(Trait.PURE, Trait.COMPOSITE, *extra),
        vjp=vjp,
        reference=reference_of(decompose),
        decompose=decompose,
        gradient_name=gradient_name,
        saves=saves,
        example=example,
        doc=doc,
    )


def _declare_backward(
    name: str,
    infer_forward: Infer,
    decompose: Rule,
    gradient: Gradient | None,
    attributes: Sequence[str],
    defaults: dict[str, Any] | None,
    extra: Sequence[Trait],
) -> Declaration:
    def infer(attributes: Attributes, cotangent: Type, *operands: Type) -> Type:
        result = infer_forward(attributes, *operands)
        if cotangent is not result:
            raise RuntimeError(f"{name}_backward: the cotangent of {result} is {cotangent}")
        type: Type = operands[attributes.operand]
        return type

    def expand(operation: Any) -> Any:
        cotangent, *operands = operation.operands
        forward = OperationView(operands, operation.attributes)
        wanted = operation.attributes.operand
        if gradient is not None:
            made = gradient(forward, cotangent, wanted)
            if made is not NotImplemented:
                return conform(made, operands[wanted].type)
        return conform(derivative(decompose, forward, cotangent, wanted), operands[wanted].type)

    def vjp(operation: Any, cotangent: Any) -> tuple[Any, ...]:
        """Second derivatives: the derivative of the backward operation's own decomposition."""
        return tuple(
            [
                derivative(expand, operation, cotangent, position)
                if operand.type.dtype.kind in "fc" and getattr(operand, "history", True) is not None
                else None
                for position, operand in enumerate(operation.operands)
            ]
        )

    return Declaration(
        f"{name}_backward",
        infer,
        attributes=(*attributes, "operand"),
        defaults=defaults,
        traits=(Trait.PURE, Trait.COMPOSITE, *extra),
        vjp=vjp,
        reference=reference_of(expand),
        decompose=expand,
        gradient_name=name.partition(".")[2].title().replace("_", "") + "Backward",
        doc=f"the cotangent of operand `operand` of {name}, from the cotangent of its result and its operands",
    )
