"""Running a program one kernel at a time beside the reference interpreter (`LAZYTORCH_CHECK=1`)."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.interpreter import interpret
from lazytorch.ir.location import UNKNOWN
from lazytorch.ir.types import TensorType
from lazytorch.ir.validation import difference, precision
from lazytorch.runtime.runner import Failure, NativeProgram


@dataclass(frozen=True)
class Place:
    """Where `root` lies in a run, and the values that are the same memory in another shape: `offset` bytes from the address
    that is a binding, or in the binding itself."""

    root: Value
    binding: int
    offset: int = 0
    in_memory: bool = True

    def read(self, type: Any, bindings: Sequence[Any]) -> np.ndarray:
        """A copy of the value."""
        assert isinstance(type, TensorType)
        dtype = type.dtype.numpy
        if not self.in_memory:
            return np.full(type.shape, bindings[self.binding], dtype)
        memory = ctypes.string_at(bindings[self.binding] + self.offset, type.nbytes)
        return np.frombuffer(memory, dtype).reshape(type.shape)


@dataclass(frozen=True)
class CheckedKernel:
    """One fused.kernel: the steps that run it (the first has number `first` in the whole program), and its values."""

    kernel: Operation
    native: NativeProgram
    first: int
    operands: Sequence[Place]
    results: Sequence[Place]


class KernelCheck:
    """Runs kernel by kernel and compares what each makes of its operands with what the interpreter does.

    Operands must still be what the kernels before made of them, bit by bit, and so must be, at the end, `results`.
    """

    def __init__(self, kernels: Sequence[CheckedKernel], results: Sequence[Place]) -> None:
        self.kernels = kernels
        self.results = results

    def __call__(self, bindings: Sequence[Any]) -> Failure | None:
        """Run all kernels. Raises CompileError naming the first that is wrong; returns an error that the program found."""
        known: dict[Value, bytes] = {}
        for checked in self.kernels:
            failure = _run(checked, bindings, known)
            if failure is not None:
                return failure._replace(step=failure.step + checked.first)
        for number, place in enumerate(self.results):
            if known.get(place.root, b"") != place.read(place.root.type, bindings).tobytes():
                raise CompileError(f"result buffer {number} is overwritten after it was computed", stage="check")
        return None


def _run(checked: CheckedKernel, bindings: Sequence[Any], known: dict[Value, bytes]) -> Failure | None:
    kernel = checked.kernel
    operands = [place.read(value.type, bindings) for place, value in zip(checked.operands, kernel.operands, strict=True)]
    for number, (place, array) in enumerate(zip(checked.operands, operands, strict=True)):
        if known.setdefault(place.root, array.tobytes()) != array.tobytes():
            raise _fault(kernel, f"operand {number} is overwritten before it is read")
    expected: list[np.ndarray] | None = None
    with contextlib.suppress(IndexError):  # the kernel has to find the same
        expected = interpret(kernel, operands)
    if checked.native.run(*bindings):
        if expected is not None:
            raise _fault(kernel, "fails where the reference interpreter finds no error")
        return checked.native.failure
    if expected is None:
        raise _fault(kernel, "does not notice an index that is out of range")
    terms = max([2.0**-4, *[_order(x) for x in operands]])
    values = [value for operation in kernel.region.block for value in (*operation.operands, *operation.results)]
    unit = max(precision(value.type.dtype) for value in values)
    for number, (place, want) in enumerate(zip(checked.results, expected, strict=True)):
        got = place.read(kernel.results[number].type, bindings)
        wrong = difference(got, want, place.root.type.dtype, terms, unit)
        if wrong:
            raise _fault(kernel, f"result {number} {wrong}")
        known[place.root] = got.tobytes()
    return None


def _order(operand: np.ndarray) -> float:
    """The order of the terms that a kernel may have made of an operand: that of its elements, but not above 1."""
    if operand.dtype.kind not in "fc":
        return 0.0
    return min(1.0, float(np.abs(operand[np.isfinite(operand)]).max(initial=0.0)))


def _fault(kernel: Operation, what: str) -> CompileError:
    places = [operation.location for operation in kernel.region.block if operation.location != UNKNOWN]
    place = places[-1] if places else None
    return CompileError(f"kernel @{kernel.attributes.name}: {what}", stage="check", location=place)
