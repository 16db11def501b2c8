"""The row schedule: reductions along rows, and maps before, between and after them, row by row while it is in the cache.

Softmax, layer normalisation, cross-entropy and their derivatives are such clusters. A kernel makes *passes* over each row:
pass s computes the reductions whose operands need the numbers of s earlier passes, all in one loop, and writes the results
that are ready. What is costly to compute and needed again in a later pass is kept in a buffer of the row's length.

The reductions have the order of schedules/reduce.py, so the bits are those of separate kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, field

from lazytorch.codegen.expression import Expression, collapse, pull, tensor_type
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, symbol_of
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, split_rows, vector_loop, write
from lazytorch.codegen.schedules.reduce import blocked_sums, lane_sums
from lazytorch.codegen.schedules.reduction import BLOCK, COMBINE, LANES
from lazytorch.codegen.views import contiguous
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Operator, Trait
from lazytorch.ir.dialects import tensor

MOST_KEPT = 4
"""Row buffers of a kernel."""


def row_split(reduction: Operation) -> int | None:
    """Where the reduced dimensions of a reduction along rows begin; None for any other operation."""
    if reduction.declaration not in COMBINE:
        return None
    shape = tensor_type(reduction.operands[0]).shape
    dims = [d for d in reduction.attributes.dims if shape[d] != 1]
    if not dims or 0 in shape or any(n != 1 and d not in dims for d, n in enumerate(shape) if d > dims[0]):
        return None
    return int(dims[0])


@dataclass
class Pass:
    """One loop over the row: which reductions it computes, which results it writes."""

    reductions: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


class RowPlan:
    """A cluster as passes over rows. `reductions` in an order in which they can be computed; `outputs` have the elements of
    the rows, or one element per row. Raises NotStrided or CompileError for what one kernel cannot compute."""

    def __init__(
        self, reductions: Sequence[Operation], outputs: Sequence[Value], boundary: Set[Value] = frozenset()
    ) -> None:
        self.reductions, self.outputs = list(reductions), list(outputs)
        self.shape = tensor_type(reductions[0].operands[0]).shape
        split = row_split(reductions[0])
        if split is None:
            raise CompileError("row: not a reduction along rows", stage="schedule")
        self.split = split
        self.rows, self.columns = math.prod(self.shape[:split]), math.prod(self.shape[split:])
        results = {reduction.result: number for number, reduction in enumerate(reductions)}
        self.expression = self._pulled(boundary | results.keys())
        self.nest = self._nest(results)
        self.internal = {
            number: results[leaf.value]
            for number, leaf in enumerate(self.expression.leaves)
            if leaf.value is not None and leaf.value in results
        }
        self.is_full = [self.nest.varying[entry] for entry in self._output_entries()]
        for value, is_full in zip(self.outputs, self.is_full, strict=True):
            if tensor_type(value).numel != self.rows * (self.columns if is_full else 1):
                # An output of whole rows that does not vary along them is rare: it is left to a map.
                raise CompileError("row: a result of whole rows is constant along them", stage="schedule")
        self.levels = self._levels()
        self.passes = self._passes()
        self.kept = self._kept() if self.columns <= BLOCK else []

    def _pulled(self, boundary: Set[Value]) -> Expression:
        """Everything in the shape of the first reduction's operand, through views that are erased afterwards."""
        views: list[Operation] = []

        def through(operator: Operator, value: Value) -> Value:
            views.append(Operation(operator, [value]))
            return views[-1].result

        def shaped(value: Value) -> Value:
            shape = tensor_type(value).shape
            if shape == self.shape:
                return value
            if math.prod(shape) == self.rows * self.columns:
                return through(tensor.reshape.operator(shape=self.shape), value)
            if math.prod(shape) != self.rows:
                raise CompileError(f"row: {shape} are no rows of {self.shape}", stage="schedule")
            column = (*self.shape[: self.split], *(1,) * (len(self.shape) - self.split))
            if shape != column:
                value = through(tensor.reshape.operator(shape=column), value)
            return through(tensor.expand.operator(shape=self.shape), value)

        try:
            wanted = [shaped(reduction.operands[0]) for reduction in self.reductions] + [shaped(v) for v in self.outputs]
            return pull(wanted, self.shape, boundary=boundary)
        finally:
            for view in reversed(views):
                view.operands = ()

    def _nest(self, results: dict[Value, int]) -> Nest:
        leaves = self.expression.leaves
        groups = collapse(self.shape, [leaf.access.strides for leaf in leaves], frozenset((self.split,)))
        outer = [group for group in groups if group[0] < self.split]
        inner = [group for group in groups if group[0] >= self.split]
        if len(inner) != 1:
            raise CompileError("row: a row has no common stride", stage="schedule")
        internal = {number for number, leaf in enumerate(leaves) if leaf.value in results}
        rows = contiguous(self.shape[: self.split]).strides
        for number in internal:
            access = leaves[number].access
            wanted = (*rows, *(0,) * (len(self.shape) - self.split))
            same = all(a == b for n, a, b in zip(self.shape, access.strides, wanted, strict=True) if n != 1)
            if access.offset or not same:
                raise CompileError("row: a row reads what another one computes", stage="schedule")
        return Nest(self.expression, self.shape, [*outer, *inner], internal)

    def _output_entries(self) -> list[int]:
        return self.expression.outputs[len(self.reductions) :]

    def _levels(self) -> list[int]:
        """Per entry, how many passes must come before it."""
        levels: list[int] = []
        for entry in self.expression.entries:
            if entry[0] == "leaf" and entry[1] in self.internal:
                levels.append(levels[self.expression.outputs[self.internal[entry[1]]]] + 1)
            elif entry[0] == "op":
                levels.append(max([levels[operand] for operand in entry[2]]))
            else:
                levels.append(0)
        return levels

    def _passes(self) -> list[Pass]:
        passes: dict[int, Pass] = {}
        for number in range(len(self.reductions)):
            passes.setdefault(self.levels[self.expression.outputs[number]], Pass()).reductions.append(number)
        for number, (entry, is_full) in enumerate(zip(self._output_entries(), self.is_full, strict=True)):
            if is_full:
                later = [level for level in passes if level >= self.levels[entry]]
                passes.setdefault(min(later, default=self.levels[entry]), Pass()).outputs.append(number)
        return [passes[level] for level in sorted(passes)]

    def wanted(self, step: Pass) -> list[int]:
        """The entries that a pass needs: operands of its reductions, then its outputs."""
        count = len(self.reductions)
        return [self.expression.outputs[n] for n in step.reductions] + [
            self.expression.outputs[count + n] for n in step.outputs
        ]

    def _kept(self) -> list[int]:
        """Entries with a function of dialect math in them that two passes need: the topmost ones."""
        costly: list[bool] = []
        for entry in self.expression.entries:
            below = entry[0] == "op" and any(costly[operand] for operand in entry[2])
            costly.append(below or (entry[0] == "op" and entry[1].declaration.name.startswith("math.")))
        kept: list[int] = []
        before: set[int] = set()
        for step in self.passes:
            known = {n for n in before if costly[n] and self.nest.varying[n] and self.expression.entries[n][0] == "op"}
            reached = set(self.wanted(step)) & known
            own = self.expression.below(self.wanted(step), known)
            for number in own:
                entry = self.expression.entries[number]
                if entry[0] == "op":
                    reached.update(operand for operand in entry[2] if operand in known)
            kept += [number for number in sorted(reached) if number not in kept]
            before.update(own)
        return kept[:MOST_KEPT]

    def key(self, lanes: int) -> str:
        """Canonical text of the kernel's structure."""
        names = [reduction.declaration.name for reduction in self.reductions]
        steps = [(step.reductions, step.outputs) for step in self.passes]
        dtypes = [value.type.dtype.name for value in self.outputs]
        blocked = self.columns > BLOCK
        return f"row|{lanes}|{blocked}|{names}|{steps}|{self.kept}|{self.is_full}|{dtypes}|{self.nest.key()}"


def row_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch for a cluster of reductions along rows and the maps around them."""
    block = kernel.region.block
    outputs = list(dict.fromkeys(block.terminator.operands))
    plan = RowPlan([operation for operation in block if operation.has(Trait.REDUCTION)], outputs)
    nest = plan.nest
    lanes = min(nest.lanes(context.target, [value.type.dtype for value in outputs]), LANES)
    key = plan.key(lanes)
    symbol = symbol_of("row", key)
    elements = plan.rows * plan.columns
    work = elements * (2 + plan.expression.operations)
    return [
        Launch(
            key=key,
            symbol=symbol,
            build=lambda: _Kernel(KernelBuilder(symbol), plan, lanes).build(),
            slots=[*nest.slots(), *[Address(value) for value in outputs], *nest.sizes],
            chunks=chunks_for(plan.rows, work, context),
            flops=elements * plan.expression.operations,
            bytes=nest.bytes_read() + sum(tensor_type(value).nbytes for value in outputs),
            operations=[operation for operation in block if not operation.has(Trait.TERMINATOR)],
        )
    ]


class _Kernel:
    """A row kernel under construction."""

    def __init__(self, k: KernelBuilder, plan: RowPlan, lanes: int) -> None:
        self.k, self.plan, self.lanes = k, plan, lanes
        self.emitter = NestEmitter(k, plan.nest, lanes)
        self.outputs = [k.buffer(value.type.dtype, (1,), f"out{i}") for i, value in enumerate(plan.outputs)]
        self.sizes = [k.index_argument(f"size{g}") for g in range(len(plan.nest.sizes))]

    def build(self) -> Operation:
        """The parallel loop over rows, with the passes one after the other."""
        k, plan = self.k, self.plan
        columns = self.sizes[-1]
        with k.parallel(0, k.product(self.sizes[:-1])) as row:
            kept = {entry: k.local(plan.expression.dtype(entry), BLOCK + LANES) for entry in plan.kept}
            self.emitter.at(*split_rows(k, row, self.sizes[:-1]))
            self.base = k.mul(row, columns)
            computed: set[int] = set()
            for step in plan.passes:
                known = {entry: buffer for entry, buffer in kept.items() if entry in computed}
                needed = plan.expression.below(plan.wanted(step), known)
                new = {entry: buffer for entry, buffer in kept.items() if entry in needed}
                self._pass(step, known, new)
                computed.update(needed)
            entries = plan.expression.outputs[len(plan.reductions) :]
            for entry, is_full, out in zip(entries, plan.is_full, self.outputs, strict=True):
                if not is_full:
                    k.store(self._scalar(entry), out, row)
        return k.finish()

    def _scalar(self, entry: int) -> Value:
        kind, *rest = self.plan.expression.entries[entry]
        return self.k.splat(rest[0], rest[1]) if kind == "constant" else self.emitter.outer[entry]

    def _pass(self, step: Pass, known: dict[int, Value], new: dict[int, Value]) -> None:
        """One loop over the row: read what earlier passes kept, keep what is `new`, write outputs, reduce."""
        k, plan, lanes = self.k, self.plan, self.lanes
        wanted = plan.wanted(step)

        def point(index: Index, mask: Value | None) -> list[Value]:
            given = {entry: k.load(buffer, index, lanes=lanes) for entry, buffer in known.items()}
            values = self.emitter.values(index, lanes, mask, given, wanted)
            for entry, buffer in new.items():
                k.store(given[entry], buffer, index)
            for number, value in zip(step.outputs, values[len(step.reductions) :], strict=True):
                write(k, value, self.outputs[number], (k.add(self.base, index),), mask)
            return values[: len(step.reductions)]

        if not step.reductions:
            vector_loop(k, 0, self.sizes[-1], lanes, point)
            return
        reductions = [plan.reductions[number] for number in step.reductions]
        if plan.columns <= BLOCK:
            found = lane_sums(k, reductions, lanes, 0, self.sizes[-1], point)
        else:
            found = blocked_sums(k, reductions, lanes, self.sizes[-1], point)
        totals = dict(zip(step.reductions, found, strict=True))
        self.emitter.supply({leaf: totals[number] for leaf, number in plan.internal.items() if number in totals})
