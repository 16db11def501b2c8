"""Host operations: a step of the program that calls the operation's NumPy meaning on the buffers."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.launch import Address, Launch, ScheduleContext
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation
from lazytorch.ir.types import TensorType


def host_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch of the declaration's reference, whatever the sizes: empty operands mean something here too."""
    reference = operation.declaration.reference
    if reference is None:
        raise CompileError(f"{operation.name} has no reference meaning", stage="schedule", location=operation.location)
    attributes = operation.attributes
    inputs = [tensor_type(value) for value in operation.operands]
    outputs = [tensor_type(value) for value in operation.results]

    def call(slots: Any) -> None:
        arrays = [_array(address, type) for address, type in zip(slots, [*inputs, *outputs], strict=True)]
        with np.errstate(all="ignore"):
            outcome = reference(attributes, *arrays[: len(inputs)])
        values = outcome if isinstance(outcome, tuple) else (outcome,)
        for target, value in zip(arrays[len(inputs) :], values, strict=True):
            target[...] = value

    slots = [Address(value) for value in (*operation.operands, *operation.results)]
    return [Launch(f"host|{operation.name}", operation.name, None, slots, operations=[operation], host=call)]


def _array(address: int, type: TensorType) -> np.ndarray:
    """The contiguous buffer at an address as an array."""
    if type.numel == 0:
        return np.empty(type.shape, type.dtype.numpy)
    memory: Any = (ctypes.c_char * type.nbytes).from_address(address)
    array: np.ndarray = np.ndarray(type.shape, type.dtype.numpy, buffer=memory)
    return array
