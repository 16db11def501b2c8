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

import numpy as np

from lazytorch.codegen.expression import Expression, Leaf, collapse, pull, tensor_type
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, Table, symbol_of
from lazytorch.codegen.schedules.contract_kernel import build_contract, build_contract_sum
from lazytorch.codegen.schedules.contract_packing import KC, PAD, ContractShape, OperandShape, accumulator_of, segment_tables
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.codegen.schedules.nest import Nest
from lazytorch.codegen.target import Target
from lazytorch.codegen.views import Access, contiguous, offsets, reshaped
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait
from lazytorch.ir.dialects import tensor

MOST_EPILOGUE = 160
"""Instructions up to which the epilogue of a whole tile is written out; longer ones are a loop over its rows."""
FUNCTION = 30
"""Instructions that a function such as exp is counted as."""
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


class _Plan:
    """How the letters of one contraction are divided into batch, rows (M), columns (N) and depth (K).

    Columns are the trailing letters of the result. Letters of the right operand that have no common stride with them are
    `outer`: loops over whole vectors of columns that share the packed left operand.
    """

    def __init__(self, contraction: Operation, expression: Expression, context: ScheduleContext) -> None:
        self.contraction = contraction
        self.expression = expression
        self.wide = self.lanes = context.target.lanes(accumulator_of(contraction.result.type.dtype).itemsize)
        self.context = context
        assert isinstance(context.target, Target)
        self.target = context.target
        a = contraction.attributes
        self.out = a.out
        lhs, rhs = contraction.operands
        self.sizes: dict[str, int] = {}
        for letters, value in ((a.lhs, lhs), (a.rhs, rhs)):
            self.sizes.update(zip(letters, tensor_type(value).shape, strict=True))
            lonely = set(letters) - set(a.out) - (set(a.lhs) & set(a.rhs))
            if lonely:
                raise CompileError(f"contract: letters {sorted(lonely)} are in one operand only", stage="schedule")
        last = next((letter for letter in reversed(a.out) if self.sizes[letter] > 1), a.out[-1:])
        swap = last in a.lhs and last not in a.rhs
        left, right = ((a.rhs, rhs), (a.lhs, lhs)) if swap else ((a.lhs, lhs), (a.rhs, rhs))
        # In the order of lhs, whichever side it is: it decides the order of accumulation (ir/accumulation.py).
        self.k_letters = "".join(x for x in a.lhs if x in a.rhs and x not in a.out)
        self.leaves = [_leaf(value) for value in (left[1], right[1])]
        self.strides = [
            dict(zip(letters, leaf.access.strides, strict=True))
            for letters, leaf in zip((left[0], right[0]), self.leaves, strict=True)
        ]
        self.stacked = False
        self._divide({x for x in left[0] if x not in right[0]}, {x for x in right[0] if x not in left[0]})
        self.m, self.n, self.k = (self._size(x) for x in (self.m_letters, self.n_letters, self.k_letters))
        self.left = self._side(0, self.m_letters)
        self.right = self._side(1, self.n_letters)

    def _divide(self, own_m: set[str], own_n: set[str]) -> None:
        """Runs of letters that have one stride in the result and everywhere in the epilogue, as M, N, batch and outer."""
        shape = [self.sizes[x] for x in self.out]
        strides = [contiguous(tuple(shape)).strides, *[leaf.access.strides for leaf in self.expression.leaves]]
        groups = collapse(shape, strides, frozenset(self._borders(own_m, own_n)))
        names = ["".join(self.out[d] for d in group) for group in groups]
        self.n_letters = names.pop() if names and names[-1][0] in own_n else ""
        runs = [name for name in names if name[0] in own_m]
        self.m_letters = max(runs, key=self._size, default="")
        if self._size(self.m_letters) < self.target.contract_tile().rows:
            self._stack(names)
        # Letters that an operand holds in another order have no common stride: each is a loop of its own.
        rest = [part for name in names if name != self.m_letters for part in ([name] if self._together(name) else name)]
        self.outer_groups = [name for name in rest if name[0] in own_n]
        self.batch_groups = [name for name in rest if name[0] not in own_n]

    def _stack(self, names: list[str]) -> None:
        """Columns that the right operand holds in rows with gaps (a small image's, within its border) become columns and an
        outer letter more, when few rows of the result share the work of putting vectors together."""
        stride = self.strides[1]
        cut = len(self.n_letters)
        while cut and self._single(self.n_letters[cut - 1 :], stride) == 1:
            cut -= 1
        whole, piece = self._size(self.n_letters), self._size(self.n_letters[cut:])
        if cut in (0, len(self.n_letters)) or whole > self.lanes > 2 * piece:
            return
        names.append(self.n_letters[:cut])
        self.n_letters = self.n_letters[cut:]
        self.stacked = True
        if whole <= self.lanes:  # a small window: the gradient of a depthwise convolution's weights
            self.lanes = min(self.lanes, max(SHORTEST, 1 << (piece - 1).bit_length()))

    def _borders(self, own_m: set[str], own_n: set[str]) -> list[int]:
        kinds = [0 if x in own_m else 1 if x in own_n else 2 for x in self.out]
        return [d for d in range(1, len(kinds)) if kinds[d] != kinds[d - 1]]

    def _together(self, letters: str) -> bool:
        """Whether consecutive letters have one stride in both operands."""
        return all(self._single(letters, stride) is not None for stride in self.strides)

    def _size(self, letters: str) -> int:
        return math.prod([self.sizes[letter] for letter in letters])

    def _side(self, number: int, rows: str) -> Side:
        leaf, stride = self.leaves[number], self.strides[number]
        assert leaf.value is not None
        shape, slots = self._addressing(number, rows, stride)
        batch = tuple([stride.get(group[-1], 0) for group in self.batch_groups])
        outer = tuple([stride[group[-1]] for group in self.outer_groups]) if number == 1 else ()
        return Side(leaf.value, leaf.access.offset, shape, slots, batch, outer)

    def _addressing(self, number: int, rows: str, stride: dict[str, int]) -> tuple[OperandShape, list[Slot]]:
        """The kind of an operand, and the slots that go with it."""
        row, k = self._single(rows, stride), self._single(self.k_letters, stride)
        if row is not None and k is not None and min(row, k) >= 0:
            fitting: list[tuple[OperandShape, list[Slot]]] = []
            if k == 1 or self._size(self.k_letters) == 1:
                fitting.append((OperandShape("k"), [row]))
            if row == 1 or self._size(rows) == 1:
                fitting.append((OperandShape("row"), [k]))
            if fitting:  # packed along K on the left, along the columns on the right
                return fitting[0] if number == 0 else fitting[-1]
        row_table, k_table = self._table(rows, stride), self._table(self.k_letters, stride)
        lanes = self.lanes if number else self.wide
        along_rows, along_k = segment_tables(row_table, lanes), segment_tables(k_table, lanes)
        wide, deep = along_rows[0].shape[1], along_k[0].shape[1]
        # The right operand is packed row by row: where its depth has stride 1, squares of it must be transposed before.
        if number == 1 and wide <= min(deep + TRANSPOSING, MOST_SEGMENTS):
            return OperandShape("row", wide), [Table(k_table), *[Table(part) for part in along_rows]]
        if row is not None and row >= 0 and deep <= MOST_SEGMENTS:
            return OperandShape("k", deep), [row, *[Table(part) for part in along_k]]
        return OperandShape("table"), [Table(row_table), Table(k_table)]

    def _single(self, letters: str, stride: dict[str, int]) -> int | None:
        """The one stride of consecutive letters, or None."""
        groups = collapse([self.sizes[x] for x in letters], [[stride.get(x, 0) for x in letters]])
        if len(groups) > 1:
            return None
        return stride.get(letters[groups[0][-1]], 0) if groups else 0

    def _table(self, letters: str, stride: dict[str, int]) -> np.ndarray:
        """The offset of every index of consecutive letters, in row-major order."""
        return offsets([(self.sizes[letter], stride.get(letter, 0)) for letter in letters])

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
        batch = [self._size(group) for group in self.batch_groups]
        outer = [self._size(group) for group in self.outer_groups]
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
            bytes=nest.bytes_read(),
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
        tiles = -(-self.m // shape.rows) * -(-columns // shape.width) * self._size("".join(self.batch_groups))
        blocks = -(-self.k // KC)
        chunks = chunks_for(blocks, tensor_type(self.contraction.result).numel * self.k, self.context, 1)
        return min(chunks, -(-self.context.threads // tiles))

    def _tiles(self, shape: ContractShape) -> int:
        """Tiles of columns, when a tile consists of pieces of neighbouring outer indices."""
        *sizes, last = [self._size(group) for group in self.outer_groups]
        return math.prod(sizes) * -(-last // shape.stack) * -(-self.n // (shape.width // shape.stack))

    def _columns(self) -> int:
        """Columns over all outer indices; each outer index begins with a new vector."""
        if not self.outer_groups:
            return self.n
        return -(-self.n // self.lanes) * self.lanes * math.prod([self._size(group) for group in self.outer_groups])

    def _shape(self, yielded: Sequence[Value]) -> ContractShape:
        target = self.target
        columns, m = self._columns(), self.m
        given = [i for i, entry in enumerate(self.expression.entries) if entry[0] == "given"]
        rows = _tile_rows(m, target.contract_tile().rows) if self.k > SHALLOW else 1
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
            stack = max(1, min(most // across, self._size(self.outer_groups[-1])))
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
            stores_registers=self._epilogue_size() * rows * vectors <= MOST_EPILOGUE,
            reading=("transposed" if transposed else "direct") if one else "first" if unpacked else "packed",
            has_mask_registers=target.has_mask_registers,
            split=False,
        )

    def _epilogue_size(self) -> int:
        """Instructions per vector, roughly: a function of the dialect math is computed by dozens of them."""
        names = [entry[1].declaration.name for entry in self.expression.entries if entry[0] == "op"]
        return sum(FUNCTION if name.startswith("math.") else 1 for name in names)

    def _blocks(self, shape: ContractShape, columns: int) -> _Blocks:
        """Blocks of the left operand fill half of the second-level cache; every thread gets a rectangle."""
        threads, m = self.context.threads, self.m
        room = self.target.l2_bytes // 2 // ((KC + PAD) * shape.accumulator.itemsize)
        panels = -(-columns // shape.width)
        batch = math.prod([self._size(group) for group in self.batch_groups])
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


def _leaf(value: Value) -> Leaf:
    """The strided read that an operand is."""
    one = pull([value], tensor_type(value).shape)
    if len(one.entries) != 1 or one.entries[0][0] != "leaf" or one.leaves[0].value is None:
        raise CompileError("contract: an operand is no view of a buffer", stage="schedule")
    return one.leaves[0]


def _tile_rows(m: int, most: int) -> int:
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
