"""Rewrites of `tensor` operations: views that compose, cancel or move nothing."""

from __future__ import annotations

from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Declaration, Trait, all_declarations
from lazytorch.ir.dialects import arith, tensor, tensor_strided
from lazytorch.ir.dialects.arith_canonicalization import (
    Rewriter,
    constant_of,
    is_zero,
    replace_by_constant,
    replace_by_operand,
)
from lazytorch.ir.types import TensorType


def view_of_constant(operation: Operation, rewriter: Rewriter) -> bool:
    """A view of a number repeated is that number, repeated in the view's shape."""
    value = constant_of(operation.operands[0])
    return value is not None and replace_by_constant(operation, value, rewriter)


for _dialect in (tensor, tensor_strided):
    for _declaration in vars(_dialect).values():
        if isinstance(_declaration, Declaration) and _declaration.has(Trait.VIEW):
            _declaration.canonicalization(view_of_constant)


@tensor.alias.canonicalization
@tensor.detach.canonicalization
def same_value(operation: Operation, rewriter: Rewriter) -> bool:
    """alias(x) → x, detach(x) → x: they matter only to differentiation"""
    return replace_by_operand(operation, operation.operands[0], rewriter)


@tensor.reshape.canonicalization
@tensor.expand.canonicalization
def same_shape(operation: Operation, rewriter: Rewriter) -> bool:
    """reshape(x) or expand(x) to x's own shape → x"""
    operand = operation.operands[0]
    return operand.type is operation.results[0].type and replace_by_operand(operation, operand, rewriter)


@tensor.reshape.canonicalization
def reshape_of_reshape(operation: Operation, rewriter: Rewriter) -> bool:
    """reshape(reshape(x)) → reshape(x)"""
    inner = operation.operands[0].defining_op(tensor.reshape)
    if inner is None:
        return False
    rewriter.replace(operation, tensor.reshape(inner.operands[0], shape=operation.attributes.shape))
    return True


@tensor.expand.canonicalization
def expand_of_expand(operation: Operation, rewriter: Rewriter) -> bool:
    """expand(expand(x)) → expand(x)"""
    inner = operation.operands[0].defining_op(tensor.expand)
    if inner is None:
        return False
    rewriter.replace(operation, tensor.expand(inner.operands[0], shape=operation.attributes.shape))
    return True


@tensor.expand.canonicalization
def expand_that_repeats_nothing(operation: Operation, rewriter: Rewriter) -> bool:
    """expand(x: 3) to 1x3 → reshape(x)"""
    type = operation.operands[0].type
    shape = operation.attributes.shape
    if tuple([size for size in type.shape if size != 1]) != tuple([size for size in shape if size != 1]):
        return False
    rewriter.replace(operation, tensor.reshape(operation.operands[0], shape=shape))
    return True


@tensor.permute.canonicalization
def permute_that_moves_nothing(operation: Operation, rewriter: Rewriter) -> bool:
    """permute(x) by the identity → x; permute(x) that only moves dimensions of size 1 → reshape(x)"""
    operand, order = operation.operands[0], operation.attributes.order
    moved = [dim for dim in order if operand.type.shape[dim] != 1]
    if moved != sorted(moved):
        return False
    if operand.type is operation.results[0].type:
        return replace_by_operand(operation, operand, rewriter)
    rewriter.replace(operation, tensor.reshape(operand, shape=operation.results[0].type.shape))
    return True


@tensor.permute.canonicalization
def compose_permutations(operation: Operation, rewriter: Rewriter) -> bool:
    """permute(permute(x, p), q) → permute(x, p∘q)"""
    inner = operation.operands[0].defining_op(tensor.permute)
    if inner is None:
        return False
    first = inner.attributes.order
    order = tuple([first[dim] for dim in operation.attributes.order])
    rewriter.replace(operation, tensor.permute(inner.operands[0], order=order))
    return True


@tensor.slice_.canonicalization
def slice_of_everything(operation: Operation, rewriter: Rewriter) -> bool:
    """slice(x) that keeps every element → x"""
    operand = operation.operands[0]
    return operand.type is operation.results[0].type and replace_by_operand(operation, operand, rewriter)


@tensor.slice_.canonicalization
def compose_slices(operation: Operation, rewriter: Rewriter) -> bool:
    """slice(slice(x)) → slice(x)"""
    inner = operation.operands[0].defining_op(tensor.slice_)
    if inner is None:
        return False
    a, b = inner.attributes, operation.attributes
    dims = range(len(b.sizes))
    rewriter.replace(
        operation,
        tensor.slice_(
            inner.operands[0],
            # an empty slice may start past the end of the inner one; it then starts where the inner one does
            starts=tuple([a.starts[d] + (b.starts[d] * a.steps[d] if b.sizes[d] else 0) for d in dims]),
            sizes=b.sizes,
            steps=tuple([a.steps[d] * b.steps[d] for d in dims]),
        ),
    )
    return True


@tensor.flip.canonicalization
def flip_of_nothing(operation: Operation, rewriter: Rewriter) -> bool:
    """flip(x) of no dimension longer than 1 → x"""
    operand = operation.operands[0]
    moves = any(operand.type.shape[dim] > 1 for dim in operation.attributes.dims)
    return not moves and replace_by_operand(operation, operand, rewriter)


@tensor.flip.canonicalization
def flip_of_flip(operation: Operation, rewriter: Rewriter) -> bool:
    """flip(flip(x, p), q) → flip(x, what is in one of p and q only)"""
    inner = operation.operands[0].defining_op(tensor.flip)
    if inner is None:
        return False
    dims = tuple(sorted(set(inner.attributes.dims) ^ set(operation.attributes.dims)))
    rewriter.replace(operation, tensor.flip(inner.operands[0], dims=dims))
    return True


@tensor.pad.canonicalization
def pad_of_nothing(operation: Operation, rewriter: Rewriter) -> bool:
    """pad(x) that adds no element → x"""
    operand = operation.operands[0]
    return operand.type is operation.results[0].type and replace_by_operand(operation, operand, rewriter)


@tensor.insert_slice.canonicalization
def insert_of_everything(operation: Operation, rewriter: Rewriter) -> bool:
    """insert_slice(x, y) that replaces every element → y"""
    new = operation.operands[1]
    return new.type is operation.results[0].type and replace_by_operand(operation, new, rewriter)


@tensor.concat.canonicalization
def concat_of_one(operation: Operation, rewriter: Rewriter) -> bool:
    """concat(x) → x"""
    return len(operation.operands) == 1 and replace_by_operand(operation, operation.operands[0], rewriter)


@arith.add.canonicalization
def sum_of_pieces(operation: Operation, rewriter: Rewriter) -> bool:
    """pad(x) + pad(y), zeros around pieces that lie side by side → concat(x + 0.0, y + 0.0), padded where they do not
    reach the ends: gradients of slices, of which every one would else be a pass over the whole.

    `base + pad(x) + pad(y)` likewise. The zeros are added as before: they make 0.0 of -0.0.
    """
    if _pad_under(operation) is None or any(_pad_under(user) is not None for user in operation.results[0].users):
        return False  # no sum of pieces, or a part of a longer one
    pieces: list[Operation] = []
    base: Value = operation.results[0]
    while (inner := base.defining_op(arith.add)) is not None:
        piece = _pad_under(inner)
        if piece is None or (inner is not operation and len(base.users) > 1):
            break
        pieces.append(piece)
        base = inner.operands[int(inner.operands[0] is piece.results[0])]
    last = base.defining_op(tensor.pad)
    if last is not None and _is_zero_pad(last):
        pieces.append(last)
    dim = _dimension_of(pieces)
    if dim is None:
        return False
    pieces.sort(key=lambda piece: int(piece.attributes.low[dim]))
    first, final = pieces[0].attributes, pieces[-1].attributes
    values = [piece.operands[0] for piece in pieces]
    reached = first.low[dim]
    for piece, value in zip(pieces, values, strict=True):
        if piece.attributes.low[dim] != reached:
            return False
        reached += value.type.shape[dim]
    if base.type.dtype.kind == "f":
        zero = arith.constant.build(operation.results[0].builder, value=0.0, type=TensorType(base.type.dtype, ()))
        values = [arith.add(value, zero) for value in values]
    total = tensor.concat(*values, dim=dim)
    total = tensor.pad(total, low=first.low, high=final.high, interior=first.interior, value=0.0)
    rewriter.replace(operation, total if last in pieces else arith.add(base, total))
    return True


def _pad_under(operation: Operation) -> Operation | None:
    """The pad with zeros among the operands of an addition."""
    if operation.declaration is not arith.add:
        return None
    for operand in reversed(operation.operands):
        made = operand.defining_op(tensor.pad)
        if made is not None and _is_zero_pad(made) and made.results[0].type is operation.results[0].type:
            return made
    return None


def _is_zero_pad(pad: Operation) -> bool:
    return is_zero(pad.attributes.value, negative=False) and not any(pad.attributes.interior)


def _dimension_of(pads: list[Operation]) -> int | None:
    """The only dimension along which several pads add anything."""
    sides = [zip(pad.attributes.low, pad.attributes.high, strict=True) for pad in pads]
    padded = {d for ends in sides for d, (low, high) in enumerate(ends) if low or high}
    return padded.pop() if len(pads) > 1 and len(padded) == 1 else None


@tensor.contract.canonicalization
def sum_before_contracting(operation: Operation, rewriter: Rewriter) -> bool:
    """A letter that only one operand of a contraction has, and the result has not, is summed before."""
    a = operation.attributes
    lhs, left = _summed(operation.operands[0], a.lhs, a.rhs + a.out)
    rhs, right = _summed(operation.operands[1], a.rhs, a.lhs + a.out)
    if (left, right) == (a.lhs, a.rhs):
        return False
    rewriter.replace(operation, tensor.contract(lhs, rhs, lhs=left, rhs=right, out=a.out))
    return True


def _summed(value: Value, letters: str, kept: str) -> tuple[Value, str]:
    dims = tuple([d for d, letter in enumerate(letters) if letter not in kept])
    if not dims:
        return value, letters
    return tensor.reduce_sum(value, dims=dims), "".join(letter for letter in letters if letter in kept)


def reduction_over_nothing(operation: Operation, rewriter: Rewriter) -> bool:
    """a reduction of x over no dimensions → x"""
    return not operation.attributes.dims and replace_by_operand(operation, operation.operands[0], rewriter)


for _declaration in all_declarations():
    if _declaration.has(Trait.REDUCTION) and "dims" in _declaration.attribute_names:
        _declaration.canonicalization(reduction_over_nothing)
