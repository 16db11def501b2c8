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


class TapedValue:
    """A value of the real builder that operations on a tape go to. `history` is None where no cotangent is wanted."""

    __slots__ = ("builder", "history", "type", "value")

    def __init__(self, value: Any, builder: Tape) -> None:
        self.value = value
        self.type = value.type
        self.builder = builder
        self.history: bool | None = True


class Tape:
    """A builder that passes operations on to the real one and keeps the list of them, to be differentiated."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.steps: list[tuple[Operator, Sequence[TapedValue], tuple[TapedValue, ...]]] = []

    def value(self, value: Any) -> TapedValue:
        """A value of the real builder as one that was there before the tape began."""
        return TapedValue(value, self)

    def emit(self, operator: Operator, operands: Sequence[TapedValue]) -> Any:
        """Add the operation to the real builder and the tape."""
        made = self.inner.emit(operator, [operand.value for operand in operands])
        several = isinstance(made, tuple | list)
        results = tuple([TapedValue(value, self) for value in (made if several else (made,))])
        self.steps.append((operator, operands, results))
        return results if several else results[0]

    def constant(self, value: Any, like: TapedValue) -> TapedValue:
        """A constant of the real builder."""
        return TapedValue(self.inner.constant(value, like.value), self)

    def pull_back(self, outputs: Sequence[TapedValue], cotangents: Sequence[Any], inputs: Sequence[TapedValue]) -> list[Any]:
        """The cotangents of values of the tape, emitted through the real builder; None where no output depends on one."""
        active = set(map(id, inputs))
        for _, operands, results in self.steps:
            if any(id(operand) in active for operand in operands):
                active.update([id(result) for result in results if result.type.dtype.kind in "fc"])
        flowing: dict[int, Any] = {}
        for output, cotangent in zip(outputs, cotangents, strict=True):
            _flow(flowing, output, cotangent)
        for operator, operands, results in reversed(self.steps):
            if not any(id(result) in active and id(result) in flowing for result in results):
                continue
            arriving = [flowing.pop(id(result), None) for result in results]
            parts = _contributions(operator, operands, results, arriving, active)
            for operand, part in zip(operands, parts, strict=True):
                if part is not None:
                    _flow(flowing, operand, part)
        return [flowing.get(id(value)) for value in inputs]


def _flow(flowing: dict[int, Any], value: TapedValue, cotangent: Any) -> None:
    """Add to the cotangent that has arrived at a value."""
    cotangent = conform(cotangent, value.type)
    before = flowing.get(id(value))
    flowing[id(value)] = cotangent if before is None else arith.add(before, cotangent)


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
    tape = Tape(operation.operands[wanted].builder)
    inputs = [tape.value(value) for value in operation.operands]
    output = decompose(OperationView(inputs, operation.attributes))
    (found,) = tape.pull_back([output], [cotangent], [inputs[wanted]])
    return zeros_like(operation.operands[wanted]) if found is None else found


def _contributions(
    operator: Operator,
    operands: Sequence[TapedValue],
    results: Sequence[TapedValue],
    arriving: Sequence[Any],
    active: set[int],
) -> list[Any]:
    """What an operation passes on to its operands. Its rules see values of another tape: recorded values without a history
    would tell them that no cotangent is wanted."""
    rules: Any = operator.declaration.vjp
    if rules is None:
        raise NotImplementedError(f"derivative for {operator.declaration.name} is not implemented")
    tape = Tape(operands[0].builder.inner)
    seen = [tape.value(operand.value) for operand in operands]
    for value, operand in zip(seen, operands, strict=True):
        value.history = True if id(operand) in active else None
    cotangents = [None if cotangent is None else tape.value(cotangent) for cotangent in arriving]
    alone = len(results) == 1
    view = OperationView(seen, operator.attributes, tape.value(results[0].value) if alone else None)
    cotangent = cotangents[0] if alone else cotangents
    joint = rules(view, cotangent) if callable(rules) else None
    out = []
    for position, operand in enumerate(operands):
        part = None
        if id(operand) in active:
            if joint is not None:
                part = joint[position]
            elif rules[position] is not None:
                part = rules[position](view, cotangent)
        out.append(None if part is None else part.value)
    return out


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
    rounds_once: bool = True,
    gradient_name: str = "",
    saves: Sequence[int] | None = None,
    example: Example | str | None = None,
    doc: str = "",
) -> Declaration:
    """Declare a composite operation of one result, and `NAME_backward`, the cotangent of an operand, if one has any.

    decompose(operation) -> value, from the operation's operands and attributes alone.
    differentiable: the operands that have a gradient (the number of operands may vary: trailing ones may be absent).
    gradient(operation, cotangent, operand) -> that operand's cotangent in primitives; by default derived.
    elementwise: result element i reads operand elements i only.
    rounds_once: 16-bit floats are computed on in float32 and the result is rounded, as in torch's kernels. False for what
    only moves elements, or says itself how its parts round.
    """
    if rounds_once:
        decompose = rounding_once(decompose)
        gradient = None if gradient is None else gradient_rounding_once(gradient)
    extra = (Trait.ELEMENTWISE,) if elementwise else ()
    infer = _of_one_type(infer, differentiable)
    backward = None
    if differentiable:
        backward = _declare_backward(name, infer, decompose, gradient, attributes, defaults, extra)
    operators: dict[Attributes, tuple[tuple[int, Operator], ...]] = {}

    def vjp(operation: Any, cotangent: Any) -> Sequence[Any]:
        """The backward operation for every differentiable operand; recorded operands without history have none."""
        assert backward is not None
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
        vjp=vjp if differentiable else None,
        reference=reference_of(decompose),
        decompose=decompose,
        gradient_name=gradient_name,
        saves=saves,
        example=example,
        doc=doc,
    )


def _widened(operation: Any) -> OperationView | None:
    """The operation with its 16-bit floating operands in float32; None if it has none."""
    types = [operand.type.dtype for operand in operation.operands]
    if all(dtype.opmath is dtype for dtype in types):
        return None
    wide = [
        operand if dtype.opmath is dtype else arith.cast(operand, dtype=dtype.opmath)
        for operand, dtype in zip(operation.operands, types, strict=True)
    ]
    return OperationView(wide, operation.attributes)


def rounding_once(decompose: Rule) -> Rule:
    """The rule, computed in float32 where the first operand has 16-bit elements, and cast to its type at the end."""

    def rule(operation: Any) -> Any:
        wide = _widened(operation)
        if wide is None:
            return decompose(operation)
        made, dtype = decompose(wide), operation.operands[0].type.dtype
        return arith.cast(made, dtype=dtype) if made.type.dtype is dtype.opmath else made

    return rule


def gradient_rounding_once(gradient: Gradient) -> Gradient:
    """The gradient rule, computed in float32 where operands have 16-bit elements; the caller casts what it gives."""

    def rule(operation: Any, cotangent: Any, operand: int) -> Any:
        wide = _widened(operation)
        if wide is None:
            return gradient(operation, cotangent, operand)
        return gradient(wide, arith.cast(cotangent, dtype=cotangent.type.dtype.opmath), operand)

    return rule


def _of_one_type(infer: Infer, positions: Sequence[int]) -> Infer:
    """The inference, and torch's error where differentiable operands have different element types (a mask may be bool)."""
    if len(positions) == 1:
        return infer

    def checked(attributes: Attributes, *operands: Any) -> Any:
        found = infer(attributes, *operands)
        present = [operands[position].dtype for position in positions if position < len(operands)]
        for dtype in present[1:]:
            if dtype is not present[0] and dtype is not dtypes.bool_:
                raise RuntimeError(f"expected scalar type {present[0].title} but found {dtype.title}")
        return found

    return checked


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
