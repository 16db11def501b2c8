"""Custom differentiable functions (torch.autograd.Function)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from copy import copy
from typing import Any

from lazytorch.autograd.engine import as_tensors
from lazytorch.ir.declaration import Declaration, Operator, Trait
from lazytorch.ir.levels import Level
from lazytorch.ir.saved import check_saved
from lazytorch.ir.trace import STATE, Node, record, results_of
from lazytorch.tensor import Tensor, caller, value, wrap


class Context:
    """What `forward` leaves for `backward`: `ctx`."""

    def __init__(self) -> None:
        self.saved: tuple[Any, ...] = ()
        self.values: tuple[Node | None, ...] = ()
        self.needs_input_grad: tuple[bool, ...] = ()
        self.materialize = True
        self.constant: set[int] = set()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for the backward."""
        self.saved = tensors
        if STATE.trace.observer is not None:
            STATE.trace.observer.inner += tensors
        self.values = tuple([value(x) if isinstance(x, Tensor) else None for x in tensors])

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for `jvp`: they are found among `saved_tensors`."""
        if not self.saved:
            self.save_for_backward(*tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept. Raises RuntimeError if one of them was written to since."""
        for node in self.values:
            if node is not None:
                check_saved(node)
        return self.saved

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Outputs through which no gradient flows."""
        self.constant.update(map(id, tensors))

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Inputs that forward wrote to (values are functional here: nothing to do)."""

    def set_materialize_grads(self, wanted: bool) -> None:
        """Whether backward gets zeros instead of None."""
        self.materialize = wanted


FunctionCtx = Context


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for a `backward` whose results cannot be differentiated again: they carry no history."""

    @functools.wraps(fn)
    def call(ctx: Any, *gradients: Any) -> Any:
        trace = STATE.trace
        before, trace.grad_enabled = trace.grad_enabled, False
        try:
            return fn(ctx, *gradients)
        finally:
            trace.grad_enabled = before

    return call


class Function:
    """A function with its own derivative: static `forward(ctx, ...)` and `backward(ctx, *gradients)`."""

    setup_context: Any = None
    generate_vmap_rule = False

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        """Compute the outputs."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradients of forward's arguments."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """The tangents of forward's outputs."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
        """The outputs for a batch of examples, and which dimensions of theirs run over it."""
        raise NotImplementedError("the vmap rule is asked for only where a subclass defines it")

    @classmethod
    def apply(cls, *arguments: Any) -> Any:
        """Call forward, and remember backward."""
        trace = STATE.trace
        place = caller()
        ctx = Context()
        ctx.needs_input_grad = tuple([isinstance(x, Tensor) and x.requires_grad for x in arguments])
        before, trace.grad_enabled = trace.grad_enabled, False
        levels = trace.levels
        if levels and cls.vmap is not Function.vmap:
            trace.levels = [Level(trace)]  # forward may look at the numbers of one example: its vmap stands for the batch
        try:
            if cls.setup_context is not None:
                outputs = cls.forward(*arguments)
                cls.setup_context(ctx, arguments, outputs)
            else:
                outputs = cls.forward(ctx, *arguments)
        finally:
            trace.grad_enabled, trace.levels = before, levels
        tracked = before and any(ctx.needs_input_grad)
        if not tracked and not trace.levels:
            return outputs
        trace.place = place
        return _attach(cls, ctx, arguments, outputs, tracked)


def _attach(cls: type[Function], ctx: Context, arguments: tuple[Any, ...], outputs: Any, tracked: bool) -> Any:
    """The outputs with a history that calls `cls.backward`: one operation over inputs and forward's results."""
    inputs = [x for x in arguments if isinstance(x, Tensor)]
    results = as_tensors(outputs)
    trace = STATE.trace
    if trace.observer is not None:
        trace.observer.inner += [*inputs, *results]
    nodes = [value(x) for x in results]
    operands = tuple([value(x) for x in inputs] + nodes)
    count = len(inputs)
    types = tuple([node.type for node in nodes])
    # A signature of its own, as the rule is, but with the number that all of its kind have: their programs are one.
    signature = copy(_operator(cls, count, len(types)).signature(*[x.type for x in operands]))

    def rule(op: Node, gradients: Any) -> tuple[Any, ...]:
        given = [
            wrap(trace, g) if g is not None else (x.new_zeros(x.shape) if ctx.materialize else None)
            for g, x in zip(gradients, results, strict=True)
        ]
        answers = iter(as_tensors(cls.backward(ctx, *given)))
        found = [next(answers, None) for _ in arguments]
        kept = [y for x, y in zip(arguments, found, strict=True) if isinstance(x, Tensor)]
        return (*[None if y is None else value(y) for y in kept], *[None] * len(types))

    signature.vjp = rule
    if trace.levels:
        signature.custom = _rules()(cls, Function, ctx, arguments, signature)
    node = record(trace, signature, operands, True if tracked else None)
    wrapped = []
    for x, made in zip(results, results_of(trace, node), strict=True):
        if id(x) in ctx.constant or x.dtype.kind not in "fc":
            wrapped.append(x)
        else:
            wrapped.append(wrap(trace, made))
    return tuple(wrapped) if isinstance(outputs, tuple | list) else wrapped[0]


def _rules() -> Any:
    """The class of the rules, loaded when the first transformation meets a Function."""
    from lazytorch.autograd.function_rules import Rules

    return Rules


_operators: dict[tuple[int, int], Declaration] = {}


def _operator(cls: type[Function], inputs: int, outputs: int) -> Operator:
    """The operation "the last operands, with a derivative of the user's own"; one label per class."""
    declaration = _operators.get((inputs, outputs))
    if declaration is None:
        declaration = _operators[inputs, outputs] = Declaration(
            f"autograd.function_{inputs}_{outputs}",
            lambda attributes, *types: tuple(types[inputs:]),
            traits=(Trait.PURE, Trait.COMPOSITE),
            reference=lambda attributes, *arrays: tuple(arrays[inputs:]),
            decompose=lambda op: tuple(op.operands[inputs:]),
            doc="Forward's results, with the derivative that a torch.autograd.Function defines.",
        )
    return declaration.operator(label=f"{cls.__name__}Backward")
