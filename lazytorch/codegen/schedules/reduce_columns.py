"""Reductions along columns: rows are read as they lie in memory, strips of several cache lines side by side.

The totals of a strip's columns stay in the innermost cache. Several rows are added to a vector of them at a time, in order,
so that a total is read and written once for all of them. In runs of 64 rows and runs of 64 runs (docs/architecture.md,
Numbers): what comes out of different runs of 4096 rows goes to scratch memory first where columns alone are too few for the
threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy

from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, symbol_of
from lazytorch.codegen.schedules.map import SERIAL_WORK, chunks_for
from lazytorch.codegen.schedules.nest import NestEmitter, split_rows, vector_loop, write
from lazytorch.codegen.schedules.reduction import COMBINE, RUN, Reduction, SecondLevel, identities
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.types import TensorType

STRIP_BYTES = 4096
"""Of the totals of a strip: three levels of them leave most of the innermost cache to the rows."""
TOGETHER = 8
"""Rows that are added to a vector of totals at a time."""
LONGEST = 64
"""Instructions of all the rows that are added at a time."""
PART = RUN * RUN


def column_launches(reduction: Reduction, out: Slot, context: ScheduleContext) -> list[Launch]:
    """One launch, or two where threads need parts of the rows."""
    inner = reduction.nest.sizes[-1]
    parts = -(-reduction.count // PART)
    wanted = min(context.threads, max(1, reduction.work // SERIAL_WORK))
    if parts == 1 or reduction.rows * inner >= wanted * STRIP_BYTES:
        return [_launch(reduction, "columns", out, context, RUN)]
    dtype = reduction.operation.result.type.dtype
    shape = (reduction.rows, parts, inner)
    between = Value(TensorType(dtype, shape), Block(), 0)
    scratch = Scratch(0, math.prod(shape) * dtype.itemsize)
    first = _launch(reduction, "column_parts", scratch, context, RUN, parts)
    second = _launch(SecondLevel(reduction.operation, between, shape), "column_sums", out, context, 1)
    second.slots = [scratch if isinstance(slot, Address) and slot.value is between else slot for slot in second.slots]
    return [first, second]


def _launch(reduction: Reduction, kind: str, out: Slot, context: ScheduleContext, run: int, parts: int = 1) -> Launch:
    """run: rows per run of the innermost level, 1 if the rows are what runs of runs gave. parts: see column_launches."""
    operation, nest = reduction.operation, reduction.nest
    dtype = operation.result.type.dtype
    lanes = nest.lanes(context.target, [dtype])
    key = f"reduce|{kind}|{operation.name}|{len(reduction.outer_sizes)}|{lanes}|{nest.key()}"
    symbol = symbol_of(f"reduce_{kind}", key)

    def build() -> Operation:
        k = KernelBuilder(symbol)
        return _Kernel(k, reduction, NestEmitter(k, nest, lanes), run).build(kind == "column_parts")

    inner = nest.sizes[-1]
    width = _strip_width(inner, reduction.rows * parts, lanes, dtype.itemsize, context)
    items = reduction.rows * parts * -(-inner // width)
    return Launch(
        key=key,
        symbol=symbol,
        build=build,
        slots=[*nest.slots(), out, *nest.sizes, width],
        chunks=chunks_for(items, reduction.work, context),
        flops=reduction.work,
        bytes=nest.bytes_read(),
        operations=[operation],
    )


def _strip_width(inner: int, others: int, lanes: int, itemsize: int, context: ScheduleContext) -> int:
    """Columns of a strip: as many as STRIP_BYTES hold, fewer where threads would be left without one."""
    pieces = max(-(-inner * itemsize // STRIP_BYTES), -(-context.threads // others))
    return min(STRIP_BYTES // itemsize, -(-inner // (pieces * lanes)) * lanes)


class _Kernel:
    """A kernel under construction."""

    def __init__(self, k: KernelBuilder, reduction: Reduction, emitter: NestEmitter, run: int) -> None:
        self.k, self.reduction, self.emitter, self.run = k, reduction, emitter, run
        self.lanes = emitter.lanes
        self.kind = reduction.operation
        self.combine = COMBINE[self.kind.declaration]
        dtype = self.kind.result.type.dtype
        self.together = max(1, min(TOGETHER, LONGEST // max(1, reduction.expression.instructions)))
        self.out = k.buffer(dtype, (1,), "out")
        self.sizes = [k.index_argument(f"size{g}") for g in range(len(reduction.nest.sizes))]
        self.width = k.index_argument("width")
        self.levels = [k.local(dtype, STRIP_BYTES // dtype.itemsize) for _ in range(1 if run == 1 else 3)]

    def build(self, in_parts: bool) -> Operation:
        """The parallel loop over strips: of all rows, or of each 4096 of them."""
        k = self.k
        *outer, count, inner = self.sizes
        strips = k.ceil_div(inner, self.width)
        parts = k.ceil_div(count, PART) if in_parts else 1
        with k.parallel(0, k.product([*outer, parts, strips])) as item:
            self.column = k.mul(k.rem(item, strips), self.width)
            self.end = k.min(k.add(self.column, self.width), inner)
            number = k.div(item, strips)
            self.index = split_rows(k, k.div(number, parts), outer)
            low = k.mul(k.rem(number, parts), PART)
            if self.run == 1:
                total = self.levels[0]
                with self._level(total, None):
                    self._add_rows(total, low, count)
            elif in_parts:
                _, total, _ = self.levels
                with self._level(total, None):
                    self._add_runs(low, k.min(k.add(low, PART), count))
            else:
                total, middle, _ = self.levels
                with self._level(total, None), k.loop(0, count, PART) as start, self._level(middle, total):
                    self._add_runs(start, k.min(k.add(start, PART), count))
            place = k.mul(number, inner)

            def result(at: Index, mask: Value | None) -> None:
                write(k, self._read(total, at), self.out, (k.add(place, at),), mask)

            vector_loop(k, self.column, self.end, self.lanes, result)
        return k.finish()

    def _add_runs(self, low: Index, high: Index) -> None:
        """Rows [low, high) to the middle level, run by run."""
        k = self.k
        _, middle, innermost = self.levels
        with k.loop(low, high, RUN) as start, self._level(innermost, middle):
            self._add_rows(innermost, start, k.min(k.add(start, RUN), high))

    @contextmanager
    def _level(self, totals: Value, above: Value | None) -> Iterator[None]:
        """Totals begin as the identity; what the block added to them is then added to those of the level above."""
        k = self.k
        start = identities(k, self.kind, self.lanes)
        with k.loop(self.column, self.end, self.lanes) as at:
            k.store(start, totals, k.sub(at, self.column))
        yield
        if above is not None:
            with k.loop(self.column, self.end, self.lanes) as at:
                k.store(self.combine(self._read(above, at), self._read(totals, at)), above, k.sub(at, self.column))

    def _read(self, totals: Value, at: Index) -> Value:
        return self.k.load(totals, self.k.sub(at, self.column), lanes=self.lanes)

    def _add_rows(self, totals: Value, low: Index, high: Index) -> None:
        k = self.k
        main = k.add(low, k.round_down(k.sub(high, low), self.together))
        with k.loop(low, main, self.together) as row:
            self._add(totals, [k.add(row, i) for i in range(self.together)])
        if self.together > 1:
            with k.loop(main, high) as row:
                self._add(totals, [row])

    def _add(self, totals: Value, rows: Sequence[Index]) -> None:
        """Some rows to the totals, in order."""
        k = self.k
        emitters = [copy(self.emitter) for _ in rows]
        for emitter, row in zip(emitters, rows, strict=True):
            emitter.at(*self.index, row)

        def add(at: Index, mask: Value | None) -> None:
            total = self._read(totals, at)
            for emitter in emitters:
                total = self.combine(total, emitter.values(at, self.lanes, mask)[0])
            k.store(total, totals, k.sub(at, self.column))

        vector_loop(k, self.column, self.end, self.lanes, add)
