"""`fused`: groups of tensor operations that become one kernel each."""

from __future__ import annotations

from lazytorch.ir.declaration import Attributes, Declaration, Trait
from lazytorch.ir.types import Type


def _none(attributes: Attributes, *types: Type) -> tuple[Type, ...]:
    return ()


kernel: Declaration = Declaration(
    "fused.kernel",
    _none,
    attributes=("name", "schedule"),
    traits=(Trait.PURE,),
    doc="A cluster of tensor operations computed together. Operands and results are whole tensors in contiguous "
    "buffers; the region (block arguments = operands) holds the tensor operations, views included, and ends in "
    "fused.yield.",
)
yield_: Declaration = Declaration(
    "fused.yield",
    _none,
    traits=(Trait.TERMINATOR,),
    doc="Ends the body of a fused.kernel; the operands are its results.",
)
