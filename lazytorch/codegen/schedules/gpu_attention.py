"""The attention schedule on a GPU: attention and its derivatives tile by tile, in memory linear in the sequence's length.

One kernel yields the result and the logarithms of sums, one the cotangent of queries, one those of keys and values, each as
far as they are asked for.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from lazytorch import dtypes
from lazytorch.codegen.expression import Leaf, collapse, tensor_type
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Slot, symbol_of
from lazytorch.codegen.schedules.attention import NAMES, row_leaf
from lazytorch.codegen.schedules.gpu_attention_kernel import (
    FORWARD,
    KEYS,
    QUERIES,
    STAGES,
    AttentionKernel,
    AttentionKernelShape,
)
from lazytorch.codegen.schedules.gpu_attention_tiles import ACROSS, THREADS, Extent, Rows
from lazytorch.codegen.schedules.gpu_matrix import CHUNK
from lazytorch.codegen.schedules.gpu_pipeline import copied_in_background
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait
from lazytorch.ir.dialects import nn_attention

MATRIX_ROWS = 64
"""Rows of a tile that four warps compute, 16 each."""
FMA_ROWS = (64, 32, 16, 8)
COLUMNS = (64, 32, 16)
MOST_PIECES = 8
"""Vectors of an operand per block of columns that a thread may read through registers, if smaller blocks make them fewer."""
OPERANDS = {FORWARD: (("query",), ("key", "value")), QUERIES: (("query", "cotangent"), ("key", "value")),
            KEYS: (("key", "value"), ("query", "cotangent"))}  # fmt: skip
"""What is kept, and what passes by."""


def gpu_attention_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """The launches for what a kernel yields of attention."""
    operations = [operation for operation in kernel.region.block if operation.has(Trait.TILED)]
    results = {_name(operation): operation.result for operation in operations}
    results = {name: value for name, value in results.items() if 0 not in tensor_type(value).shape}
    made = []
    for kind, names in ((FORWARD, ("out", "logsumexp")), (QUERIES, ("dquery",)), (KEYS, ("dkey", "dvalue"))):
        wanted = {name: results[name] for name in names if name in results}
        if wanted:
            own = [operation for operation in operations if operation.result in wanted.values()]
            made.append(_Schedule(kind, own, wanted, context).launch())
    return made


def _name(operation: Operation) -> str:
    if operation.declaration is nn_attention.attention_backward:
        return NAMES[operation.attributes.operand]
    return "out" if operation.declaration is nn_attention.attention else "logsumexp"


class _Schedule:
    """One kernel of attention."""

    def __init__(
        self, kind: str, operations: Sequence[Operation], results: dict[str, Value], context: ScheduleContext
    ) -> None:
        assert isinstance(context.target, GpuTarget)
        self.kind, self.operations, self.results, self.target = kind, operations, results, context.target
        first = next((x for x in operations if x.declaration is not nn_attention.logsumexp), operations[0])
        self.attributes = first.attributes
        operands = list(first.operands)
        self.statistics: list[Value] = []
        self.values: dict[str, Value] = {}
        if first.declaration is nn_attention.attention_backward:
            self.values["cotangent"] = operands.pop(0)
            self.statistics = operands[3:5]
            del operands[3:5]
        count = 2 if first.declaration is nn_attention.logsumexp else 3
        self.values |= dict(zip(("query", "key", "value"), operands[:count], strict=False))
        self.masks = operands[count:]
        query, key = tensor_type(self.values["query"]), tensor_type(self.values["key"])
        self.lead, self.queries, self.depth = query.shape[:-2], query.shape[-2], query.shape[-1]
        self.keys = key.shape[-2]
        self.width = tensor_type(self.values["value"]).shape[-1] if count == 3 else 0
        self.dtype, self.accumulator = query.dtype, nn_attention.wide(query.dtype)
        self.by_matrices = self.dtype in self.target.matrix_types and self.dtype.itemsize == 2
        self.kept, self.streamed = ([n for n in names if self._is_read(n)] for names in OPERANDS[kind])

    def _is_read(self, name: str) -> bool:
        """Whether the results depend on an operand by more than the scores."""
        if name == "value":
            return bool({"out", "dquery", "dkey"} & self.results.keys())
        return name in self.values

    def _rows(self) -> tuple[dict[str, Rows], list[int], tuple[Leaf, tuple[int, ...]] | None]:
        """The operands, the sizes of loops over leading dimensions, and the mask with its strides there."""
        leaves = {
            name: row_leaf(self.values[name], tensor_type(self.values[name]).shape) for name in self.kept + self.streamed
        }
        masks = [row_leaf(mask, (*self.lead, self.queries, self.keys)) for mask in self.masks]
        strides = [leaf.access.strides[:-2] for leaf in (*leaves.values(), *masks)]
        groups = collapse(self.lead, [*strides, _row_major(self.lead)])
        batch = [math.prod([self.lead[d] for d in group]) for group in groups]
        around = [tuple([own[group[-1]] for group in groups]) for own in strides]
        most = CHUNK // (self.dtype if self.by_matrices else self.accumulator).itemsize
        rows = {
            name: Rows(leaf, own, most, name in self.streamed)
            for (name, leaf), own in zip(leaves.items(), around, strict=False)
        }
        return rows, batch, (masks[0], around[-1]) if masks else None

    def _extent(self, rows: dict[str, Rows], background: bool) -> Extent:
        """The largest tiles that there is shared memory for."""
        dtype = self.dtype if self.by_matrices else self.accumulator
        depth, width = _padded(self.depth), _padded(self.width)
        lengths = {name: width if name in ("value", "cotangent") else depth for name in rows}
        kept = sum(lengths[name] for name in self.kept)
        passing = STAGES * sum(lengths[name] for name in self.streamed)
        fitting = [
            Extent(MATRIX_ROWS if self.by_matrices else FMA_ROWS[-1], COLUMNS[-1], depth, width, dtype, self.accumulator)
        ]
        for own in (MATRIX_ROWS,) if self.by_matrices else FMA_ROWS:
            for columns in COLUMNS:
                pieces = [columns * lengths[name] // rows[name].lanes // THREADS for name in self.streamed]
                weights = 0 if self.by_matrices else own * columns
                elements = kept * own + passing * columns + weights
                if elements * dtype.itemsize <= self.target.shared_bytes and (background or max(pieces) <= MOST_PIECES):
                    fitting.append(Extent(own, columns, depth, width, dtype, self.accumulator))
        return max(fitting, key=lambda extent: (extent.rows * extent.columns, extent.rows))

    def _out_lanes(self, extent: Extent) -> int:
        """Elements of results that are stored at a time."""
        lanes = 2 if self.by_matrices else CHUNK // self.accumulator.itemsize
        for name, result in self.results.items():
            if name != "logsumexp":
                padded = extent.width if name in ("out", "dvalue") else extent.depth
                own = lanes if self.by_matrices else padded // ACROSS
                lanes = math.gcd(lanes, own, tensor_type(result).shape[-1])
        return lanes

    def launch(self) -> Launch:
        """The launch: a block per tile of rows."""
        rows, batch, mask = self._rows()
        element = self.dtype if self.by_matrices else self.accumulator
        background = all(copied_in_background(operand, self.target, element, True) for operand in rows.values())
        extent = self._extent(rows, background)
        shape = AttentionKernelShape(
            kind=self.kind,
            by_matrices=self.by_matrices,
            extent=extent,
            kept=tuple([(name, rows[name].lanes, background) for name in self.kept]),
            streamed=tuple([(name, rows[name].lanes, background) for name in self.streamed]),
            batch=len(batch),
            causal=self.attributes.causal,
            mask=None if mask is None else mask[0].dtype,
            mask_step=0 if mask is None else int(mask[0].access.strides[-1] == 1),
            results=tuple([(name, value.type.dtype) for name, value in self.results.items()]),
            out_lanes=self._out_lanes(extent),
        )
        key = f"attention|gpu|{shape}"
        symbol = symbol_of("attention", key)
        across = (self.keys, self.queries) if self.kind == KEYS else (self.queries, self.keys)
        slots: list[Slot] = [slot for operand in rows.values() for slot in operand.slots]
        if mask is not None:
            leaf, own = mask
            slots += [Address(_memory(leaf), leaf.access.offset * leaf.dtype.itemsize), leaf.access.strides[-2], *own]
        slots += [Address(value) for value in (*self.statistics, *self.results.values())]
        slots += [self._scale(), *across, self.depth, self.width, *batch]
        return Launch(
            key=key,
            symbol=symbol,
            build=lambda: AttentionKernel(KernelBuilder(symbol), shape, rows).build(),
            slots=slots,
            flops=self._flops(),
            bytes=sum(tensor_type(x).nbytes for x in {*self.operations[0].operands, *self.results.values()}),
            operations=self.operations,
            blocks=math.prod(batch) * -(-across[0] // extent.rows),
            threads=THREADS,
        )

    def _flops(self) -> int:
        pairs = math.prod(self.lead) * self.queries * self.keys // (2 if self.attributes.causal else 1)
        per_pair = {
            "out": self.width,
            "dquery": self.depth + self.width,
            "dkey": self.depth + self.width,
            "dvalue": self.width,
        }
        return 2 * pairs * (self.depth + sum(per_pair.get(name, 0) for name in self.results))

    def _scale(self) -> int:
        """The scale's bits, as a slot."""
        single = self.accumulator is dtypes.float32
        scale = float(self.attributes.scale)
        return int(struct.unpack("<i" if single else "<q", struct.pack("<f" if single else "<d", scale))[0])


def _memory(leaf: Leaf) -> Value:
    assert leaf.value is not None
    return leaf.value


def _row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of the results' leading dimensions."""
    return tuple([math.prod(shape[d + 1 :]) for d in range(len(shape))])


def _padded(length: int) -> int:
    """Elements that a row is filled up to: a power of two, 16 at least."""
    return max(16, 1 << (length - 1).bit_length()) if length else 0
