"""Merging reductions along rows with the maps around them into clusters for the row schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lazytorch.codegen.buffers import Buffers
from lazytorch.codegen.expression import NotStrided, tensor_type
from lazytorch.codegen.group import Group
from lazytorch.codegen.kernel_graph import KernelGraph
from lazytorch.codegen.schedules.row import RowPlan, row_split
from lazytorch.codegen.structure import remember, structure
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait

SMALL = 32_768
"""Elements up to which it does not matter how many rows there are to divide among threads, or how short they are."""
ENOUGH_ROWS = 16
ENOUGH_COLUMNS = 8
MOST_VALUES = 24


_fits: dict[Any, bool] = {}
"""Of clusters by structure, whether they are one kernel."""


class RowFusion:
    """Grows a row cluster around every reduction along rows, as far as neighbours in the graph of kernels fit.

    readers: for every buffer the values whose kernels read it. buffers: what becomes internal to a cluster is taken out.
    """

    def __init__(
        self,
        graph: KernelGraph,
        group_of: dict[Value, Group],
        readers: dict[Value, list[Value]],
        buffers: Buffers,
        kept: set[Value],
    ) -> None:
        self.graph, self.group_of, self.readers = graph, group_of, readers
        self.chosen, self.kept = buffers.chosen, kept
        self.shapes: dict[Value, list[Value]] = {}
        """By value, its other shapes: a kernel that makes the value computes them, too."""
        for value, below in buffers.reshaped.items():
            self.shapes.setdefault(below, []).append(value)

    def run(self, operations: Sequence[Operation]) -> None:
        """Merge. `operations`: those of the function, in its order."""
        self.order = {operation: number for number, operation in enumerate(operations)}
        for seed in [group for group in self.graph if self._rows_of(group) is not None]:
            if seed in self.graph:
                while self._grow(seed):
                    pass

    def _grow(self, seed: Group) -> bool:
        """Merge one neighbour into the cluster; whether there was one."""
        neighbours = dict.fromkeys([*self.graph.before(seed), *self.graph.after(seed)])
        for other in neighbours:
            if self._fits(seed, other) and not self._would_cycle(seed, other) and self._is_one_kernel(seed, other):
                self._merge(seed, other)
                return True
        return False

    def _rows_of(self, group: Group) -> tuple[int, int] | None:
        """Rows and columns of a reduction along rows, or of a cluster."""
        if group.schedule not in ("reduce", "row"):
            return None
        for value in group.values:
            operation = value.defining_op()
            split = row_split(operation) if operation is not None and operation.has(Trait.REDUCTION) else None
            if split is not None and operation is not None:
                shape = tensor_type(operation.operands[0]).shape
                return math.prod(shape[:split]), math.prod(shape[split:])
        return None

    def _fits(self, seed: Group, other: Group) -> bool:
        found = self._rows_of(seed)
        assert found is not None
        rows, columns = found
        elements = rows * columns
        if len(seed.values) + len(other.values) > MOST_VALUES or not (rows >= ENOUGH_ROWS or elements <= SMALL):
            return False
        if other.schedule in ("reduce", "row"):
            return self._rows_of(other) == (rows, columns)
        if other.schedule != "map":
            return False
        size = math.prod(other.shape)
        return size == rows or (size == elements and (columns >= ENOUGH_COLUMNS or elements <= SMALL))

    def _would_cycle(self, seed: Group, other: Group) -> bool:
        """Whether a third kernel must run between the two."""
        first, second = (seed, other) if self.graph.has_edge(seed, other) else (other, seed)
        return any(x is not second and self.graph.leads(x, second) for x in self.graph.after(first))

    def _is_one_kernel(self, seed: Group, other: Group) -> bool:
        values = [*seed.values, *other.values]
        members = {seed, other}
        written = [value for value in values if value in self.chosen and not self._is_internal(value, members)]
        reductions = {value.defining_op(): None for value in values}
        in_order = sorted(
            [op for op in reductions if op is not None and op.has(Trait.REDUCTION)], key=self.order.__getitem__
        )
        results = {operation.result for operation in in_order}
        shapes = [other for value in values for other in self.shapes.get(value, ())]
        boundary = self.chosen.difference(values, shapes) | results
        key, read = structure([*[operation.operands[0] for operation in in_order], *written], boundary)
        supplied = [number for number, value in enumerate(read) if value in results]
        cluster = (*[operation.operator for operation in in_order], None, *supplied, None, *key)
        fits = _fits.get(cluster)
        if fits is None:
            try:
                RowPlan(in_order, written, boundary)
                fits = True
            except (NotStrided, CompileError):
                fits = False
            remember(_fits, cluster, fits)
        return fits

    def _is_internal(self, value: Value, members: set[Group]) -> bool:
        """Whether only these kernels read a value."""
        return value not in self.kept and all(self.group_of[reader] in members for reader in self.readers.get(value, ()))

    def _merge(self, seed: Group, other: Group) -> None:
        seed.schedule = "row"
        seed.values += other.values
        for value in other.values:
            self.group_of[value] = seed
        for before in self.graph.before(other):
            if before is not seed:
                self.graph.connect(before, seed)
        for after in self.graph.after(other):
            if after is not seed:
                self.graph.connect(seed, after)
        self.graph.remove(other)
        internal = [value for value in seed.values if value in self.chosen and self._is_internal(value, {seed})]
        self.chosen.difference_update(internal)
