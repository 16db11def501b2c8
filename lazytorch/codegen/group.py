"""A kernel in the making: the values that it computes, and the schedule that will."""

from __future__ import annotations

from lazytorch.ir.core import Value


class Group:
    """Buffers that one kernel writes."""

    def __init__(self, schedule: str, shape: tuple[int, ...]) -> None:
        self.schedule = schedule
        self.shape = shape
        self.values: list[Value] = []
