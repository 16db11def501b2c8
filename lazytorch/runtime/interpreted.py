"""Running a trace through the NumPy meaning of each operation: slow and obviously right (`LAZYTORCH_INTERPRET=1`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytorch.errors import CompileError
from lazytorch.ir.trace import Node, Trace, result
from lazytorch.runtime.buffer import Buffer


def interpret(trace: Trace, outputs: Sequence[Node]) -> None:
    """Give every output a buffer. Raises CompileError for an operation without a reference meaning."""
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
    for node in outputs:
        array = np.ascontiguousarray(values[id(node)], node.type.dtype.numpy)
        node.buffer = Buffer(max(array.nbytes, 1))
        node.buffer.numpy(array.dtype, array.shape)[...] = array.reshape(node.type.shape)
