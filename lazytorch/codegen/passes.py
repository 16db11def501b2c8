"""The steps of code generation that are passes: known by name once this file is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lazytorch.codegen import fusion
from lazytorch.codegen.math import expand_math
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


@register
@dataclass(frozen=True)
class ExpandMath(Pass):
    """Compute functions such as exp by exact operations.

    Before: a kernel in loop form. After: it has no operations of the dialect math. Functions of tensors are left as they
    are.

        loop.kernel @k(%x: buffer<f64, [1]>, %i: index) {
          %0 = loop.load %x, %i : f64
          %1 = math.sigmoid %0 : f64
          loop.store %1, %x, %i
        }
        // -> (operations of arith between the load and the store)
    """

    name: ClassVar[str] = "expand-math"

    def run(self, body: Operation) -> None:
        """Expand the functions in a kernel."""
        if body.declaration is not func:
            before = _count_operations(body)
            expand_math(body)
            count("operations added", _count_operations(body) - before)


def _count_operations(operation: Operation) -> int:
    return sum(1 for _ in operation.walk())
