"""Expansion of composite operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lazytorch.ir.accumulation import innermost_group
from lazytorch.ir.core import Block, IRBuilder, Operation, Value, inserting
from lazytorch.ir.declaration import Operator, Trait
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.nn_attention import row_bytes
from lazytorch.ir.passes.registry import Pass, count, register
from lazytorch.ir.types import TensorType, Type


@dataclass(frozen=True)
class _Expansion:
    """A decomposition by numbers: of the operands, each named once, then of the results of the rows in their order."""

    rows: Sequence[tuple[Operator, Sequence[int], Sequence[Type]]]
    results: Sequence[int]


_expansions: dict[Any, _Expansion] = {}
_EXPANSIONS_KEPT = 4096


def _expansion_of(operation: Operation, inputs: Sequence[Value]) -> _Expansion:
    """What the operation's declaration expands it into. Rules look at types and attributes alone, so it is asked once for
    each operator with its operand types."""
    places = [inputs.index(value) for value in operation.operands] if len(inputs) < len(operation.operands) else ()
    key = (operation.operator, *[value.type for value in inputs], None, *places)
    found = _expansions.get(key)
    if found is None:
        if len(_expansions) >= _EXPANSIONS_KEPT:
            del _expansions[next(iter(_expansions))]
        found = _expansions[key] = _expand_alone(operation, inputs)
    return found


def _expand_alone(operation: Operation, inputs: Sequence[Value]) -> _Expansion:
    """Ask the declaration's rule about a copy of the operation on block arguments."""
    rule = operation.declaration.decompose
    if rule is None:
        raise NotImplementedError(f"{operation.name} is composite but declares no decomposition")
    block = Block([value.type for value in inputs])
    stand_in = dict(zip(inputs, block.arguments, strict=True))
    alone = Operation(operation.operator, [stand_in[x] for x in operation.operands], [x.type for x in operation.results])
    with inserting(IRBuilder(block, None, operation.location)):
        made = rule(alone)
    values: tuple[Value, ...] = tuple(made) if isinstance(made, tuple | list) else (made,)
    for value, result in zip(values, operation.results, strict=True):
        if value.type is not result.type:
            raise TypeError(f"the decomposition of {operation.name} makes {value.type} where {result.type} is due")
    numbers = {argument: number for number, argument in enumerate(block.arguments)}
    rows = []
    for each in block:
        rows.append((each.operator, [numbers[x] for x in each.operands], [x.type for x in each.results]))
        for result in each.results:
            numbers[result] = len(numbers)
    return _Expansion(rows, [numbers[value] for value in values])


ACCUMULATING = (tensor.reduce_sum, tensor.reduce_prod)
"""The reductions that round: those of 16-bit floats accumulate in float32."""


def _is_narrow(operation: Operation) -> bool:
    dtype = operation.operands[0].type.dtype
    return dtype.opmath is not dtype


@register
@dataclass(frozen=True)
class Decompose(Pass):
    """Expand composite operations into what they are defined by, until only primitives are left.

    Before: a function of tensor operations. After: no operation has the trait COMPOSITE (nor, if `longest` is not
    negative, the trait TILED with empty rows or rows of more bytes than that, which a target has no schedule for), sums and
    products of 16-bit floats are casts around those of float32, which they accumulate in, and every reduction's dimensions
    are neighbours: several groups are reduced one after the other, innermost first, which is the order that defines the
    result's bits. Dimensions of size 1 separate nothing; where they would, they are taken away.

        func @f(%x: tensor<2x3x4xf32>) -> tensor<3xf32> {
          %0 = tensor.reduce_sum %x {dims = [0, 2]} : tensor<3xf32>
          return %0 : tensor<3xf32>
        }
        // ->
        func @f(%x: tensor<2x3x4xf32>) -> tensor<3xf32> {
          %0 = tensor.reduce_sum %x {dims = [2]} : tensor<2x3xf32>
          %1 = tensor.reduce_sum %0 {dims = [0]} : tensor<3xf32>
          return %1 : tensor<3xf32>
        }
    """

    name: ClassVar[str] = "decompose"
    longest: int = -1

    def run(self, func: Operation) -> None:
        """Expand in order; an expansion is itself looked at before what follows it."""
        block = func.region.block
        operation = block.first
        while operation is not None:
            traits = operation.operator.declaration.traits
            following = operation.next
            if Trait.COMPOSITE in traits or (Trait.TILED in traits and self._is_too_long(operation)):
                following = self._expand(operation)
            elif operation.operator.declaration in ACCUMULATING and _is_narrow(operation):
                following = self._accumulate_wide(operation)
            elif Trait.REDUCTION in traits and "dims" in operation.operator.declaration.attribute_names:
                following = self._split_reduction(operation)
            operation = following

    def _is_too_long(self, operation: Operation) -> bool:
        return self.longest >= 0 and not all(0 < length <= self.longest for length in row_bytes(operation))

    def _expand(self, operation: Operation) -> Operation | None:
        """Replace the operation by its decomposition; the first operation still to be looked at."""
        block, before, location = operation.parent, operation.previous, operation.location
        assert block is not None
        inputs = list(dict.fromkeys(operation.operands))
        expansion = _expansion_of(operation, inputs)
        values = inputs
        for operator, operands, types in expansion.rows:
            made = Operation(operator, [values[number] for number in operands], types, (), location)
            block.insert_before(made, operation)
            values += made.results
        operation.replace_with([values[number] for number in expansion.results])
        count("operations expanded")
        return before.next if before is not None else block.first

    def _accumulate_wide(self, operation: Operation) -> Operation | None:
        """Reduce 16-bit floats in float32 and round once; the first operation still to be looked at."""
        operand, result = operation.operands[0], operation.results[0]
        assert operation.parent is not None
        with inserting(IRBuilder(operation.parent, operation, operation.location)):
            wide = arith.cast(operand, dtype=operand.type.dtype.opmath)
            total = operation.declaration(wide, dims=operation.attributes.dims)
            outcome = arith.cast(total, dtype=result.type.dtype)
        operation.replace_with((outcome,))
        count("narrow reductions widened")
        reduction: Operation = total.owner
        return reduction

    def _split_reduction(self, operation: Operation) -> Operation | None:
        """Reduce only the innermost group here, and the others by a further operation, looked at next."""
        type = operation.operands[0].type
        dims: tuple[int, ...] = operation.attributes.dims
        assert isinstance(type, TensorType) and operation.parent is not None
        inner = innermost_group(type.shape, dims)
        outer = [dim for dim in dims if dim not in inner]
        if not outer:
            return self._close_up(operation)
        rest = tuple([dim - sum(removed < dim for removed in inner) for dim in outer])
        reduce = operation.declaration
        with inserting(IRBuilder(operation.parent, operation, operation.location)):
            first = reduce(operation.operands[0], dims=inner)
            outcome = reduce(first, dims=rest)
        operation.replace_with((outcome,))
        self._close_up(first.owner)
        count("reductions split")
        remaining: Operation | None = outcome.owner
        return remaining

    def _close_up(self, operation: Operation) -> Operation | None:
        """Take away dimensions of size 1 so that the reduced ones are neighbours; the first operation still to be
        looked at."""
        following = operation.next
        dims: tuple[int, ...] = operation.attributes.dims
        if not dims or len(dims) == dims[-1] + 1 - dims[0]:
            return following
        operand, result = operation.operands[0], operation.results[0]
        assert isinstance(operand.type, TensorType) and operation.parent is not None
        wide = [(d, size) for d, size in enumerate(operand.type.shape) if size != 1]
        shape = tuple([size for _, size in wide])
        neighbours = tuple([position for position, (d, _) in enumerate(wide) if d in dims])
        if not neighbours:
            shape, neighbours = (1, *shape), (0,)
        with inserting(IRBuilder(operation.parent, operation, operation.location)):
            reduced = operation.declaration(tensor.reshape(operand, shape=shape), dims=neighbours)
            outcome = tensor.reshape(reduced, shape=result.type.shape)
        operation.replace_with((outcome,))
        return following
