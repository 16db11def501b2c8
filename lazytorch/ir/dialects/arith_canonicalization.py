"""Rewrites of `arith` operations. Every one keeps every bit of the result: nan, infinities and signed zeros too."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.types import TensorType


class Rewriter(Protocol):
    """What rules need of the canonicalization driver (`passes/canonicalize.py`)."""

    def replace(self, operation: Operation, value: Value) -> None:
        """Use `value` instead of the operation's result and erase the operation."""

    def change_operands(self, operation: Operation, operands: tuple[Value, ...]) -> None:
        """Let the operation read other values."""


def constant_of(value: Value) -> Any:
    """The number that an arith.constant repeats, as Python's type of that kind; None for any other value."""
    owner = value.owner
    if not isinstance(owner, Operation) or owner.operator.declaration is not arith.constant:
        return None
    number = owner.operator.attributes.value
    kind = value.type.dtype.kind
    if kind == "f":
        return float(number)
    return bool(number) if kind == "b" else number if kind == "c" else int(number)


def replace_by_operand(operation: Operation, operand: Value, rewriter: Rewriter) -> bool:
    """The result is an operand (broadcast to the result's shape); False where their element types differ."""
    type = operation.results[0].type
    if operand.type is not type:
        if not isinstance(type, TensorType) or operand.type.dtype is not type.dtype:
            return False
        operand = tensor.expand(operand, shape=type.shape)
    rewriter.replace(operation, operand)
    return True


def replace_by_constant(operation: Operation, value: Any, rewriter: Rewriter) -> bool:
    """The result is one number, repeated."""
    builder = operation.results[0].builder
    rewriter.replace(operation, arith.constant.build(builder, value=value, type=operation.results[0].type))
    return True


def is_zero(value: Any, negative: bool) -> bool:
    """Whether a constant is 0: for floats the zero with that sign, exactly."""
    if isinstance(value, float):
        return value == 0.0 and (math.copysign(1.0, value) < 0) == negative
    return isinstance(value, int) and value == 0


def is_one(value: Any) -> bool:
    """Whether a constant is 1."""
    return value is not None and not isinstance(value, complex) and value == 1


def fold_elementwise(operation: Operation, rewriter: Rewriter) -> bool:
    """Compute an exact operation on constants now; let a constant operand be rank 0 where broadcasting restores it."""
    splat = False
    all_constant = True
    for operand in operation.operands:
        owner = operand.owner
        if isinstance(owner, Operation) and owner.operator.declaration is arith.constant:
            splat = splat or operand.type.shape != ()
        else:
            all_constant = False
    if all_constant:
        return operation.operands != () and _fold(operation, rewriter)
    # A composite may name one operand's type as its result's: its constants keep their shape until it is decomposed.
    return splat and not operation.has(Trait.COMPOSITE) and _shrink_splats(operation, rewriter)


def _shrink_splats(operation: Operation, rewriter: Rewriter) -> bool:
    """add(x, constant<64x10>) → add(x, constant<>) where x alone gives the result its shape."""
    shape: tuple[int, ...] = ()
    for operand in operation.operands:
        if constant_of(operand) is None:
            shape = arith.broadcast_shapes(shape, operand.type.shape)
    if shape != operation.results[0].type.shape:
        return False
    rewriter.change_operands(
        operation,
        tuple(
            [
                _rank_0(operand) if operand.type.shape != () and constant_of(operand) is not None else operand
                for operand in operation.operands
            ]
        ),
    )
    return True


def _rank_0(splat: Value) -> Value:
    result: Value = arith.constant.build(splat.builder, value=constant_of(splat), type=TensorType(splat.type.dtype, ()))
    return result


def _fold(operation: Operation, rewriter: Rewriter) -> bool:
    """An exact operation on numbers is a number, unless computing it is an error or gives nan (whose bits may vary)."""
    declaration = operation.declaration
    result = operation.results[0].type.dtype
    if declaration.fold is None or declaration.reference is None:
        return False
    values = [constant_of(operand) for operand in operation.operands]
    types = [operand.type.dtype for operand in operation.operands]
    if any(dtype is dtypes.bfloat16 or dtype.is_complex for dtype in (*types, result)):
        return False
    value = declaration.fold(operation.attributes, values, types, result)
    return value is not None and replace_by_constant(operation, value, rewriter)


def fold_by_reference(declaration: Any) -> None:
    """Declare that an operation of numbers may be computed while compiling, by its reference."""

    def fold(attributes: Any, values: list[Any], types: list[DType], result: DType) -> Any:
        arrays = [np.asarray(value, dtype.numpy) for value, dtype in zip(values, types, strict=True)]
        if declaration is arith.cast and types[0].kind == "f" and result.is_integral:
            limits = np.iinfo(result.numpy)
            if not limits.min <= values[0] <= limits.max:
                return None
        try:
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                value = np.asarray(declaration.reference(attributes, *arrays)).item()
        except FloatingPointError:
            return None
        return None if value != value else value

    declaration.fold = fold


for _exact in (
    arith.add,
    arith.sub,
    arith.mul,
    arith.div,
    arith.neg,
    arith.abs_,
    arith.floor,
    arith.ceil,
    arith.trunc,
    arith.round_even,
    arith.sqrt,
    arith.compare,
    arith.cast,
    arith.bit_and,
    arith.bit_or,
    arith.bit_xor,
    arith.bit_not,
):
    fold_by_reference(_exact)


@arith.add.canonicalization
def add_of_zero(operation: Operation, rewriter: Rewriter) -> bool:
    """x + -0.0 → x, and x + 0 → x for integers. (x + 0.0 is not x: it makes 0.0 of -0.0.)"""
    a, b = operation.operands
    if is_zero(constant_of(b), negative=True):
        return replace_by_operand(operation, a, rewriter)
    return is_zero(constant_of(a), negative=True) and replace_by_operand(operation, b, rewriter)


@arith.sub.canonicalization
def sub_of_zero(operation: Operation, rewriter: Rewriter) -> bool:
    """x - 0.0 → x, and x - 0 → x for integers"""
    a, b = operation.operands
    return is_zero(constant_of(b), negative=False) and replace_by_operand(operation, a, rewriter)


@arith.mul.canonicalization
def mul_by_one(operation: Operation, rewriter: Rewriter) -> bool:
    """x * 1 → x"""
    a, b = operation.operands
    if is_one(constant_of(b)):
        return replace_by_operand(operation, a, rewriter)
    return is_one(constant_of(a)) and replace_by_operand(operation, b, rewriter)


@arith.mul.canonicalization
def integer_mul_by_zero(operation: Operation, rewriter: Rewriter) -> bool:
    """x * 0 → 0 for integers only: nan * 0.0 is nan, -1.0 * 0.0 is -0.0"""
    if operation.results[0].type.dtype.kind not in "uix":
        return False
    hit = any(is_zero(constant_of(operand), negative=False) for operand in operation.operands)
    return hit and replace_by_constant(operation, 0, rewriter)


@arith.div.canonicalization
def div_by_one(operation: Operation, rewriter: Rewriter) -> bool:
    """x / 1 → x"""
    a, b = operation.operands
    return is_one(constant_of(b)) and replace_by_operand(operation, a, rewriter)


@arith.neg.canonicalization
def neg_of_neg(operation: Operation, rewriter: Rewriter) -> bool:
    """-(-x) → x"""
    inner = operation.operands[0].defining_op(arith.neg)
    return inner is not None and replace_by_operand(operation, inner.operands[0], rewriter)


@arith.bit_not.canonicalization
def not_of_not(operation: Operation, rewriter: Rewriter) -> bool:
    """~~x → x"""
    inner = operation.operands[0].defining_op(arith.bit_not)
    return inner is not None and replace_by_operand(operation, inner.operands[0], rewriter)


@arith.abs_.canonicalization
def abs_of_abs_or_neg(operation: Operation, rewriter: Rewriter) -> bool:
    """||x|| → |x|, |-x| → |x|"""
    operand = operation.operands[0]
    inner = operand.defining_op(arith.abs_)
    if inner is not None:
        return replace_by_operand(operation, inner.result, rewriter)
    inner = operand.defining_op(arith.neg)
    if inner is None:
        return False
    rewriter.replace(operation, arith.abs_(inner.operands[0]))
    return True


@arith.select.canonicalization
def select_of_constant(operation: Operation, rewriter: Rewriter) -> bool:
    """select(true, a, b) → a, select(false, a, b) → b"""
    condition, a, b = operation.operands
    value = constant_of(condition)
    return value is not None and replace_by_operand(operation, a if value else b, rewriter)


@arith.select.canonicalization
def select_of_equals(operation: Operation, rewriter: Rewriter) -> bool:
    """select(c, a, a) → a"""
    _, a, b = operation.operands
    return a is b and replace_by_operand(operation, a, rewriter)


@arith.cast.canonicalization
def cast_to_own_type(operation: Operation, rewriter: Rewriter) -> bool:
    """cast(x: f32) to f32 → x"""
    return operation.operands[0].type is operation.results[0].type and replace_by_operand(
        operation, operation.operands[0], rewriter
    )


@arith.cast.canonicalization
def cast_there_and_back(operation: Operation, rewriter: Rewriter) -> bool:
    """cast(cast(x: f32) to f64) to f32 → x, where the type between holds every number of x's type"""
    inner = operation.operands[0].defining_op(arith.cast)
    if inner is None or inner.operands[0].type is not operation.results[0].type:
        return False
    if not holds_exactly(inner.result.type.dtype, inner.operands[0].type.dtype):
        return False
    return replace_by_operand(operation, inner.operands[0], rewriter)


_SIGNIFICAND = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53, "complex<f32>": 24, "complex<f64>": 53}


def holds_exactly(wide: DType, narrow: DType) -> bool:
    """Whether every number of type `narrow` is one of type `wide`."""
    if wide is narrow or narrow is dtypes.bool_:
        return True
    if wide is dtypes.bool_ or narrow.is_complex > wide.is_complex:
        return False
    if narrow.is_integral:
        digits = narrow.bits - (narrow.kind == "i")
        if wide.is_integral:
            return wide.bits - (wide.kind == "i") >= digits and (wide.kind == "i" or narrow.kind == "u")
        # f16 ends at 65504: of the integers only 8-bit ones fit it by range and digits alike
        return _SIGNIFICAND.get(wide.name, 0) >= digits
    if not (wide.is_floating_point or wide.is_complex) or narrow.kind not in "fc":
        return False
    return wide.name not in ("f16", "bf16") and _SIGNIFICAND[wide.name] >= _SIGNIFICAND[narrow.name]
