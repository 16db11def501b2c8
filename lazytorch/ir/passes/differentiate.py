"""Differentiation of a function: adds the backward operations, from the operations' own rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch.ir.core import Block, IRBuilder, Operation, Value, inserting
from lazytorch.ir.dialects import arith
from lazytorch.ir.dialects.composite import conform


def differentiate(
    block: Block, outputs: Sequence[Value], cotangents: Sequence[Value], inputs: Sequence[Value]
) -> list[Value | None]:
    """Emit the vector-Jacobian product of `outputs` with respect to `inputs` at the end of `block`.

    Returns one cotangent per input, None where no output depends on it. Raises NotImplementedError naming the operation
    and the line when one on the way has no rule. Backward operations carry the forward operation's location.
    """
    active = _dependent(block, set(inputs))
    flowing: dict[Value, Any] = {}
    terminator = block.last
    anchor = terminator if terminator is not None and terminator.name == "builtin.return" else None
    builder = IRBuilder(block, anchor)
    forward = [operation for operation in block if operation is not anchor]
    with inserting(builder):
        for output, cotangent in zip(outputs, cotangents, strict=True):
            _accumulate(flowing, output, cotangent)
        for operation in reversed(forward):
            arriving = [flowing.get(value) for value in operation.results]
            if all(x is None for x in arriving) or not any(value in active for value in operation.operands):
                continue
            builder.location = operation.location.as_gradient()
            for operand, contribution in zip(operation.operands, _apply(operation, arriving, active), strict=True):
                if contribution is not None and operand in active:
                    _accumulate(flowing, operand, conform(contribution, operand.type))
    return [flowing.get(value) for value in inputs]


def _dependent(block: Block, inputs: set[Value]) -> set[Value]:
    """The values that depend on the inputs through differentiable types."""
    active = set(inputs)
    for operation in block:
        if any(operand in active for operand in operation.operands):
            active.update(value for value in operation.results if value.type.dtype.kind in "fc")
    return active


def _accumulate(flowing: dict[Value, Any], value: Value, cotangent: Any) -> None:
    before = flowing.get(value)
    flowing[value] = cotangent if before is None else arith.add(before, cotangent)


def _apply(operation: Operation, arriving: Sequence[Any], active: set[Value]) -> Sequence[Any]:
    rules = operation.declaration.vjp
    if rules is None:
        raise NotImplementedError(f"derivative for {operation.name} is not implemented [{operation.location}]")
    cotangent = arriving[0] if len(operation.results) == 1 else arriving
    if callable(rules):
        joint: Sequence[Any] = rules(operation, cotangent)
        return joint
    return [
        rule(operation, cotangent) if rule is not None and operand in active else None
        for rule, operand in zip(rules, operation.operands, strict=True)
    ]
