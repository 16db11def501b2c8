"""Matrix instructions of a warp: ldmatrix, stmatrix, movmatrix, mma.

How the elements of the matrices lie in the lanes' registers is in the PTX manual, chapters on mma.m8n8k4 to mma.m16n8k32."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, Reader, Writer, collective
from lazytorch.runtime.ptx_emulator.errors import Location, MisalignedAccess, OutOfBoundsAccess
from lazytorch.runtime.ptx_emulator.instructions.conversion import eight_bit_values
from lazytorch.runtime.ptx_emulator.instructions.memory_access import note_size
from lazytorch.runtime.ptx_emulator.parser import Vector
from lazytorch.runtime.ptx_emulator.rounding import bfloat16_to_float32
from lazytorch.runtime.ptx_emulator.spaces import WINDOWS, Access, check_read
from lazytorch.runtime.ptx_emulator.threads import WARP, Threads
from lazytorch.runtime.ptx_emulator.types import Array, Type, type_named

_B32 = type_named("b32")
_LANE = np.arange(WARP)
_ROW_BYTES = 16  # of an 8×8 matrix of 16-bit elements


def _matrix_count(decoder: Decoder) -> int:
    return int(decoder.choose("x1", "x2", "x4")[1:])


def _begin(decoder: Decoder) -> tuple[int, bool, str | None]:
    decoder.choose("sync")
    decoder.choose("aligned")
    decoder.choose("m8n8")
    count = _matrix_count(decoder)
    transposed = decoder.flag("trans")
    space = decoder.take("shared", "shared::cta")
    decoder.choose("b16")
    decoder.arity(2)
    note_size(decoder, "shared", _ROW_BYTES)
    return count, transposed, space


def _rows(
    threads: Threads, address: Array, generic: bool, count: int, location: Location, store: bool
) -> tuple[Array, Threads]:
    """Byte indices of the rows, by warp; lane 8·m + r gives row r of matrix m. Checks bounds, alignment and counts bank
    waves."""
    launch = threads.launch
    givers = np.flatnonzero(threads.lanes < 8 * count)
    part = threads.subset(givers, ())
    place = threads.full(address)[givers]
    if generic:
        place = place - WINDOWS["shared"]
    bad = np.flatnonzero(place % _ROW_BYTES)
    if bad.size:
        message = f"matrix row at {int(place[bad[0]])} is not aligned to {_ROW_BYTES} bytes"
        raise launch.fault(MisalignedAccess, message, location, int(part.ids[bad[0]]))
    bad = np.flatnonzero((place < 0) | (place + _ROW_BYTES > launch.shared_limit))
    if bad.size:
        message = f"matrix row at {int(place[bad[0]])} is outside the {launch.shared_limit} bytes of shared memory"
        raise launch.fault(OutOfBoundsAccess, message, location, int(part.ids[bad[0]]))
    if launch.count:
        launch.report.count_shared(part, place, _ROW_BYTES, location.line)
    index = place + launch.shared_base[part.slots]
    access = Access(location, 8, 2, is_store=store)
    if store:
        if launch.shared_races is not None:
            launch.shared_races.note_write(index, _ROW_BYTES, part, location)
    else:
        check_read(part, "shared", launch.shared, index, launch.shared_races, access)
    return index, part


@collective("ldmatrix")
def load_matrices(decoder: Decoder) -> Execute:
    count, transposed, space = _begin(decoder)
    writes = [decoder.write(name, _B32) for name in decoder.vector(decoder.operands[0])]
    address = decoder.address(decoder.operands[1])
    if len(writes) != count:
        raise decoder.error(f"{count} registers expected")
    location = decoder.location

    def execute(threads: Threads) -> None:
        index, part = _rows(threads, address(threads.registers), space is None, count, location, store=False)
        halves = threads.launch.shared.words[2]
        rows = part.by_lane(index)[:, : 8 * count]
        values = halves[rows[:, :, None] // 2 + np.arange(8)].reshape(-1, count, 8, 8)
        if transposed:
            values = values.swapaxes(2, 3)
        pairs = np.ascontiguousarray(values).view(np.uint32).reshape(-1, count, WARP)
        for number, write in enumerate(writes):
            write(threads.registers, threads.from_lanes(pairs[:, number]))

    return execute


@collective("stmatrix")
def store_matrices(decoder: Decoder) -> Execute:
    count, transposed, space = _begin(decoder)
    address = decoder.address(decoder.operands[0])
    reads = [decoder.read(name, _B32) for name in decoder.vector(decoder.operands[1])]
    if len(reads) != count:
        raise decoder.error(f"{count} registers expected")
    location = decoder.location

    def execute(threads: Threads) -> None:
        registers = threads.registers
        index, part = _rows(threads, address(registers), space is None, count, location, store=True)
        pairs = np.stack([threads.by_lane(read(registers)) for read in reads], axis=1)
        values = np.ascontiguousarray(pairs).view(np.uint16).reshape(-1, count, 8, 8)
        if transposed:
            values = values.swapaxes(2, 3)
        rows = np.ascontiguousarray(values).reshape(-1, 8 * count, 8).view(np.uint64)
        given = rows[part.warps, part.lanes]
        threads.launch.shared.store(index, 8, [given[:, 0], given[:, 1]])

    return execute


@collective("movmatrix")
def transpose_matrix(decoder: Decoder) -> Execute:
    for modifier in ("sync", "aligned", "m8n8", "trans", "b16"):
        decoder.choose(modifier)
    decoder.arity(2)
    write, read = decoder.write(decoder.operands[0], _B32), decoder.read(decoder.operands[1], _B32)

    def execute(threads: Threads) -> None:
        pairs = np.ascontiguousarray(threads.by_lane(read(threads.registers)))
        values = pairs.view(np.uint16).reshape(-1, 8, 8).swapaxes(1, 2)
        write(threads.registers, threads.from_lanes(np.ascontiguousarray(values).view(np.uint32).reshape(-1, WARP)))

    return execute


@dataclass(frozen=True, slots=True)
class Fragment:
    """Where the elements of a matrix lie: row and column of element e of lane l in `rows[l, e]`, `columns[l, e]`."""

    rows: Array
    columns: Array

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.rows.max()) + 1, int(self.columns.max()) + 1


def left_fragment(m: int, k: int, per_register: int) -> Fragment:
    """A, m × k. A register holds `per_register` neighbours of a row; registers go first down 8 rows (if m is 16), then
    right."""
    group, inner = _LANE // 4, _LANE % 4
    elements = np.arange(m * k // WARP)
    register, within = elements // per_register, elements % per_register
    down = m // 8
    rows = group[:, None] + 8 * (register % down)
    columns = inner[:, None] * per_register + within + 4 * per_register * (register // down)
    return Fragment(rows, columns)


def right_fragment(k: int, n: int, per_register: int) -> Fragment:
    """B, k × n with n = 8: a register holds neighbours of a column."""
    group, inner = _LANE // 4, _LANE % 4
    elements = np.arange(k * n // WARP)
    register, within = elements // per_register, elements % per_register
    rows = inner[:, None] * per_register + within + 4 * per_register * register
    return Fragment(rows, np.broadcast_to(group[:, None], rows.shape))


def result_fragment(m: int, n: int) -> Fragment:
    """C and D, m × n with n = 8: two neighbours of a row, then 8 rows further down."""
    group, inner = _LANE // 4, _LANE % 4
    elements = np.arange(m * n // WARP)
    rows = group[:, None] + 8 * (elements // 2)
    return Fragment(rows, 2 * inner[:, None] + elements % 2)


# (shape, type of A and B) → possible accumulator types
MMA_FORMS: dict[tuple[str, str], tuple[str, ...]] = {
    ("m16n8k8", "f16"): ("f16", "f32"),
    ("m16n8k16", "f16"): ("f16", "f32"),
    ("m16n8k8", "bf16"): ("f32",),
    ("m16n8k16", "bf16"): ("f32",),
    ("m16n8k4", "tf32"): ("f32",),
    ("m16n8k8", "tf32"): ("f32",),
    ("m8n8k4", "f64"): ("f64",),
    ("m16n8k4", "f64"): ("f64",),
    ("m16n8k8", "f64"): ("f64",),
    ("m16n8k16", "f64"): ("f64",),
    **{(shape, kind): ("s32",) for shape in ("m8n8k16", "m16n8k16", "m16n8k32") for kind in ("s8", "u8")},
    **{("m16n8k32", kind): ("f32",) for kind in ("e4m3", "e5m2")},
}


@collective("mma")
def multiply_matrices(decoder: Decoder) -> Execute:
    decoder.choose("sync")
    decoder.choose("aligned")
    shape = next((modifier for modifier in decoder.modifiers if re.fullmatch(r"m\d+n\d+k\d+", modifier)), "")
    decoder.choose(shape)
    decoder.choose("row")
    decoder.choose("col")
    saturate = decoder.flag("satfinite")
    decoder.flag("rn")
    third, right, left, result = (decoder.take_type() for _ in range(4))
    accumulators = MMA_FORMS.get((shape, left.name), ())
    if (shape, right.name) not in MMA_FORMS or result.name not in accumulators or third.name not in accumulators:
        raise decoder.error("unsupported form of mma")
    m, n, k = (int(size) for size in re.findall(r"\d+", shape))
    decoder.arity(4)
    groups = [operand for operand in decoder.operands if isinstance(operand, Vector)]
    if len(groups) != 4:
        raise decoder.error("four groups of registers expected")
    a = _operand(decoder, groups[1], left, left_fragment(m, k, max(1, 32 // left.bits)))
    b = _operand(decoder, groups[2], right, right_fragment(k, n, max(1, 32 // right.bits)))
    c = _operand(decoder, groups[3], third, result_fragment(m, n))
    write = _result(decoder, groups[0], result, result_fragment(m, n))

    def execute(threads: Threads) -> None:
        product = a(threads) @ b(threads) + c(threads)
        if result.kind == "s":
            product = np.clip(product, -(2**31), 2**31 - 1) if saturate else product
        write(threads, product)

    return execute


def _values(words: Array, kind: Type) -> Array:
    """Registers' bits (…, registers) as numbers (…, elements), in float64, or int64 for integers."""
    if kind.kind in ("s", "u"):
        return words.view(kind.view).astype(np.int64)
    if kind.kind == "tf":  # the hardware ignores the lower 13 bits
        return (words & np.uint32(0xFFFF_E000)).view(np.float32).astype(np.float64)
    if kind.kind == "bf":
        return bfloat16_to_float32(words.view(np.uint16)).astype(np.float64)
    if kind.bits == 8:
        return eight_bit_values(kind)[words.view(np.uint8)]
    return words.view(kind.view).astype(np.float64)


def _operand(decoder: Decoder, group: Vector, kind: Type, fragment: Fragment) -> Callable[[Threads], Array]:
    register = type_named("b64") if kind.bits == 64 else _B32
    count = fragment.rows.shape[1] * kind.bits // register.bits
    if len(group.elements) != count:
        raise decoder.error(f"{count} registers expected, found {len(group.elements)}")
    reads: list[Reader] = [decoder.read(name, register) for name in group.elements]

    def read(threads: Threads) -> Array:
        words = np.stack([threads.by_lane(one(threads.registers)) for one in reads], axis=2)
        values = _values(np.ascontiguousarray(words), kind)
        matrix = np.empty((len(words), *fragment.shape), values.dtype)
        matrix[:, fragment.rows, fragment.columns] = values
        return matrix

    return read


def _result(decoder: Decoder, group: Vector, kind: Type, fragment: Fragment) -> Callable[[Threads, Array], None]:
    register = type_named("b64") if kind.bits == 64 else _B32
    count = fragment.rows.shape[1] * kind.bits // register.bits
    if len(group.elements) != count:
        raise decoder.error(f"{count} registers expected, found {len(group.elements)}")
    writes: list[Writer] = [decoder.write(name, register) for name in group.elements]

    def write(threads: Threads, matrix: Array) -> None:
        values = matrix[:, fragment.rows, fragment.columns].astype(kind.view)
        words = np.ascontiguousarray(values).view(register.storage)
        for number, one in enumerate(writes):
            one(threads.registers, threads.from_lanes(words[:, :, number]))

    return write
