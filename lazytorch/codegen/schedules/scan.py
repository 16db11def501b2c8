"""Scans: sequential along one dimension, in vectors over what is side by side, with the maps before and after them.

Along the last dimension, as many rows as a vector has lanes go together: squares of them are transposed in registers, so
that a step of the chain is one instruction for all rows, and transposed back. Along other dimensions it goes row by row over
strips of what follows them, with the running values of a strip in the innermost cache. An element has the same chain always.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from lazytorch.codegen.expression import Expression, collapse, pull, tensor_type
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Slot, symbol_of
from lazytorch.codegen.schedules.contract_packing import transposed
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, split_rows, vector_loop, write
from lazytorch.codegen.target import Target
from lazytorch.codegen.views import contiguous
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Declaration, Trait
from lazytorch.ir.dialects import arith, tensor_scan

STEP: dict[Declaration, Callable[..., Any]] = {
    tensor_scan.scan_sum: arith.add,
    tensor_scan.scan_prod: arith.mul,
    tensor_scan.scan_max: arith.maximum,
    tensor_scan.scan_min: arith.minimum,
    tensor_scan.scan_linear: lambda before, factor, term: arith.add(arith.mul(factor, before), term),
}
"""The next value from the one before and the operands' elements."""
WIDEST = 16
"""Rows of a square at most."""
STRIP_BYTES = 4096
"""Of the running values of a strip."""


@dataclass
class _Plan:
    """A scan as loops. `kind`: "rows" in squares, "strips", or "chain": one element after the other.

    outputs: the values that the kernel yields, computed from the expression's entries after those of the scan's operands,
    which read the scan's result as a given entry.
    """

    kind: str
    operation: Operation
    expression: Expression
    nest: Nest
    outputs: Sequence[Value]
    lanes: int

    @property
    def dtype(self) -> DType:
        """The type in which the scan runs."""
        dtype: DType = self.operation.result.type.dtype
        return dtype

    @property
    def rows(self) -> int:
        """Chains of scalars, or of strips."""
        return math.prod(self.nest.sizes[: -2 if self.kind == "strips" else -1])


def scan_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch for a scan with the maps around it."""
    block = kernel.region.block
    operation = next(x for x in block if x.declaration in STEP)
    shape = tensor_type(operation.result).shape
    if 0 in shape:
        return []
    plan = _plan(operation, list(dict.fromkeys(block.terminator.operands)), context)
    nest, lanes = plan.nest, plan.lanes
    names = [value.type.dtype.name for value in plan.outputs]
    key = f"scan|{plan.kind}|{operation.name}|{lanes}|{names}|{nest.key()}"
    symbol = symbol_of(f"scan_{plan.kind}", key)
    strides = nest.group_strides(contiguous(shape).strides)
    slots: list[Slot] = [*nest.slots(), *[Address(value) for value in plan.outputs], *strides, *nest.sizes]
    items = plan.rows
    if plan.kind == "rows":
        items = -(-items // lanes)
    elif plan.kind == "strips":
        width = _strip_width(plan, context)
        slots.append(width)
        items *= -(-nest.sizes[-1] // width)
    elements = math.prod(shape)
    return [
        Launch(
            key=key,
            symbol=symbol,
            build=lambda: _Kernel(KernelBuilder(symbol), plan).build(),
            slots=slots,
            chunks=chunks_for(items, elements * (4 + plan.expression.operations), context),
            flops=elements * (1 + plan.expression.operations),
            bytes=nest.bytes_read() + sum(tensor_type(value).nbytes for value in plan.outputs),
            operations=[x for x in block if not x.has(Trait.TERMINATOR)],
        )
    ]


def _plan(operation: Operation, outputs: Sequence[Value], context: ScheduleContext) -> _Plan:
    shape, dim = tensor_type(operation.result).shape, operation.attributes.dim
    expression = pull([*operation.operands, *outputs], shape, given=[operation.result])
    strides = [leaf.access.strides for leaf in expression.leaves] + [contiguous(shape).strides]
    groups = collapse(shape, strides, frozenset((dim, dim + 1)))
    others = [group for group in groups if dim not in group]
    inner = [group for group in others if group[0] > dim]
    target = context.target
    along = Nest(expression, shape, [*others, [dim]])
    if isinstance(target, Target):
        lanes = min(WIDEST, along.lanes(target, [value.type.dtype for value in outputs]))
        if inner:
            nest = Nest(expression, shape, [*others[:-1], [dim], others[-1]])
            return _Plan("strips", operation, expression, nest, outputs, lanes)
        if 2 * math.prod(along.sizes[:-1]) >= lanes > 1 and shape[dim] >= 2 * lanes:
            return _Plan("rows", operation, expression, along, outputs, lanes)
    return _Plan("chain", operation, expression, along, outputs, 1)


def _strip_width(plan: _Plan, context: ScheduleContext) -> int:
    """Columns of a strip: what STRIP_BYTES hold, fewer where threads would be left without one."""
    inner, itemsize = plan.nest.sizes[-1], plan.dtype.itemsize
    pieces = max(-(-inner * itemsize // STRIP_BYTES), -(-context.threads // plan.rows))
    return min(STRIP_BYTES // itemsize, -(-inner // (pieces * plan.lanes)) * plan.lanes)


class _Kernel:
    """A scan kernel under construction."""

    def __init__(self, k: KernelBuilder, plan: _Plan) -> None:
        self.k, self.plan, self.lanes = k, plan, plan.lanes
        self.emitter = NestEmitter(k, plan.nest, plan.lanes)
        self.buffers = [k.buffer(value.type.dtype, (1,), f"out{i}") for i, value in enumerate(plan.outputs)]
        groups = range(len(plan.nest.sizes))
        self.strides = [k.index_argument(f"stride{g}") for g in groups]
        self.sizes = [k.index_argument(f"size{g}") for g in groups]
        entries = plan.expression.entries
        self.given = next((n for n, entry in enumerate(entries) if entry[0] == "given"), -1)
        count = len(plan.operation.operands)
        self.operands, self.results = plan.expression.outputs[:count], plan.expression.outputs[count:]
        self.step = STEP[plan.operation.declaration]

    def build(self) -> Operation:
        """The parallel loop over what is side by side."""
        {"rows": self._rows, "strips": self._strips, "chain": self._chain}[self.plan.kind]()
        return self.k.finish()

    def _elements(self, emitter: NestEmitter, at: Index, lanes: int, mask: Value | None = None) -> list[Value]:
        """The operands' elements."""
        return emitter.values(at, lanes, mask, {}, self.operands)

    def _keep(self, emitter: NestEmitter, at: Index, running: Value, place: Index, mask: Value | None = None) -> None:
        """What is computed from the running value at an index, to the results."""
        lanes = self.lanes if self.lanes > 1 else 1
        values = emitter.values(at, lanes, mask, {self.given: running}, self.results)
        for value, buffer in zip(values, self.buffers, strict=True):
            write(self.k, value, buffer, (place,), mask)

    def _chain(self) -> None:
        k, emitter = self.k, self.emitter
        *outer, count = self.sizes
        *strides, stride = self.strides
        with k.parallel(0, k.product(outer)) as row:
            index = split_rows(k, row, outer)
            emitter.at(*index)
            base = k.dot(index, strides)
            # The first element begins the chain as it is: combining it with an identity could change its bits (-0.0, nan).
            first = self._elements(emitter, 0, 1)[-1]
            self._keep(emitter, 0, first, base)
            with k.carry(1, count, 1, [first]) as state:
                following = self.step(state.carried[0], *self._elements(emitter, state.index, 1))
                self._keep(emitter, state.index, following, k.add(base, k.mul(state.index, stride)))
                state.next(following)

    def _rows(self) -> None:
        """A row past the end is the last one again: the same bits go to the same place."""
        k, lanes = self.k, self.lanes
        *outer, count = self.sizes
        rows = k.product(outer)
        with k.parallel(0, k.ceil_div(rows, lanes)) as item:
            emitters, bases = [], []
            for i in range(lanes):
                row = k.min(k.add(k.mul(item, lanes), i), k.sub(rows, 1))
                index = split_rows(k, row, outer)
                emitters.append(copy(self.emitter))
                emitters[-1].at(*index)
                bases.append(k.dot(index, self.strides[:-1]))
            main = k.round_down(count, lanes)
            with k.carry(0, main, lanes, [k.splat(0, self.plan.dtype, lanes)]) as state:
                state.next(self._square(emitters, bases, state.index, state.carried[0], None))
            with k.when(k.compare("lt", main, count)):
                self._square(emitters, bases, main, state.results[0], k.mask(k.sub(count, main), lanes))

    def _square(
        self, emitters: Sequence[NestEmitter], bases: Sequence[Index], at: Index, running: Value, mask: Value | None
    ) -> Value:
        """As many elements of as many rows; the running values after them."""
        k, lanes = self.k, self.lanes
        loaded = [self._elements(emitter, at, lanes, mask) for emitter in emitters]
        group = min(lanes, 16 // self.plan.dtype.itemsize)
        operands = [transposed([row[n] for row in loaded], group) for n in range(len(self.operands))]
        columns = []
        for number, elements in enumerate(zip(*operands, strict=True)):
            following = self.step(running, *elements)
            if number == 0:  # see _chain
                following = arith.select(k.broadcast(k.compare("eq", at, 0), lanes), elements[-1], following)
            columns.append(following)
            running = following
        for emitter, base, row in zip(emitters, bases, transposed(columns, group), strict=True):
            self._keep(emitter, at, row, k.add(base, at), mask)
        return running

    def _strips(self) -> None:
        k, lanes, emitter, dtype = self.k, self.lanes, self.emitter, self.plan.dtype
        *outer, count, inner = self.sizes
        *strides, row_stride, _ = self.strides
        width = k.index_argument("width")
        pieces = k.ceil_div(inner, width)
        running = k.local(dtype, STRIP_BYTES // dtype.itemsize)
        with k.parallel(0, k.product([*outer, pieces])) as item:
            column = k.mul(k.rem(item, pieces), width)
            end = k.min(k.add(column, width), inner)
            index = split_rows(k, k.div(item, pieces), outer)
            base = k.dot(index, strides)

            def row(number: Index, following: Callable[[Index, Sequence[Value]], Value]) -> None:
                emitter.at(*index, number)
                place = k.add(base, k.mul(number, row_stride))

                def point(at: Index, mask: Value | None) -> None:
                    value = following(k.sub(at, column), self._elements(emitter, at, lanes, mask))
                    k.store(value, running, k.sub(at, column))
                    self._keep(emitter, at, value, k.add(place, at), mask)

                vector_loop(k, column, end, lanes, point)

            row(0, lambda at, elements: elements[-1])  # see _chain
            with k.loop(1, count) as number:
                row(number, lambda at, elements: self.step(k.load(running, at, lanes=lanes), *elements))
