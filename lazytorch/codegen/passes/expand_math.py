"""Expansion of functions into exact operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lazytorch.codegen.math import expand_math
from lazytorch.ir.core import Operation, func
from lazytorch.ir.passes.registry import Pass, count, register


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
