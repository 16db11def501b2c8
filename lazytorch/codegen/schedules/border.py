"""Padding in one pass: every vector of the result is a masked load of the operand, with the border's value elsewhere."""

from __future__ import annotations

import math
from contextlib import ExitStack

from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, symbol_of
from lazytorch.codegen.schedules.map import chunks_for, parallel_groups
from lazytorch.codegen.schedules.nest import split_rows, vector_loop, write
from lazytorch.codegen.target import Target
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith

Dim = tuple[int, int, int]
"""Size of the operand, elements before it, size of the result."""


def border_launch(operation: Operation, value: float | int | bool, context: ScheduleContext) -> Launch:
    """tensor.pad without elements between those of the operand."""
    source, result = operation.operands[0], operation.result
    type = tensor_type(result)
    dims = _joined(list(zip(tensor_type(source).shape, operation.attributes.low, type.shape, strict=True)))
    target = context.target
    assert isinstance(target, Target)
    lanes, masked = target.lanes(type.dtype.itemsize), target.has_mask_registers
    parallel = parallel_groups([size for _, _, size in dims])
    key = f"pad|{type.dtype.name}|{value!r}|{len(dims)}|{parallel}|{lanes}|{masked}"
    symbol = symbol_of("pad", key)
    return Launch(
        key=key,
        symbol=symbol,
        build=lambda: _build(KernelBuilder(symbol), type.dtype, value, len(dims), parallel, lanes, masked),
        slots=[Address(source), Address(result), *[number for dim in dims for number in dim]],
        chunks=chunks_for(math.prod([size for _, _, size in dims[:parallel]]), 2 * type.numel, context),
        bytes=type.nbytes + tensor_type(source).nbytes,
        operations=[operation],
    )


def _joined(dims: list[Dim]) -> list[Dim]:
    """At least two dimensions; one without a border is part of the one around it."""
    joined: list[Dim] = []
    for inside, low, size in dims:
        if joined and inside == size:
            before = joined[-1]
            joined[-1] = (before[0] * size, before[1] * size, before[2] * size)
        else:
            joined.append((inside, low, size))
    return [(1, 0, 1)] * (2 - len(joined)) + joined


def _build(
    k: KernelBuilder, dtype: DType, value: float | int | bool, rank: int, parallel: int, lanes: int, masked: bool
) -> Operation:
    source, out = k.buffer(dtype, (1,), "source"), k.buffer(dtype, (1,), "out")
    dims = [tuple([k.index_argument(f"{name}{d}") for name in ("inside", "low", "size")]) for d in range(rank)]
    sizes = [size for _, _, size in dims]
    border = k.splat(value, dtype, lanes)
    with ExitStack() as loops:
        row = loops.enter_context(k.parallel(0, k.product(sizes[:parallel])))
        own = [loops.enter_context(k.loop(0, size)) for size in sizes[parallel:-1]]
        place: Index = 0
        start: Index = 0
        valid: Value | None = None
        for index, (inside, low, size) in zip((*split_rows(k, row, sizes[:parallel]), *own), dims[:-1], strict=True):
            place = k.add(k.mul(place, size), index)
            start = k.add(k.mul(start, inside), k.sub(index, low))
            within = arith.bit_and(k.compare("ge", index, low), k.compare("lt", k.sub(index, low), inside))
            valid = within if valid is None else arith.bit_and(valid, within)
        assert valid is not None
        inside, low, size = dims[-1]
        begin, end = low, k.select_index(valid, k.add(low, inside), 0)
        shifted = k.offset(source, k.sub(k.mul(start, inside), low))
        target = k.offset(out, k.mul(place, size))

        def point(at: Index, mask: Value | None) -> None:
            def partly() -> list[Value]:
                some = arith.bit_and(k.mask(k.sub(end, at), lanes), arith.bit_not(k.mask(k.max(k.sub(begin, at), 0), lanes)))
                return [k.masked_load(shifted, at, mask=some, other=border)]

            if masked or mask is not None:
                (found,) = partly()
            else:
                whole = arith.bit_and(k.compare("le", begin, at), k.compare("le", k.add(at, lanes), end))
                (found,) = k.choose(whole, lambda: [k.load(shifted, at, lanes=lanes)], partly)
            write(k, found, target, (at,), mask)

        vector_loop(k, 0, size, lanes, point)
    return k.finish()
