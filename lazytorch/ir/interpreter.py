"""The reference interpreter of tensor programs: every operation by its NumPy meaning, one after the other.

Slow and obviously right: it is what compiled code is compared with (`LAZYTORCH_CHECK=1`). Kernels in loop form are run
by `ir/loop_interpreter.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lazytorch import dtypes
from lazytorch.errors import CompileError
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Trait
from lazytorch.ir.types import TensorType


def interpret(func: Operation, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a function of tensor operations and fused kernels; one array per result.

    `func` is a builtin.func or a fused.kernel (whose body is run). The arrays have the arguments' shapes and dtypes:
    ValueError otherwise. Raises CompileError for an operation that has no reference meaning, or for bfloat16
    arithmetic, which NumPy cannot express; IndexError, as compiled programs do, for an index out of range.
    """
    block = func.region.block
    if len(arrays) != len(block.arguments):
        raise ValueError(f"the function takes {len(block.arguments)} arguments but is given {len(arrays)}")
    for position, (array, argument) in enumerate(zip(arrays, block.arguments, strict=True)):
        if array.dtype != argument.type.dtype.numpy or array.shape != argument.type.shape:
            raise ValueError(f"argument {position} should be {argument.type} but is {array.dtype}{list(array.shape)}")
    return [np.ascontiguousarray(array) for array in _run_block(block, arrays)]


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
    declaration = operation.declaration
    types = [value.type for value in (*operation.operands, *operation.results)]
    if declaration.reference is None:
        raise CompileError(f"{operation.name} has no reference meaning", stage="interpret", location=operation.location)
    computes = not (declaration.has(Trait.VIEW) or declaration.has(Trait.CONSTANT))
    if computes and any(type.dtype is dtypes.bfloat16 for type in types):
        message = f"{operation.name}: bfloat16 arithmetic has no reference meaning in NumPy"
        raise CompileError(message, stage="interpret", location=operation.location)
    with np.errstate(all="ignore"):
        outcome = declaration.reference(operation.attributes, *operands)
    arrays = [np.asarray(array) for array in (outcome if isinstance(outcome, tuple) else (outcome,))]
    for array, result in zip(arrays, operation.results, strict=True):
        fits = array.dtype == result.type.dtype.numpy
        if isinstance(result.type, TensorType):
            fits = fits and array.shape == result.type.shape
        if not fits:
            message = f"the reference of {operation.name} gives {array.dtype}{list(array.shape)} for {result.type}"
            raise CompileError(message, stage="interpret", location=operation.location)
    return arrays
