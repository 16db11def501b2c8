"""The contract schedule: packed, register-tiled products of operands with any strides, with an elementwise epilogue.

Per block of 256 along K every result element is a chain of fused multiply-adds from 0; the blocks' chains are added in
order. Tiles, packing, vectors and threads change which elements are computed together, never the chain of one element.

The design follows BLIS (Van Zee and van de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS Functionality", 2015):
a block of the left operand and a panel of the right one are packed into thread-local memory, a microkernel keeps a tile of
the result in registers. Letters that have no common stride are read through tables made while planning, so a convolution is
a product over sliding windows and nothing is materialised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lazytorch.codegen.expression import Expression, pull, tensor_type
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, Table, symbol_of
from lazytorch.codegen.schedules.contract_kernel import build_contract
from lazytorch.codegen.schedules.contract_letters import Letters
from lazytorch.codegen.schedules.contract_packing import ContractShape, OperandShape, segment_tables
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.codegen.schedules.nest import Nest
from lazytorch.codegen.target import Target
from lazytorch.codegen.views import contiguous
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait

PANELS = 12
"""Row panels of the left operand that are packed at a time."""
MOST_SEGMENTS = 8
"""Pieces of a vector up to which it is put together by masked loads; more are copied element by element."""


@dataclass
class Side:
    """One operand: its buffer, the strides of the letters it is looped over, and how its rows and its depth are addressed.

    `slots`: what follows the address: a run-time stride, or tables (see contract_packing).
    """

    value: Value
    offset: int
    shape: OperandShape
    slots: list[Slot]
    batch: tuple[int, ...]
    outer: tuple[int, ...]

    def all_slots(self) -> list[Slot]:
        """In the order in which contract_packing.Operand declares its arguments."""
        address = Address(self.value, self.offset * self.value.type.dtype.itemsize)
        return [address, *self.slots, *self.batch, *self.outer]


def contraction_of(kernel: Operation) -> tuple[Operation, list[Value], Expression]:
    """The contraction of a fused.kernel, the values that it yields, and how they are computed from the contraction."""
    block = kernel.region.block
    contraction = next(operation for operation in block if operation.has(Trait.CONTRACTION))
    yielded = list(dict.fromkeys(block.terminator.operands))
    return contraction, yielded, pull(yielded, tensor_type(contraction.result).shape, given=[contraction.result])


def contract_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch for a contraction and its epilogue. Raises CompileError for what no schedule takes."""
    contraction, yielded, expression = contraction_of(kernel)
    if 0 in tensor_type(contraction.result).shape:
        return []
    plan = _Plan(contraction, expression, context)
    return [plan.launch(yielded, kernel)]


class _Plan(Letters):
    """One contraction on a CPU. Outer letters begin with whole vectors of columns."""

    def __init__(self, contraction: Operation, expression: Expression, context: ScheduleContext) -> None:
        super().__init__(contraction, expression)
        self.lanes = context.target.lanes(contraction.result.type.dtype.itemsize)
        self.context = context
        self.left = self._side(0, self.m_letters)
        self.right = self._side(1, self.n_letters)

    def _side(self, number: int, rows: str) -> Side:
        leaf, stride = self.leaves[number], self.strides[number]
        assert leaf.value is not None
        shape, slots = self._addressing(number, rows, stride)
        batch = tuple([stride.get(group[-1], 0) for group in self.batch_groups])
        outer = tuple([stride[group[-1]] for group in self.outer_groups]) if number == 1 else ()
        return Side(leaf.value, leaf.access.offset, shape, slots, batch, outer)

    def _addressing(self, number: int, rows: str, stride: dict[str, int]) -> tuple[OperandShape, list[Slot]]:
        """The kind of an operand, and the slots that go with it."""
        row, k = self.single(rows, stride), self.single(self.k_letters, stride)
        if row is not None and k is not None and min(row, k) >= 0:
            if k == 1 or self.size(self.k_letters) == 1:
                return OperandShape("k"), [row]
            if row == 1 or self.size(rows) == 1:
                return OperandShape("row"), [k]
        row_table, k_table = self.table(rows, stride), self.table(self.k_letters, stride)
        if number == 0 and row is not None and row >= 0:
            parts = segment_tables(k_table, self.lanes)
            if parts[0].shape[1] <= MOST_SEGMENTS:
                return OperandShape("k", parts[0].shape[1]), [row, *[Table(part) for part in parts]]
        if number == 1:
            parts = segment_tables(row_table, self.lanes)
            if parts[0].shape[1] <= MOST_SEGMENTS:
                return OperandShape("row", parts[0].shape[1]), [Table(k_table), *[Table(part) for part in parts]]
        return OperandShape("table"), [Table(row_table), Table(k_table)]

    # -- the launch ------------------------------------------------------------

    def launch(self, yielded: Sequence[Value], kernel: Operation) -> Launch:
        """Sizes, strides and tables as slots; everything else as the key."""
        m, n, k = self.size(self.m_letters), self.size(self.n_letters), self.size(self.k_letters)
        dims = {letter: d for d, letter in enumerate(self.out)}
        loops = [*self.batch_groups, *self.outer_groups]
        groups = [[dims[x] for x in group] for group in [*loops, self.m_letters, self.n_letters]]
        nest = Nest(self.expression, [self.sizes[x] for x in self.out], groups)
        dtype = self.contraction.result.type.dtype
        columns = self._columns(n)
        shape = self._shape(yielded, m, columns)
        key = f"contract|{shape.text()}|{nest.key()}|{[value.type.dtype.name for value in yielded]}"
        symbol = symbol_of("contract", key)
        out_strides = nest.group_strides(contiguous(tensor_type(self.contraction.result).shape).strides)
        same = [value for value in yielded if value.type.dtype is dtype]
        partial: Slot = Address(same[0]) if same else Scratch(0, tensor_type(self.contraction.result).nbytes)
        block_rows, block_columns = self._split(shape, m, columns)
        batch = [self.size(group) for group in self.batch_groups]
        outer = [self.size(group) for group in self.outer_groups]
        items = -(-m // block_rows) * -(-columns // block_columns) * math.prod(batch)
        total = tensor_type(self.contraction.result).numel
        slots: list[Slot] = [*nest.slots(), *self.left.all_slots(), *self.right.all_slots(), partial]
        for value in yielded:
            slots.append(Address(value))
        slots += [*out_strides[:-1], m, n, k, block_rows, block_columns, *batch, *outer]
        return Launch(
            key=key,
            symbol=symbol,
            build=lambda: build_contract(KernelBuilder(symbol), nest, shape),
            slots=slots,
            chunks=min(items, chunks_for(items, total * max(k, 1), self.context, 1)),
            flops=2 * total * k,
            bytes=nest.bytes_read(),
            operations=[self.contraction, *[op for op in kernel.region.block if op is not self.contraction]],
        )

    def _columns(self, n: int) -> int:
        """Columns over all outer indices; each outer index begins with a new vector."""
        if not self.outer_groups:
            return n
        return -(-n // self.lanes) * self.lanes * math.prod([self.size(group) for group in self.outer_groups])

    def _shape(self, yielded: Sequence[Value], m: int, columns: int) -> ContractShape:
        assert isinstance(self.context.target, Target)
        tile = self.context.target.contract_tile()
        given = [i for i, entry in enumerate(self.expression.entries) if entry[0] == "given"]
        return ContractShape(
            dtype=self.contraction.result.type.dtype,
            lanes=self.lanes,
            rows=_tile_rows(m, tile.rows),
            vectors=1 if columns <= self.lanes else tile.vectors,
            panels=PANELS,
            left=self.left.shape,
            right=self.right.shape,
            batch=len(self.batch_groups),
            outer=len(self.outer_groups),
            given=given[0] if given else -1,
            outputs=tuple([value.type.dtype for value in yielded]),
        )

    def _split(self, shape: ContractShape, m: int, n: int) -> tuple[int, int]:
        """Rows and columns of the result that one parallel iteration computes."""
        rows = min(shape.rows * PANELS, -(-m // shape.rows) * shape.rows)
        panels = -(-n // shape.width)
        blocks = -(-m // rows) * math.prod([self.size(group) for group in self.batch_groups])
        pieces = min(panels, max(1, -(-self.context.threads // blocks)))
        if blocks > 1 and blocks % self.context.threads:
            pieces = min(panels, self.context.threads)
        columns = -(-panels // pieces) * shape.width
        return max(rows, 1), max(columns, 1)


def _tile_rows(m: int, most: int) -> int:
    """Rows of the register tile: few where there are few, 8 where the last panel of `most` rows would be nearly empty."""
    for rows in (1, 2, 4, 8):
        if m <= rows < most:
            return rows
    if most > 8 and -(-m // 8) * 8 < 0.9 * (-(-m // most) * most):
        return 8
    return most
