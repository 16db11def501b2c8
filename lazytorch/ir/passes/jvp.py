"""Forward-mode differentiation of a function: adds the tangents, from the operations' own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lazytorch.errors import PassError
from lazytorch.ir.core import IRBuilder, Operation, Value, inserting, return_
from lazytorch.ir.dialects.composite import zeros_like
from lazytorch.ir.passes.function_pass import FunctionPass, differentiable
from lazytorch.ir.passes.registry import count, register
from lazytorch.ir.pushforward import Tangent, push_forward


@register
@dataclass(frozen=True)
class Jvp(FunctionPass):
    """Make a function return its Jacobian-vector product too.

    Before: a function of tensor operations, all with a derivative on the way from `inputs` to results. After: it takes
    one more argument for each of `inputs`, its tangent, and returns after its results the tangents of all floating-point
    results. `inputs` are names or numbers of arguments with commas between them, by default all that are floating-point.
    `func` names the only function to differentiate; by default all are.

        func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
          %0 = math.sin %x : tensor<4xf32>
          return %0 : tensor<4xf32>
        }
        // ->
        func @f(%x: tensor<4xf32>, %dx: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
          %0 = math.sin %x : tensor<4xf32>
          %1 = math.cos %x : tensor<4xf32>
          %2 = arith.mul %dx, %1 : tensor<4xf32>
          return %0, %2 : tensor<4xf32>, tensor<4xf32>
        }
    """

    name: ClassVar[str] = "jvp"

    def run(self, func: Operation) -> None:
        """Add the tangents. Raises PassError for inputs that do not exist or a missing derivative."""
        block = func.region.block
        terminator = block.terminator
        inputs = self.chosen(func, differentiable, "floating-point")
        forward = [operation for operation in block if operation is not terminator]
        tangents: dict[Value, Tangent] = {x: block.add_argument(x.type, f"d{x.name or x.index}") for x in inputs}
        with inserting(IRBuilder(block, terminator)) as builder:
            for operation in forward:
                builder.location = operation.location.as_gradient()
                try:
                    _push(operation, tangents)
                except NotImplementedError as error:
                    raise PassError(f"{self}: {error} [{operation.location}]") from error
            moving = [value for value in terminator.operands if differentiable(value)]
            made = [zeros_like(x) if tangents.get(x) is None else tangents[x] for x in moving]
        count("operations added", sum(1 for _ in block) - len(forward) - 1)
        block.remove(terminator)
        block.append(Operation(return_.operator(), [*terminator.operands, *made], (), (), terminator.location))
        terminator.operands = ()


def _push(operation: Operation, tangents: dict[Value, Tangent]) -> None:
    arriving: Sequence[Tangent] = [tangents.get(operand) for operand in operation.operands]
    if any(tangent is not None for tangent in arriving):
        made = push_forward(operation.operator, operation.operands, operation.results, arriving)
        tangents.update(zip(operation.results, made, strict=True))
