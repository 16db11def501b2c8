"""Vectorisation: an operation on one example becomes one operation on a batch of them.

A `BatchedValue` stands for a value of one example and holds the values of all: with the batch as one more leading dimension,
or, where it is the same for every example, as it is. It has the type of the one example and a builder, so whatever computes
with values (the operations of a function or a trace in order, the decomposition of a composite) computes with the whole
batch unawares. How an operation does that is said in its declaration (`batch`); an elementwise operation broadcasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Operator, Trait
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.composite import OperationView
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.types import TensorType


class BatchedValue:
    """A value of one example: `value` holds those of all, if `batched` along a further first dimension."""

    __slots__ = ("batched", "builder", "type", "value")

    def __init__(self, value: Any, batched: bool, builder: Vectorizer) -> None:
        self.value = value
        self.batched = batched
        self.type = value.type.with_shape(value.type.shape[1:]) if batched else value.type
        self.builder = builder


class BatchedOperation:
    """What a batching rule reads, and its means: the rule returns the result(s) with the batch as the first dimension.

    size: the number of examples. operands: the values as they are. batched: which of them have the batch as their first
    dimension. types: the operands' types in one example. result_type: likewise (a TupleType for several results).
    """

    __slots__ = ("batched", "builder", "operands", "operator", "size", "types")

    def __init__(self, operator: Operator, operands: Sequence[BatchedValue], builder: Any, size: int) -> None:
        self.operator = operator
        self.operands = tuple([operand.value for operand in operands])
        self.batched = tuple([operand.batched for operand in operands])
        self.types = tuple([operand.type for operand in operands])
        self.builder = builder
        self.size = size

    @property
    def attributes(self) -> Attributes:
        """The operation's attributes."""
        return self.operator.attributes

    @property
    def result_type(self) -> Any:
        """The type of the result in one example."""
        return self.operator.signature(*self.types).result_type

    def again(self, operands: Sequence[Any], **changed: Any) -> Any:
        """The same operation on these operands, with some attributes changed."""
        operator = self.operator
        if changed:
            operator = operator.declaration.operator(operator.label, **{**operator.attributes.as_dict(), **changed})
        return self.builder.emit(operator, tuple(operands))

    def leading(self) -> list[Any]:
        """The operands, each with the batch as its first dimension: what is the same for all is repeated (a view)."""
        return [
            value if batched else tensor.expand(value, shape=(self.size, *value.type.shape))
            for value, batched in zip(self.operands, self.batched, strict=True)
        ]

    def aligned(self, rank: int) -> list[Any]:
        """The operands such that they broadcast to a result that has `rank` dimensions in one example."""
        out = []
        for value, batched, type in zip(self.operands, self.batched, self.types, strict=True):
            if batched and len(type.shape) < rank:
                value = tensor.reshape(value, shape=(self.size, *(1,) * (rank - len(type.shape)), *type.shape))
            out.append(value)
        return out

    def numbers(self, step: int, like: Any) -> Any:
        """0, step, 2 step ... for the examples, broadcastable to a batch, and on its device."""
        rank = len(like.type.shape)
        numbers = positions(like, self.size, dtypes.int64)
        return arith.mul(tensor.reshape(numbers, shape=(self.size, *(1,) * (rank - 1))), step)

    def joined(self, x: Any) -> Any:
        """A batch of tables as one: the examples' rows one after the other."""
        size, rows, *rest = x.type.shape
        return tensor.reshape(x, shape=(size * rows, *rest))

    def parted(self, x: Any) -> Any:
        """The inverse of `joined`."""
        rows, *rest = x.type.shape
        return tensor.reshape(x, shape=(self.size, rows // self.size, *rest))


class Vectorizer:
    """The builder of batched values: emits through another builder what computes all examples at once."""

    def __init__(self, builder: Any, size: int) -> None:
        self.builder = builder
        self.size = size

    def shared(self, value: Any) -> BatchedValue:
        """A value of the other builder that is the same for all examples."""
        return BatchedValue(value, False, self)

    def batch(self, value: Any) -> BatchedValue:
        """A value of the other builder whose first dimension is the batch."""
        return BatchedValue(value, True, self)

    def emit(self, operator: Operator, operands: Sequence[BatchedValue]) -> Any:
        """The batched result, or a tuple of them. Raises NotImplementedError for an operation that has no batching rule."""
        declaration = operator.declaration
        if not any(operand.batched for operand in operands):
            made, batched = self.builder.emit(operator, tuple([operand.value for operand in operands])), False
        elif declaration.batch is not None:
            made, batched = declaration.batch(BatchedOperation(operator, operands, self.builder, self.size)), True
        elif declaration.has(Trait.ELEMENTWISE) and not declaration.has(Trait.COMPOSITE):
            operation = BatchedOperation(operator, operands, self.builder, self.size)
            made, batched = operation.again(operation.aligned(len(operation.result_type.shape))), True
        elif declaration.has(Trait.ELEMENTWISE) and len({operand.type.shape for operand in operands}) == 1:
            operation = BatchedOperation(operator, operands, self.builder, self.size)
            made, batched = operation.again(operation.leading()), True  # composites demand operands of one shape
        elif declaration.decompose is not None:
            return declaration.decompose(OperationView(operands, operator.attributes))
        else:
            raise NotImplementedError(f"there is no batching rule for {declaration.name}")
        if isinstance(made, tuple | list):
            return tuple([BatchedValue(value, batched, self) for value in made])
        return BatchedValue(made, batched, self)

    def constant(self, value: Any, like: BatchedValue) -> BatchedValue:
        """A constant is the same for all."""
        return BatchedValue(self.builder.constant(value, like.value), False, self)

    def whole(self, value: BatchedValue) -> Any:
        """The value with the batch as its first dimension, whether or not the examples differ."""
        if value.batched:
            return value.value
        type = value.type
        assert isinstance(type, TensorType)
        return tensor.expand(value.value, shape=(self.size, *type.shape))
