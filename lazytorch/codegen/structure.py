"""What of a cluster of operations decides how it is computed, as a key: the layers of a network have equal ones."""

from __future__ import annotations

from collections.abc import Container, Hashable, Sequence
from typing import Any

from lazytorch.ir.core import Value

MOST_REMEMBERED = 4096
"""Clusters of which something is remembered; the oldest are forgotten first."""


def structure(values: Sequence[Value], boundary: Container[Value] = ()) -> tuple[tuple[Any, ...], list[Value]]:
    """The key of the operations that compute `values`, and the values that they read: those in `boundary` and whatever no
    operation defines. Clusters with equal keys differ in nothing but these."""
    numbers: dict[Value, int] = {}
    words: list[Any] = []
    read: list[Value] = []
    stack = list(values)
    while stack:
        value = stack[-1]
        if value in numbers:
            stack.pop()
            continue
        made = None if value in boundary else value.defining_op()
        if made is None:
            numbers[value] = len(numbers)
            read.append(value)
            words.append(value.type)
            stack.pop()
            continue
        operands = made.operands
        waiting = [operand for operand in operands if operand not in numbers]
        if waiting:
            stack += waiting
            continue
        words.append(made.operator)
        words += [numbers[operand] for operand in operands]
        for result in made.results:
            numbers[result] = len(numbers)
        stack.pop()
    words.append(None)
    words += [numbers[value] for value in values]
    return tuple(words), read


def remember(memory: dict[Any, Any], key: Hashable, outcome: Any) -> None:
    """Keep an outcome by its key, and the memory within its bounds."""
    if len(memory) >= MOST_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = outcome
