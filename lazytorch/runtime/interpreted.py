"""Running a trace through the NumPy meaning of each operation: slow and obviously right (`LAZYTORCH_INTERPRET=1`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytorch.errors import CompileError
from lazytorch.ir.location import from_frame_place
from lazytorch.ir.trace import Node, Trace, result
from lazytorch.runtime.buffer import Buffer


def interpret(trace: Trace, outputs: Sequence[Node]) -> None:
    """Give every output a buffer. Raises CompileError for an operation without a reference meaning."""
    for node, array in zip(outputs, evaluate(trace, outputs), strict=True):
        node.buffer = Buffer(max(array.nbytes, 1))
        node.buffer.numpy(array.dtype, node.type.shape)[...] = array


def evaluate(trace: Trace, outputs: Sequence[Node]) -> list[np.ndarray]:
    """The outputs' values by the reference meanings, as arrays of their storage types."""
    values: dict[int, Any] = {}
    for node in trace.leaves:
        if isinstance(node.buffer, Buffer):
            values[id(node)] = node.buffer.numpy(node.type.dtype.numpy, node.type.shape)
        else:
            values[id(node)] = np.asarray(node.buffer, node.type.dtype.numpy)
    for node in trace.nodes:
        assert node.signature is not None
        declaration = node.signature.operator.declaration
        operands = [values[id(operand)] for operand in node.operands]
        if declaration is result:
            values[id(node)] = operands[0][node.attributes.index]
            continue
        if declaration.reference is None:
            raise CompileError(f"{declaration.name} has no reference meaning", stage="interpret")
        with np.errstate(all="ignore"):
            values[id(node)] = declaration.reference(node.attributes, *operands)
    return [np.ascontiguousarray(values[id(node)], node.type.dtype.numpy).reshape(node.type.shape) for node in outputs]


def check(trace: Trace, outputs: Sequence[Node], expected: Sequence[np.ndarray]) -> None:
    """Compare computed outputs with the reference's (`LAZYTORCH_CHECK=1`). Raises CompileError naming what differs."""
    for node, want in zip(outputs, expected, strict=True):
        got = node.buffer.numpy(node.type.dtype.numpy, node.type.shape)
        close = node.type.dtype.kind in "fc" and node.type.dtype.numpy.kind != "u"
        limit = 64 * float(np.finfo(want.dtype).eps) if close else 0.0
        # A sum of terms that cancel is as exact as its terms, which are taken to be of the order of 1/16 at least.
        scale = float(np.abs(want[np.isfinite(want)]).max(initial=2.0**-4)) if close else 0.0
        same = np.allclose(got, want, rtol=limit, atol=limit * scale, equal_nan=True) if close else np.array_equal(got, want)
        if not same:
            place = from_frame_place(node.place)
            raise CompileError(
                f"{node} differs from the reference interpreter's value by up to {_distance(got, want):.3g}",
                stage="check",
                location=str(place),
            )


def _distance(got: np.ndarray, want: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max())
