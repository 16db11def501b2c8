"""Writing through a view of a recorded value."""

from __future__ import annotations

from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import tensor, tensor_strided
from lazytorch.ir.trace import Node, Trace, record_node


def write_through(trace: Trace, operator: Operator, base: Node, new: Node) -> Node:
    """What `base` becomes when its view through `operator` becomes `new`; through `detach` its history stays. Raises torch's
    RuntimeError when the view shows an element of the base more than once."""
    if operator.declaration is tensor.detach and base.history is True:
        return record_node(trace, tensor.overwrite.operator(), (base, new))
    written: Node = tensor_strided.write_through(operator, base, new)
    return written
