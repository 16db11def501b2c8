"""How a `torch.autograd.Function` takes part in forward mode and vectorisation (see ir/transformations.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lazytorch.ir.batching import BatchedValue, Vectorizer
from lazytorch.ir.declaration import Signature
from lazytorch.ir.dialects import tensor
from lazytorch.ir.dialects.composite import zeros_like
from lazytorch.ir.trace import STATE, Node, record, results_of
from lazytorch.ir.transformations import BatchLevel
from lazytorch.ir.types import TupleType
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.tensor import Tensor, value, wrap


class VmapInfo(NamedTuple):
    """What the static method `vmap` of a Function is told beside its arguments."""

    batch_size: int
    randomness: str


class Rules:
    """The static methods of one call of a Function as rules of the recorded operation, whose operands are the call's tensor
    arguments and the outputs of its `forward`."""

    def __init__(self, function: Any, base: Any, ctx: Any, arguments: tuple[Any, ...], signature: Signature) -> None:
        self.function = function
        self.base = base
        self.ctx = ctx
        self.arguments = arguments
        self.signature = signature
        self.count = sum(isinstance(x, Tensor) for x in arguments)

    def push(self, tangents: Sequence[Node | None]) -> list[Node | None]:
        """The tangents of the results, by the Function's `jvp`."""
        trace, arriving = STATE.trace, iter(tangents)
        given: list[Tensor | None] = []
        for x in self.arguments:
            tangent = next(arriving) if isinstance(x, Tensor) else None
            if tangent is None and isinstance(x, Tensor) and self.ctx.materialize:
                tangent = zeros_like(value(x))
            given.append(None if tangent is None else wrap(trace, tangent))
        made = self.function.jvp(self.ctx, *given)
        return [None if t is None else value(t) for t in (made if isinstance(made, tuple | list) else (made,))]

    def batch(self, level: BatchLevel, operands: Sequence[BatchedValue]) -> tuple[BatchedValue, ...] | None:
        """The batched results, by the Function's `vmap`, or its `backward` if it wants that generated; None where forward's
        outputs will do, since no gradient flows. Raises torch's RuntimeError where neither is there."""
        if self.function.vmap is not self.base.vmap:
            return self._by_rule(level, operands)
        trace = STATE.trace
        if not trace.grad_enabled or all(operand.value.history is None for operand in operands[: self.count]):
            return None
        if not self.function.generate_vmap_rule:
            raise RuntimeError(
                f"You tried to vmap over {self.function.__name__}, but it does not have vmap support. Please override and "
                "implement the vmap staticmethod or set generate_vmap_rule=True. For more details, please see "
                "https://pytorch.org/docs/main/notes/extending.func.html"
            )
        return self._generated(level, operands)

    def _by_rule(self, level: BatchLevel, operands: Sequence[BatchedValue]) -> tuple[BatchedValue, ...]:
        vectorizer: Vectorizer = operands[0].builder
        values = iter(operands)
        given, dims = [], []
        for x in self.arguments:
            operand = next(values) if isinstance(x, Tensor) else None
            given.append(x if operand is None else wrap(STATE.trace, operand.value))
            dims.append(0 if operand is not None and operand.batched else None)
        outputs, out_dims = self.function.vmap(VmapInfo(level.size, level.randomness), tuple(dims), *given)
        several = outputs if isinstance(outputs, tuple | list) else (outputs,)
        out_dims = out_dims if isinstance(out_dims, tuple | list) else (out_dims,) * len(several)
        return tuple(
            [
                vectorizer.shared(value(y)) if dim is None else vectorizer.batch(value(FUNCTIONS["movedim"](y, dim, 0)))
                for y, dim in zip(several, out_dims, strict=True)
            ]
        )

    def _generated(self, level: BatchLevel, operands: Sequence[BatchedValue]) -> tuple[BatchedValue, ...]:
        """Forward's outputs for all examples, with a derivative that is the Function's `backward` for all examples."""
        trace, vectorizer = STATE.trace, operands[0].builder
        inputs, outputs = operands[: self.count], operands[self.count :]
        saved = {node: level.whole(node) for node in self.ctx.values if node is not None and level.depends(node)}

        def rule(op: Node, gradients: Any) -> tuple[Any, ...]:
            inner = BatchLevel(trace, level.size, level.randomness)
            inner.batches.update(saved)
            stand_ins = [
                inner.stand_in(zeros_like(whole) if g is None else g)
                for g, whole in zip(gradients, op.operands[self.count :], strict=True)
            ]
            trace.levels.append(inner)
            try:
                made = self.function.backward(self.ctx, *[wrap(trace, node) for node in stand_ins])
                found = list(made) if isinstance(made, tuple | list) else [made]
                kept = [y for x, y in zip(self.arguments, found, strict=False) if isinstance(x, Tensor)]
                batched = [None if y is None else inner.whole(value(y)) for y in kept]
            finally:
                trace.levels.remove(inner)
            sums = [
                g if g is None or operand.batched else tensor.reduce_sum(g, dims=(0,))
                for g, operand in zip(batched, inputs, strict=True)
            ]
            return (*sums, *[None] * len(outputs))

        wholes = [vectorizer.whole(output) for output in outputs]
        nodes = (*[operand.value for operand in inputs], *wholes)
        operator = self.signature.operator
        signature = Signature(operator, tuple([x.type for x in nodes]), TupleType(tuple([x.type for x in wholes])))
        signature.vjp = rule
        signature.custom = _OfBatch(self.function.__name__)
        made = results_of(trace, record(trace, signature, nodes, True))
        return tuple([vectorizer.batch(node) for node in made])


class _OfBatch:
    """The rules of the outputs for a batch, whose derivative was generated."""

    def __init__(self, name: str) -> None:
        self.name = name

    def push(self, tangents: Sequence[Node | None]) -> list[Node | None]:
        """Refuse."""
        raise NotImplementedError(f"forward mode through the generated vmap rule of {self.name}")

    def batch(self, level: BatchLevel, operands: Sequence[BatchedValue]) -> tuple[BatchedValue, ...] | None:
        """None where no gradient flows; else refuse."""
        if STATE.trace.grad_enabled and any(operand.value.history is not None for operand in operands):
            raise NotImplementedError(f"reverse mode through nested vmaps with the generated rule of {self.name}")
        return None
