"""Moves, selections, permutations, address conversions."""

from __future__ import annotations

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, instruction
from lazytorch.runtime.ptx_emulator.instructions.integer import compute
from lazytorch.runtime.ptx_emulator.parser import Vector
from lazytorch.runtime.ptx_emulator.spaces import WINDOWS, in_window
from lazytorch.runtime.ptx_emulator.threads import Threads
from lazytorch.runtime.ptx_emulator.types import Array, type_named


@instruction("mov")
def move(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    decoder.arity(2)
    target, source = decoder.operands
    if kind.kind == "pred":
        return compute(decoder.write(target, kind), lambda value: value, decoder.predicate(source))
    kind = type_named(f"b{kind.bits}")
    if isinstance(source, Vector):
        return _pack(decoder, source, kind.bits)
    if isinstance(target, Vector):
        return _unpack(decoder, target, kind.bits)
    return compute(decoder.write(target, kind), lambda value: value, decoder.read(source, kind))


def _pack(decoder: Decoder, source: Vector, bits: int) -> Execute:
    """`mov.b32 %r, {%lo, %hi}`"""
    part = type_named(f"b{bits // len(source.elements)}")
    whole = type_named(f"b{bits}")
    write = decoder.write(decoder.operands[0], whole)
    readers = [decoder.read(element, part) for element in source.elements]

    def execute(threads: Threads) -> None:
        registers = threads.registers
        parts = np.broadcast_arrays(*(reader(registers) for reader in readers))
        write(registers, np.stack(parts, axis=1).view(whole.storage).reshape(-1))

    return execute


def _unpack(decoder: Decoder, target: Vector, bits: int) -> Execute:
    count = len(target.elements)
    part = type_named(f"b{bits // count}")
    writers = [decoder.write(element, part) for element in target.elements]
    read = decoder.read(decoder.operands[1], type_named(f"b{bits}"))

    def execute(threads: Threads) -> None:
        registers = threads.registers
        parts = np.ascontiguousarray(read(registers)).view(part.storage).reshape(-1, count)
        for number, write in enumerate(writers):
            write(registers, np.ascontiguousarray(parts[:, number]))

    return execute


def _where(holds: Array, yes: Array, no: Array) -> Array:
    return np.where(holds, yes, no)


@instruction("selp")
def select(decoder: Decoder) -> Execute:
    kind = type_named(f"b{decoder.take_type().bits}")
    decoder.arity(4)
    target, yes, no, condition = decoder.operands
    write = decoder.write(target, kind)
    readers = decoder.predicate(condition), decoder.read(yes, kind), decoder.read(no, kind)
    return compute(write, _where, *readers)


@instruction("slct")
def select_by_sign(decoder: Decoder) -> Execute:
    sign = decoder.take_type()
    kind = type_named(f"b{decoder.take_type().bits}")
    decoder.arity(4)
    write = decoder.write(decoder.operands[0], kind)
    a, b = (decoder.read(operand, kind) for operand in decoder.operands[1:3])
    return compute(write, lambda c, x, y: _where(c >= 0, x, y), decoder.read(decoder.operands[3], sign), a, b)


@instruction("prmt")
def permute_bytes(decoder: Decoder) -> Execute:
    kind = decoder.take_type()
    mode = decoder.take("f4e", "b4e", "rc8", "ecl", "ecr", "rc16")
    if mode:
        raise decoder.error(f"unsupported modifier .{mode}")
    decoder.arity(4)
    write = decoder.write(decoder.operands[0], kind)
    readers = [decoder.read(operand, kind) for operand in decoder.operands[1:]]

    def function(a: Array, b: Array, selector: Array) -> Array:
        both = (b.astype(np.uint64) << np.uint64(32)) | a
        result = np.zeros(1, np.uint32)
        for place in range(4):
            choice = (selector >> np.uint32(4 * place)) & np.uint32(15)
            byte = ((both >> ((choice & np.uint32(7)) * np.uint32(8)).astype(np.uint64)) & np.uint64(255)).astype(np.uint32)
            sign = np.where(byte & np.uint32(128), np.uint32(255), np.uint32(0))
            result = result | np.where(choice & np.uint32(8), sign, byte) << np.uint32(8 * place)
        return result

    return compute(write, function, *readers)


@instruction("cvta")
def convert_address(decoder: Decoder) -> Execute:
    """Between generic addresses and those of a state space: shared and local memory have windows of the generic space."""
    to_space = decoder.flag("to")
    space = decoder.choose("global", "shared", "local", "const", "param", "shared::cta")
    kind = decoder.take_type()
    if kind.bits != 64:
        raise decoder.error("only 64-bit generic addresses are supported")
    decoder.arity(2)
    start = np.uint64(WINDOWS.get(space.removesuffix("::cta"), 0))
    write = decoder.write(decoder.operands[0], kind)
    source = decoder.read(decoder.operands[1], kind)
    return compute(write, (lambda value: value - start) if to_space else (lambda value: value + start), source)


@instruction("isspacep")
def is_in_space(decoder: Decoder) -> Execute:
    space = decoder.choose("global", "shared", "local", "const", "shared::cta")
    decoder.arity(2)
    write = decoder.write(decoder.operands[0], type_named("pred"))
    source = decoder.read(decoder.operands[1], type_named("b64"))
    return compute(write, lambda value: in_window(value.view(np.int64), space.removesuffix("::cta")), source)
