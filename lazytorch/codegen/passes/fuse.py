"""Grouping of operations into kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lazytorch.codegen import fusion
from lazytorch.ir.core import Operation, func
from lazytorch.ir.dialects import fused
from lazytorch.ir.passes.registry import Pass, count, register


@register
@dataclass(frozen=True)
class Fuse(Pass):
    """Group the operations of a function into kernels.

    Before: a function of primitive tensor operations (see `decompose`). After: it holds fused.kernel operations, reshapes
    of their results and the return, and computes the same bits. With `single` every elementwise operation gets a kernel
    of its own. Kernels in loop form are left as they are.

        func @f(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
          %0 = arith.mul %x, %y : tensor<4xf32>
          %1 = arith.add %0, %x : tensor<4xf32>
          return %1 : tensor<4xf32>
        }
        // ->
        func @f(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
          %0 = fused.kernel @map0(%x_1 = %x, %y_1 = %y) {schedule = "map"} : tensor<4xf32> {
            %1 = arith.mul %x_1, %y_1 : tensor<4xf32>
            %2 = arith.add %1, %x_1 : tensor<4xf32>
            fused.yield %2
          }
          return %0 : tensor<4xf32>
        }
    """

    name: ClassVar[str] = "fuse"
    single: bool = False

    def run(self, body: Operation) -> None:
        """Fuse a function."""
        if body.declaration is func:
            fusion.fuse(body, not self.single)
            count("kernels formed", sum(operation.declaration is fused.kernel for operation in body.region.block))
