"""Gather and scatter along the first dimension, in the order of the indices: deterministic whatever the threads."""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Slot, Status, symbol_of
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.codegen.schedules.nest import vector_loop
from lazytorch.codegen.target import Target
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith, loop
from lazytorch.ir.dialects.tensor_scatter import COMBINE

COLUMNS = 256
"""Columns that one iteration of a parallel scatter takes."""
ELEMENTS = 1024
"""Single elements that one iteration of a parallel gather takes."""
OUT_OF_RANGE = 1
"""The status code of an index out of range; its numbers are the index and the size."""


def _row(k: KernelBuilder, index: Value, position: Index, size: Value, status: Value) -> Value:
    """The row number that an index means; a negative one counts from the end. Out of range: fail, and row 0."""
    raw = k.load(index, position)
    number = arith.cast(raw, dtype=dtypes.index)
    wrapped = arith.select(arith.compare(number, k.value(0), predicate="lt"), arith.add(number, size), number)
    low = arith.compare(wrapped, k.value(0), predicate="lt")
    high = arith.compare(wrapped, size, predicate="ge")
    bad: Value = arith.bit_or(low, high)
    with k.when(bad):
        loop.fail(status, k.value(OUT_OF_RANGE), number, size)
    row: Value = arith.select(bad, k.value(0), wrapped)
    return row


def _read(k: KernelBuilder, buffer: Value, row: Index, column: Index, lanes: int, mask: Value | None) -> Value:
    if mask is None:
        return k.load(buffer, row, column, lanes=lanes)
    return k.masked_load(buffer, row, column, mask=mask, other=k.splat(0, buffer.type.dtype, lanes))


def _write(k: KernelBuilder, value: Value, buffer: Value, row: Index | None, column: Index, mask: Value | None) -> None:
    index = (column,) if row is None else (row, column)
    if mask is None:
        k.store(value, buffer, *index)
    else:
        k.masked_store(value, buffer, *index, mask=mask)


def gather_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch; each row of the result is copied from the row its index names."""
    source, index = operation.operands
    count = tensor_type(index).numel
    rest = _rest(source)
    if count * rest == 0:
        return []
    if rest == 1 and isinstance(context.target, Target):
        return [_element_launch(operation, context)]
    dtype = source.type.dtype
    lanes = context.target.lanes(dtype.itemsize)
    key = f"gather|{dtype.name}|{index.type.dtype.name}|{lanes}"
    symbol = symbol_of("gather", key)

    def build() -> Operation:
        k = KernelBuilder(symbol)
        x, at = k.buffer(dtype, (None, 1), "x"), k.buffer(index.type.dtype, (1,), "index")
        out, status = k.buffer(dtype, (None, 1), "out"), k.buffer(dtypes.int64, (1,), "status")
        rows, positions, columns = (k.index_argument(name) for name in ("rows", "positions", "columns"))
        with k.parallel(0, positions) as position:
            row = _row(k, at, position, rows, status)

            def body(column: Index, mask: Value | None) -> None:
                _write(k, _read(k, x, row, column, lanes, mask), out, position, column, mask)

            vector_loop(k, 0, columns, lanes, body)
        return k.finish()

    slots: list[Slot] = [Address(source), rest, Address(index), Address(operation.result), rest, Status()]
    slots += [tensor_type(source).shape[0], count, rest]
    return [Launch(key, symbol, build, slots, chunks_for(count, count * rest, context), 0, 0, [operation])]


def _element_launch(operation: Operation, context: ScheduleContext) -> Launch:
    """A gather of single elements: vectors of indices. Where one is out of range, they are looked at one by one."""
    source, index = operation.operands
    dtype, index_dtype = source.type.dtype, index.type.dtype
    lanes = context.target.lanes(max(dtype.itemsize, dtypes.int64.itemsize))
    key = f"gather_elements|{dtype.name}|{index_dtype.name}|{lanes}"
    symbol = symbol_of("gather_elements", key)

    def build() -> Operation:
        k = KernelBuilder(symbol)
        x, at, out = (k.buffer(t, (1,), name) for t, name in ((dtype, "x"), (index_dtype, "index"), (dtype, "out")))
        status = k.buffer(dtypes.int64, (1,), "status")
        rows, positions = k.index_argument("rows"), k.index_argument("positions")
        found = k.local(dtypes.int64, lanes)

        def take(position: Index, lane: Index) -> None:
            row = arith.cast(k.load(found, lane), dtype=dtypes.index)
            k.store(k.load(x, row), out, k.add(position, lane))

        with k.parallel(0, k.ceil_div(positions, ELEMENTS)) as block:
            low = k.mul(block, ELEMENTS)
            high = k.min(k.add(low, ELEMENTS), positions)
            zero = k.splat(0, dtypes.int64, lanes)
            size = k.broadcast(arith.cast(rows, dtype=dtypes.int64), lanes)

            def body(position: Index, mask: Value | None) -> None:
                if mask is None:
                    raw = k.load(at, position, lanes=lanes)
                else:
                    raw = k.masked_load(at, position, mask=mask, other=k.splat(0, index_dtype, lanes))
                number = k.cast(raw, dtypes.int64)
                row = arith.select(arith.compare(number, zero, predicate="lt"), arith.add(number, size), number)
                low_ones, high_ones = (arith.compare(row, x, predicate=p) for x, p in ((zero, "lt"), (size, "ge")))
                bad = arith.bit_or(low_ones, high_ones)
                with (
                    k.when(loop.any_(bad) if lanes > 1 else bad),
                    k.loop(position, k.min(k.add(position, lanes), high)) as one,
                ):
                    _row(k, at, one, rows, status)
                # One by one: that is as fast as a gather instruction where there is a good one, and faster elsewhere.
                k.store(arith.select(bad, zero, row), found, 0)
                if mask is None:
                    for i in range(lanes):
                        take(position, i)
                else:
                    with k.loop(0, k.sub(high, position)) as lane:
                        take(position, lane)

            vector_loop(k, low, high, lanes, body)
        return k.finish()

    size, count = tensor_type(source).shape[0], tensor_type(index).numel
    slots: list[Slot] = [Address(source), Address(index), Address(operation.result), Status(), size, count]
    chunks = chunks_for(-(-count // ELEMENTS), 4 * count, context)
    moved = count * (2 * dtype.itemsize + index_dtype.itemsize)
    return Launch(key, symbol, build, slots, chunks, 0, moved, [operation])


def scatter_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch after the base was copied to the result: rows are combined with it (or written) in the indices' order."""
    _, index, value = operation.operands
    result = operation.result
    count = tensor_type(index).numel
    rest = _rest(result)
    if count * rest == 0:
        return []
    dtype = result.type.dtype
    lanes = context.target.lanes(dtype.itemsize)
    combine = COMBINE.get(operation.declaration)
    key = f"scatter|{operation.name}|{dtype.name}|{index.type.dtype.name}|{lanes}"
    symbol = symbol_of("scatter", key)

    def build() -> Operation:
        k = KernelBuilder(symbol)
        out, at = k.buffer(dtype, (None, 1), "out"), k.buffer(index.type.dtype, (1,), "index")
        new, status = k.buffer(dtype, (None, 1), "value"), k.buffer(dtypes.int64, (1,), "status")
        rows, positions, columns = (k.index_argument(name) for name in ("rows", "positions", "columns"))
        with k.parallel(0, k.ceil_div(columns, COLUMNS)) as strip:
            low = k.mul(strip, COLUMNS)
            high = k.min(k.add(low, COLUMNS), columns)
            with k.loop(0, positions) as position:
                row = _row(k, at, position, rows, status)

                def body(column: Index, mask: Value | None) -> None:
                    x = _read(k, new, position, column, lanes, mask)
                    if combine is not None:
                        x = combine(_read(k, out, row, column, lanes, mask), x)
                    _write(k, x, out, row, column, mask)

                vector_loop(k, low, high, lanes, body)
        return k.finish()

    slots: list[Slot] = [Address(result), rest, Address(index), Address(value), rest, Status()]
    slots += [tensor_type(result).shape[0], count, rest]
    chunks = chunks_for(-(-rest // COLUMNS), count * rest, context)
    return [Launch(key, symbol, build, slots, chunks, 0, 0, [operation])]


def _rest(value: Value) -> int:
    count = 1
    for size in tensor_type(value).shape[1:]:
        count *= size
    return count
