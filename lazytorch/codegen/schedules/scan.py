"""Scans: sequential along one dimension, parallel over the others, in vectors along what follows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, symbol_of
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, tensor_scan

STEP: dict[Declaration, Callable[..., Any]] = {
    tensor_scan.scan_sum: arith.add,
    tensor_scan.scan_prod: arith.mul,
    tensor_scan.scan_max: arith.maximum,
    tensor_scan.scan_min: arith.minimum,
    tensor_scan.scan_linear: lambda before, factor, term: arith.add(arith.mul(factor, before), term),
}
"""The next value from the one before and the operands' elements."""


def scan_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch over contiguous buffers seen as [outer, count, inner]."""
    result = operation.result
    shape, dtype = tensor_type(result).shape, result.type.dtype
    dim = operation.attributes.dim
    if 0 in shape:
        return []
    outer, count, inner = _product(shape[:dim]), shape[dim], _product(shape[dim + 1 :])
    lanes = 1 if inner == 1 else context.target.lanes(dtype.itemsize)
    key = f"scan|{operation.name}|{dtype.name}|{lanes}"
    symbol = symbol_of("scan", key)
    rows = outer * -(-inner // lanes)
    return [
        Launch(
            key=key,
            symbol=symbol,
            build=lambda: _build(symbol, operation, lanes),
            slots=[*[Address(x) for x in operation.operands], Address(result), outer, count, inner],
            chunks=chunks_for(rows, 4 * outer * count * inner, context),
            flops=outer * count * inner,
            bytes=(len(operation.operands) + 1) * tensor_type(result).nbytes,
            operations=[operation],
        )
    ]


def _product(sizes: Sequence[int]) -> int:
    count = 1
    for size in sizes:
        count *= size
    return count


def _build(symbol: str, operation: Operation, lanes: int) -> Operation:
    k = KernelBuilder(symbol)
    dtype = operation.result.type.dtype
    operands = [k.buffer(dtype, (1,), f"in{i}") for i in range(len(operation.operands))]
    out = k.buffer(dtype, (1,), "out")
    outer, count, inner = (k.index_argument(name) for name in ("outer", "count", "inner"))
    step = STEP[operation.declaration]
    strips = k.ceil_div(inner, lanes)
    with k.parallel(0, k.mul(outer, strips)) as item:
        column = k.mul(k.rem(item, strips), lanes)
        base = k.add(k.mul(k.mul(k.div(item, strips), count), inner), column)
        mask = k.mask(k.sub(inner, column), lanes) if lanes > 1 else None

        def elements(at: Index) -> list[Value]:
            if mask is None:
                return [k.load(buffer, at) for buffer in operands]
            return [k.masked_load(buffer, at, mask=mask, other=k.splat(0, dtype, lanes)) for buffer in operands]

        def keep(value: Value, at: Index) -> None:
            if mask is None:
                k.store(value, out, at)
            else:
                k.masked_store(value, out, at, mask=mask)

        # The first element begins the chain as it is: combining it with an identity could change its bits (-0.0, nan).
        first = elements(base)[-1]
        keep(first, base)
        with k.carry(1, count, 1, [first]) as state:
            at = k.add(base, k.mul(state.index, inner))
            following = step(state.carried[0], *elements(at))
            keep(following, at)
            state.next(following)
    return k.finish()
