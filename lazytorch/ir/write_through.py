"""Writing through a view of a recorded value: the inverse of each view operation."""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import tensor, tensor_strided
from lazytorch.ir.trace import Node, Trace, record_node


def write_through(trace: Trace, view: Sequence[Operator], base: Node, new: Node) -> Node:
    """What `base` becomes when its view through the operators, one after the other, becomes `new`. Raises torch's
    RuntimeError when the view shows an element of the base more than once."""
    steps = [base]
    for operator in view[:-1]:
        steps.append(record_node(trace, operator, (steps[-1],)))
    for operator, before in zip(reversed(view), reversed(steps), strict=True):
        new = _through_one(trace, operator, before, new)
    return new


def _through_one(trace: Trace, operator: Operator, base: Node, new: Node) -> Node:
    declaration, a = operator.declaration, operator.attributes
    shape = base.type.shape
    if declaration is tensor.detach and base.history is True:
        return record_node(trace, tensor.overwrite.operator(), (base, new))
    if declaration in (tensor.alias, tensor.detach):
        return new
    if declaration is tensor.reshape or (declaration is tensor.expand and new.type.numel == base.type.numel):
        return record_node(trace, tensor.reshape.operator(shape=shape), (new,))
    if declaration is tensor.permute:
        return record_node(trace, tensor.permute.operator(order=tensor.inverse_order(a.order)), (new,))
    if declaration is tensor.flip:
        return record_node(trace, operator, (new,))
    if declaration is tensor.slice_:
        return record_node(trace, tensor.insert_slice.operator(starts=a.starts, steps=a.steps), (base, new))
    if declaration is tensor_strided.diagonal:
        start, length, step = tensor_strided.diagonal_place(shape, a.offset)
        flat = tensor.reshape(base, shape=(*shape[:-2], shape[-2] * shape[-1]))
        lead = len(shape) - 2
        starts, steps = (0,) * lead + (start if length else 0,), (1,) * lead + (step,)
        node: Node = tensor.reshape(tensor.insert_slice(flat, new, starts=starts, steps=steps), shape=shape)
        return node
    if declaration is tensor_strided.as_strided and not tensor_strided.overlaps(a.shape, a.strides):
        node = tensor.scatter(base, tensor_strided.strided_index(base, a), new)
        return node
    raise RuntimeError(
        "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
        "Please clone() the tensor before performing the operation."
    )
