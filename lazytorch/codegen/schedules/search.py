"""Searching sorted rows: a binary search per value."""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Slot, symbol_of
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith


def search_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch: a binary search per value, in as many steps for each."""
    table, values = operation.operands
    count = tensor_type(values).numel
    if count == 0:
        return []
    size = tensor_type(table).shape[-1]
    per_row = count if tensor_type(table).rank == 1 else tensor_type(values).shape[-1]
    dtype, right = table.type.dtype, operation.attributes.right
    key = f"search|{right}|{dtype.name}"
    symbol = symbol_of("search", key)
    steps = size.bit_length()
    slots: list[Slot] = [Address(table), Address(values), Address(operation.result), count, per_row, size, steps]
    chunks = chunks_for(count, 8 * count * (steps + 1), context)
    return [
        Launch(key, symbol, lambda: _build_search(symbol, dtype, right), slots, chunks, count * steps, 0, [operation]),
    ]


def _build_search(symbol: str, dtype: DType, right: bool) -> Operation:
    k = KernelBuilder(symbol)
    table, values = k.buffer(dtype, (1,), "table"), k.buffer(dtype, (1,), "values")
    out = k.buffer(dtypes.int64, (1,), "out")
    count, per_row, size, steps = (k.index_argument(name) for name in ("count", "per_row", "size", "steps"))
    with k.parallel(0, count) as i:
        base = k.mul(k.div(i, per_row), size)
        wanted = k.load(values, i)
        with k.carry(0, steps, 1, [k.value(0), k.value(size)]) as state:
            low, high = state.carried
            middle = k.div(k.add(low, high), 2)
            inside = k.compare("lt", low, high)
            element = k.load(table, k.add(base, k.min(middle, k.sub(size, 1))))
            # As in torch: where a nan takes part, neither holds, and the search goes on to the right.
            smaller = arith.bit_not(arith.compare(element, wanted, predicate="gt" if right else "ge"))
            further: Value = arith.bit_and(inside, smaller)
            nearer: Value = arith.bit_and(inside, arith.bit_not(smaller))
            state.next(k.select_index(further, k.add(middle, 1), low), k.select_index(nearer, middle, high))
        k.store(arith.cast(state.results[0], dtype=dtypes.int64), out, i)
    return k.finish()
