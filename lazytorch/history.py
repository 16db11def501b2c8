"""What a tensor shows of its history: `grad_fn`, where a leaf's gradient goes, handles of hooks."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lazytorch.changes import CHANGES
from lazytorch.ir.trace import Node, gradient_name, result

if TYPE_CHECKING:
    from lazytorch.tensor import Tensor


class Accumulator:
    """The history of an autograd leaf: where its gradient goes."""

    __slots__ = ("tensor",)

    def __init__(self, owner: Tensor) -> None:
        self.tensor = weakref.ref(owner)


class GradFunction:
    """What `tensor.grad_fn` shows: the recorded operation that made the value."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def name(self) -> str:
        """torch's name of the autograd node, `AddBackward0`."""
        name = gradient_name(self.node)
        return name if name.endswith(("0", "1", "2", "3", "4", "Backward")) else f"torch::autograd::{name}"

    @property
    def next_functions(self) -> tuple[tuple[GradFunction | AccumulateGrad | None, int], ...]:
        """For every operand the function that its gradient goes to, or None, and which of its results it is."""
        node = self.node
        if node.signature is not None and node.signature.operator.declaration is result and node.operands:
            node = node.operands[0]
        return tuple([_function_of(operand) for operand in node.operands])

    def __repr__(self) -> str:
        return f"<{gradient_name(self.node)} object at {id(self.node):#x}>"


class AccumulateGrad:
    """The function at the end of a history: it adds to the gradient of `variable`."""

    next_functions = ()

    def __init__(self, accumulator: Accumulator) -> None:
        self.accumulator = accumulator

    @property
    def variable(self) -> Tensor | None:
        """The leaf."""
        return self.accumulator.tensor()

    def name(self) -> str:
        """torch's name."""
        return "torch::autograd::AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self.accumulator):#x}>"


def _function_of(operand: Node) -> tuple[GradFunction | AccumulateGrad | None, int]:
    history = operand.history
    if isinstance(history, Accumulator):
        return AccumulateGrad(history), 0
    if history is None:
        return None, 0
    signature = operand.signature
    assert signature is not None
    number = operand.attributes.index if signature.operator.declaration is result else 0
    return GradFunction(operand), number


class RemovableHandle:
    """Takes a hook away again."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key
        CHANGES.modules += 1

    def remove(self) -> None:
        """Take the hook away."""
        self._hooks.pop(self._key, None)
        CHANGES.modules += 1


HOOKED: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
"""Tensors with hooks or a retained gradient: what a backward walk has to look for."""


def register(hooks: dict[int, Any], hook: Any) -> RemovableHandle:
    """Add a hook after the others; what takes it away again."""
    key = max(hooks, default=0) + 1
    hooks[key] = hook
    return RemovableHandle(hooks, key)


def add_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Register a gradient hook."""
    if not hasattr(self, "_hooks"):
        self._hooks = {}
    HOOKED[id(self)] = self
    return register(self._hooks, hook)
