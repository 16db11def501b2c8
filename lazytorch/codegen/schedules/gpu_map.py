"""The map schedule on a GPU: one vector of consecutive elements per thread, 128 bits wide where the strides allow it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lazytorch.codegen.expression import Expression, collapse
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, Slot, symbol_of
from lazytorch.codegen.schedules.nest import Nest, NestEmitter, Output, split_rows, write
from lazytorch.ir.core import Operation


def gpu_map_launch(
    expression: Expression, outputs: Sequence[Output], target: GpuTarget, operations: Sequence[Operation]
) -> Launch:
    """One launch that computes the expression's outputs."""
    sizes = expression.shape
    strides = [leaf.access.strides for leaf in expression.leaves] + [output.access.strides for output in outputs]
    nest = Nest(expression, sizes, collapse(sizes, strides) or [[]])
    written = [output.value.type.dtype for output in outputs]
    out_strides = [nest.group_strides(output.access.strides) for output in outputs]
    places = [(own, output.access.offset) for own, output in zip(out_strides, outputs, strict=True)]
    lanes = nest.aligned_lanes(nest.lanes(target, written), places)
    flat = len(nest.sizes) == 1
    lanes = min(lanes, _power_below(nest.sizes[-1])) if flat else math.gcd(lanes, nest.sizes[-1])
    patterns = [nest.pattern(own) for own in out_strides]
    key = f"map|{lanes}|{nest.key()}|{patterns}"
    symbol = symbol_of("map", key)
    slots: list[Slot] = nest.slots()
    for output, own in zip(outputs, out_strides, strict=True):
        slots.append(Address(output.value, output.access.offset * output.value.type.dtype.itemsize))
        slots += [stride for stride in own if stride not in (0, 1)]
    slots += nest.sizes
    count = math.prod(sizes)

    def build() -> Operation:
        k = KernelBuilder(symbol)
        emitter = NestEmitter(k, nest, lanes, aligned=True)
        buffers = [
            k.buffer(output.value.type.dtype, pattern, f"out{i}")
            for i, (output, pattern) in enumerate(zip(outputs, patterns, strict=True))
        ]
        extents = [k.index_argument(f"size{g}") for g in range(len(nest.sizes))]

        def point(outer: tuple[Index, ...], index: Index, width: int) -> None:
            for value, buffer in zip(emitter.values(index, width), buffers, strict=True):
                write(k, value, buffer, (*outer, index), None, aligned=True)

        if flat:
            emitter.at()
            vectors = k.div(extents[0], lanes)
            with k.parallel(0, vectors) as item:
                point((), k.mul(item, lanes), lanes)
            if lanes > 1:
                with k.parallel(k.mul(vectors, lanes), extents[0]) as item:
                    point((), item, 1)
            return k.finish()
        vectors = k.div(extents[-1], lanes)
        with k.parallel(0, k.product([*extents[:-1], vectors])) as item:
            outer = split_rows(k, k.div(item, vectors), extents[:-1])
            emitter.at(*outer)
            point(outer, k.mul(k.rem(item, vectors), lanes), lanes)
        return k.finish()

    return Launch(
        key=key,
        symbol=symbol,
        build=build,
        slots=slots,
        chunks=-(-count // lanes),
        flops=count * expression.operations,
        bytes=nest.bytes_read() + count * sum(dtype.itemsize for dtype in written),
        operations=operations,
    )


def _power_below(count: int) -> int:
    """The largest power of two that is not above a count."""
    return 1 << (count.bit_length() - 1)
