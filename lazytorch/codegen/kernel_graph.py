"""Which kernel must run before which: a graph without cycles that answers quickly whether one would arise."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from lazytorch.codegen.group import Group


class KernelGraph:
    """Kernels and the order that their reading from each other imposes.

    Every kernel has a depth, greater than those of the kernels it must wait for. It is not the least such number, but it
    tells of most pairs without a search that no way leads from one to the other.
    """

    def __init__(self) -> None:
        self._before: dict[Group, dict[Group, None]] = {}
        self._after: dict[Group, dict[Group, None]] = {}
        self._depth: dict[Group, int] = {}

    def __contains__(self, group: Group) -> bool:
        return group in self._depth

    def __iter__(self) -> Iterator[Group]:
        return iter(self._depth)

    def add(self, group: Group) -> None:
        """A kernel that waits for nothing yet."""
        self._before[group], self._after[group], self._depth[group] = {}, {}, 0

    def connect(self, first: Group, second: Group) -> None:
        """`second` reads what `first` writes. No way may lead from `second` to `first`."""
        self._after[first][second] = self._before[second][first] = None
        depth = self._depth
        pending = [(first, second)]
        while pending:
            before, after = pending.pop()
            if depth[after] <= depth[before]:
                depth[after] = depth[before] + 1
                pending += [(after, further) for further in self._after[after]]

    def remove(self, group: Group) -> None:
        """Take a kernel out, with what is known of its order."""
        for before in self._before.pop(group):
            del self._after[before][group]
        for after in self._after.pop(group):
            del self._before[after][group]
        del self._depth[group]

    def before(self, group: Group) -> Sequence[Group]:
        """The kernels it reads from."""
        return list(self._before[group])

    def after(self, group: Group) -> Sequence[Group]:
        """The kernels that read from it."""
        return list(self._after[group])

    def has_edge(self, first: Group, second: Group) -> bool:
        """Whether `second` reads from `first` itself."""
        return second in self._after[first]

    def leads(self, start: Group, goal: Group) -> bool:
        """Whether `goal` must wait for `start`, directly or not."""
        depth, limit = self._depth, self._depth[goal]
        if depth[start] >= limit:
            return False
        seen, stack = {start}, [start]
        while stack:
            following = self._after[stack.pop()]
            if goal in following:
                return True
            for group in following:
                if depth[group] < limit and group not in seen:
                    seen.add(group)
                    stack.append(group)
        return False

    def in_order(self, groups: Iterable[Group]) -> list[Group]:
        """All kernels in an order in which they can run: of those that could be next, the first in `groups`."""
        number = {group: position for position, group in enumerate(groups)}
        by_number = {position: group for group, position in number.items()}
        waiting = {group: len(before) for group, before in self._before.items()}
        ready = [number[group] for group, count in waiting.items() if count == 0]
        heapq.heapify(ready)
        order = []
        while ready:
            group = by_number[heapq.heappop(ready)]
            order.append(group)
            for following in self._after[group]:
                waiting[following] -= 1
                if waiting[following] == 0:
                    heapq.heappush(ready, number[following])
        return order
