"""Where temporary values lie: one arena per run, offsets chosen so that values alive at the same time never overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lazytorch.errors import VerificationError

ALIGNMENT = 64


@dataclass(frozen=True)
class Lifetime:
    """A temporary of `nbytes` that is written first at step `first` and read last at step `last` (both inclusive)."""

    nbytes: int
    first: int
    last: int


def plan_arena(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Offsets into one arena for each temporary, and the arena's size.

    Largest first, each at the lowest offset that is free during its whole life (greedy by size, Pisarchyk and Lee,
    "Efficient memory management for deep neural net inference", 2020).
    """
    order = sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].nbytes, lifetimes[i].first))
    offsets = [0] * len(lifetimes)
    placed: list[tuple[int, int, Lifetime]] = []  # begin, end, life; by begin
    total = 0
    for i in order:
        life = lifetimes[i]
        size = -(-max(life.nbytes, 1) // ALIGNMENT) * ALIGNMENT
        at = 0
        for begin, end, other in placed:
            if other.last < life.first or life.last < other.first:
                continue
            if at + size <= begin:
                break
            at = max(at, end)
        offsets[i] = at
        total = max(total, at + size)
        placed.append((at, at + size, life))
        placed.sort(key=lambda entry: entry[0])
    verify_arena(lifetimes, offsets)
    return offsets, total


def verify_arena(lifetimes: Sequence[Lifetime], offsets: Sequence[int]) -> None:
    """Raises VerificationError when two temporaries that live at the same time overlap."""
    by_begin = sorted(range(len(lifetimes)), key=lambda i: offsets[i])
    open_: list[int] = []
    for i in by_begin:
        open_ = [j for j in open_ if offsets[j] + lifetimes[j].nbytes > offsets[i]]
        for j in open_:
            if lifetimes[i].first <= lifetimes[j].last and lifetimes[j].first <= lifetimes[i].last:
                raise VerificationError(f"memory plan: temporaries {i} and {j} overlap while both are alive")
        open_.append(i)
