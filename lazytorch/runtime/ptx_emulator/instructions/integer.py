"""Integer arithmetic, bits and comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, Reader, instruction
from lazytorch.runtime.ptx_emulator.threads import Threads
from lazytorch.runtime.ptx_emulator.types import SIGNED, UNSIGNED, Array, Type, type_named

CARRY = "%cc"  # the carry flag that add.cc and sub.cc write


def apply(
    decoder: Decoder, kind: Type, function: Callable[..., Array], operands: int, result: Type | None = None
) -> Execute:
    """The instruction that computes `function` of its source operands, all of one type."""
    decoder.arity(operands + 1)
    write = decoder.write(decoder.operands[0], result or kind)
    sources = [decoder.read(operand, kind) for operand in decoder.operands[1:]]
    return compute(write, function, *sources)


def compute(write: Callable[[list[Array], Array], None], function: Callable[..., Array], *sources: Reader) -> Execute:
    if len(sources) == 1:
        (only,) = sources
        return lambda threads: write(threads.registers, function(only(threads.registers)))
    if len(sources) == 2:
        first, second = sources

        def execute(threads: Threads) -> None:
            registers = threads.registers
            write(registers, function(first(registers), second(registers)))

        return execute

    def execute_many(threads: Threads) -> None:
        registers = threads.registers
        write(registers, function(*(source(registers) for source in sources)))

    return execute_many


def packed(kind: Type, function: Callable[..., Array]) -> Callable[..., Array]:
    """A function of the lanes of a packed integer type."""
    lane = kind.element.view

    def on_words(*words: Array) -> Array:
        shaped = [np.ascontiguousarray(word).view(lane).reshape(-1, kind.lanes) for word in words]
        return np.ascontiguousarray(function(*shaped)).view(kind.storage).reshape(-1)

    return on_words


def add_or_subtract(decoder: Decoder) -> Execute:
    subtract = decoder.opcode == "sub"
    carry = decoder.flag("cc")
    saturate = decoder.flag("sat")
    kind = decoder.take_type()
    operation: Callable[..., Array] = np.subtract if subtract else np.add
    if kind.lanes > 1:
        operation = packed(kind, operation)
    if saturate:
        return apply(decoder, kind, _saturating(operation, kind), 2)
    execute = apply(decoder, kind, operation, 2)
    return _with_carry(decoder, kind, subtract, carry_in=False) if carry else execute


def _saturating(operation: Callable[..., Array], kind: Type) -> Callable[..., Array]:
    limits = np.iinfo(kind.view)
    wide = operation
    return lambda a, b: np.clip(wide(a.astype(np.int64), b.astype(np.int64)), limits.min, limits.max).astype(kind.view)


def _carry_slot(decoder: Decoder) -> int:
    known = decoder.slots.by_name.get((CARRY, 1))
    return decoder.slots.new(CARRY, 1, np.zeros(1, bool)) if known is None else known


def _with_carry(decoder: Decoder, kind: Type, subtract: bool, carry_in: bool, carry_out: bool = True) -> Execute:
    """Addition or subtraction that takes and leaves a carry (a borrow, for subtraction)."""
    unsigned = type_named(f"u{kind.bits}")
    write = decoder.write(decoder.operands[0], unsigned)
    first, second = (decoder.read(operand, unsigned) for operand in decoder.operands[1:3])
    flag = _carry_slot(decoder)
    if carry_in:
        decoder.reads.add(flag)
    if carry_out:
        decoder.writes.add(flag)
    one = unsigned.view.type(1)

    def execute(threads: Threads) -> None:
        registers = threads.registers
        a, b = first(registers), second(registers)
        before = registers[flag] if carry_in else np.zeros(1, bool)
        if subtract:
            result = a - b - before * one
            over = (a < b) | (before & (a == b))
        else:
            result = a + b + before * one
            over = (result < a) | (before & (result == a))
        write(registers, result)
        if carry_out:
            registers[flag] = over

    return execute


@instruction("addc", "subc")
def add_with_carry(decoder: Decoder) -> Execute:
    carry_out = decoder.flag("cc")
    kind = decoder.take_type()
    decoder.arity(3)
    return _with_carry(decoder, kind, decoder.opcode == "subc", carry_in=True, carry_out=carry_out)


def high_product(a: Array, b: Array, bits: int) -> Array:
    """The upper half of the double-width product."""
    if bits < 64:
        wide = a.astype(np.int64 if a.dtype.kind == "i" else np.uint64) * b.astype(
            np.int64 if a.dtype.kind == "i" else np.uint64
        )
        return (wide >> wide.dtype.type(bits)).astype(a.dtype)
    half, low = np.uint64(32), np.uint64(0xFFFF_FFFF)
    x, y = a.astype(np.uint64), b.astype(np.uint64)
    x0, x1, y0, y1 = x & low, x >> half, y & low, y >> half
    middle = x1 * y0 + (x0 * y0 >> half)
    other = x0 * y1 + (middle & low)
    high = x1 * y1 + (middle >> half) + (other >> half)
    if a.dtype.kind == "i":
        high = high - np.where(a < 0, y, np.uint64(0)) - np.where(b < 0, x, np.uint64(0))
    result: Array = high.astype(a.dtype)
    return result


def multiply(decoder: Decoder) -> Execute:
    part = decoder.choose("lo", "hi", "wide")
    kind = decoder.take_type()
    if part == "lo":
        return apply(decoder, kind, np.multiply, 2)
    if part == "hi":
        return apply(decoder, kind, lambda a, b: high_product(a, b, kind.bits), 2)
    wide = type_named(f"{kind.kind}{2 * kind.bits}")
    return apply(decoder, kind, lambda a, b: a.astype(wide.view) * b.astype(wide.view), 2, wide)


@instruction("mul24", "mad24")
def multiply24(decoder: Decoder) -> Execute:
    part = decoder.choose("lo", "hi")
    kind = decoder.take_type()
    shift = 16 if part == "hi" else 0

    def function(a: Array, b: Array, c: Array | int = 0) -> Array:
        wide = [(x.astype(np.int64) << 40) >> 40 if kind.kind == "s" else x.astype(np.int64) & 0xFFFFFF for x in (a, b)]
        product: Array = ((wide[0] * wide[1]) >> shift).astype(kind.view)
        total: Array = product + np.asarray(c, kind.view)
        return total

    return apply(decoder, kind, function, 2 if decoder.opcode == "mul24" else 3)


@instruction("mad")
def multiply_add(decoder: Decoder) -> Execute:
    part = decoder.choose("lo", "hi", "wide")
    kind = decoder.take_type()
    if part == "lo":
        return apply(decoder, kind, lambda a, b, c: a * b + c, 3)
    if part == "hi":
        return apply(decoder, kind, lambda a, b, c: high_product(a, b, kind.bits) + c, 3)
    wide = type_named(f"{kind.kind}{2 * kind.bits}")
    decoder.arity(4)
    write = decoder.write(decoder.operands[0], wide)
    sources = [decoder.read(operand, kind) for operand in decoder.operands[1:3]]
    addend = decoder.read(decoder.operands[3], wide)
    return compute(write, lambda a, b, c: a.astype(wide.view) * b.astype(wide.view) + c, *sources, addend)


def truncated_quotient(a: Array, b: Array) -> Array:
    """Division rounded to zero; what PTX leaves open for a zero divisor is all ones."""
    zero = b == 0
    divisor = np.where(zero, b.dtype.type(1), b)
    quotient = a // divisor
    if a.dtype.kind == "i":
        inexact = (quotient * divisor != a) & ((a < 0) != (divisor < 0))
        quotient = quotient + inexact.astype(a.dtype)
    return np.where(zero, ~a.dtype.type(0), quotient)


def divide(decoder: Decoder) -> Execute:
    return apply(decoder, decoder.take_type(), truncated_quotient, 2)


@instruction("rem")
def remainder(decoder: Decoder) -> Execute:
    return apply(decoder, decoder.take_type(), lambda a, b: np.where(b == 0, a, a - truncated_quotient(a, b) * b), 2)


def minimum_or_maximum(decoder: Decoder) -> Execute:
    function: Callable[..., Array] = np.minimum if decoder.opcode == "min" else np.maximum
    relu = decoder.flag("relu")
    kind = decoder.take_type()
    inner = function if not relu else lambda a, b: np.maximum(function(a, b), 0)
    return apply(decoder, kind, packed(kind, inner) if kind.lanes > 1 else inner, 2)


def negate(decoder: Decoder) -> Execute:
    return apply(decoder, decoder.take_type(), np.negative, 1)


def absolute(decoder: Decoder) -> Execute:
    return apply(decoder, decoder.take_type(), np.abs, 1)


BITWISE: dict[str, np.ufunc] = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


@instruction("and", "or", "xor")
def bitwise(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    return apply(decoder, kind, BITWISE[decoder.opcode], 2)


@instruction("not")
def invert(decoder: Decoder) -> Execute:
    return apply(decoder, decoder.take_type(), np.invert, 1)


@instruction("cnot")
def logical_not(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    return apply(decoder, kind, lambda a: (a == 0).astype(kind.view), 1)


@instruction("lop3")
def three_input_logic(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    decoder.arity(5)
    write = decoder.write(decoder.operands[0], kind)
    a, b, c = (decoder.read(operand, kind) for operand in decoder.operands[1:4])
    table = decoder.constant(decoder.operands[4])

    def function(x: Array, y: Array, z: Array) -> Array:
        result = np.zeros(1, kind.view)
        for row in range(8):
            if table >> row & 1:
                result = result | ((x if row & 4 else ~x) & (y if row & 2 else ~y) & (z if row & 1 else ~z))
        return result

    return compute(write, function, a, b, c)


@instruction("shl", "shr")
def shift(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    decoder.arity(3)
    write = decoder.write(decoder.operands[0], kind)
    value = decoder.read(decoder.operands[1], kind)
    amount = decoder.read(decoder.operands[2], type_named("u32"))
    bits, dtype = kind.bits, kind.view
    operation: Callable[..., Array] = np.left_shift if decoder.opcode == "shl" else np.right_shift
    fill_sign = decoder.opcode == "shr" and kind.kind == "s"

    def function(a: Array, count: Array) -> Array:
        if not (count >= bits).any():
            return operation(a, count.astype(dtype))
        if fill_sign:
            return operation(a, np.minimum(count, bits - 1).astype(dtype))
        return np.where(count < bits, operation(a, np.minimum(count, bits - 1).astype(dtype)), dtype.type(0))

    return compute(write, function, value, amount)


@instruction("shf")
def funnel_shift(decoder: Decoder) -> Execute:
    left = decoder.choose("l", "r") == "l"
    wrap = decoder.choose("wrap", "clamp") == "wrap"
    kind = decoder.take_type()

    def function(low: Array, high: Array, count: Array) -> Array:
        amount = (count & 31) if wrap else np.minimum(count, 32)
        both = (high.astype(np.uint64) << np.uint64(32)) | low
        shift = amount.astype(np.uint64)
        return ((both << shift) >> np.uint64(32) if left else both >> shift).astype(np.uint32)

    return apply(decoder, kind, function, 3)


def popcount(value: Array) -> Array:
    return np.bitwise_count(value).astype(np.uint32)


def leading_zeros(value: Array) -> Array:
    """Zeros above the highest bit that is set; all bits for zero."""
    bits = value.dtype.itemsize * 8
    filled = value.copy()
    for step in (1, 2, 4, 8, 16, 32):
        if step < bits:
            filled |= filled >> value.dtype.type(step)
    return np.uint32(bits) - popcount(filled)


def reverse_bits(value: Array) -> Array:
    result = np.ascontiguousarray(value).view(np.uint8).reshape(len(value), -1)[:, ::-1]
    for mask, step in ((0x55, 1), (0x33, 2), (0x0F, 4)):
        result = ((result & np.uint8(mask)) << np.uint8(step)) | ((result >> np.uint8(step)) & np.uint8(mask))
    return np.ascontiguousarray(result).view(value.dtype).reshape(-1)


@instruction("popc", "clz", "brev")
def bit_counts(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    if decoder.opcode == "brev":
        return apply(decoder, kind, reverse_bits, 1)
    return apply(decoder, kind, popcount if decoder.opcode == "popc" else leading_zeros, 1, type_named("u32"))


@instruction("bfind")
def find_bit(decoder: Decoder) -> Execute:
    distance = decoder.flag("shiftamt")
    kind = decoder.take_type()

    def function(a: Array) -> Array:
        plain = np.where(a < 0, ~a, a).view(UNSIGNED[kind.bits]) if kind.kind == "s" else a
        zeros = leading_zeros(plain)
        found = zeros if distance else np.uint32(kind.bits - 1) - zeros
        return np.where(zeros == kind.bits, np.uint32(0xFFFF_FFFF), found)

    return apply(decoder, kind, function, 1, type_named("u32"))


def _field(position: Array, length: Array) -> tuple[Array, Array]:
    return (position & 255).astype(np.int64), (length & 255).astype(np.int64)


@instruction("bfe")
def extract_bits(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    decoder.arity(4)
    u32 = type_named("u32")
    write = decoder.write(decoder.operands[0], kind)
    value = decoder.read(decoder.operands[1], kind)
    position, length = (decoder.read(operand, u32) for operand in decoder.operands[2:4])
    bits, unsigned = kind.bits, UNSIGNED[kind.bits].type

    def function(a: Array, at: Array, size: Array) -> Array:
        start, count = _field(at, size)
        stop = np.minimum(start + count, bits)
        plain = a.view(UNSIGNED[bits])
        low = np.where(start < bits, plain >> np.minimum(start, bits - 1).astype(unsigned), unsigned(0))
        mask = np.where(
            count >= bits, ~unsigned(0), (unsigned(1) << np.minimum(count, bits - 1).astype(unsigned)) - unsigned(1)
        )
        result = low & mask
        if kind.kind == "s":
            sign = (plain >> np.clip(stop - 1, 0, bits - 1).astype(unsigned)) & unsigned(1)
            missing = np.clip(stop - start, 0, bits)
            above = np.where(missing >= bits, unsigned(0), ~unsigned(0) << np.minimum(missing, bits - 1).astype(unsigned))
            result = np.where((count > 0) & (sign == 1), result | above, result)
        field: Array = result.view(kind.view)
        return field

    return compute(write, function, value, position, length)


@instruction("bfi")
def insert_bits(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    decoder.arity(5)
    u32 = type_named("u32")
    write = decoder.write(decoder.operands[0], kind)
    source, base = (decoder.read(operand, kind) for operand in decoder.operands[1:3])
    position, length = (decoder.read(operand, u32) for operand in decoder.operands[3:5])
    bits, unsigned = kind.bits, UNSIGNED[kind.bits].type

    def function(a: Array, b: Array, at: Array, size: Array) -> Array:
        start, count = _field(at, size)
        mask = np.where(
            count >= bits, ~unsigned(0), (unsigned(1) << np.minimum(count, bits - 1).astype(unsigned)) - unsigned(1)
        )
        shift = np.minimum(start, bits - 1).astype(unsigned)
        mask = np.where(start < bits, mask << shift, unsigned(0))
        merged: Array = ((a << shift) & mask) | (b & ~mask)
        return merged

    return compute(write, function, source, base, position, length)


@instruction("bmsk")
def bit_mask(decoder: Decoder) -> Execute:
    clamp = decoder.choose("clamp", "wrap") == "clamp"
    kind = decoder.take_type()

    def function(position: Array, width: Array) -> Array:
        start, count = (np.minimum(size, 32) if clamp else size & 31 for size in (position, width))
        start, count = start.astype(np.uint64), count.astype(np.uint64)
        return ((((np.uint64(1) << count) - np.uint64(1)) << start) & np.uint64(0xFFFF_FFFF)).astype(np.uint32)

    return apply(decoder, kind, function, 2)


@instruction("szext")
def sign_or_zero_extend(decoder: Decoder) -> Execute:
    clamp = decoder.choose("clamp", "wrap") == "clamp"
    kind = decoder.take_type()
    decoder.arity(3)
    write = decoder.write(decoder.operands[0], kind)
    value = decoder.read(decoder.operands[1], kind)
    width = decoder.read(decoder.operands[2], type_named("u32"))

    def function(a: Array, size: Array) -> Array:
        count = (np.minimum(size, 32) if clamp else size & 31).astype(np.int64)
        wide = a.astype(np.int64)
        shifted = wide << (64 - count)
        exact = (
            shifted >> (64 - count)
            if kind.kind == "s"
            else (shifted.view(np.uint64) >> (64 - count).astype(np.uint64)).view(np.int64)
        )
        return np.where(count == 0, 0, exact).astype(kind.view)

    return compute(write, function, value, width)


@instruction("sad")
def sum_of_differences(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    return apply(decoder, kind, lambda a, b, c: c + np.where(a < b, b - a, a - b), 3)


@instruction("dp4a", "dp2a")
def dot_product(decoder: Decoder) -> Execute:
    """Products of the bytes of one word with those (dp4a) or with the halves (dp2a) of another, added to a third operand."""
    part = decoder.choose("lo", "hi") if decoder.opcode == "dp2a" else None
    right, left = decoder.take_type(), decoder.take_type()
    decoder.arity(4)
    result = type_named("s32" if "s" in (left.kind, right.kind) else "u32")
    b32 = type_named("b32")
    write = decoder.write(decoder.operands[0], result)
    a, b = (decoder.read(operand, b32) for operand in decoder.operands[1:3])
    c = decoder.read(decoder.operands[3], result)

    def lanes(word: Array, kind: Type, bits: int) -> Array:
        dtype: Any = (SIGNED if kind.kind == "s" else UNSIGNED)[bits]
        numbers: Array = np.ascontiguousarray(word).view(dtype).reshape(len(word), -1).astype(np.int64)
        return numbers

    def function(x: Array, y: Array, z: Array) -> Array:
        bytes_of_y = lanes(y, right, 8)
        if part is None:
            total = (lanes(x, left, 8) * bytes_of_y).sum(axis=1)
        else:
            total = (lanes(x, left, 16) * (bytes_of_y[:, 2:] if part == "hi" else bytes_of_y[:, :2])).sum(axis=1)
        sums: Array = (total + z).astype(result.view)
        return sums

    return compute(write, function, a, b, c)
