"""Vectorisation of a function: from one example to a batch of them, by the operations' own rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lazytorch.errors import PassError
from lazytorch.ir.batching import BatchedValue, Vectorizer
from lazytorch.ir.core import Block, IRBuilder, Operation, Value, inserting, return_
from lazytorch.ir.passes.function_pass import FunctionPass
from lazytorch.ir.passes.registry import count, register
from lazytorch.ir.types import TensorType


@register
@dataclass(frozen=True)
class Vmap(FunctionPass):
    """Let a function of one example compute a batch of `size` examples.

    Before: a function of tensor operations. After: `inputs` (names or numbers of arguments with commas between them, by
    default all) and all results have the batch as one more leading dimension; other arguments are the same for all
    examples. Composites without a batching rule of their own are expanded. `func` names the only function to vectorise;
    by default all are.

        func @f(%x: tensor<3xf32>, %y: tensor<4x3xf32>) -> tensor<3x4xf32> {
          %0 = arith.add %x, %y : tensor<4x3xf32>
          %1 = tensor.permute %0 {order = [1, 0]} : tensor<3x4xf32>
          return %1 : tensor<3x4xf32>
        }
        // ->
        func @f(%x: tensor<2x3xf32>, %y: tensor<2x4x3xf32>) -> tensor<2x3x4xf32> {
          %0 = tensor.reshape %x {shape = [2, 1, 3]} : tensor<2x1x3xf32>
          %1 = arith.add %0, %y : tensor<2x4x3xf32>
          %2 = tensor.permute %1 {order = [0, 2, 1]} : tensor<2x3x4xf32>
          return %2 : tensor<2x3x4xf32>
        }
    """

    name: ClassVar[str] = "vmap"
    size: int = 2

    def run(self, func: Operation) -> None:
        """Replace the body. Raises PassError for inputs that do not exist or an operation without a rule."""
        block = func.region.block
        inputs = set(self.chosen(func, lambda value: isinstance(value.type, TensorType), "tensor"))
        types = [x.type.with_shape((self.size, *x.type.shape)) if x in inputs else x.type for x in block.arguments]  # type: ignore[attr-defined]
        made = Block(types, [argument.name for argument in block.arguments])
        with inserting(IRBuilder(made)) as builder:
            vectorizer = Vectorizer(builder, self.size)
            values: dict[Value, BatchedValue] = {
                old: BatchedValue(new, old in inputs, vectorizer)
                for old, new in zip(block.arguments, made.arguments, strict=True)
            }
            for operation in block:
                builder.location = operation.location
                operands = [values[operand] for operand in operation.operands]
                if operation.declaration is return_:
                    builder.insert(Operation(return_.operator(), [vectorizer.whole(value) for value in operands], ()))
                    continue
                if operation.regions:
                    raise PassError(f"{self}: {operation.name} has a body; vectorise before fusing [{operation.location}]")
                try:
                    outcome = vectorizer.emit(operation.operator, operands)
                except NotImplementedError as error:
                    raise PassError(f"{self}: {error} [{operation.location}]") from error
                values.update(zip(operation.results, outcome if isinstance(outcome, tuple) else (outcome,), strict=True))
        count("operations vectorised", len(values) - len(block.arguments))
        made.parent = func.region
        func.region.blocks[:] = [made]
