"""Canonicalization: simpler operations for the same bits, from the rules that operations declare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lazytorch.ir.core import Block, IRBuilder, Operation, Value, inserting
from lazytorch.ir.declaration import Operator, Trait
from lazytorch.ir.dialects import arith_canonicalization, tensor_canonicalization
from lazytorch.ir.passes.dce import blocks_within
from lazytorch.ir.passes.registry import Pass, count, register

RULES = (arith_canonicalization, tensor_canonicalization)
"""The files whose rules are registered with the declarations by importing them."""


@register
@dataclass(frozen=True)
class Canonicalize(Pass):
    """Bring every operation to its simplest form.

    Before: any function. After: no declared rewrite and no folding of constants applies any more. No rewrite changes a
    bit of any result, so `x + 0.0` stays (it makes 0.0 of -0.0) while `x * 1.0` goes. With `max-rewrites` only so many
    are done, in the same order: bisecting that number finds a wrong one.

        func @f(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
          %0 = arith.constant 1.0 : tensor<f32>
          %1 = tensor.permute %x {order = [1, 0]} : tensor<3x2xf32>
          %2 = arith.mul %1, %0 : tensor<3x2xf32>
          %3 = tensor.permute %2 {order = [1, 0]} : tensor<2x3xf32>
          %4 = arith.neg %3 : tensor<2x3xf32>
          return %4 : tensor<2x3xf32>
        }
        // ->
        func @f(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
          %0 = arith.neg %x : tensor<2x3xf32>
          return %0 : tensor<2x3xf32>
        }
    """

    name: ClassVar[str] = "canonicalize"
    max_rewrites: int = 0

    def run(self, func: Operation) -> None:
        """Apply rules until none applies: first in order, then again at whatever a rewrite touched."""
        rewriter = Rewriter(func, self.max_rewrites or sys.maxsize)
        with inserting(rewriter):
            rewriter.drain()


class Rewriter(IRBuilder):
    """The worklist, and what a rule may do: emit operations before the one it looks at, and replace that one."""

    __slots__ = ("_pending", "_remaining")

    def __init__(self, func: Operation, limit: int) -> None:
        super().__init__(Block())
        self._remaining = limit
        self._pending: list[Operation] = [op for block in blocks_within(func) for op in block]
        self._pending.reverse()

    def emit(self, operator: Operator, operands: Sequence[Value]) -> Any:
        """Add an operation with inferred result types before the current one; it is itself looked at later."""
        operation = Operation(operator, operands, location=self.location)
        self.block.insert_before(operation, self.anchor)
        self._pending.append(operation)
        return operation.results[0] if len(operation.results) == 1 else operation.results

    def replace(self, operation: Operation, value: Value | Sequence[Value]) -> None:
        """The operation's results are `value` from now on; its users and operands are looked at again."""
        for result in operation.results:
            self._pending += result.users
        operands = operation.operands
        operation.replace_with((value,) if isinstance(value, Value) else value)
        for operand in operands:
            self._erase_if_dead(operand)

    def change_operands(self, operation: Operation, operands: Sequence[Value]) -> None:
        """The operation reads other values (its results keep their types); it is looked at again."""
        before = operation.operands
        operation.operands = tuple(operands)
        self._pending.append(operation)
        for operand in before:
            self._erase_if_dead(operand)

    def drain(self) -> None:
        """Look at operations until none is left to look at."""
        pending = self._pending
        while pending and self._remaining:
            operation = pending.pop()
            parent = operation.parent
            if parent is None:
                continue
            declaration = operation.operator.declaration
            rules = declaration.canonicalizations
            folds = Trait.ELEMENTWISE in declaration.traits
            if not rules and not folds:
                continue
            self.block, self.anchor, self.location = parent, operation, operation.location
            if folds and arith_canonicalization.fold_elementwise(operation, self):
                self._remaining -= 1
                count("operations folded")
                continue
            for rule in rules:
                if rule(operation, self):
                    self._remaining -= 1
                    count("operations rewritten")
                    break

    def _erase_if_dead(self, value: Value) -> None:
        """Remove what computed a value that nobody reads any more, so that rules which ask for a single user apply."""
        dead = [value]
        while dead:
            operation = dead.pop().owner
            if (
                isinstance(operation, Operation)
                and operation.parent is not None
                and Trait.PURE in operation.operator.declaration.traits
                and not any(result.users for result in operation.results)
            ):
                dead += operation.operands
                operation.erase()
