"""What is noted while a call is recorded that may be replayed later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch.ir.trace import Node


class Effect:
    """Python code of the library's own that each replay runs, in the order of the call, before the program.

    owner: whose code it is; what it holds need not stay as it is. nodes: the numbers, as values of the observed call.

    prepare: the numbers of the run to come, without changing anything; None where the program cannot take them.
    commit: what the call changes in Python's world; its result is ignored.
    """

    __slots__ = ("commit", "nodes", "owner", "prepare")

    def __init__(
        self,
        owner: Any,
        nodes: Sequence[Node],
        prepare: Callable[[], Sequence[float] | None],
        commit: Callable[[], object],
    ) -> None:
        self.owner, self.nodes, self.prepare, self.commit = owner, nodes, prepare, commit


class Observer:
    """`trace.observer` during an observed call.

    reason: why the call cannot be replayed, if it cannot. effects: see `Effect`. draws: values that hold random
    numbers, and how to draw such again, in their order; drawing: such a draw is on its way.
    ended: what was recorded is being run, as one program. inner: tensors that only the history of the call holds.
    """

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.reason = ""
        self.effects: list[Effect] = []
        self.draws: list[tuple[Node, Callable[[], np.ndarray]]] = []
        self.inner: list[Any] = []
        self.drawing = False
        self.ended = False

    def refuse(self, reason: str) -> None:
        """The call cannot be replayed. Raises RuntimeError if that was ruled out (`fullgraph=True`)."""
        if self.strict:
            raise RuntimeError(f"torch.compile with fullgraph=True found a graph break: {reason}")
        self.reason = self.reason or reason

    def interrupted(self, cause: str) -> None:
        """A program is run: before the call has ended, it cannot be replayed."""
        if not self.ended:
            self.refuse(f"a value was asked for: {cause}")

    def drew(self, node: Node, again: Callable[[], np.ndarray]) -> None:
        """The value holds random numbers, which each replay draws anew."""
        self.draws.append((node, again))
