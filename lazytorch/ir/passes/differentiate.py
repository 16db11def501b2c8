"""Differentiation of a function: adds the backward operations, from the operations' own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lazytorch.errors import PassError
from lazytorch.ir.core import Block, IRBuilder, Operation, Value, inserting, return_
from lazytorch.ir.dialects import arith
from lazytorch.ir.dialects.composite import conform, filled, zeros_like
from lazytorch.ir.passes.function_pass import FunctionPass, differentiable
from lazytorch.ir.passes.registry import count, register


@register
@dataclass(frozen=True)
class Differentiate(FunctionPass):
    """Make a function return its vector-Jacobian product too.

    Before: a function of tensor operations, all with a derivative on the way from `inputs` to results. After: it takes
    one more argument for every floating-point result, the cotangent of that result, and returns after its results the
    cotangents of `inputs`: names or numbers of arguments with commas between them, by default all that are
    floating-point. With `ones` the cotangents are ones instead of arguments: the gradient of the sum of the results.
    `func` names the only function to differentiate; by default all are.

        func @f(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
          %0 = arith.mul %x, %y : tensor<4xf32>
          return %0 : tensor<4xf32>
        }
        // ->
        func @f(%x: tensor<4xf32>, %y: tensor<4xf32>, %d0: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
          %0 = arith.mul %x, %y : tensor<4xf32>
          %1 = arith.mul %d0, %y : tensor<4xf32>
          %2 = arith.mul %d0, %x : tensor<4xf32>
          return %0, %1, %2 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
        }
    """

    name: ClassVar[str] = "differentiate"
    ones: bool = False

    def run(self, func: Operation) -> None:
        """Add the backward operations. Raises PassError for inputs that do not exist or a missing derivative."""
        block = func.region.block
        terminator = block.terminator
        inputs = self.chosen(func, differentiable, "floating-point")
        outputs = [value for value in terminator.operands if differentiable(value)]
        forward = sum(1 for _ in block)
        with inserting(IRBuilder(block, terminator)):
            if self.ones:
                cotangents = [filled(1.0, value, value.type.shape) for value in outputs]
            else:
                cotangents = [block.add_argument(value.type, f"d{number}") for number, value in enumerate(outputs)]
            try:
                gradients = differentiate(block, outputs, cotangents, inputs)
            except NotImplementedError as error:
                raise PassError(f"{self}: {error}") from error
            found = [zeros_like(x) if g is None else g for x, g in zip(inputs, gradients, strict=True)]
        count("operations added", sum(1 for _ in block) - forward)
        block.remove(terminator)
        block.append(Operation(return_.operator(), [*terminator.operands, *found], (), (), terminator.location))
        terminator.operands = ()


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
