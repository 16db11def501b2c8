"""The attention schedule: attention and its derivatives tile by tile, in memory linear in the length of the sequence.

One kernel yields the result and the rows' logarithms of sums, another the cotangents of query, key and value, each as far
as they are asked for. What is not computed together has the same bits.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Container, Sequence, Set
from dataclasses import dataclass

from lazytorch import dtypes
from lazytorch.codegen.expression import Leaf, NotStrided, collapse, pull, tensor_type
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, symbol_of
from lazytorch.codegen.schedules import attention_backward, attention_forward
from lazytorch.codegen.schedules.attention_backward import build_attention_backward
from lazytorch.codegen.schedules.attention_forward import build_attention
from lazytorch.codegen.schedules.attention_tiles import KEYS, LINE, QUERIES, AttentionShape
from lazytorch.codegen.schedules.contract import tile_rows
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.codegen.target import Target
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Trait
from lazytorch.ir.dialects import nn_attention

VECTORS = 2
"""Vectors of a panel: with as many rows as registers allow, loads are few, and 256 columns are whole panels."""
GROUP = 1 << 18
"""Bytes of results so far that wait while blocks of keys pass by: a part of the second-level cache."""
SCRATCH = 1 << 22
"""Bytes of scratch memory per thread, if one piece of the work does with that."""
NAMES = ("dquery", "dkey", "dvalue")
"""The results of the backward kernel, by the number of the operand."""
ALONE, TWICE = 5, 7
"""Products per pair of a query and a key when all cotangents are computed together, and when in two kernels."""
ITEMS = 4
"""Work items per thread, so that threads that get more of a triangle do not keep the others waiting."""


def read_rows(operation: Operation) -> list[Value]:
    """The operands that are read row by row: all but statistics of rows, which are read as they are computed."""
    operands = list(operation.operands)
    return operands if operation.declaration is not nn_attention.attention_backward else operands[:4] + operands[6:]


def row_leaf(value: Value, shape: tuple[int, ...], buffers: Set[Value] = frozenset()) -> Leaf:
    """How an operand lies in memory, broadcast to a shape. Raises NotStrided if its rows are not consecutive elements."""
    expression = pull([value], tensor_type(value).shape, boundary=buffers)
    entry = expression.entries[-1]
    if len(expression.entries) != 1 or entry[0] != "leaf" or expression.leaves[0].value is None:
        raise NotStrided(value)
    leaf = expression.leaves[0]
    access = leaf.access.expanded(shape)
    if access.strides[-1] != 1 and shape[-1] != 1 and not (access.strides[-1] == 0 and tensor_type(value).shape[-1] == 1):
        raise NotStrided(value)
    return Leaf(leaf.value, leaf.dtype, access)


def together(first: Operation, second: Operation) -> bool:
    """Whether one kernel yields the results of both operations."""
    a, b = first.attributes, second.attributes
    if (a.scale, a.causal) != (b.scale, b.causal):
        return False
    backward = nn_attention.attention_backward
    if first.declaration is backward or second.declaration is backward:
        return first.declaration is second.declaration and first.operands == second.operands
    return first.declaration is not second.declaration and _shared(first) == _shared(second)


def _shared(operation: Operation) -> list[Value]:
    """Query, key and mask of a forward operation."""
    skipped = 3 if operation.declaration is nn_attention.attention else 2
    return [*operation.operands[:2], *operation.operands[skipped:]]


def attention_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch for what a kernel yields of attention."""
    block = kernel.region.block
    operations = [operation for operation in block if operation.has(Trait.TILED)]
    if all(0 in tensor_type(operation.result).shape for operation in operations):
        return []
    if operations[0].declaration is nn_attention.attention_backward:
        return _Backward(operations, context).launches(block)
    return [_Forward(operations, context).launch(block)]


@dataclass
class _Read:
    """An operand: its memory, and the strides of its rows and of the loops over leading dimensions."""

    leaf: Leaf
    batch: tuple[int, ...]

    def slots(self) -> list[Slot]:
        """In the order in which attention_tiles.Source declares its arguments."""
        value, access = self.leaf.value, self.leaf.access
        assert value is not None
        return [Address(value, access.offset * self.leaf.dtype.itemsize), access.strides[-2], *self.batch]


class _Plan:
    """What both kernels are planned by: the operands, as reads of rows in loops over leading dimensions."""

    def __init__(self, operations: Sequence[Operation], operands: Sequence[Value], context: ScheduleContext) -> None:
        """operands: query, key, value (or key again) and the mask, if there is one."""
        assert isinstance(context.target, Target)
        self.operations, self.context, self.target = operations, context, context.target
        self.attributes = operations[0].attributes
        query, key, value = (tensor_type(x) for x in operands[:3])
        self.lead = query.shape[:-2]
        self.rows, self.depth = query.shape[-2:]
        self.count, self.columns = value.shape[-2:]
        self.dtype = query.dtype
        self.accumulator = nn_attention.wide(self.dtype)
        self.leaves = [row_leaf(x, tensor_type(x).shape) for x in operands[:3]]
        self.leaves += [row_leaf(x, (*query.shape[:-1], key.shape[-2])) for x in operands[3:]]

    def reads(self) -> list[_Read]:
        """The operands, with leading dimensions of one stride each as one loop. Sets `batch`, the sizes of these loops."""
        strides = [leaf.access.strides[:-2] for leaf in self.leaves]
        groups = collapse(self.lead, strides)
        self.batch = [math.prod([self.lead[d] for d in group]) for group in groups]
        return [
            _Read(leaf, tuple([own[group[-1]] for group in groups])) for leaf, own in zip(self.leaves, strides, strict=True)
        ]

    def shape(self, results: tuple[str, ...], mask: Leaf | None) -> AttentionShape:
        """The structure of the kernel."""
        most = self.target.contract_tile().rows
        return AttentionShape(
            dtype=self.dtype,
            lanes=self.target.lanes(self.accumulator.itemsize),
            rows=tile_rows(self.rows, most),
            key_rows=tile_rows(self.count, most),
            vectors=VECTORS,
            batch=len(self.batch),
            causal=self.attributes.causal,
            mask=None if mask is None else mask.dtype,
            mask_step=0 if mask is None else int(mask.access.strides[-1] == 1),
            results=results,
        )

    def _chunks(self, items: int, work: int, size: int) -> int:
        """Into how many pieces the items are divided: each piece has scratch memory of its own, of `size` elements."""
        per_thread = max(1, min(ITEMS, SCRATCH // (size * self.accumulator.itemsize)))
        return min(items, chunks_for(items, work, self.context, per_thread))

    def scale(self) -> int:
        """The scale's bits, as a slot."""
        single = self.accumulator is dtypes.float32
        scale = float(self.attributes.scale)
        return int(struct.unpack("<i" if single else "<q", struct.pack("<f" if single else "<d", scale))[0])


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


class _Forward(_Plan):
    """The kernel of nn.attention and nn.attention_logsumexp."""

    def __init__(self, operations: Sequence[Operation], context: ScheduleContext) -> None:
        first = operations[0]
        whole = next((x for x in operations if x.declaration is nn_attention.attention), None)
        query, key = first.operands[:2]
        masks = first.operands[3 if first is whole else 2 :]
        value = key if whole is None else whole.operands[2]
        super().__init__(operations, [query, key, value, *masks], context)

    def launch(self, block: Block) -> Launch:
        """The launch: groups of rows as many as there are threads to share them."""
        named = {"out" if x.declaration is nn_attention.attention else "logsumexp": x.result for x in self.operations}
        results = {name: named[name] for name in ("out", "logsumexp") if name in named}
        reads = self.reads()
        shape = self.shape(tuple(results), self.leaves[3] if len(self.leaves) > 3 else None)
        stride = _up(max(self.columns, 1), shape.width)
        blocks = -(-self.rows // QUERIES)
        batch = math.prod(self.lead)
        most = max(1, GROUP // (stride * shape.lines * shape.accumulator.itemsize))
        wanted = 1 if self.context.threads == 1 else -(-self.context.threads * ITEMS // batch)
        group = min(most, max(1, blocks // wanted), blocks)
        sizes = {
            "keys": KEYS * self.depth + shape.lanes * shape.width,
            "values": KEYS * stride,
            "queries": max(1, -(-self.depth // KEYS)) * shape.lines * LINE,
            "scores": shape.lines * LINE,
            "sums": group * shape.lines * stride,
            "top": _up(group * QUERIES, shape.lanes),
            "total": _up(group * QUERIES, shape.lanes),
            "factors": _up(shape.lines, 64),
            "ones": _up(shape.lines, 64),
        }
        starts, size = sections(sizes, attention_forward.SECTIONS)
        items = batch * -(-blocks // group)
        pairs = batch * self.rows * self.count // (2 if shape.causal else 1)
        flops = 2 * pairs * (self.depth + self.columns)
        chunks = self._chunks(items, flops // 2, size)
        key = f"attention|{shape.text()}"
        symbol = symbol_of("attention", key)
        slots: list[Slot] = [slot for read in reads for slot in read.slots()]
        slots += [*[Address(value) for value in results.values()], Scratch(0, chunks * size * shape.accumulator.itemsize)]
        slots += [self.scale(), self.rows, self.count, self.depth, self.columns, group * QUERIES, size, stride]
        slots += [*starts, *self.batch]
        return Launch(
            key=key,
            symbol=symbol,
            build=lambda: build_attention(KernelBuilder(symbol), shape),
            slots=slots,
            chunks=chunks,
            flops=flops,
            bytes=sum(tensor_type(x).nbytes for x in (*block.arguments, *results.values())),
            operations=[operation for operation in block if not operation.has(Trait.TERMINATOR)],
        )


class _Backward(_Plan):
    """The kernels of nn.attention_backward."""

    def __init__(self, operations: Sequence[Operation], context: ScheduleContext) -> None:
        cotangent, query, key, value, self.logsumexp, self.delta, *masks = operations[0].operands
        super().__init__(operations, [query, key, value, *masks], context)
        self.leaves.insert(0, row_leaf(cotangent, tensor_type(cotangent).shape))
        found = {operation.attributes.operand: operation.result for operation in operations}
        self.results = {NAMES[number]: found[number] for number in sorted(found)}

    def launches(self, block: Block) -> list[Launch]:
        """One launch that computes every product once, divided along leading dimensions; where these are too few for the
        threads, two: cotangents of queries divided along queries, and cotangents of keys and values along keys."""
        items, threads = math.prod(self.lead), self.context.threads
        rounds = -(-items // threads)
        if len(self.results) == 1 or rounds * threads * ALONE < items * TWICE:
            parts = [self.results]
        else:
            along_queries = {name: value for name, value in self.results.items() if name == "dquery"}
            along_keys = {name: value for name, value in self.results.items() if name != "dquery"}
            parts = [part for part in (along_queries, along_keys) if part]
        launches = [self._launch(part) for part in parts]
        for launch in launches:
            launch.operations = [operation for operation in block if not operation.has(Trait.TERMINATOR)]
        return launches

    def _ranges(self, results: Container[str]) -> tuple[int, int]:
        """Queries and keys of a work item."""
        pieces = 1 if self.context.threads == 1 else -(-self.context.threads * ITEMS // math.prod(self.lead))
        rows, count = _up(max(self.rows, 1), QUERIES), _up(max(self.count, 1), KEYS)
        if "dquery" not in results:
            return rows, max(1, count // KEYS // pieces) * KEYS
        if "dkey" not in results and "dvalue" not in results:
            return max(1, rows // QUERIES // pieces) * QUERIES, count
        return rows, count

    def _launch(self, results: dict[str, Value]) -> Launch:
        reads = self.reads()
        shape = self.shape(tuple(results), self.leaves[4] if len(self.leaves) > 4 else None)
        stride, value_stride = (_up(max(size, 1), shape.width) for size in (self.depth, self.columns))
        queries, keys = self._ranges(results)
        spare = shape.lanes * shape.width
        line = shape.lines * LINE
        sizes = {
            "turned_keys": KEYS * self.depth + spare,
            "turned_values": KEYS * self.columns + spare,
            "keys": KEYS * stride,
            "queries": max(1, -(-self.depth // KEYS)) * line,
            "query_panels": QUERIES * stride,
            "cotangents": max(1, -(-self.columns // KEYS)) * line,
            "cotangent_panels": QUERIES * value_stride,
            "weights": line,
            "dscores": line,
            "dquery": queries // QUERIES * shape.lines * stride if "dquery" in results else 0,
            "dkey": shape.key_lines * stride,
            "dvalue": shape.key_lines * value_stride,
            "ones": _up(max(shape.lines, shape.key_lines), 64),
        }
        starts, size = sections(sizes, attention_backward.SECTIONS)
        items = math.prod(self.lead) * max(-(-self.rows // queries), 1) * max(-(-self.count // keys), 1)
        pairs = math.prod(self.lead) * self.rows * self.count // (2 if shape.causal else 1)
        per_pair = self.depth * (1 + ("dquery" in results) + ("dkey" in results))
        per_pair += self.columns * (bool({"dquery", "dkey"} & set(results)) + ("dvalue" in results))
        chunks = self._chunks(items, pairs * per_pair, size)
        key = f"attention_backward|{shape.text()}"
        symbol = symbol_of("attention_backward", key)
        slots: list[Slot] = [slot for read in reads for slot in read.slots()]
        slots += [Address(value) for value in (self.logsumexp, self.delta, *results.values())]
        slots += [Scratch(0, chunks * size * shape.accumulator.itemsize), self.scale()]
        slots += [self.rows, self.count, self.depth, self.columns, queries, keys, size, stride, value_stride]
        slots += [*starts, *self.batch]
        return Launch(
            key=key,
            symbol=symbol,
            build=lambda: build_attention_backward(KernelBuilder(symbol), shape),
            slots=slots,
            chunks=chunks,
            flops=2 * pairs * per_pair,
            bytes=sum(tensor_type(x).nbytes for x in (*self.operations[0].operands, *results.values())),
        )


def sections(sizes: dict[str, int], names: Sequence[str]) -> tuple[list[int], int]:
    """Where parts of a thread's scratch memory begin, each with the alignment of a vector, and the size of all."""
    starts, total = [], 0
    for name in names:
        starts.append(total)
        total += _up(max(sizes[name], 1), 64)
    return starts, total
