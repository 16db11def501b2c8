"""Sorting rows: a radix sort of keys with their positions; short rows by counting; the first few by insertion.

Every element becomes an integer of the same order (nan the largest, -0.0 what 0.0 is), to be compared in vectors. The radix
sort goes from the lowest byte to the highest and keeps the order of equal ones. A row is sorted by one thread, in memory it
has for all of its rows.
"""

from __future__ import annotations

from collections.abc import Callable

from lazytorch import dtypes
from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, symbol_of
from lazytorch.codegen.schedules.map import chunks_for
from lazytorch.codegen.schedules.nest import vector_loop, write
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith, loop

SHORT = 64
"""Elements of a row up to which the place of each is found by counting those before it."""
FEW = 64
"""So many first positions are kept by insertion into a short sorted list, more by sorting everything."""
BUCKETS = 256


def sort_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch."""
    source, result = operation.operands[0], operation.result
    type, kept = tensor_type(source), tensor_type(result).shape[-1]
    if type.numel == 0 or kept == 0:
        return []
    count = type.shape[-1]
    rows = type.numel // count
    if kept <= FEW and kept * 8 <= count:
        kind, work = "select", 2 * type.numel
    elif count <= SHORT:
        kind, work = "rank", 4 * type.numel * count // context.target.lanes(4)
    else:
        kind, work = "radix", 8 * type.numel * type.dtype.itemsize
    keys = _Keys(type.dtype, operation.attributes.descending)
    lanes = context.target.lanes(keys.integer.itemsize)
    key = f"sort|{kind}|{type.dtype.name}|{keys.descending}|{lanes}"
    symbol = symbol_of(f"sort_{kind}", key)
    chunks = chunks_for(rows, work, context)
    slots: list[Slot] = [Address(source), Address(result), rows, count, kept]
    if kind == "radix":
        slots += [Scratch(n, chunks * 2 * count * dtype.itemsize) for n, dtype in enumerate((keys.integer, POSITION))]

    def build() -> Operation:
        return _Kernel(KernelBuilder(symbol), keys, lanes).build(kind)

    moved = type.nbytes + tensor_type(result).nbytes
    return [Launch(key, symbol, build, slots, chunks, work, moved, [operation])]


POSITION = dtypes.int64
"""Of the type of the result: it is copied as it is."""


class _Keys:
    """Elements as integers of the same order."""

    def __init__(self, dtype: DType, descending: bool) -> None:
        self.source, self.descending = dtype, descending
        self.dtype = dtypes.float32 if dtype.kind == "f" and dtype.itemsize == 2 else dtype
        self.integer = dtypes.int64 if dtype.itemsize == 8 else dtypes.int32

    def largest(self) -> int:
        """The greatest integer."""
        return (1 << (8 * self.integer.itemsize - 1)) - 1

    def of(self, k: KernelBuilder, x: Value, lanes: int) -> Value:
        """The integers of a vector."""
        x = k.cast(x, self.dtype)
        if self.dtype.kind != "f":
            key = k.cast(x, self.integer)
        else:
            zero = k.splat(0.0, self.dtype, lanes)
            bits: Value = arith.bitcast(arith.add(x, zero), dtype=self.integer)
            sign = arith.shift_right(bits, k.splat(8 * self.integer.itemsize - 1, self.integer, lanes))
            turned = arith.bit_and(sign, k.splat(self.largest(), self.integer, lanes))
            is_nan = arith.compare(x, x, predicate="ne")
            key = arith.select(is_nan, k.splat(self.largest(), self.integer, lanes), arith.bit_xor(bits, turned))
        result: Value = arith.bit_not(key) if self.descending else key
        return result

    def digit(self, k: KernelBuilder, key: Value, number: int) -> Value:
        """A byte of a key, 0 the lowest, as an index that has the order of the keys."""
        shifted = arith.shift_right(key, k.splat(8 * number, self.integer)) if number else key
        if number == self.dtype.itemsize - 1 and self.dtype.kind in "if":
            shifted = arith.bit_xor(shifted, k.splat(BUCKETS // 2, self.integer))
        value: Value = arith.cast(arith.bit_and(shifted, k.splat(BUCKETS - 1, self.integer)), dtype=dtypes.index)
        return value


class _Kernel:
    """A kernel that sorts rows, under construction."""

    def __init__(self, k: KernelBuilder, keys: _Keys, lanes: int) -> None:
        self.k, self.keys, self.lanes = k, keys, lanes
        self.source, self.out = k.buffer(keys.source, (1,), "x"), k.buffer(POSITION, (1,), "out")
        self.rows, self.count, self.kept = (k.index_argument(name) for name in ("rows", "count", "kept"))

    def build(self, kind: str) -> Operation:
        """The parallel loop over rows."""
        row: Callable[[], None] = {"radix": self._radix, "rank": self._rank, "select": self._select}[kind]()
        k = self.k
        with k.parallel(0, self.rows) as number:
            self.x = k.offset(self.source, k.mul(number, self.count))
            self.result = k.offset(self.out, k.mul(number, self.kept))
            row()
        return k.finish()

    def _read(self, at: Index, mask: Value | None) -> Value:
        """The keys of a vector of elements."""
        k, lanes = self.k, self.lanes
        if mask is None:
            return self.keys.of(k, k.load(self.x, at, lanes=lanes), lanes)
        return self.keys.of(k, k.masked_load(self.x, at, mask=mask, other=k.splat(0, self.keys.source, lanes)), lanes)

    # -- by bytes, from the lowest to the highest --------------------------------------

    def _radix(self) -> Callable[[], None]:
        k, keys, digits = self.k, self.keys, self.keys.dtype.itemsize
        scratch = [k.buffer(dtype, (1,), name) for dtype, name in ((keys.integer, "keys"), (POSITION, "positions"))]
        buckets = k.local(dtypes.int64, BUCKETS * digits)
        copies = k.mul(k.chunk_id(), k.mul(self.count, 2))
        self.key_copies, self.position_copies = (k.offset(buffer, copies) for buffer in scratch)

        def row() -> None:
            self._count_bytes(buckets, digits)
            half: Value = k.value(0)
            for digit in range(digits):
                own = k.offset(buckets, digit * BUCKETS)
                first = k.load(own, keys.digit(k, k.load(self.key_copies, half), digit))
                # A byte that all elements have in common sorts nothing.
                is_common = arith.compare(first, arith.cast(self.count, dtype=dtypes.int64), predicate="eq")
                same = half

                def sorted_half(digit: int = digit, own: Value = own, half: Value = same) -> list[Value]:
                    return [self._scatter(own, digit, half)]

                (half,) = k.choose(is_common, lambda half=same: [half], sorted_half)  # type: ignore[misc]
            with k.loop(0, self.kept) as i:
                k.store(k.load(self.position_copies, k.add(half, i)), self.result, i)

        return row

    def _count_bytes(self, buckets: Value, digits: int) -> None:
        """Keys and positions to the first copy; how many keys have which byte at every place."""
        k, lanes = self.k, self.lanes
        width = max(1, lanes * self.keys.integer.itemsize // dtypes.int64.itemsize)
        with k.loop(0, BUCKETS * digits, width) as at:
            k.store(k.splat(0, dtypes.int64, width), buckets, at)

        def fill(at: Index, mask: Value | None) -> None:
            write(k, self._read(at, mask), self.key_copies, (at,), mask)

        vector_loop(k, 0, self.count, lanes, fill)
        one = k.splat(1, dtypes.int64)
        with k.loop(0, self.count) as i:
            k.store(arith.cast(i, dtype=POSITION), self.position_copies, i)
            key = k.load(self.key_copies, i)
            for digit in range(digits):
                place = k.add(self.keys.digit(k, key, digit), digit * BUCKETS)
                k.store(arith.add(k.load(buckets, place), one), buckets, place)

    def _scatter(self, buckets: Value, digit: int, half: Value) -> Value:
        """From one copy to the other, in the order of a byte; where the other begins."""
        k = self.k
        other = k.sub(self.count, half)
        with k.carry(0, BUCKETS, 1, [k.splat(0, dtypes.int64)]) as state:
            size = k.load(buckets, state.index)
            k.store(state.carried[0], buckets, state.index)
            state.next(arith.add(state.carried[0], size))
        one = k.splat(1, dtypes.int64)
        with k.loop(0, self.count) as i:
            at = k.add(half, i)
            key, position = k.load(self.key_copies, at), k.load(self.position_copies, at)
            bucket = self.keys.digit(k, key, digit)
            place = k.load(buckets, bucket)
            k.store(arith.add(place, one), buckets, bucket)
            target = k.add(other, arith.cast(place, dtype=dtypes.index))
            k.store(key, self.key_copies, target)
            k.store(position, self.position_copies, target)
        return k.value(other)

    # -- by counting what comes before -------------------------------------------------

    def _rank(self) -> Callable[[], None]:
        k, lanes, integer = self.k, self.lanes, self.keys.integer
        keys = k.local(integer, SHORT + lanes)

        def row() -> None:
            vector_loop(k, 0, self.count, lanes, lambda at, mask: k.store(self._read(at, mask), keys, at))
            with k.loop(0, self.count) as i:
                own = k.broadcast(k.load(keys, i), lanes)
                with k.carry(0, self.count, lanes, [k.splat(0, integer, lanes)]) as state:
                    others = k.load(keys, state.index, lanes=lanes)
                    is_left, inside = (k.mask(k.sub(end, state.index), lanes) for end in (i, self.count))
                    equal = arith.bit_and(arith.compare(others, own, predicate="eq"), is_left)
                    less = arith.bit_and(arith.compare(others, own, predicate="lt"), inside)
                    one, zero = (k.splat(number, integer, lanes) for number in (1, 0))
                    before = arith.select(arith.bit_or(equal, less), one, zero)
                    state.next(arith.add(state.carried[0], before))
                rank = arith.cast(_total(state.results[0], lanes), dtype=dtypes.index)
                with k.when(k.compare("lt", rank, self.kept)):
                    k.store(arith.cast(i, dtype=POSITION), self.result, rank)

        return row

    # -- the first few ------------------------------------------------------------------

    def _select(self) -> Callable[[], None]:
        k, lanes, integer = self.k, self.lanes, self.keys.integer
        best, block = k.local(integer, FEW), k.local(integer, lanes)

        def row() -> None:
            with k.loop(0, self.kept) as i:
                self._insert(best, self.keys.of(k, k.load(self.x, i), 1), i, i)
            last = k.sub(self.kept, 1)

            def look(at: Index, mask: Value | None) -> None:
                found = self._read(at, mask)
                better: Value = arith.compare(found, k.broadcast(k.load(best, last), lanes), predicate="lt")
                if mask is not None:
                    better = arith.bit_and(better, mask)
                with k.when(loop.any_(better)):
                    k.store(found, block, 0)
                    with k.loop(0, k.min(lanes, k.sub(self.count, at))) as lane:
                        key = k.load(block, lane)
                        with k.when(arith.compare(key, k.load(best, last), predicate="lt")):
                            self._insert(best, key, k.add(at, lane), last)

            vector_loop(k, self.kept, self.count, lanes, look)

        return row

    def _insert(self, best: Value, key: Value, position: Index, filled: Index) -> None:
        """Into a sorted list of so many, of which the last one may be pushed out: after all that are not greater."""
        k = self.k
        with k.carry(0, filled, 1, [k.value(filled)]) as state:
            at = k.sub(k.sub(filled, state.index), 1)
            old = k.load(best, at)
            is_after = arith.compare(key, old, predicate="lt")
            with k.when(is_after):
                k.store(old, best, k.add(at, 1))
                k.store(k.load(self.result, at), self.result, k.add(at, 1))
            state.next(k.value(k.sub(state.carried[0], k.select_index(is_after, 1, 0))))
        k.store(key, best, state.results[0])
        k.store(arith.cast(k.value(position), dtype=POSITION), self.result, state.results[0])


def _total(vector: Value, lanes: int) -> Value:
    """The sum of the lanes of integers."""
    while lanes > 1:
        lanes //= 2
        halves = [loop.shuffle(vector, vector, lanes=tuple(range(start, start + lanes))) for start in (0, lanes)]
        vector = arith.add(*halves)
    value: Value = loop.extract(vector, lane=0)
    return value
