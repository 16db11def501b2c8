"""Function transformations at work on what is recorded.

A transformation calls the user's function on stand-ins for its arguments, whose operations go into the trace like any
others, and then goes over what was recorded between the stand-ins and the results: a `BatchLevel` records it again for all
examples at once, a `ForwardLevel` adds the tangents. When it returns, nothing is left of it but ordinary recorded
operations, so transformations nest in any order. While one is at work (`Trace.levels`) a sync leaves the graph as it is.

A `torch.autograd.Function` brings its own rules (`Signature.custom`): `batch(level, operands)` gives the batched results, or
None where those of its forward will do, `push(tangents of the operands)` the tangents of the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch.ir.batching import BatchedValue, Vectorizer
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.levels import Level
from lazytorch.ir.pushforward import Tangent, push_forward
from lazytorch.ir.trace import RECORDER, STATE, Node, Trace, record_node, result, results_of
from lazytorch.ir.types import TupleType

_CAUSES = {
    "item()": "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a "
    "Tensor, please try to rewrite what you're doing with other operations. If error is occurring somewhere inside PyTorch "
    "internals, please file a bug report.",
    "bool()": "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support "
    "that yet, please file an issue at https://github.com/pytorch/pytorch/issues .",
    "nonzero()": "vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over "
    "aten::nonzero. Please file an issue at https://github.com/pytorch/pytorch/issues if you need this feature.",
    "a mask": "vmap: We do not support batching operators that can support dynamic shape. Attempting to batch over indexing "
    "with a boolean mask.",
}


class BatchLevel(Level):
    """Vectorisation over `size` examples.

    batches: for each stand-in, which is the first example, the values of all, with the batch as the first dimension.
    randomness: "error", "same" or "different".
    """

    def __init__(self, trace: Trace, size: int, randomness: str) -> None:
        super().__init__(trace)
        self.size = size
        self.randomness = randomness
        self.batches: dict[Node, Node] = {}

    def depends(self, node: Node) -> bool:
        """Whether the examples differ in this value."""
        return node in self.batches or bool(self.between(self.batches, (node,)))

    def stand_in(self, batch: Node) -> Node:
        """What stands for a batch, whose first dimension runs over the examples: the first of them, or zeros of none."""
        size, *shape = batch.type.shape
        if size:
            rank = len(shape)
            node: Node = tensor.slice_(batch, starts=(0,) * (rank + 1), sizes=(1, *shape), steps=(1,) * (rank + 1))
            node = tensor.reshape(node, shape=tuple(shape))
        else:
            zero = {"f": 0.0, "b": False, "c": 0j}.get(batch.type.dtype.kind, 0)
            node = arith.constant.build(RECORDER, value=zero, type=batch.type.with_shape(tuple(shape)))
        self.batches[node] = batch
        return node

    def whole(self, node: Node) -> Node:
        """The values of all examples, with the batch as the first dimension."""
        (found,) = self.replay((node,))
        made: Node = found.builder.whole(found)
        return made

    def batch_of(self, node: Node) -> Node | None:
        """All examples of a value that differs from example to example, else None."""
        return self.whole(node) if self.depends(node) else None

    def draws(self) -> int | None:
        """As many sets of random numbers as there are examples, if they may be different."""
        if self.randomness == "error":
            raise RuntimeError(
                "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
                "randomness flags on vmap or perform the randomness operation out of vmap"
            )
        return self.size if self.randomness == "different" else None

    def check(self, node: Node, cause: str) -> None:
        """Raise torch's RuntimeError where a value is asked for that differs from example to example."""
        if self.depends(node):
            raise RuntimeError(_CAUSES.get(cause, "Cannot access data pointer of Tensor that doesn't have storage"))

    def replay(self, nodes: Sequence[Node]) -> list[BatchedValue]:
        """What the recorded values are for all examples. Raises NotImplementedError for what has no batching rule."""
        trace = STATE.trace
        vectorizer = Vectorizer(RECORDER, self.size)
        values: dict[Node, Any] = {node: vectorizer.batch(batch) for node, batch in self.batches.items()}
        grad_enabled, place = trace.grad_enabled, trace.place
        try:
            for node in self.between(self.batches, nodes):
                signature = node.signature
                assert signature is not None
                if signature.operator.declaration is result:
                    values[node] = values[node.operands[0]][node.attributes.index]
                    continue
                trace.grad_enabled = grad_enabled and _keeps_history(node)
                trace.place = node.place
                operands = [values.get(operand) or vectorizer.shared(operand) for operand in node.operands]
                made = None
                if signature.custom is not None:
                    made = signature.custom.batch(self, operands)
                values[node] = made or vectorizer.emit(signature.operator, operands)
        finally:
            trace.grad_enabled, trace.place = grad_enabled, place
        return [values.get(node) or vectorizer.shared(node) for node in nodes]


def _keeps_history(node: Node) -> bool:
    """Whether the node was recorded with gradients enabled, as far as it made a difference."""
    assert node.signature is not None
    could = node.signature.differentiable and any(operand.history is not None for operand in node.operands)
    return node.history is not None or not could


class ForwardLevel(Level):
    """Forward-mode differentiation. tangents: those of the stand-ins, and of all values that were asked for since."""

    def __init__(self, trace: Trace, since: Level | None = None) -> None:
        super().__init__(trace, since)
        self.tangents: dict[Node, Any] = {}

    def push(self, nodes: Sequence[Node]) -> list[Tangent]:
        """The tangents of recorded values, None for zero. Raises NotImplementedError for what has no derivative."""
        trace, tangents = STATE.trace, self.tangents
        grad_enabled, place = trace.grad_enabled, trace.place
        try:
            for node in self.between(tangents, nodes):
                tracked = trace.grad_enabled = grad_enabled and _keeps_history(node)
                trace.place = node.place
                signature = node.signature
                assert signature is not None
                arriving = [tangents.get(operand) for operand in node.operands]
                if signature.operator.declaration is result:
                    tangents[node] = None if arriving[0] is None else arriving[0][node.attributes.index]
                    continue
                if signature.custom is not None:
                    tangents[node] = signature.custom.push(arriving)
                    continue
                several = isinstance(node.type, TupleType)
                values = results_of(trace, node) if several else (node,)
                made = push_forward(signature.operator, node.operands, values, arriving)
                if not tracked:
                    made = [_untracked(trace, tangent) for tangent in made]
                tangents[node] = made if several else made[0]
        finally:
            trace.grad_enabled, trace.place = grad_enabled, place
        return [tangents.get(node) for node in nodes]


def _untracked(trace: Trace, tangent: Tangent) -> Tangent:
    """The tangent without history: a rule may have handed on one that has a history."""
    if tangent is None or tangent.history is None:
        return tangent
    return record_node(trace, tensor.alias.operator(), (tangent,), False)
