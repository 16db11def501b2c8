"""Threads that execute together, and their registers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.types import Array

if TYPE_CHECKING:
    from lazytorch.runtime.ptx_emulator.launch import Launch

WARP = 32


class Threads:
    """The threads at `slots` of a launch. A register is an array with one value per thread, or with one value for all of
    them (shape (1,)): what is computed from parameters alone stays that small, and broadcasting does the rest."""

    def __init__(self, launch: Launch, slots: NDArray[np.intp], registers: list[Array], is_all: bool = False) -> None:
        self.launch = launch
        self.slots = slots
        self.registers = registers
        self.count = len(slots)
        self.is_all = is_all

    def subset(self, chosen: NDArray[np.intp], reads: Iterable[int]) -> Threads:
        """The threads at these positions, with copies of the registers that they will read."""
        mine = self.registers
        theirs: list[Array] = list(mine)  # what is not read keeps its place, and is never looked at
        for number in reads:
            value = mine[number]
            if len(value) > 1:
                theirs[number] = value[chosen]
        return Threads(self.launch, self.slots[chosen], theirs)

    def merge(self, part: Threads, chosen: NDArray[np.intp], writes: Iterable[int]) -> None:
        """Take over the registers that a subset wrote."""
        for number in writes:
            old = self.registers[number]
            # A fresh array, since `mov` may have given the old one to another register.
            new = old.copy() if len(old) == self.count else np.repeat(old, self.count)
            new[chosen] = part.registers[number]
            self.registers[number] = new

    @cached_property
    def ids(self) -> NDArray[np.int32]:
        """Numbers of the threads in the grid."""
        ids: NDArray[np.int32] = (self.slots + self.launch.first_thread).astype(np.int32)
        return ids

    @cached_property
    def warps(self) -> NDArray[np.int32]:
        """The warp of each thread, counted through the chunk."""
        return self.launch.warp_of if self.is_all else self.launch.warp_of[self.slots]

    @cached_property
    def lanes(self) -> NDArray[np.int32]:
        return self.launch.lane_of if self.is_all else self.launch.lane_of[self.slots]

    @cached_property
    def warp_count(self) -> int:
        """How many warps have a thread here."""
        if self.is_all:
            return self.launch.warp_total
        warps = self.warps
        return 1 + int(np.count_nonzero(warps[1:] != warps[:-1]))  # slots ascend

    def full(self, value: Array) -> Array:
        """The value with one entry per thread."""
        return value if len(value) == self.count else np.broadcast_to(value, (self.count,))

    def by_lane(self, value: Array, missing: int = 0) -> Array:
        """A value as a matrix of warps and lanes; lanes that are not here hold `missing`."""
        value = self.full(value)
        launch = self.launch
        if self.is_all and launch.whole_warps:
            return value.reshape(-1, WARP)
        matrix = np.full((launch.warp_total, WARP), missing, value.dtype)
        matrix[self.warps, self.lanes] = value
        return matrix

    def from_lanes(self, matrix: Array) -> Array:
        """The inverse of `by_lane`."""
        if self.is_all and self.launch.whole_warps:
            return np.ascontiguousarray(matrix).reshape(-1)
        return np.ascontiguousarray(matrix[self.warps, self.lanes])

    @cached_property
    def present(self) -> Array:
        """Which lanes of the warps are here."""
        return self.by_lane(np.ones(1, bool))
