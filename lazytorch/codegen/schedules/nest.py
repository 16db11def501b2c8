"""What schedules share: kernel arguments for the leaves of an expression, and its values at an index, scalar or vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.codegen.expression import Expression, Leaf, collapse, describe
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Slot, Table
from lazytorch.codegen.target import Target
from lazytorch.codegen.views import Access, offsets
from lazytorch.dtypes import DType
from lazytorch.ir.core import Value
from lazytorch.ir.dialects import arith, loop
from lazytorch.ir.types import VectorType

WIDEST_WINDOW = 4
"""Vectors from which the lanes of one may be shuffled together: beyond, a gather is no slower."""


@dataclass(frozen=True)
class Output:
    """Where a result goes: a strided access (usually the whole contiguous buffer) on a value's memory."""

    value: Value
    access: Access


class Nest:
    """An expression over collapsed dimensions. The last group is the inner loop, which vectors run along.

    `groups` are lists of dimension numbers of the iteration space; [] stands for a single point. Dimensions of the last
    group need not have a common stride: leaves for which they have none are read through a table of offsets (`tables`), and
    where every vector's offsets repeat the same short pattern (`windows`), by loading the window and shuffling it.
    Leaves in `internal` are numbers that the kernel itself computes per row (NestEmitter.supply).
    """

    def __init__(
        self,
        expression: Expression,
        sizes: Sequence[int],
        groups: Sequence[Sequence[int]],
        internal: Set[int] = frozenset(),
    ) -> None:
        self.expression = expression
        self.internal = internal
        self.groups = [list(group) for group in groups]
        self.sizes = [math.prod([sizes[d] for d in group]) for group in groups]
        self.strides = [self.group_strides(leaf.access.strides) for leaf in expression.leaves]
        inner = self.groups[-1] if self.groups else []
        self.tables: dict[int, np.ndarray] = {}
        for number, leaf in enumerate(expression.leaves):
            if len(collapse([sizes[d] for d in inner], [[leaf.access.strides[d] for d in inner]])) > 1:
                self.tables[number] = offsets([(sizes[d], leaf.access.strides[d]) for d in inner]).astype(np.int32)
                self.strides[number] = (*self.strides[number][:-1], 1)
        self.windows: dict[int, tuple[int, ...]] = {}
        self.varying = self._varying()

    def find_windows(self, lanes: int) -> None:
        """Find the tables whose vectors of so many lanes have one pattern, which is structure of the kernel then. The vector
        loop must start at a multiple of `lanes`."""
        for number, table in self.tables.items():
            vectors = table[: len(table) // lanes * lanes].reshape(-1, lanes)
            steps = vectors - vectors[:, :1]
            if lanes > 1 and len(steps) and (steps == steps[0]).all() and np.ptp(steps[0]) < WIDEST_WINDOW * lanes:
                self.windows[number] = tuple(steps[0].tolist())

    def group_strides(self, strides: Sequence[int]) -> tuple[int, ...]:
        """One stride per group: that of its last dimension; a group of size 1 has none."""
        out = []
        for group, size in zip(self.groups, self.sizes, strict=True):
            out.append(strides[group[-1]] if group and size > 1 else 0)
        return tuple(out)

    def _varying(self) -> list[bool]:
        """Per entry: whether it changes along the inner loop."""
        out: list[bool] = []
        for entry in self.expression.entries:
            if entry[0] == "leaf":
                out.append(bool(self.strides[entry[1]]) and self.strides[entry[1]][-1] != 0)
            elif entry[0] == "op":
                out.append(any(out[operand] for operand in entry[2]))
            else:
                out.append(entry[0] == "given")
        return out

    def lanes(self, target: Target | GpuTarget, extra: Sequence[DType] = ()) -> int:
        """Elements per vector: what fits for the widest element type involved."""
        widest = max(
            [self.expression.dtype(i).itemsize for i in range(len(self.expression.entries))]
            + [dtype.itemsize for dtype in extra]
        )
        return target.lanes(widest)

    def aligned_lanes(self, most: int, accesses: Sequence[tuple[tuple[int, ...], int]] = ()) -> int:
        """The most elements, up to `most`, of which every vector begins at a multiple of its own size, if all buffers do.

        accesses: strides (per group) and offset of further buffers than those of the leaves.
        """
        used = [
            (strides, leaf.access.offset)
            for leaf, strides in zip(self.expression.leaves, self.strides, strict=True)
            if leaf.value
        ]
        lanes = most
        for strides, offset in [*used, *accesses]:
            if strides and strides[-1] == 1:
                lanes = math.gcd(lanes, offset, *strides[:-1])
        return lanes

    def pattern(self, strides: Sequence[int]) -> tuple[int | None, ...]:
        """The part of strides that is structure: 0 and 1; None for a run-time stride."""
        return tuple([stride if stride in (0, 1) else None for stride in strides])

    def key(self) -> str:
        """Canonical text of the expression with its leaves' patterns."""
        leaves = [
            f"internal{leaf.dtype.name}"
            if number in self.internal
            else f"{'iota' if leaf.value is None else 'buffer'}{leaf.dtype.name}{self.pattern(strides)}"
            f"{'table' if number in self.tables else ''}{self.windows.get(number, '')}"
            for number, (leaf, strides) in enumerate(zip(self.expression.leaves, self.strides, strict=True))
        ]
        return f"{len(self.groups)}|{'/'.join(leaves)}|{describe(self.expression)}"

    def slots(self) -> list[Slot]:
        """The slots of the leaves, in the order in which `arguments` declares them."""
        out: list[Slot] = []
        for number, (leaf, strides) in enumerate(zip(self.expression.leaves, self.strides, strict=True)):
            if number in self.internal:
                continue
            if leaf.value is None:
                out += [leaf.access.offset, *strides]
            else:
                out.append(Address(leaf.value, leaf.access.offset * leaf.dtype.itemsize))
                out += [stride for stride in strides if stride not in (0, 1)]
            if number in self.tables:
                out.append(Table(self.tables[number]))
        return out

    def bytes_read(self) -> int:
        """Bytes of the distinct elements that the leaves read."""
        total = 0
        for number, (leaf, strides) in enumerate(zip(self.expression.leaves, self.strides, strict=True)):
            if number in self.internal:
                continue
            count = math.prod([size for size, stride in zip(self.sizes, strides, strict=True) if stride])
            total += count * leaf.dtype.itemsize
        return total


class NestEmitter:
    """Emits a nest's values inside a kernel. Entries that do not change along the inner loop are computed outside of it."""

    def __init__(self, k: KernelBuilder, nest: Nest, lanes: int, aligned: bool = False) -> None:
        """aligned: whole vectors of stride 1 begin at multiples of their size."""
        self.k = k
        self.nest = nest
        self.lanes = lanes
        self.aligned = aligned
        self.arguments: list[tuple[Value, ...]] = []
        for number, leaf in enumerate(nest.expression.leaves):
            self.arguments.append(self._declare(number, leaf, nest.strides[number]))
        self.outer: dict[int, Value] = {}
        self.outer_index: tuple[Index, ...] = ()
        self.vectors: dict[int, Value] = {}

    def _declare(self, number: int, leaf: Leaf, strides: tuple[int, ...]) -> tuple[Value, ...]:
        k = self.k
        if number in self.nest.internal:
            return ()
        if leaf.value is None:
            names = ["offset", *[f"stride{g}_" for g in range(len(strides))]]
            arguments = [k.index_argument(f"iota{number}_{name}") for name in names]
        else:
            arguments = [k.buffer(leaf.dtype, self.nest.pattern(strides), f"in{number}")]
        if number in self.nest.tables:
            arguments.append(k.buffer(dtypes.int32, (1,), f"offsets{number}"))
        return tuple(arguments)

    def at(self, *outer: Index) -> None:
        """Fix the outer indices, and compute what depends on nothing else, as scalars and broadcast to vectors."""
        self.outer_index = outer
        self.outer = {}
        self.vectors = {}
        self._compute_invariants()

    def supply(self, scalars: dict[int, Value]) -> None:
        """Give internal leaves (by number) their values of this row, and compute what follows from them alone."""
        for number, entry in enumerate(self.nest.expression.entries):
            if entry[0] == "leaf" and entry[1] in scalars:
                self.outer[number] = scalars[entry[1]]
        self._compute_invariants()

    def _compute_invariants(self) -> None:
        expression = self.nest.expression
        for number, entry in enumerate(expression.entries):
            if not self.nest.varying[number] and number not in self.outer and self._is_available(entry):
                self.outer[number] = self._scalar(number, entry)
        if self.lanes > 1:
            for number in self._crossing():
                if number not in self.vectors:
                    self.vectors[number] = self.k.broadcast(self.outer[number], self.lanes)

    def _is_available(self, entry: tuple[Any, ...]) -> bool:
        """Whether an invariant entry can be computed now (internal leaves come row by row)."""
        if entry[0] == "leaf":
            return entry[1] not in self.nest.internal
        entries = self.nest.expression.entries
        return entry[0] == "op" and all(x in self.outer or entries[x][0] == "constant" for x in entry[2])

    def _crossing(self) -> list[int]:
        """Invariant entries that varying ones (or the outputs) read."""
        expression = self.nest.expression
        read = set(expression.outputs)
        for number, entry in enumerate(expression.entries):
            if entry[0] == "op" and self.nest.varying[number]:
                read.update(entry[2])
        return sorted(number for number in read if number in self.outer)

    def _scalar(self, number: int, entry: tuple[Any, ...]) -> Value:
        if entry[0] == "leaf":
            return self._read(entry[1], 0, 1, None)
        operands = [self._scalar_operand(operand) for operand in entry[2]]
        value: Value = operands[0].builder.emit(entry[1], operands)
        return value

    def _scalar_operand(self, number: int) -> Value:
        entry = self.nest.expression.entries[number]
        if entry[0] == "constant":
            return self.k.splat(entry[1], entry[2])
        return self.outer[number]

    def values(
        self,
        inner: Index,
        lanes: int,
        mask: Value | None = None,
        given: dict[int, Value] | None = None,
        wanted: Sequence[int] | None = None,
    ) -> list[Value]:
        """The entries `wanted` (by default the outputs) at inner index `inner` (and the following, for lanes > 1; lanes
        whose mask is false hold junk). Nothing below the entries that are `given` is computed; computed ones are added."""
        expression = self.nest.expression
        values: dict[int, Value] = given if given is not None else {}
        if wanted is None:
            wanted = expression.outputs
        for number in expression.below(wanted, values):
            entry = expression.entries[number]
            if not self.nest.varying[number]:
                if entry[0] == "constant":
                    values[number] = self.k.splat(entry[1], entry[2], lanes)
                elif lanes == 1:
                    values[number] = self.outer[number]
                elif number in self.vectors:  # else only other invariants read it
                    values[number] = self.vectors[number]
            elif entry[0] == "leaf":
                values[number] = self._read(entry[1], inner, lanes, mask)
            else:
                operands = [values[operand] for operand in entry[2]]
                values[number] = operands[0].builder.emit(entry[1], operands)
        return [values[number] for number in wanted]

    def along(self, number: int, outer: tuple[Index, ...], inner: Index, lanes: int) -> Value:
        """`lanes` consecutive elements of a leaf's memory from an index on, whichever loop they lie along."""
        (buffer,) = self.arguments[number]
        return self.k.load(loop.flatten(self.k.offset(buffer, *outer, inner)), 0, lanes=lanes)

    def _read(self, number: int, inner: Index, lanes: int, mask: Value | None) -> Value:
        leaf = self.nest.expression.leaves[number]
        if leaf.value is None:
            return self._iota(number, leaf, inner, lanes, mask)
        if number in self.nest.tables:
            return self._read_through_table(number, inner, lanes, mask)
        (buffer,) = self.arguments[number]
        strides = self.nest.strides[number]
        index = (*self.outer_index, *([inner] if len(self.outer_index) < len(strides) else []))
        if lanes == 1:
            return self.k.load(buffer, *index)
        if strides[-1] == 1:
            if mask is None:
                return self.k.load(buffer, *index, lanes=lanes, aligned=self.aligned)
            return self.k.masked_load(buffer, *index, mask=mask, other=self.k.splat(0, leaf.dtype, lanes))
        some = mask if mask is not None else self.k.splat(True, dtypes.bool_, lanes)
        value: Value = loop.strided_load(buffer, *[self.k.value(i) for i in index], some, lanes=lanes)
        return value

    def _read_through_table(self, number: int, inner: Index, lanes: int, mask: Value | None) -> Value:
        """Elements whose offsets from the outer index are in a table."""
        k = self.k
        buffer, table = self.arguments[number]
        source = loop.flatten(k.offset(buffer, *self.outer_index, 0))
        if mask is None and lanes == self.lanes and number in self.nest.windows:
            return self._read_window(source, arith.cast(k.load(table, inner), dtype=dtypes.index), self.nest.windows[number])
        offsets = self._table_vector(table, inner, lanes, mask)
        if lanes == 1:
            return k.load(source, arith.cast(offsets, dtype=dtypes.index))
        some = mask if mask is not None else k.splat(True, dtypes.bool_, lanes)
        value: Value = loop.gather_load(source, offsets, some)
        return value

    def _read_window(self, source: Value, start: Value, steps: tuple[int, ...]) -> Value:
        """The elements at `steps` from `start`: whole vectors that cover them, of which none reaches beyond the outermost
        ones, shuffled pairwise until one is left."""
        k, lanes = self.k, len(steps)
        low = min(steps)
        span = max(steps) - low + 1
        begins = [min(begin, max(span - lanes, 0)) for begin in range(0, span, lanes)]
        first = k.add(start, low)
        if span < lanes:
            zero = k.splat(0, source.type.dtype, lanes)
            vectors = [k.masked_load(source, first, mask=k.mask(span, lanes), other=zero)]
        else:
            vectors = [k.load(source, k.add(first, begin), lanes=lanes) for begin in begins]
        # Where each wanted element is: the number of its vector, and its lane there.
        places = [(min((step - low) // lanes, len(begins) - 1), step - low) for step in steps]
        places = [(vector, element - begins[vector]) for vector, element in places]
        while len(vectors) > 1 or places != [(0, lane) for lane in range(lanes)]:
            pairs = [(vectors[i], vectors[i + 1] if i + 1 < len(vectors) else vectors[i]) for i in range(0, len(vectors), 2)]
            vectors = [
                loop.shuffle(a, b, lanes=tuple([lane + lanes * (v & 1) if v // 2 == pair else 0 for v, lane in places]))
                for pair, (a, b) in enumerate(pairs)
            ]
            places = [(vector // 2, lane) for lane, (vector, _) in enumerate(places)]
        return vectors[0]

    def _table_vector(self, table: Value, inner: Index, lanes: int, mask: Value | None) -> Value:
        if mask is None:
            return self.k.load(table, inner, lanes=lanes)
        return self.k.masked_load(table, inner, mask=mask, other=self.k.splat(0, dtypes.int32, lanes))

    def _iota(self, number: int, leaf: Leaf, inner: Index, lanes: int, mask: Value | None) -> Value:
        offset, *strides = self.arguments[number]
        table = strides.pop() if number in self.nest.tables else None
        total: Index = offset
        index = (*self.outer_index, *([inner] if len(self.outer_index) < len(strides) and table is None else []))
        for position, stride in zip(index, strides, strict=table is None):
            total = self.k.add(total, self.k.mul(position, stride))
        start: Value = arith.cast(self.k.value(total), dtype=dtypes.int64)
        if table is not None:
            steps = arith.cast(self._table_vector(table, inner, lanes, mask), dtype=dtypes.int64)
            start = arith.add(self.k.broadcast(start, lanes), steps)
        elif lanes > 1:
            step: Value = arith.cast(strides[-1], dtype=dtypes.int64)
            ramp = arith.mul(self.k.lane_ids(lanes), self.k.broadcast(step, lanes))
            start = arith.add(self.k.broadcast(start, lanes), ramp)
        value: Value = arith.cast(start, dtype=leaf.dtype)
        return value


def write(
    k: KernelBuilder, value: Value, buffer: Value, index: Sequence[Index], mask: Value | None, aligned: bool = False
) -> None:
    """Store a scalar or vector; a vector goes along the last index, whatever its stride is."""
    if not isinstance(value.type, VectorType):
        k.store(value, buffer, *index)
        return
    stride = buffer.type.strides[-1]  # type: ignore[attr-defined]
    if stride == 1:
        if mask is None:
            k.store(value, buffer, *index, aligned=aligned)
        else:
            k.masked_store(value, buffer, *index, mask=mask)
        return
    some = mask if mask is not None else k.splat(True, dtypes.bool_, value.type.lanes)
    loop.strided_store(value, some, buffer, *[k.value(i) for i in index])


def vector_loop(
    k: KernelBuilder, low: Index, high: Index, lanes: int, body: Callable[[Index, Value | None], object]
) -> None:
    """`body(index, mask)` for whole vectors of [low, high) with mask None, then for one masked vector of what is left."""
    main = k.add(low, k.round_down(k.sub(high, low), lanes))
    with k.loop(low, main, lanes) as index:
        body(index, None)
    with k.when(k.compare("lt", main, high)):
        body(main, k.mask(k.sub(high, main), lanes))


def split_rows(k: KernelBuilder, row: Index, sizes: Sequence[Index]) -> tuple[Index, ...]:
    """The indices of the outer dimensions from their row-major number."""
    index: list[Index] = []
    for position in range(len(sizes) - 1, 0, -1):
        index.append(k.rem(row, sizes[position]))
        row = k.div(row, sizes[position])
    index.append(row)
    return tuple(reversed(index)) if sizes else ()
