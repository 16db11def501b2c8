"""Writing through a view of a recorded value: the inverse of each view operation."""

from __future__ import annotations

from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import tensor
from lazytorch.ir.trace import Node, Trace, record_node


def write_through(trace: Trace, operator: Operator, base: Node, new: Node) -> Node:
    """What `base` becomes when its view through `operator` becomes `new`. Raises torch's RuntimeError when the view shows
    an element of the base more than once."""
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
    raise RuntimeError(
        "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
        "Please clone() the tensor before performing the operation."
    )
