"""`fused`: groups of tensor operations that become one kernel each."""

from __future__ import annotations

from lazytorch.ir.declaration import Attributes, Declaration, Trait
from lazytorch.ir.types import Type

_KERNEL = """\
func @f(%x: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<2x3xf32> {
  %0 = fused.kernel @add_exp(%1 = %x, %2 = %b) {schedule = "map"} : tensor<2x3xf32> {
    %3 = arith.add %1, %2 : tensor<2x3xf32>
    %4 = math.exp %3 : tensor<2x3xf32>
    fused.yield %4
  }
  return %0 : tensor<2x3xf32>
}
"""


def _none(attributes: Attributes, *types: Type) -> tuple[Type, ...]:
    return ()


kernel: Declaration = Declaration(
    "fused.kernel",
    _none,
    attributes=("name", "schedule"),
    traits=(Trait.PURE,),
    example=_KERNEL,
    doc="A cluster of tensor operations computed together. Operands and results are whole tensors in contiguous "
    "buffers; the region (block arguments = operands) holds the tensor operations, views included, and ends in "
    "fused.yield.",
)
yield_: Declaration = Declaration(
    "fused.yield",
    _none,
    traits=(Trait.TERMINATOR,),
    example=_KERNEL,
    doc="Ends the body of a fused.kernel; the operands are its results.",
)
