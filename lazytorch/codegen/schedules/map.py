"""The map schedule: any elementwise expression over one iteration space, with several results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

from lazytorch.codegen.expression import Expression, collapse
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Slot, symbol_of
from lazytorch.codegen.schedules.gpu_map import gpu_map_launch
from lazytorch.codegen.schedules.map_tiles import build_tiles, tiled_group, tiles_of
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, Output, split_rows, vector_loop, write
from lazytorch.ir.core import Operation, Value

BLOCK = 4096
"""Elements per parallel iteration of a one-dimensional map."""
SHORT = 4
"""Vectors below which an inner loop is joined with the one around it."""
LONGEST_TABLE = 4096
"""Offsets that a table holds at most."""
ENOUGH_ROWS = 64
"""Iterations of the parallel loop that are enough to divide; further outer dimensions are loops inside."""
SERIAL_WORK = 16_384
"""Elements times operations below which one thread does it all: waking another costs several microseconds."""


def chunks_for(iterations: int, work: int, context: ScheduleContext, per_thread: int = 4) -> int:
    """Into how many pieces to divide a parallel loop of so many iterations and so much work (operations on elements)."""
    if isinstance(context.target, GpuTarget):
        return max(1, iterations)
    if work < SERIAL_WORK or context.threads == 1:
        return 1
    return max(1, min(iterations, context.threads * per_thread, work // (SERIAL_WORK // 2)))


def map_launch(
    expression: Expression, outputs: Sequence[Output], context: ScheduleContext, operations: Sequence[Operation]
) -> Launch | None:
    """One launch that computes the expression's outputs; None when there is nothing to compute."""
    sizes = expression.shape
    if 0 in sizes:
        return None
    if isinstance(context.target, GpuTarget):
        return gpu_map_launch(expression, outputs, context.target, operations)
    strides = [leaf.access.strides for leaf in expression.leaves] + [output.access.strides for output in outputs]
    groups = collapse(sizes, strides) or [[]]
    written = [output.value.type.dtype for output in outputs]
    groups = _flattened(groups, sizes, expression, outputs, Nest(expression, sizes, groups).lanes(context.target, written))
    nest = Nest(expression, sizes, groups)
    inner = nest.sizes[-1]
    lanes = 1 if inner == 1 else nest.lanes(context.target, written)
    nest.find_windows(lanes)
    flat = len(groups) == 1
    tiled = tiled_group(nest, lanes)
    parallel = parallel_groups(nest.sizes) if tiled is None else len(nest.sizes) - 1
    out_strides = [nest.group_strides(output.access.strides) for output in outputs]
    patterns = [nest.pattern(strides) for strides in out_strides]
    key = f"map|{lanes}|{parallel}|{tiled}|{nest.key()}|{patterns}"
    symbol = symbol_of("map", key)
    slots: list[Slot] = nest.slots()
    for output, own in zip(outputs, out_strides, strict=True):
        slots.append(Address(output.value, output.access.offset * output.value.type.dtype.itemsize))
        slots += [stride for stride in own if stride not in (0, 1)]
    slots += nest.sizes
    count = 1
    for size in sizes:
        count *= size
    rows = -(-count // BLOCK) if flat else math.prod(nest.sizes[:parallel])
    if tiled is not None:
        rows = math.prod(tiles_of(nest, tiled, lanes))
    return Launch(
        key=key,
        symbol=symbol,
        build=lambda: _build(symbol, nest, outputs, patterns, lanes, parallel, tiled),
        slots=slots,
        chunks=chunks_for(rows, count * (2 + expression.operations), context),
        flops=count * expression.operations,
        bytes=nest.bytes_read() + count * sum(dtype.itemsize for dtype in written),
        operations=operations,
    )


def _flattened(
    groups: list[list[int]], sizes: Sequence[int], expression: Expression, outputs: Sequence[Output], lanes: int
) -> list[list[int]]:
    """The groups with trailing short ones made one inner loop, so that vectors are full and rows are worth their start.

    What has no common stride then is read through a table of offsets; results must have one.
    """
    flattened = [list(group) for group in groups]
    while len(flattened) > 1:
        inner = math.prod([sizes[d] for d in flattened[-1]])
        merged = flattened[-2][-1:] + flattened[-1]
        extent = math.prod([sizes[d] for d in merged])
        if inner >= SHORT * lanes or extent > LONGEST_TABLE:
            break
        kept = [d for d in merged if sizes[d] != 1]
        steps = [[output.access.strides[d] for d in kept] for output in outputs]
        reach = [sum((sizes[d] - 1) * abs(leaf.access.strides[d]) for d in kept) for leaf in expression.leaves]
        if len(collapse([sizes[d] for d in kept], steps)) > 1 or max(reach, default=0) >= 1 << 31:
            break
        del flattened[-2][-1]
        flattened[-2:] = [*filter(None, flattened[-2:-1]), merged]
    return flattened


def parallel_groups(sizes: Sequence[int]) -> int:
    """How many outer groups are divided among threads; the others are loops of each thread."""
    for count in range(1, len(sizes)):
        if math.prod(sizes[:count]) >= ENOUGH_ROWS:
            return count
    return len(sizes) - 1


def _build(
    symbol: str,
    nest: Nest,
    outputs: Sequence[Output],
    patterns: Sequence[tuple[int | None, ...]],
    lanes: int,
    parallel: int,
    tiled: int | None,
) -> Operation:
    k = KernelBuilder(symbol)
    emitter = NestEmitter(k, nest, lanes)
    buffers = [
        k.buffer(output.value.type.dtype, pattern, f"out{i}")
        for i, (output, pattern) in enumerate(zip(outputs, patterns, strict=True))
    ]
    sizes = [k.index_argument(f"size{g}") for g in range(len(nest.sizes))]
    inner = sizes[-1]
    if tiled is not None:
        _build_tiled(k, nest, emitter, buffers, tiled, sizes, lanes)
    elif len(sizes) == 1:
        emitter.at()
        with k.parallel(0, k.ceil_div(inner, BLOCK)) as block:
            low = k.mul(block, BLOCK)
            _inner(k, emitter, buffers, (), low, k.min(k.add(low, BLOCK), inner), lanes)
    else:
        with ExitStack() as loops:
            row = loops.enter_context(k.parallel(0, k.product(sizes[:parallel])))
            own = [loops.enter_context(k.loop(0, size)) for size in sizes[parallel:-1]]
            outer = (*split_rows(k, row, sizes[:parallel]), *own)
            emitter.at(*outer)
            _inner(k, emitter, buffers, outer, 0, inner, lanes)
    return k.finish()


def _build_tiled(
    k: KernelBuilder,
    nest: Nest,
    emitter: NestEmitter,
    buffers: Sequence[Value],
    group: int,
    sizes: Sequence[Value],
    lanes: int,
) -> None:
    def row(outer: tuple[Index, ...], low: Index, high: Index) -> None:
        emitter.at(*outer)
        _inner(k, emitter, buffers, outer, low, high, lanes)

    def point(outer: tuple[Index, ...], index: Index, given: dict[int, Value] | None) -> None:
        emitter.at(*outer)
        for value, buffer in zip(emitter.values(index, lanes, None, given), buffers, strict=True):
            write(k, value, buffer, (*outer, index), None)

    build_tiles(k, nest, emitter, group, sizes, lanes, row, point)


def _inner(
    k: KernelBuilder,
    emitter: NestEmitter,
    buffers: Sequence[Value],
    outer: tuple[Index, ...],
    low: Index,
    high: Index,
    lanes: int,
) -> None:
    """Whole vectors, then one masked vector for the rest."""

    def point(index: Index, mask: Value | None) -> None:
        for value, buffer in zip(emitter.values(index, lanes, mask), buffers, strict=True):
            write(k, value, buffer, (*outer, index), mask)

    if lanes == 1:
        with k.loop(low, high) as index:
            point(index, None)
        return
    vector_loop(k, low, high, lanes, point)
