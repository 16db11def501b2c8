"""The contract schedule: packed, register-tiled products of operands with any strides, with an elementwise epilogue.

Per block of 256 along K every result element is a chain of fused multiply-adds from 0; the blocks' chains are added in
order. Tiles, packing, vectors and threads change which elements are computed together, never the chain of one element.

The design follows BLIS (Van Zee and van de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS Functionality", 2015):
a block of the left operand and a panel of the right one are packed into thread-local memory, a microkernel keeps a tile of
the result in registers. Letters that have no common stride are read through offset tables made while planning, so a
convolution is a product over sliding windows and nothing is materialised.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lazytorch.codegen.expression import Expression, collapse, pull, tensor_type
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, Table
from lazytorch.codegen.schedules.contract_kernel import ContractShape, build_contract
from lazytorch.codegen.schedules.map import chunks_for, symbol_of
from lazytorch.codegen.schedules.nest import Nest
from lazytorch.codegen.views import contiguous
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait

PANELS = 12
"""Row panels of the left operand that are packed at a time."""


@dataclass
class Side:
    """One operand: its buffer, the strides of its batch letters, and how its own letters (rows) and K are addressed.

    kind: "k" K has stride 1 and rows one stride; "row" rows have stride 1 and K one stride; "table" anything else.
    """

    value: Value
    offset: int
    batch: tuple[int, ...]
    kind: str
    row: int
    k: int
    row_table: np.ndarray | None = None
    k_table: np.ndarray | None = None

    def slots(self) -> list[Slot]:
        """Buffer address, its run-time strides or tables, then batch strides."""
        address = Address(self.value, self.offset * self.value.type.dtype.itemsize)
        if self.kind == "table":
            assert self.row_table is not None and self.k_table is not None
            return [address, Table(self.row_table), Table(self.k_table), *self.batch]
        return [address, self.row if self.kind == "k" else self.k, *self.batch]


def contract_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch for a contraction and its epilogue. Raises CompileError for what no schedule takes."""
    block = kernel.region.block
    contraction = next(operation for operation in block if operation.has(Trait.CONTRACTION))
    yielded = list(dict.fromkeys(block.terminator.operands))
    out_shape = tensor_type(contraction.result).shape
    if 0 in out_shape:
        return []
    expression = pull(yielded, out_shape, given=[contraction.result])
    plan = _Plan(contraction, expression, context)
    return [plan.launch(yielded, kernel)]


class _Plan:
    """How the letters of one contraction are divided into batch, M, N and K."""

    def __init__(self, contraction: Operation, expression: Expression, context: ScheduleContext) -> None:
        self.contraction = contraction
        self.expression = expression
        self.context = context
        a = contraction.attributes
        self.out = a.out
        lhs, rhs = contraction.operands
        self.sizes: dict[str, int] = {}
        for letters, value in ((a.lhs, lhs), (a.rhs, rhs)):
            self.sizes.update(zip(letters, tensor_type(value).shape, strict=True))
            lonely = set(letters) - set(a.out) - (set(a.lhs) & set(a.rhs))
            if lonely:
                raise CompileError(f"contract: letters {sorted(lonely)} are in one operand only", stage="schedule")
        last = a.out[-1:] or ""
        swap = last in a.lhs and last not in a.rhs
        left, right = ((a.rhs, rhs), (a.lhs, lhs)) if swap else ((a.lhs, lhs), (a.rhs, rhs))
        # In the order of lhs, whichever side it is: it decides the order of accumulation (ir/accumulation.py).
        self.k_letters = "".join(x for x in a.lhs if x in a.rhs and x not in a.out)
        own_m = {x for x in left[0] if x not in right[0]}
        own_n = {x for x in right[0] if x not in left[0]}
        self._divide(own_m, own_n)
        self.left = self._side(*left, self.m_letters)
        self.right = self._side(*right, self.n_letters)

    def _divide(self, own_m: set[str], own_n: set[str]) -> None:
        """N: the trailing letters of the result that are the right operand's and have one stride everywhere in the
        epilogue; M: such a run of the left operand's letters; what is left over is batch."""
        shape = [self.sizes[x] for x in self.out]
        strides = [contiguous(tuple(shape)).strides, *[leaf.access.strides for leaf in self.expression.leaves]]
        groups = collapse(shape, strides, frozenset(self._borders(own_m, own_n)))
        names = ["".join(self.out[d] for d in group) for group in groups]
        self.n_letters = names.pop() if names and names[-1][0] in own_n else ""
        runs = [name for name in names if name[0] in own_m]
        self.m_letters = max(runs, key=self._size, default="")
        names = [name for name in names if name != self.m_letters]
        # Batch letters that an operand holds in another order have no common stride: each is a loop of its own.
        self.batch_groups = [part for name in names for part in ([name] if self._together(name) else name)]

    def _borders(self, own_m: set[str], own_n: set[str]) -> list[int]:
        kinds = [0 if x in own_m else 1 if x in own_n else 2 for x in self.out]
        return [d for d in range(1, len(kinds)) if kinds[d] != kinds[d - 1]]

    def _together(self, letters: str) -> bool:
        """Whether consecutive letters have one stride in both operands."""
        a = self.contraction.attributes
        for names, value in zip((a.lhs, a.rhs), self.contraction.operands, strict=True):
            leaf = pull([value], tensor_type(value).shape).leaves[0]
            if self._single(letters, dict(zip(names, leaf.access.strides, strict=True))) is None:
                return False
        return True

    def _size(self, letters: str) -> int:
        size = 1
        for letter in letters:
            size *= self.sizes[letter]
        return size

    def _side(self, letters: str, value: Value, rows: str) -> Side:
        shape = tensor_type(value).shape
        one = pull([value], shape)
        if len(one.entries) != 1 or one.entries[0][0] != "leaf" or one.leaves[0].value is None:
            raise CompileError("contract: an operand is no view of a buffer", stage="schedule")
        leaf = one.leaves[0]
        stride = dict(zip(letters, leaf.access.strides, strict=True))
        assert leaf.value is not None
        batch = tuple([stride.get(group[-1], 0) for group in self.batch_groups])
        for group in self.batch_groups:
            if self._single(group, stride) is None:
                raise CompileError("contract: batch letters without a common stride", stage="schedule")
        row, k = self._single(rows, stride), self._single(self.k_letters, stride)
        side = Side(leaf.value, leaf.access.offset, batch, "table", row or 0, k or 0)
        if row is not None and k is not None and min(row, k) >= 0:
            if k == 1 or self._size(self.k_letters) == 1:
                side.kind, side.k = "k", 1
            elif row == 1 or self._size(rows) == 1:
                side.kind, side.row = "row", 1
        if side.kind == "table":
            side.row_table = self._table(rows, stride)
            side.k_table = self._table(self.k_letters, stride)
        return side

    def _single(self, letters: str, stride: dict[str, int]) -> int | None:
        """The one stride of consecutive letters, or None."""
        kept = [x for x in letters if self.sizes[x] != 1]
        for outer, inner in itertools.pairwise(kept):
            if stride.get(outer, 0) != stride.get(inner, 0) * self.sizes[inner]:
                return None
        return stride.get(kept[-1], 0) if kept else 0

    def _table(self, letters: str, stride: dict[str, int]) -> np.ndarray:
        """The offset of every index of consecutive letters, in row-major order."""
        table = np.zeros((), np.int64)
        for letter in letters:
            table = table[..., None] + np.arange(self.sizes[letter], dtype=np.int64) * stride.get(letter, 0)
        return table.reshape(-1)

    # -- the launch ------------------------------------------------------------

    def launch(self, yielded: Sequence[Value], kernel: Operation) -> Launch:
        """Sizes, strides and tables as slots; everything else as the key."""
        m, n, k = self._size(self.m_letters), self._size(self.n_letters), self._size(self.k_letters)
        dims = {letter: d for d, letter in enumerate(self.out)}
        groups = [[dims[x] for x in group] for group in [*self.batch_groups, self.m_letters, self.n_letters]]
        nest = Nest(self.expression, [self.sizes[x] for x in self.out], groups)
        dtype = self.contraction.result.type.dtype
        shape = self._shape(nest, yielded, m, n)
        key = f"contract|{shape.text()}|{nest.key()}|{[value.type.dtype.name for value in yielded]}"
        symbol = symbol_of("contract", key)
        out_strides = nest.group_strides(contiguous(tensor_type(self.contraction.result).shape).strides)
        same = [value for value in yielded if value.type.dtype is dtype]
        partial: Slot = Address(same[0]) if same else Scratch(0, tensor_type(self.contraction.result).nbytes)
        rows, columns = self._split(shape, m, n)
        batch = [nest.sizes[i] for i in range(len(self.batch_groups))]
        items = -(-m // rows) * -(-n // columns)
        for size in batch:
            items *= size
        total = tensor_type(self.contraction.result).numel
        slots: list[Slot] = [*nest.slots(), *self.left.slots(), *self.right.slots(), partial]
        for value in yielded:
            slots.append(Address(value))
        slots += [*out_strides[:-1], m, n, k, rows, columns, *batch]
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

    def _shape(self, nest: Nest, yielded: Sequence[Value], m: int, n: int) -> ContractShape:
        dtype = self.contraction.result.type.dtype
        lanes = self.context.target.lanes(dtype.itemsize)
        tile = self.context.target.contract_tile()
        vectors = 1 if n <= lanes else tile.vectors
        rows = next((r for r in (1, 2, 4, 8) if m <= r < tile.rows), tile.rows)
        given = [i for i, entry in enumerate(self.expression.entries) if entry[0] == "given"]
        return ContractShape(
            dtype=dtype,
            lanes=lanes,
            rows=rows,
            vectors=vectors,
            panels=PANELS,
            left=self.left.kind,
            right=self.right.kind,
            batch=len(self.batch_groups),
            given=given[0] if given else -1,
            outputs=tuple([value.type.dtype for value in yielded]),
        )

    def _split(self, shape: ContractShape, m: int, n: int) -> tuple[int, int]:
        """Rows and columns of the result that one parallel iteration computes."""
        rows = min(shape.rows * PANELS, -(-m // shape.rows) * shape.rows)
        width = shape.lanes * shape.vectors
        panels = -(-n // width)
        blocks = -(-m // rows)
        for group in self.batch_groups:
            blocks *= self._size(group)
        pieces = min(panels, max(1, -(-self.context.threads // blocks)))
        if blocks > 1 and blocks % self.context.threads:
            pieces = min(panels, self.context.threads)
        columns = -(-panels // pieces) * width
        return max(rows, 1), max(columns, 1)
