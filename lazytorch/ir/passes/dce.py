"""Dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lazytorch.ir.core import Block, Operation
from lazytorch.ir.declaration import Trait
from lazytorch.ir.passes.registry import Pass, count, register


@register
@dataclass(frozen=True)
class DeadCodeElimination(Pass):
    """Remove operations that nobody needs.

    Before: any function. After: every pure operation has a result that is used.

        func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
          %0 = arith.neg %x : tensor<4xf32>
          %1 = math.exp %0 : tensor<4xf32>
          %2 = arith.mul %x, %x : tensor<4xf32>
          return %2 : tensor<4xf32>
        }
        // ->
        func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
          %0 = arith.mul %x, %x : tensor<4xf32>
          return %0 : tensor<4xf32>
        }
    """

    name: ClassVar[str] = "dce"

    def run(self, func: Operation) -> None:
        """Remove dead operations, inner blocks first: what only they read is then dead too."""
        for block in reversed(blocks_within(func)):
            for operation in reversed(block):
                if Trait.PURE in operation.operator.declaration.traits:
                    for result in operation.results:
                        if result.users:
                            break
                    else:
                        operation.erase()
                        count("operations erased")


def blocks_within(operation: Operation) -> list[Block]:
    """All blocks inside an operation, outer ones before those nested in them."""
    blocks: list[Block] = []
    pending = [operation]
    while pending:
        for region in pending.pop().regions:
            for block in region.blocks:
                blocks.append(block)
                pending += [inner for inner in block if inner.regions]
    return blocks
