"""The operands of a contraction on a GPU: where their elements lie, and how many of them one access moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lazytorch import dtypes
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Slot, Table
from lazytorch.codegen.schedules.contract_letters import Letters
from lazytorch.dtypes import DType
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith

ACCESS = 16
"""Bytes that one access moves at most."""


class Side:
    """One operand: the kernel's key, slots and arguments for it. Its elements lie at sums of one number per loop.

    along: the direction (0: rows, 1: depth) that neighbouring threads follow. lanes: elements that one access moves there.
    """

    def __init__(self, letters: Letters, number: int, rows: str, most: int) -> None:
        """most: the lanes that are of use."""
        leaf, stride = letters.leaves[number], letters.strides[number]
        assert leaf.value is not None
        self.dtype: DType = leaf.dtype
        self.slots: list[Slot] = [Address(leaf.value, leaf.access.offset * leaf.dtype.itemsize)]
        self.kinds: list[str] = []
        for own in (rows, letters.k_letters):
            single = letters.single(own, stride)
            if single is None:
                self.kinds.append("table")
                self.slots.append(Table(letters.table(own, stride)))
            else:
                self.kinds.append(str(single) if single in (0, 1) else "stride")
                self.slots += [] if single in (0, 1) else [single]
        outer = letters.outer_groups if number == 1 else []
        groups = [*letters.batch_groups, *outer]
        self.loops = len(groups)
        around = [stride.get(group[-1], 0) for group in groups]
        self.slots += around
        self.along = int(self.kinds[1] == "1")
        self.lanes = 1
        if self.kinds[self.along] == "1":
            across, own = (letters.k_letters, rows)[:: 1 if self.along == 0 else -1]
            steps = [int(step) for step in letters.table(across, stride)] if "table" in self.kinds else []
            single = letters.single(across, stride)
            self.lanes = math.gcd(most, leaf.access.offset, letters.size(own), *around, *([single] if single else steps))

    def declare(self, k: KernelBuilder, name: str) -> None:
        """The kernel's arguments, in the order of the slots."""
        self.k = k
        self.buffer = k.buffer(self.dtype, (1,), name)
        self.steps: list[Index | Value] = []
        for kind, direction in zip(self.kinds, ("rows", "depth"), strict=True):
            if kind == "table":
                self.steps.append(k.buffer(dtypes.int64, (1,), f"{name}_{direction}"))
            else:
                self.steps.append(k.index_argument(f"{name}_{direction}") if kind == "stride" else int(kind))
        self.strides = [k.index_argument(f"{name}_loop{i}") for i in range(self.loops)]

    def at(self, index: Sequence[Index]) -> None:
        """Begin at an index of the loops around the product."""
        self.start = self.k.offset(self.buffer, self.k.dot(index[: self.loops], self.strides))

    def place(self, row: Index, depth: Index) -> Index:
        """Where an element lies, from the start on."""
        return self.k.add(self._along(0, row), self._along(1, depth))

    def element(self, row: Index, depth: Index) -> Value:
        """One element, or a vector of them along."""
        return self.k.load(self.start, self.place(row, depth), lanes=self.lanes, aligned=True)

    def _along(self, direction: int, index: Index) -> Index:
        step = self.steps[direction]
        if self.kinds[direction] == "table":
            assert isinstance(step, Value)
            found: Value = arith.cast(self.k.load(step, index), dtype=dtypes.index)
            return found
        return self.k.mul(index, step)
