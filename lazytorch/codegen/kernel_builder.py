"""Writing a loop kernel: a thin layer over the IR builder with structured control, index arithmetic and memory access.

    k = KernelBuilder("scale")
    x, out = k.buffer(f32, (None, 1), "x"), k.buffer(f32, (None, 1), "out")
    rows, columns = k.index_argument("rows"), k.index_argument("columns")
    with k.parallel(0, rows) as i:
        with k.loop(0, columns) as j:
            k.store(arith.mul(k.load(x, i, j), 2.0), out, i, j)
    module = k.finish()

Index operands may be Python ints; arithmetic on them folds (`k.add(0, i)` is `i`). Within the builder's `with` blocks
`arith.*`, `math.*` and `loop.*` calls on kernel values add to the current place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.core import Block, IRBuilder, Operation, Region, Value, inserting, new_module
from lazytorch.ir.dialects import arith, loop
from lazytorch.ir.types import INDEX, BufferType, ScalarType, Type, VectorType

Index = Value | int


class Loop:
    """A sequential loop under construction: `index`, the `carried` values inside; `results` after the block."""

    def __init__(self, index: Value, carried: Sequence[Value]) -> None:
        self.index = index
        self.carried = tuple(carried)
        self.results: tuple[Value, ...] = ()
        self._next: tuple[Value, ...] | None = None

    def next(self, *values: Value) -> None:
        """The carried values of the next iteration."""
        self._next = values


class KernelBuilder:
    """Builds one kernel (and the private functions it calls) into a module."""

    def __init__(self, name: str) -> None:
        self.module = new_module()
        self.name = name
        self._kernel = Operation(loop.kernel.operator(name=name), regions=[Region([Block()])])
        self._top = self._kernel.region.block
        self._builder = IRBuilder(self._top)
        self._context = inserting(self._builder)
        self._context.__enter__()

    @property
    def builder(self) -> IRBuilder:
        """The place where operations without operands are put."""
        return self._builder

    # -- arguments ------------------------------------------------------------

    def buffer(self, dtype: DType, strides: tuple[int | None, ...], name: str) -> Value:
        """A buffer argument; slots: its address, then each stride that is None (in elements)."""
        return self._top.add_argument(BufferType(dtype, strides), name)

    def index_argument(self, name: str) -> Value:
        """A size or offset argument; one slot."""
        return self._top.add_argument(INDEX, name)

    def scalar_argument(self, dtype: DType, name: str) -> Value:
        """A number; one slot, whose first bytes it is."""
        return self._top.add_argument(ScalarType(dtype), name)

    def finish(self) -> Operation:
        """Close the kernel; the module with its functions first."""
        loop.return_.build(self._builder)
        self._context.__exit__(None, None, None)
        self.module.region.block.append(self._kernel)
        return self.module

    @contextmanager
    def function(self, name: str, argument_types: Sequence[Type], names: Sequence[str] = ()) -> Iterator[list[Value]]:
        """A private function without results; the block's value is its arguments."""
        block = Block(argument_types, names)
        operation = Operation(loop.function.operator(name=name), regions=[Region([block])])
        self.module.region.block.append(operation)
        with self._inside(block):
            yield block.arguments
            loop.return_.build(self._builder)

    def call(self, name: str, *operands: Index) -> None:
        """Call a private function; ints become index constants."""
        self._insert(loop.call.operator(callee=name), [self.value(x) for x in operands])

    # -- control ------------------------------------------------------------

    @contextmanager
    def _inside(self, block: Block) -> Iterator[None]:
        before = self._builder.block, self._builder.anchor
        self._builder.block, self._builder.anchor = block, None
        with inserting(self._builder):
            yield
        self._builder.block, self._builder.anchor = before

    def _insert(
        self,
        operator: Any,
        operands: Sequence[Value] = (),
        result_types: Sequence[Type] = (),
        regions: Sequence[Region] = (),
    ) -> Operation:
        return self._builder.insert(Operation(operator, operands, result_types, regions))

    @contextmanager
    def parallel(self, low: Index, high: Index) -> Iterator[Value]:
        """A loop whose iterations are divided among the chunks of the launch."""
        body = Block([INDEX], ["i"])
        self._insert(loop.parallel.operator(), [self.value(low), self.value(high)], (), [Region([body])])
        with self._inside(body):
            yield body.arguments[0]
            loop.yield_.build(self._builder)

    @contextmanager
    def carry(self, low: Index, high: Index, step: Index = 1, initial: Sequence[Value] = ()) -> Iterator[Loop]:
        """A sequential loop with carried values: call `.next(...)` in the body, read `.results` after the block."""
        types = [value.type for value in initial]
        body = Block([INDEX, *types])
        state = Loop(body.arguments[0], body.arguments[1:])
        operands = [self.value(low), self.value(high), self.value(step), *initial]
        operation = self._insert(loop.for_.operator(), operands, types, [Region([body])])
        with self._inside(body):
            yield state
            following = state._next if state._next is not None else ()
            if [value.type for value in following] != types:
                raise TypeError(f"a loop carries {types} but its body yields {[value.type for value in following]}")
            self._insert(loop.yield_.operator(), following)
        state.results = operation.results

    @contextmanager
    def loop(self, low: Index, high: Index, step: Index = 1) -> Iterator[Value]:
        """A sequential loop without carried values."""
        with self.carry(low, high, step) as state:
            yield state.index

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Do the block only if the scalar condition holds."""
        then, otherwise = Block(), Block()
        self._insert(loop.if_.operator(types=()), [condition], (), [Region([then]), Region([otherwise])])
        with self._inside(otherwise):
            self._insert(loop.yield_.operator())
        with self._inside(then):
            yield
            self._insert(loop.yield_.operator())

    def choose(
        self,
        condition: Value,
        then: Callable[[], Sequence[Value] | None],
        otherwise: Callable[[], Sequence[Value] | None],
    ) -> tuple[Value, ...]:
        """Both branches of a condition; the values they return (of equal types) come out."""
        blocks = (Block(), Block())
        outcomes: list[tuple[Value, ...]] = []
        for block, branch in zip(blocks, (then, otherwise), strict=True):
            with self._inside(block):
                outcomes.append(tuple(branch() or ()))
                self._insert(loop.yield_.operator(), outcomes[-1])
        types = tuple([value.type for value in outcomes[0]])
        if types != tuple([value.type for value in outcomes[1]]):
            raise TypeError("the branches of a condition yield different types")
        regions = [Region([block]) for block in blocks]
        return self._insert(loop.if_.operator(types=types), [condition], types, regions).results

    # -- index arithmetic ------------------------------------------------------------

    def value(self, x: Index) -> Value:
        """A Python int as an index constant."""
        if isinstance(x, Value):
            return x
        return self._builder.scalar(int(x), INDEX)

    def _fold(self, declaration: Any, fold: Callable[[int, int], int], a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return fold(a, b)
        result: Value = declaration(self.value(a), self.value(b))
        return result

    def add(self, a: Index, b: Index) -> Index:
        """a + b"""
        if isinstance(a, int) and a == 0:
            return b
        if isinstance(b, int) and b == 0:
            return a
        return self._fold(arith.add, lambda x, y: x + y, a, b)

    def sub(self, a: Index, b: Index) -> Index:
        """a - b"""
        if isinstance(b, int) and b == 0:
            return a
        return self._fold(arith.sub, lambda x, y: x - y, a, b)

    def mul(self, a: Index, b: Index) -> Index:
        """a * b"""
        for x, y in ((a, b), (b, a)):
            if isinstance(x, int) and x == 0:
                return 0
            if isinstance(x, int) and x == 1:
                return y
        return self._fold(arith.mul, lambda x, y: x * y, a, b)

    def product(self, factors: Iterable[Index]) -> Index:
        """All factors multiplied; 1 if there are none."""
        total: Index = 1
        for factor in factors:
            total = self.mul(total, factor)
        return total

    def dot(self, indices: Sequence[Index], strides: Sequence[Index]) -> Index:
        """The offset of an index: the sum of every index times its stride."""
        total: Index = 0
        for index, stride in zip(indices, strides, strict=True):
            total = self.add(total, self.mul(index, stride))
        return total

    def div(self, a: Index, b: Index) -> Index:
        """floor(a / b) of non-negative numbers"""
        return a if isinstance(b, int) and b == 1 else self._fold(arith.div, lambda x, y: x // y, a, b)

    def rem(self, a: Index, b: Index) -> Index:
        """a mod b of non-negative numbers"""
        return 0 if isinstance(b, int) and b == 1 else self._fold(arith.remainder, lambda x, y: x % y, a, b)

    def min(self, a: Index, b: Index) -> Index:
        """The smaller"""
        return self._fold(arith.minimum, min, a, b)

    def max(self, a: Index, b: Index) -> Index:
        """The larger"""
        return self._fold(arith.maximum, max, a, b)

    def ceil_div(self, a: Index, b: Index) -> Index:
        """ceil(a / b) of non-negative numbers"""
        return self.div(self.add(a, self.sub(b, 1)), b)

    def round_down(self, a: Index, b: int) -> Index:
        """The largest multiple of b that is <= a"""
        return self.sub(a, self.rem(a, b))

    def compare(self, predicate: str, a: Index, b: Index) -> Value:
        """A scalar i1 of two index values"""
        result: Value = arith.compare(self.value(a), self.value(b), predicate=predicate)
        return result

    def select_index(self, condition: Value, a: Index, b: Index) -> Value:
        """a if the condition holds else b"""
        result: Value = arith.select(condition, self.value(a), self.value(b))
        return result

    # -- memory and vectors ------------------------------------------------------------

    def load(self, buffer: Value, *indices: Index, lanes: int = 1, aligned: bool = False) -> Value:
        """Read one element, or `lanes` consecutive ones."""
        result: Value = loop.load(buffer, *[self.value(i) for i in indices], lanes=lanes, aligned=aligned)
        return result

    def masked_load(self, buffer: Value, *indices: Index, mask: Value, other: Value) -> Value:
        """Read consecutive elements where the mask holds, `other` elsewhere."""
        lanes = mask.type.lanes  # type: ignore[attr-defined]
        result: Value = loop.masked_load(buffer, *[self.value(i) for i in indices], mask, other, lanes=lanes)
        return result

    def store(self, value: Value, buffer: Value, *indices: Index, aligned: bool = False, streaming: bool = False) -> None:
        """Write one element, or a vector to consecutive ones."""
        loop.store(value, buffer, *[self.value(i) for i in indices], aligned=aligned, streaming=streaming)

    def masked_store(self, value: Value, buffer: Value, *indices: Index, mask: Value) -> None:
        """Write consecutive elements where the mask holds."""
        loop.masked_store(value, mask, buffer, *[self.value(i) for i in indices])

    def offset(self, buffer: Value, *indices: Index) -> Value:
        """The buffer from that element on."""
        result: Value = loop.offset(buffer, *[self.value(i) for i in indices])
        return result

    def local(self, dtype: DType, size: int) -> Value:
        """Scratch memory of this thread."""
        result: Value = loop.local.build(self._builder, dtype=dtype, size=size)
        return result

    def chunk_id(self) -> Value:
        """The number of this chunk of the launch."""
        result: Value = loop.chunk_id.build(self._builder)
        return result

    def cast(self, x: Value, dtype: DType) -> Value:
        """Converted by value, lane by lane."""
        if x.type.dtype is dtype:
            return x
        result: Value = arith.cast(x, dtype=dtype)
        return result

    def prefetch(self, buffer: Value, *indices: Index, write: bool = False) -> None:
        """A hint that an element will be read (or written) soon."""
        loop.prefetch(buffer, *[self.value(i) for i in indices], write=write)

    def splat(self, x: float | int | bool, dtype: DType, lanes: int = 1) -> Value:
        """A number as a scalar (lanes 1) or in every lane of a vector."""
        type: Type = ScalarType(dtype) if lanes == 1 else VectorType(dtype, lanes)
        result: Value = arith.constant.build(self._builder, value=x, type=type)
        return result

    def broadcast(self, x: Value, lanes: int) -> Value:
        """A scalar in every lane; with lanes 1 the scalar itself."""
        if lanes == 1:
            return x
        result: Value = loop.broadcast(x, lanes=lanes)
        return result

    def mask(self, remaining: Index, lanes: int) -> Value:
        """lane < remaining"""
        result: Value = loop.mask(self.value(remaining), lanes=lanes)
        return result

    def lane_ids(self, lanes: int, dtype: DType = dtypes.int64) -> Value:
        """0, 1, 2, ... as a vector"""
        result: Value = loop.lane_ids.build(self._builder, lanes=lanes, dtype=dtype)
        return result
