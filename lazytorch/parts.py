"""Slices of memory whose start is an address, and so no part of any program.

A start is an attribute of the recorded slice: another one is another program, which has to be planned. Where values are in
memory already, a slice of them can be a leaf of its own instead, which begins elsewhere.
"""

from __future__ import annotations

from types import CodeType
from typing import Any

from lazytorch import layout
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import tensor, tensor_strided
from lazytorch.ir.saved import SHARED
from lazytorch.ir.trace import Node, Trace, leaf, record_node
from lazytorch.runtime.buffer import Buffer

_MOVING = 3
"""Different starts at one place of a program from which on they are taken to change all the time."""
_PLACES_KEPT = 4096
_starts: dict[Any, set[tuple[int, ...]]] = {}
"""By place of the program, the starts of the slices made there; as many as it takes to know."""


def rows_of_leaf(source: Node, operator: Operator) -> Node | None:
    """Leading rows of memory that is a leaf: a leaf again."""
    buffer = source.buffer
    if operator.declaration is not tensor.slice_ or source.history is not None or type(buffer) is not Buffer:
        return None
    rows = tensor_strided.leading_rows(source.type, operator.attributes)
    if rows is None or source.signature is not None:
        return None
    return leaf(source.type.with_shape(operator.attributes.sizes), buffer.part(*rows))


def moving_part(
    trace: Trace, root: Node, source: Node, operators: tuple[Operator, ...], place: tuple[CodeType, int]
) -> Node | None:
    """A view that ends in a slice whose start moves from call to call, of a storage in memory: recorded as strides on a leaf
    that begins at the first element. None for any other view."""
    if operators[-1].declaration is not tensor.slice_ or source.history is not None or trace.levels:
        return None
    buffer = root.buffer
    if type(buffer) is not Buffer or not _moves(place, operators[-1].attributes.starts):
        return None
    access = layout.access(root.type, operators)
    if 0 in access.shape or min(access.strides, default=0) < 0:
        return None
    extent = 1 + sum((size - 1) * stride for size, stride in zip(access.shape, access.strides, strict=True))
    itemsize = root.type.dtype.itemsize
    flat = leaf(root.type.with_shape((extent,)), buffer.part(access.offset * itemsize, extent * itemsize))
    flat.operands, flat.storage = (root,), SHARED  # a write to the storage is a write to this
    return record_node(
        trace, tensor_strided.as_strided.operator(shape=access.shape, strides=access.strides, offset=0), (flat,)
    )


def _moves(place: tuple[CodeType, int], starts: tuple[int, ...]) -> bool:
    """Whether slices made at a place begin somewhere else again and again. Notes this one."""
    key = (id(place[0]), place[1])
    seen = _starts.get(key)
    if seen is None:
        if len(_starts) >= _PLACES_KEPT:
            _starts.clear()
        seen = _starts[key] = set()
    if len(seen) < _MOVING:
        seen.add(starts)
    return len(seen) >= _MOVING
