"""Common subexpression elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lazytorch.ir.core import Operation
from lazytorch.ir.declaration import Operator, Trait
from lazytorch.ir.passes.dce import blocks_within
from lazytorch.ir.passes.registry import Pass, count, register


@register
@dataclass(frozen=True)
class CommonSubexpressionElimination(Pass):
    """Compute what is computed twice only once.

    Before: any function. After: within each block no two pure operations without regions have equal names, attributes
    and operands (for commutative ones: in any order). The first of equals stays, with its location.

        func @f(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
          %0 = arith.add %x, %y : tensor<4xf32>
          %1 = arith.add %y, %x : tensor<4xf32>
          %2 = arith.mul %0, %1 : tensor<4xf32>
          return %2 : tensor<4xf32>
        }
        // ->
        func @f(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
          %0 = arith.add %x, %y : tensor<4xf32>
          %1 = arith.mul %0, %0 : tensor<4xf32>
          return %1 : tensor<4xf32>
        }
    """

    name: ClassVar[str] = "cse"

    def run(self, func: Operation) -> None:
        """Merge equal operations, in order, so that equality of operands is equality of values."""
        for block in blocks_within(func):
            first: dict[Any, Operation] = {}
            for operation in block:
                traits = operation.operator.declaration.traits
                if Trait.PURE not in traits or operation.regions:
                    continue
                operands: Any = operation.operands
                if Trait.COMMUTATIVE in traits and id(operands[0]) > id(operands[1]):
                    operands = (operands[1], operands[0])
                equal = first.setdefault((without_label(operation.operator), operands), operation)
                if equal is not operation:
                    operation.replace_with(equal.results)
                    count("operations merged")


def without_label(operator: Operator) -> Operator:
    """The operator itself: the label only names the torch call it was recorded for."""
    if not operator.label:
        return operator
    return operator.declaration.operator(**operator.attributes.as_dict())
