"""Sorting rows on a GPU: a bottom-up merge sort of keys with their positions, or insertion into a short list.

Rows are sorted in parallel, each by one thread. Merging takes the left run's element unless the right run's is strictly
before it, so equal elements keep their order.
"""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, symbol_of
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith


def _nan(x: Value) -> Value:
    value: Value = arith.compare(x, x, predicate="ne")
    return value


def _before(a: Value, b: Value, descending: bool) -> Value:
    """Whether a comes strictly before b; nan counts as the largest."""
    ordered: Value = arith.compare(a, b, predicate="gt" if descending else "lt")
    if a.type.dtype.kind == "f":
        large, small = (a, b) if descending else (b, a)
        ordered = arith.bit_or(ordered, arith.bit_and(_nan(large), arith.bit_not(_nan(small))))
    return ordered


FEW = 128
"""So many first positions are kept by insertion into a short sorted list, more by sorting everything."""


def gpu_sort_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch; scratch memory holds two copies of keys and positions per row."""
    source = operation.operands[0]
    type = tensor_type(source)
    kept = tensor_type(operation.result).shape[-1]
    if type.numel == 0 or kept == 0:
        return []
    if kept <= FEW and kept * 8 <= type.shape[-1]:
        return [_select_launch(operation, context)]
    count = type.shape[-1]
    rows = type.numel // count
    passes = (count - 1).bit_length()
    descending = operation.attributes.descending
    key = f"sort|{descending}|{type.dtype.name}"
    symbol = symbol_of("sort", key)
    return [
        Launch(
            key=key,
            symbol=symbol,
            build=lambda: _build_sort(symbol, type.dtype, descending),
            slots=[
                Address(source),
                Address(operation.result),
                Scratch(0, 2 * type.nbytes),
                Scratch(1, 16 * type.numel),
                rows,
                count,
                passes,
                kept,
            ],
            chunks=chunks_for(rows, 8 * type.numel * max(passes, 1), context),
            flops=type.numel * passes,
            bytes=type.nbytes + 8 * type.numel,
            operations=[operation],
        )
    ]


def _build_sort(symbol: str, dtype: DType, descending: bool) -> Operation:
    k = KernelBuilder(symbol)
    x, out = k.buffer(dtype, (1,), "x"), k.buffer(dtypes.int64, (1,), "out")
    keys, positions = k.buffer(dtype, (1,), "keys"), k.buffer(dtypes.int64, (1,), "positions")
    rows, count, passes, kept = (k.index_argument(name) for name in ("rows", "count", "passes", "kept"))
    with k.parallel(0, rows) as row:
        base = k.mul(row, count)
        copies = k.mul(base, 2)
        with k.loop(0, count) as i:
            k.store(k.load(x, k.add(base, i)), keys, k.add(copies, i))
            k.store(arith.cast(i, dtype=dtypes.int64), positions, k.add(copies, i))
        with k.carry(0, passes, 1, [k.value(1)]) as outer:
            (width,) = outer.carried
            shift = k.mul(k.rem(outer.index, 2), count)
            source, target = k.add(copies, shift), k.add(copies, k.sub(count, shift))
            double = k.mul(width, 2)
            with k.loop(0, count, double) as low:
                middle, high = k.min(k.add(low, width), count), k.min(k.add(low, double), count)
                _merge(k, keys, positions, (source, target), (low, middle, high), descending)
            outer.next(k.value(double))
        last = k.add(copies, k.mul(k.rem(passes, 2), count))
        with k.loop(0, kept) as i:
            k.store(k.load(positions, k.add(last, i)), out, k.add(k.mul(row, kept), i))
    return k.finish()


def _merge(
    k: KernelBuilder,
    keys: Value,
    positions: Value,
    offsets: tuple[Index, Index],
    runs: tuple[Index, Index, Index],
    descending: bool,
) -> None:
    """Two sorted neighbouring runs [low, middle) and [middle, high) to one, from the one copy to the other."""
    source, target = offsets
    low, middle, high = runs
    last = k.sub(high, 1)
    with k.carry(low, high, 1, [k.value(low), k.value(middle)]) as state:
        left, right = state.carried
        # A run that is used up is not read beyond: its index is held inside, and what is read there is not taken.
        left_at, right_at = k.add(source, k.min(left, last)), k.add(source, k.min(right, last))
        a, b = k.load(keys, left_at), k.load(keys, right_at)
        left_done = k.compare("ge", left, middle)
        right_left = k.compare("lt", right, high)
        take: Value = arith.bit_and(right_left, arith.bit_or(left_done, _before(b, a, descending)))
        at = k.add(target, state.index)
        k.store(arith.select(take, b, a), keys, at)
        k.store(k.load(positions, k.select_index(take, right_at, left_at)), positions, at)
        step = k.select_index(take, 1, 0)
        state.next(k.value(k.add(left, k.sub(1, step))), k.value(k.add(right, step)))


def _select_launch(operation: Operation, context: ScheduleContext) -> Launch:
    """The first few: one pass over the row, in which few elements come before the last one kept."""
    source, result = operation.operands[0], operation.result
    type, kept = tensor_type(source), tensor_type(result).shape[-1]
    rows = type.numel // type.shape[-1]
    descending = operation.attributes.descending
    key = f"select|{descending}|{type.dtype.name}"
    symbol = symbol_of("select", key)
    scratch = Scratch(0, rows * kept * type.dtype.itemsize)
    return Launch(
        key=key,
        symbol=symbol,
        build=lambda: _build_select(symbol, type.dtype, descending),
        slots=[Address(source), Address(result), scratch, rows, type.shape[-1], kept],
        chunks=chunks_for(rows, 4 * type.numel, context),
        flops=type.numel,
        bytes=type.nbytes,
        operations=[operation],
    )


def _build_select(symbol: str, dtype: DType, descending: bool) -> Operation:
    k = KernelBuilder(symbol)
    x, out = k.buffer(dtype, (1,), "x"), k.buffer(dtypes.int64, (1,), "out")
    keys = k.buffer(dtype, (1,), "keys")
    rows, count, kept = (k.index_argument(name) for name in ("rows", "count", "kept"))
    with k.parallel(0, rows) as row:
        base, first = k.mul(row, count), k.mul(row, kept)
        worst = k.add(first, k.sub(kept, 1))
        with k.loop(0, count) as i:
            new = k.load(x, k.add(base, i))
            filling = k.compare("lt", i, kept)

            def better(new: Value = new) -> list[Value]:
                return [_before(new, k.load(keys, worst), descending)]

            # While the list fills, its last place holds nothing yet.
            (enters,) = k.choose(filling, lambda: [k.splat(True, dtypes.bool_)], better)
            with k.when(enters):
                filled = k.min(i, k.sub(kept, 1))
                with k.carry(0, filled, 1, [k.value(filled)]) as state:
                    at = k.add(first, k.sub(k.sub(filled, state.index), 1))
                    old = k.load(keys, at)
                    after = _before(new, old, descending)
                    with k.when(after):
                        k.store(old, keys, k.add(at, 1))
                        k.store(k.load(out, at), out, k.add(at, 1))
                    state.next(k.value(k.sub(state.carried[0], k.select_index(after, 1, 0))))
                place = k.add(first, state.results[0])
                k.store(new, keys, place)
                k.store(arith.cast(i, dtype=dtypes.int64), out, place)
    return k.finish()
