"""Complex numbers as pairs of real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from lazytorch import dtypes
from lazytorch.ir.core import IRBuilder, Operation, inserting
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.complex_numbers import joined, of_pairs, part, to_pairs
from lazytorch.ir.passes.registry import Pass, count, register

Rule = Callable[[Operation, Any], Any]
"""The pairs of an operation's result. A rule gets the operation and a function from its operands to their pairs."""

RULES: dict[Declaration, Rule] = {}


def _rule(*declarations: Declaration) -> Callable[[Rule], Rule]:
    def register_rule(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(declarations, rule))
        return rule

    return register_rule


@_rule(arith.add, arith.sub, arith.neg, tensor.reduce_sum, tensor.alias, tensor.detach, tensor.flip, tensor.concat)
def _as_it_is(op: Operation, pairs: Any) -> Any:
    """What works on both parts alike, and names dimensions from the front."""
    return op.declaration(*[pairs(x) for x in op.operands], **op.attributes.as_dict())


@_rule(arith.mul)
def _product(op: Operation, pairs: Any) -> Any:
    """(a + bi)(c + di) = (ac - bd) + (ad + bc)i"""
    x, y = (pairs(operand) for operand in op.operands)
    a, b, c, d = part(x, 0), part(x, 1), part(y, 0), part(y, 1)
    real = arith.sub(arith.mul(a, c), arith.mul(b, d))
    return joined(real, arith.add(arith.mul(a, d), arith.mul(b, c)))


@_rule(tensor.contract)
def _contraction(op: Operation, pairs: Any) -> Any:
    """Four contractions of parts."""
    shape = (*op.result.type.shape, 1)

    def flat(p: Any, index: int) -> Any:
        return tensor.reshape(part(p, index), shape=p.type.shape[:-1])

    def contract(x: Any, y: Any) -> Any:
        return tensor.reshape(tensor.contract(x, y, **op.attributes.as_dict()), shape=shape)

    x, y = (pairs(operand) for operand in op.operands)
    a, b, c, d = flat(x, 0), flat(x, 1), flat(y, 0), flat(y, 1)
    return joined(arith.sub(contract(a, c), contract(b, d)), arith.add(contract(a, d), contract(b, c)))


@_rule(arith.cast)
def _conversion(op: Operation, pairs: Any) -> Any:
    """From real numbers, or from complex ones of another width."""
    dtype, x = op.attributes.dtype, op.operands[0]
    real = _REAL[dtype.itemsize]
    if x.type.dtype.is_complex:
        return arith.cast(pairs(x), dtype=real)
    number = arith.cast(x, dtype=real)
    return joined(tensor.reshape(number, shape=(*x.type.shape, 1)), 0.0)


_REAL = {8: dtypes.float32, 16: dtypes.float64}


@_rule(arith.select)
def _choice(op: Operation, pairs: Any) -> Any:
    condition, x, y = op.operands
    return arith.select(tensor.reshape(condition, shape=(*condition.type.shape, 1)), pairs(x), pairs(y))


@_rule(tensor.reshape, tensor.expand)
def _shaped(op: Operation, pairs: Any) -> Any:
    return op.declaration(pairs(op.operands[0]), shape=(*op.attributes.shape, 2))


@_rule(tensor.permute)
def _permuted(op: Operation, pairs: Any) -> Any:
    order = op.attributes.order
    return tensor.permute(pairs(op.operands[0]), order=(*order, len(order)))


@_rule(tensor.slice_)
def _sliced(op: Operation, pairs: Any) -> Any:
    a = op.attributes
    return tensor.slice_(pairs(op.operands[0]), starts=(*a.starts, 0), sizes=(*a.sizes, 2), steps=(*a.steps, 1))


@register
@dataclass(frozen=True)
class SplitComplex(Pass):
    """Rewrite operations on complex numbers to operations on pairs of real ones, between `of_pairs` and `to_pairs`.

    Before: a function of primitive tensor operations. After: of those with complex numbers, only the ones are left that have
    no rule here; `canonicalize` takes away what converts to and fro.

        func @f(%x: tensor<3xcomplex<f32>>) -> tensor<3xcomplex<f32>> {
          %0 = arith.neg %x : tensor<3xcomplex<f32>>
          return %0 : tensor<3xcomplex<f32>>
        }
        // ->
        func @f(%x: tensor<3xcomplex<f32>>) -> tensor<3xcomplex<f32>> {
          %0 = complex.to_pairs %x : tensor<3x2xf32>
          %1 = arith.neg %0 : tensor<3x2xf32>
          %2 = complex.of_pairs %1 : tensor<3xcomplex<f32>>
          return %2 : tensor<3xcomplex<f32>>
        }
    """

    name: ClassVar[str] = "split-complex"

    def run(self, func: Operation) -> None:
        """Every operation by itself."""
        block = func.region.block
        for operation in list(block):
            rule = RULES.get(operation.declaration)
            if rule is None or len(operation.results) != 1 or not operation.result.type.dtype.is_complex:
                continue
            with inserting(IRBuilder(block, operation, operation.location)):
                pairs = rule(operation, to_pairs)
                made = of_pairs(pairs)
            operation.replace_with((made,))
            count("complex operations split")
