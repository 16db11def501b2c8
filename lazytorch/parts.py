"""Slices that begin somewhere else from call to call, and whose start is no part of any program.

A start is an attribute of the recorded slice: another one is another program, which has to be planned. Where values are in
memory already, a slice of them can be a leaf of its own instead, which begins elsewhere. One that is written to, or that is
read after a write of the same program, is found at positions that are computed: its start is a number among the program's
arguments.
"""

from __future__ import annotations

from math import prod
from types import CodeType
from typing import TYPE_CHECKING, Any

from lazytorch import dtypes, layout
from lazytorch.codegen.views import Access
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import arith, tensor, tensor_strided
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.saved import SHARED
from lazytorch.ir.trace import Node, Trace, leaf, record_node
from lazytorch.ir.types import TensorType
from lazytorch.runtime.buffer import Buffer

if TYPE_CHECKING:
    from lazytorch.tensor import Tensor

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
    rows = None if source.signature is not None else tensor_strided.leading_rows(source.type, operator.attributes)
    if rows is None:
        return None
    return leaf(source.type.with_shape(operator.attributes.sizes), buffer.part(*rows))


def moving_read(
    trace: Trace, root: Tensor, source: Node, operators: tuple[Operator, ...], place: tuple[CodeType, int]
) -> Node | None:
    """A view that ends in a slice whose start moves from call to call, of a storage in memory. None for any other view."""
    if operators[-1].declaration is not tensor.slice_ or source.history is not None:
        return None
    in_memory = type(root._node.buffer) is Buffer
    if not in_memory and root not in trace.updates:
        return None
    access = _moving_access(trace, root, operators, (id(place[0]), place[1]))
    if access is None:
        return None
    if in_memory:
        return _part(trace, root._node, access)
    base, index, _ = _positions(root._node, access)
    node: Node = tensor.reshape(tensor.gather(base, index), shape=access.shape)
    return node


def _part(trace: Trace, root: Node, access: Access) -> Node:
    """A view of what is in memory, recorded as strides on a leaf that begins at the first element."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(access.shape, access.strides, strict=True))
    itemsize = root.type.dtype.itemsize
    flat = leaf(root.type.with_shape((extent,)), root.buffer.part(access.offset * itemsize, extent * itemsize))
    flat.operands, flat.storage = (root,), SHARED  # a write to the storage is a write to this
    operator = tensor_strided.as_strided.operator(shape=access.shape, strides=access.strides, offset=0)
    return record_node(trace, operator, (flat,))


def moving_write(trace: Trace, root: Tensor, view: Tensor, new: Node) -> Node | None:
    """What a storage in memory becomes when a view of it, a slice whose start moves from call to call, becomes `new`. None
    for any other view, and where gradients are recorded."""
    place = trace.place
    if place is None or not any(operator.declaration is tensor.slice_ for operator in view._view):
        return None
    if root._node.history is not None or new.history is not None or view._node.history is not None:
        return None
    if type(root._node.buffer) is not Buffer and root not in trace.updates:
        return None
    access = _moving_access(trace, root, view._view, (id(place[0]), place[1], "written"))
    if access is None or tensor_strided.overlaps(access.shape, access.strides):
        return None
    base, index, shape = _positions(root._node, access)
    written = tensor.scatter(base, index, tensor.reshape(new, shape=shape))
    node: Node = tensor.reshape(written, shape=root._node.type.shape)
    return node


def _moving_access(trace: Trace, root: Tensor, operators: tuple[Operator, ...], place: Any) -> Access | None:
    access = layout.access(root._node.type, operators)
    if trace.levels or 0 in access.shape or min(access.strides, default=0) < 0 or not _moves(place, (access.offset,)):
        return None
    return access


def _positions(root: Node, access: Access) -> tuple[Node, Node, tuple[int, ...]]:
    """A value as gather and scatter take it, where the elements of a view of it are, and the shape they have there: whole
    rows if they are that, single elements otherwise. The first position is a leaf."""
    shape = root.type.shape
    row, count = prod(shape[1:]), prod(access.shape)
    if layout.is_row_major(access.shape, access.strides) and access.offset % row == count % row == 0:
        index = positions(root, count // row, dtypes.int64)
        return root, arith.add(index, _number(access.offset // row)), (count // row, *shape[1:])
    flat = tensor.reshape(root, shape=(root.type.numel,))
    where = tensor_strided.as_strided.operator(shape=access.shape, strides=access.strides, offset=0).attributes
    return flat, arith.add(tensor_strided.strided_index(flat, where), _number(access.offset)), access.shape


def _number(start: int) -> Node:
    return leaf(TensorType(dtypes.int64, ()), start)


def _moves(key: Any, starts: tuple[int, ...]) -> bool:
    """Whether slices made at a place begin somewhere else again and again. Notes this one."""
    seen = _starts.get(key)
    if seen is None:
        if len(_starts) >= _PLACES_KEPT:
            _starts.clear()
        seen = _starts[key] = set()
    if len(seen) < _MOVING:
        seen.add(starts)
    return len(seen) >= _MOVING
