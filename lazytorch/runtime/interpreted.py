"""Running a trace through the NumPy meaning of each operation: slow and obviously right (`LAZYTORCH_INTERPRET=1`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lazytorch.ir.interpreter import apply_reference
from lazytorch.ir.trace import Node, Trace, result
from lazytorch.ir.types import TupleType
from lazytorch.runtime.buffer import Buffer


class Leaf(Protocol):
    """A value of a program's caller: its type, and its memory (a Buffer) or Python number; None: not computed yet."""

    type: Any
    buffer: Any


def interpret(trace: Trace, outputs: Sequence[Node]) -> None:
    """Give every output a buffer. Raises CompileError for an operation without a reference meaning."""
    for node, array in zip(outputs, evaluate(trace.nodes, trace.leaves, outputs), strict=True):
        node.buffer = Buffer(max(array.nbytes, 1))
        node.buffer.numpy(array.dtype, node.type.shape)[...] = array


def evaluate(nodes: Sequence[Node], leaves: Sequence[Node], outputs: Sequence[Node]) -> list[np.ndarray]:
    """The outputs' values by the reference meanings of the recorded operations, as arrays of their storage types."""
    values: dict[int, Any] = {id(node): leaf_array(node) for node in leaves}
    for node in nodes:
        assert node.signature is not None
        operator = node.signature.operator
        operands = [values[id(operand)] for operand in node.operands]
        if operator.declaration is result:
            values[id(node)] = operands[0][node.attributes.index]
            continue
        several = isinstance(node.type, TupleType)
        types = node.type.types if several else (node.type,)
        arrays = apply_reference(operator, node.signature.operand_types, types, operands)
        values[id(node)] = tuple(arrays) if several else arrays[0]
    return [np.ascontiguousarray(values[id(node)], node.type.dtype.numpy).reshape(node.type.shape) for node in outputs]


def leaf_array(leaf: Leaf) -> np.ndarray:
    """The value of a leaf: what its memory holds, or its Python number."""
    dtype = leaf.type.dtype.numpy
    if isinstance(leaf.buffer, Buffer):
        return leaf.buffer.numpy(dtype, leaf.type.shape)
    return np.asarray(leaf.buffer, dtype)
