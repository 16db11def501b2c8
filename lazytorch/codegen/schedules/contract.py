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
from dataclasses import dataclass, replace

from lazytorch.codegen.expression import Expression, pull, tensor_type
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, Table, symbol_of
from lazytorch.codegen.schedules.contract_kernel import build_contract, build_contract_sum
from lazytorch.codegen.schedules.contract_letters import Letters
from lazytorch.codegen.schedules.contract_packing import KC, ContractShape, OperandShape, accumulator_of, segment_tables
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.codegen.schedules.nest import Nest
from lazytorch.codegen.target import Target
from lazytorch.codegen.views import Access, contiguous, reshaped
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait
from lazytorch.ir.dialects import tensor

MOST_EPILOGUE = 160
"""Instructions up to which the epilogue of a whole tile is written out; longer ones are a loop over its rows."""
SHORTEST = 4
"""Lanes that a vector has at least."""
SHALLOW = 4
"""Products per element up to which writing the result is what takes time: long pieces of few rows are written then."""
TRANSPOSING = 4
"""Pieces of a vector that may be read more rather than to transpose."""
MOST_MASKS = 6
"""Masks that stay in registers during a loop."""
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
    """The contraction of a fused.kernel, the values that it yields, and how they are computed at an index of its result."""
    block = kernel.region.block
    contraction = next(operation for operation in block if operation.has(Trait.CONTRACTION))
    yielded = list(dict.fromkeys(block.terminator.operands))
    shape = tensor_type(contraction.result).shape
    given = joined(contraction.result)
    expression = pull(yielded, tensor_type(given).shape, given=[given])
    if given is not contraction.result and 0 not in shape:
        expression.leaves = [replace(leaf, access=_split(leaf.access, shape)) for leaf in expression.leaves]
    return contraction, yielded, expression


def contract_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch for a contraction and its epilogue. Raises CompileError for what no schedule takes."""
    contraction, yielded, expression = contraction_of(kernel)
    if 0 in tensor_type(contraction.result).shape:
        return []
    plan = _Plan(contraction, expression, context)
    return plan.launches(yielded, kernel)


def joined(value: Value) -> Value:
    """A reshape that joins neighbouring dimensions of the value, if that is all that reads it; else the value."""
    users = list(value.users)
    if len(users) != 1 or users[0].declaration is not tensor.reshape:
        return value
    sizes = list(tensor_type(value).shape)
    for size in tensor_type(users[0].result).shape:
        extent = 1
        while sizes and (extent < size or sizes[0] == 1):
            extent *= sizes.pop(0)
        if extent != size:
            return value
    return users[0].result if not sizes else value


def _split(access: Access, shape: tuple[int, ...]) -> Access:
    """An access over joined dimensions as one over the dimensions themselves."""
    split = reshaped(access, shape)
    assert split is not None, "every dimension is a product of neighbouring ones"
    return split


class _Plan(Letters):
    """One contraction on a CPU. Outer letters begin with whole vectors of columns, which share the packed left operand."""

    def __init__(self, contraction: Operation, expression: Expression, context: ScheduleContext) -> None:
        assert isinstance(context.target, Target)
        self.context, self.target = context, context.target
        self.wide = self.lanes = self.target.lanes(accumulator_of(contraction.result.type.dtype).itemsize)
        self.stacked = False
        super().__init__(contraction, expression)
        self.m, self.n, self.k = (self.size(x) for x in (self.m_letters, self.n_letters, self.k_letters))
        self.left = self._side(0, self.m_letters)
        self.right = self._side(1, self.n_letters)

    def regroup(self, names: list[str]) -> None:
        """Columns that the right operand holds in rows with gaps (a small image's, within its border) become columns and an
        outer letter more, when few rows of the result share the work of putting vectors together."""
        if self.size(self.m_letters) >= self.target.contract_tile().rows:
            return
        stride = self.strides[1]
        cut = len(self.n_letters)
        while cut and self.single(self.n_letters[cut - 1 :], stride) == 1:
            cut -= 1
        whole, piece = self.size(self.n_letters), self.size(self.n_letters[cut:])
        if cut in (0, len(self.n_letters)) or whole > self.lanes > 2 * piece:
            return
        names.append(self.n_letters[:cut])
        self.n_letters = self.n_letters[cut:]
        self.stacked = True
        if whole <= self.lanes:  # a small window: the gradient of a depthwise convolution's weights
            self.lanes = min(self.lanes, max(SHORTEST, 1 << (piece - 1).bit_length()))

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
            fitting: list[tuple[OperandShape, list[Slot]]] = []
            if k == 1 or self.size(self.k_letters) == 1:
                fitting.append((OperandShape("k"), [row]))
            if row == 1 or self.size(rows) == 1:
                fitting.append((OperandShape("row"), [k]))
            if fitting:  # packed along K on the left, along the columns on the right
                return fitting[0] if number == 0 else fitting[-1]
        row_table, k_table = self.table(rows, stride), self.table(self.k_letters, stride)
        lanes = self.lanes if number else self.wide
        along_rows, along_k = segment_tables(row_table, lanes), segment_tables(k_table, lanes)
        wide, deep = along_rows[0].shape[1], along_k[0].shape[1]
        # The right operand is packed row by row: where its depth has stride 1, squares of it must be transposed before.
        if number == 1 and wide <= min(deep + TRANSPOSING, MOST_SEGMENTS):
            return OperandShape("row", wide), [Table(k_table), *[Table(part) for part in along_rows]]
        if row is not None and row >= 0 and deep <= MOST_SEGMENTS:
            return OperandShape("k", deep), [row, *[Table(part) for part in along_k]]
        return OperandShape("table"), [Table(row_table), Table(k_table)]

    # -- the launch ------------------------------------------------------------

    def launches(self, yielded: Sequence[Value], kernel: Operation) -> list[Launch]:
        """One launch; where tiles are fewer than threads and K is long, two: the sums of its blocks, then their sum."""
        nest = self._nest(self.expression)
        shape = self._shape(yielded)
        slices = self._slices(shape)
        if slices == 1:
            launch = self._launch(nest, shape, yielded)
            launch.operations = [self.contraction, *[op for op in kernel.region.block if op is not self.contraction]]
            return [launch]
        split = replace(shape, split=True, single=False, plain=True, stores_registers=True, outputs=(), given=-1)
        bare = Expression(tuple(self._sizes()), [], [("given", self.contraction.result, shape.dtype)], [0])
        return [self._launch(self._nest(bare), split, [], slices), self._sum(nest, shape, yielded, kernel)]

    def _sizes(self) -> list[int]:
        return [self.sizes[letter] for letter in self.out]

    def _nest(self, expression: Expression) -> Nest:
        """An expression over batch, outer letters, rows and columns."""
        dims = {letter: d for d, letter in enumerate(self.out)}
        groups = [*self.batch_groups, *self.outer_groups, self.m_letters, self.n_letters]
        return Nest(expression, self._sizes(), [[dims[x] for x in group] for group in groups])

    def _block_sums(self, shape: ContractShape) -> Scratch:
        """The sums of all blocks of K of all elements."""
        total = tensor_type(self.contraction.result).numel
        return Scratch(0, -(-self.k // KC) * total * shape.accumulator.itemsize)

    def _launch(self, nest: Nest, shape: ContractShape, yielded: Sequence[Value], slices: int = 1) -> Launch:
        """Sizes, strides and tables as slots; everything else as the key."""
        columns = self._columns() if not shape.stack else self._tiles(shape) * shape.width
        key = f"contract|{shape.text()}|{nest.key()}"
        symbol = symbol_of("contract", key)
        type = tensor_type(self.contraction.result)
        same = [value for value in yielded if value.type.dtype is shape.accumulator]
        partial: Slot = (
            Address(same[0]) if same else Scratch(0, 0 if shape.single else type.numel * shape.accumulator.itemsize)
        )
        if shape.split:
            partial = self._block_sums(shape)
        blocks = self._blocks(shape, columns)
        batch = [self.size(group) for group in self.batch_groups]
        outer = [self.size(group) for group in self.outer_groups]
        items = -(-self.m // blocks.rows) * -(-columns // blocks.columns) * math.prod(batch) * slices
        chunks = min(items, chunks_for(items, type.numel * max(self.k, 1), self.context, 1))
        packed = blocks.packed(shape)
        scratch = Scratch(1, chunks * packed * shape.accumulator.itemsize)
        slots: list[Slot] = [*nest.slots(), *self.left.all_slots(), *self.right.all_slots(), partial, scratch]
        slots += [Address(value) for value in yielded]
        slots += nest.group_strides(contiguous(type.shape).strides)[:-1]
        slots += [self.m, self.n, self.k, blocks.rows, blocks.columns, blocks.depth, packed, *batch, *outer]
        if shape.split:
            slots += [slices, type.numel]
        return Launch(
            key=key,
            symbol=symbol,
            build=lambda: build_contract(KernelBuilder(symbol), nest, shape),
            slots=slots,
            chunks=chunks,
            flops=2 * type.numel * self.k,
            bytes=nest.bytes_read() + sum(tensor_type(value).nbytes for value in (*self.contraction.operands, *yielded)),
            operations=[self.contraction],
        )

    def _sum(self, nest: Nest, shape: ContractShape, yielded: Sequence[Value], kernel: Operation) -> Launch:
        """The sums of the blocks of K added in order, and the epilogue."""
        key = f"contract_sum|{shape.dtype.name}|{shape.lanes}|{shape.given}|{shape.outputs}|{nest.key()}"
        symbol = symbol_of("contract_sum", key)
        type = tensor_type(self.contraction.result)
        slots: list[Slot] = [*nest.slots(), self._block_sums(shape), *[Address(value) for value in yielded]]
        slots += [*nest.group_strides(contiguous(type.shape).strides)[:-1], *nest.sizes, -(-self.k // KC), type.numel]
        return Launch(
            key=key,
            symbol=symbol,
            build=lambda: build_contract_sum(KernelBuilder(symbol), nest, shape),
            slots=slots,
            bytes=nest.bytes_read(),
            operations=[op for op in kernel.region.block if not op.has(Trait.TERMINATOR)],
        )

    def _slices(self, shape: ContractShape) -> int:
        """Into how many parts K is divided: 1 where tiles of the result are enough for all threads."""
        columns = self._columns() if not shape.stack else self._tiles(shape) * shape.width
        tiles = -(-self.m // shape.rows) * -(-columns // shape.width) * self.size("".join(self.batch_groups))
        blocks = -(-self.k // KC)
        chunks = chunks_for(blocks, tensor_type(self.contraction.result).numel * self.k, self.context, 1)
        return min(chunks, -(-self.context.threads // tiles))

    def _tiles(self, shape: ContractShape) -> int:
        """Tiles of columns, when a tile consists of pieces of neighbouring outer indices."""
        *sizes, last = [self.size(group) for group in self.outer_groups]
        return math.prod(sizes) * -(-last // shape.stack) * -(-self.n // (shape.width // shape.stack))

    def _columns(self) -> int:
        """Columns over all outer indices; each outer index begins with a new vector."""
        if not self.outer_groups:
            return self.n
        return -(-self.n // self.lanes) * self.lanes * math.prod([self.size(group) for group in self.outer_groups])

    def _shape(self, yielded: Sequence[Value]) -> ContractShape:
        target = self.target
        columns, m = self._columns(), self.m
        given = [i for i, entry in enumerate(self.expression.entries) if entry[0] == "given"]
        rows = tile_rows(m, target.contract_tile().rows) if self.k > SHALLOW else 1
        right = self.right.shape
        # Segments are read under masks: only where those have registers of their own they may wait beside a tile.
        unpacked = right.kind == "row" and (not right.segments or target.has_mask_registers or rows == 1)
        transposed = right.kind == "k" and not right.segments and rows < min(target.contract_tile().rows, m + 1)
        one = m <= rows and (unpacked or transposed)
        most = target.tile_vectors(rows) if not transposed else 1
        vectors = _tile_vectors(most, -(-columns // self.lanes), right.segments)
        stack = 1
        if self.stacked:
            across = _tile_vectors(most, -(-self.n // self.lanes), right.segments)
            stack = max(1, min(most // across, self.size(self.outer_groups[-1])))
            vectors = across * stack
        dtype = self.contraction.result.type.dtype
        accumulator = accumulator_of(dtype)
        return ContractShape(
            dtype=dtype,
            lanes=self.lanes,
            left_lanes=self.wide,
            rows=rows,
            vectors=vectors,
            stack=stack if self.stacked else 0,
            left=self.left.shape,
            right=right,
            batch=len(self.batch_groups),
            outer=len(self.outer_groups),
            given=given[0] if given else -1,
            outputs=tuple([value.type.dtype for value in yielded]),
            single=self.k <= KC,
            plain=len(yielded) == 1 and not self.expression.operations and accumulator is dtype,
            stores_registers=self.expression.instructions * rows * vectors <= MOST_EPILOGUE,
            reading=("transposed" if transposed else "direct") if one else "first" if unpacked else "packed",
            has_mask_registers=target.has_mask_registers,
            split=False,
        )

    def _blocks(self, shape: ContractShape, columns: int) -> _Blocks:
        """Blocks of the left operand fill half of the second-level cache; every thread gets a rectangle."""
        threads, m = self.context.threads, self.m
        room = self.target.l2_bytes // 2 // shape.accumulator.itemsize * shape.rows // shape.panel_size
        panels = -(-columns // shape.width)
        batch = math.prod([self.size(group) for group in self.batch_groups])
        pieces = -(-m // max(room, shape.rows))
        if panels < threads and batch % threads:
            pieces = min(-(-m // shape.rows), -(-pieces // threads) * threads)
        rows = -(-m // (pieces * shape.rows)) * shape.rows
        blocks = -(-m // rows) * batch
        pieces = min(panels, max(1, -(-threads // blocks)))
        if blocks > 1 and blocks % threads:
            pieces = min(panels, threads)
        depth = min(max(1, room // rows), max(1, -(-self.k // KC))) * KC
        return _Blocks(rows, -(-panels // pieces) * shape.width, depth)


@dataclass(frozen=True)
class _Blocks:
    """Rows and columns of the result that one parallel iteration computes, and how much of K is packed at a time."""

    rows: int
    columns: int
    depth: int

    def packed(self, shape: ContractShape) -> int:
        """Elements of the packed part of the left operand."""
        return self.rows // shape.rows * shape.panel_size * (self.depth // KC)


def tile_rows(m: int, most: int) -> int:
    """Rows of the register tile: few where there are few, and where the last panel of `most` rows would be nearly empty."""
    for rows in (1, 2, 4, 8):
        if m <= rows < most:
            return rows
    for rows in (8, 4):
        if rows < most and -(-m // rows) * rows < 0.9 * (-(-m // most) * most):
            return rows
    return most


def _tile_vectors(most: int, needed: int, segments: int) -> int:
    """Vectors of columns of the register tile: not many more than there are; those read in segments keep a mask for each."""
    if segments > 1:
        most = max(1, min(most, MOST_MASKS // segments), min(most, 2))
    for vectors in (1, 2, 4):
        if needed <= vectors < most:
            return vectors
    return most
