"""What a function transformation is to the trace while it is at work: see ir/transformations.py."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from lazytorch.ir.trace import Node, Trace


class Level:
    """One transformation, which looks at what was recorded from here on (or from where `since` began).

    written: what was written to meanwhile, as (storage, value before).
    """

    def __init__(self, trace: Trace, since: Level | None = None) -> None:
        self.epoch: object = trace.epoch if since is None else since.epoch
        self.began: int = len(trace.nodes) if since is None else since.began
        self.written: list[tuple[Any, Node]] = []

    def check(self, node: Node, cause: str) -> None:
        """Called before a value is computed for the user. Raises RuntimeError where it must not be asked for."""

    def batch_of(self, node: Node) -> Node | None:
        """All examples of a value that differs from example to example, else None."""
        return None

    def draws(self) -> int | None:
        """Called before random numbers are drawn: how many sets of them to draw, None for one that serves all. Raises
        RuntimeError where none may be drawn."""
        return None

    def is_older(self, node: Node) -> bool:
        """Whether a node was recorded before the level began, or holds data."""
        number = node.number  # before the epoch: another thread may enter the node into its own trace
        return node.signature is None or (node.epoch is self.epoch and number < self.began)

    def between(self, sources: Container[Node], nodes: Sequence[Node]) -> list[Node]:
        """The recorded operations that `nodes` depend on and that depend on `sources`, operands before users."""
        dependent: dict[int, bool] = {}
        order: list[Node] = []
        stack = [(node, False) for node in reversed(nodes)]
        while stack:
            node, expanded = stack.pop()
            key = id(node)
            if expanded:
                dependent[key] = found = any(dependent[id(operand)] for operand in node.operands)
                if found:
                    order.append(node)
            elif key not in dependent:
                if node in sources:
                    dependent[key] = True
                elif self.is_older(node):
                    dependent[key] = False
                else:
                    stack.append((node, True))
                    stack += [(operand, False) for operand in node.operands]
        return list(dict.fromkeys(order))
