"""The sync: what is pending becomes one program, which is found in the cache or planned, and run."""

from __future__ import annotations

from collections.abc import Sequence
from sys import getrefcount
from typing import Any, Protocol

import numpy as np

from lazytorch.ir.trace import Node, Trace, result
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.statistics import STATISTICS


class Live(Protocol):
    """What the session knows of a tensor: its value, and the tensor it is a view of."""

    _node: Node
    _base: Any


def _calibrate() -> int:
    """References to an object that only the list and the loop below hold, in this interpreter."""
    live = [object(), object()]
    pop = live.pop
    count = 0
    while live:
        tensor = pop()
        count = getrefcount(tensor)
    return count


_UNHELD = _calibrate()


def held_outputs(trace: Trace) -> list[Node]:
    """The pending values that the user still holds a tensor of. Views are not among them: they are read through their base.

    Newest first, so that a dead view has let go of its base before the base is judged.
    """
    outputs = []
    live = trace.live
    pop = live.pop
    while live:
        tensor = pop()
        if getrefcount(tensor) > _UNHELD and tensor._base is None and tensor._node.buffer is None:
            outputs.append(tensor._node)
    return outputs


def synchronize(trace: Trace, wanted: Sequence[Node], cause: str) -> None:
    """Compute `wanted`, all pending updates of storage, and every pending value the user still holds.

    Afterwards each of them has a buffer, and the trace is empty. Errors found while running (an index out of range)
    are raised here, with the place that recorded the operation.
    """
    STATISTICS.syncs += 1
    outputs = [node for node in wanted if node.buffer is None]
    seen = set(map(id, outputs))
    updates = list(trace.updates.items())
    for tensor, _ in updates:
        if tensor._node.buffer is None and id(tensor._node) not in seen:
            seen.add(id(tensor._node))
            outputs.append(tensor._node)
    for node in held_outputs(trace):
        if id(node) not in seen:
            seen.add(id(node))
            outputs.append(node)
    _interpret(trace, outputs)
    for tensor, old in updates:
        if old.buffer.shared:
            size = old.buffer.nbytes
            old.buffer.numpy(np.uint8, (size,))[...] = tensor._node.buffer.numpy(np.uint8, (size,))
            tensor._node.buffer = old.buffer
    for node in outputs:
        if node.history is not True:
            node.operands = ()
    trace.reset()


def _interpret(trace: Trace, outputs: Sequence[Node]) -> None:
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
        else:
            assert declaration.reference is not None, f"{declaration.name} has no reference"
            with np.errstate(all="ignore"):
                values[id(node)] = declaration.reference(node.attributes, *operands)
    for node in outputs:
        array = np.ascontiguousarray(values[id(node)], node.type.dtype.numpy)
        node.buffer = Buffer(max(array.nbytes, 1))
        node.buffer.numpy(array.dtype, array.shape)[...] = array
