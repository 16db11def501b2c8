"""Which forward values a sync must keep because a later `backward()` will read them."""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch.ir.capture import capture
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Trait
from lazytorch.ir.passes.differentiate import differentiate
from lazytorch.ir.trace import Trace
from lazytorch.ir.types import TensorType

_CHEAP = (Trait.ELEMENTWISE, Trait.VIEW, Trait.CONSTANT)


def saved_values(trace: Trace, roots: Sequence[int]) -> list[int]:
    """The numbers of recorded values that the derivative of `roots` (node numbers with a kept history) needs stored.

    The backward operations are derived symbolically; of the forward values they read, what is expensive is stored and
    cheap elementwise values and views are left to be recomputed from what is stored.
    """
    numbers: dict[Value, int] = {}
    func = capture(trace, roots, numbers)
    block = func.region.block
    inputs = [block.arguments[i] for i, leaf in enumerate(trace.leaves) if leaf.history is not None]
    if not inputs:
        return []
    outputs = list(block.terminator.operands)
    forward = {operation for operation in block if operation is not block.terminator}
    cotangents = [_cotangent(block, value) for value in outputs]
    differentiable = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.type.dtype.kind in "fc"]
    try:
        gradients = differentiate(block, [o for o, _ in differentiable], [c for _, c in differentiable], inputs)
    except NotImplementedError:
        # A torch.autograd.Function in the history: what its backward reads is in the user's hands, so keep everything.
        return sorted({numbers[value] for value in _stored(set(numbers))})
    block.terminator.operands = tuple([gradient for gradient in gradients if gradient is not None])
    needed = _read_by_backward(block.terminator, forward)
    return sorted({numbers[value] for value in _stored(needed) if value in numbers})


def _cotangent(block: Block, value: Value) -> Value:
    assert isinstance(value.type, TensorType)
    return block.add_argument(value.type)


def _read_by_backward(terminator: Operation, forward: set[Operation]) -> set[Value]:
    """Forward values that live backward operations read."""
    needed: set[Value] = set()
    seen: set[Operation] = set()
    stack = list(terminator.operands)
    while stack:
        value = stack.pop()
        operation = value.defining_op()
        if operation is None:
            continue
        if operation in forward:
            needed.add(value)
        elif operation not in seen:
            seen.add(operation)
            stack += operation.operands
    return needed


def _stored(needed: set[Value]) -> set[Value]:
    """Replace every cheap value by what it is computed from, until only expensive ones (or arguments) remain."""
    stored: set[Value] = set()
    seen: set[Value] = set()
    stack = list(needed)
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        operation = value.defining_op()
        if operation is None:
            continue
        if any(operation.has(trait) for trait in _CHEAP):
            stack += operation.operands
        else:
            stored.add(value)
    return stored
