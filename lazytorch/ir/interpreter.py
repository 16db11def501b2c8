"""The reference interpreter of tensor programs: every operation by its NumPy meaning, one after the other.

Slow and obviously right: it is what compiled code is compared with (`LAZYTORCH_CHECK=1`). Kernels in loop form are run
by `ir/loop_interpreter.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lazytorch import dtypes
from lazytorch.errors import CompileError
from lazytorch.ir.bfloat16 import narrow, widen
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Attributes, Operator, Trait
from lazytorch.ir.dialects import arith
from lazytorch.ir.types import TensorType, TupleType, Type


def interpret(func: Operation, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a function of tensor operations and fused kernels; one array per result.

    `func` is a builtin.func or a fused.kernel (whose body is run). The arrays have the arguments' shapes and dtypes:
    ValueError otherwise. bfloat16 is computed in float32 and rounded after each operation. Raises CompileError for an
    operation that has no reference meaning; IndexError, as compiled programs do, for an index out of range.
    """
    block = func.region.block
    if len(arrays) != len(block.arguments):
        raise ValueError(f"the function takes {len(block.arguments)} arguments but is given {len(arrays)}")
    for position, (array, argument) in enumerate(zip(arrays, block.arguments, strict=True)):
        if array.dtype != argument.type.dtype.numpy or array.shape != argument.type.shape:
            raise ValueError(f"argument {position} should be {argument.type} but is {array.dtype}{list(array.shape)}")
    return [np.asarray(array, order="C") for array in _run_block(block, arrays)]


def _run_block(block: Block, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run the operations in order; what the terminator returns."""
    values: dict[Value, np.ndarray] = dict(zip(block.arguments, arrays, strict=True))
    for operation in block:
        operands = [values[operand] for operand in operation.operands]
        if operation.has(Trait.TERMINATOR):
            return operands
        results = _run_block(operation.region.block, operands) if operation.regions else evaluate(operation, operands)
        for result, array in zip(operation.results, results, strict=True):
            values[result] = array
    raise CompileError("the function has no terminator", stage="interpret")


def evaluate(operation: Operation, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of one operation by its reference, checked against the result types."""
    types = [value.type for value in operation.results]
    try:
        arrays = apply_reference(operation.operator, [value.type for value in operation.operands], types, operands)
    except CompileError as error:
        raise CompileError(error.message, stage="interpret", location=operation.location) from None
    for array, type in zip(arrays, types, strict=True):
        fits = array.dtype == type.dtype.numpy
        if isinstance(type, TensorType):
            fits = fits and array.shape == type.shape
        if not fits:
            message = f"the reference of {operation.name} gives {array.dtype}{list(array.shape)} for {type}"
            raise CompileError(message, stage="interpret", location=operation.location)
    return arrays


def apply_reference(
    operator: Operator, operand_types: Sequence[Type], result_types: Sequence[Type], operands: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The results of an operator by its reference. Raises CompileError if it has none."""
    declaration = operator.declaration
    attributes = operator.attributes
    if declaration.reference is None:
        raise CompileError(f"{declaration.name} has no reference meaning", stage="interpret")
    moves_bits = declaration.has(Trait.VIEW) or declaration is arith.bitcast
    if not moves_bits and any(type.dtype is dtypes.bfloat16 for type in (*operand_types, *result_types)):
        pairs = zip(operands, operand_types, strict=True)
        operands = [widen(x) if type.dtype is dtypes.bfloat16 else x for x, type in pairs]
        attributes = Attributes({name: _widened(value) for name, value in attributes.items()})
    with np.errstate(all="ignore"):
        outcome = declaration.reference(attributes, *operands)
    arrays = [np.asarray(array) for array in (outcome if isinstance(outcome, tuple) else (outcome,))]
    if moves_bits:
        return arrays
    return [
        narrow(array) if type.dtype is dtypes.bfloat16 else array for array, type in zip(arrays, result_types, strict=True)
    ]


def _widened(attribute: object) -> object:
    """An attribute that names bfloat16, with float32 in its place."""
    if attribute is dtypes.bfloat16:
        return dtypes.float32
    if isinstance(attribute, Type) and not isinstance(attribute, TupleType) and attribute.dtype is dtypes.bfloat16:
        return attribute.with_dtype(dtypes.float32)
    return attribute
