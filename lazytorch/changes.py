"""A count of what happened to modules, so that a replayed call need not look at each of them."""

from __future__ import annotations


class Changes:
    """`modules`: attributes of modules that were set to something else, hooks that came or went, since the start."""

    __slots__ = ("modules",)

    def __init__(self) -> None:
        self.modules = 0


CHANGES = Changes()
