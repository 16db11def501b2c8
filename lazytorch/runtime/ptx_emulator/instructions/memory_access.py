"""Loads and stores."""

from __future__ import annotations

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, Reader, instruction
from lazytorch.runtime.ptx_emulator.errors import OutOfBoundsAccess
from lazytorch.runtime.ptx_emulator.instructions.integer import compute
from lazytorch.runtime.ptx_emulator.parser import Address
from lazytorch.runtime.ptx_emulator.spaces import Access, generic_space, load, store
from lazytorch.runtime.ptx_emulator.threads import Threads
from lazytorch.runtime.ptx_emulator.types import UNSIGNED, Array, Type, garbage, type_named

CACHE_HINTS = ("ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc")
SPACES = ("global", "shared", "local", "const", "param", "shared::cta", "param::entry", "param::func")


def take_hints(decoder: Decoder) -> bool:
    """Take what says nothing about values; whether the access is a strong one."""
    decoder.flag("weak")
    strong = decoder.flag("volatile", "relaxed", "acquire", "release", "mmio")
    decoder.take("cta", "cluster", "gpu", "sys")
    while decoder.flag(*CACHE_HINTS) or decoder.flag(*_levels(decoder)):
        pass
    return strong


def _levels(decoder: Decoder) -> list[str]:
    """Modifiers such as .L1::no_allocate or .L2::128B."""
    return [modifier for modifier in decoder.modifiers if modifier.startswith(("L1::", "L2::"))]


def take_space(decoder: Decoder) -> str | None:
    """The state space; None for a generic address. Constant memory is a part of global memory here."""
    space = decoder.take(*SPACES)
    if space is None:
        return None
    space = space.split("::")[0]
    return "global" if space == "const" else space


def note_size(decoder: Decoder, space: str | None, size: int) -> None:
    """Remember the smallest access to each memory: races are checked at that grain."""
    for name in (space,) if space else ("shared", "global"):
        if name in ("shared", "global"):
            decoder.smallest_access[name] = min(size, decoder.smallest_access.get(name, 16))


def vector_length(decoder: Decoder) -> int:
    return int((decoder.take("v2", "v4", "v8") or "v1")[1:])


@instruction("ld", "ldu")
def load_registers(decoder: Decoder) -> Execute:
    strong = take_hints(decoder)
    space = take_space(decoder)
    count = vector_length(decoder)
    kind = decoder.take_type()
    decoder.arity(2)
    names = decoder.vector(decoder.operands[0])
    if len(names) != count:
        raise decoder.error(f"{count} registers expected")
    if not isinstance(decoder.operands[1], Address):
        raise decoder.error(f"an address expected, found {decoder.operands[1]}")
    if space == "param":
        return _load_parameter(decoder, names, kind)
    address = decoder.address(decoder.operands[1])
    note_size(decoder, space, kind.bytes)
    # The load before a loop of compare-and-swap only guesses the contents; LLVM emits a plain one.
    strong = strong or decoder.operands[1] in decoder.swapped
    access = Access(decoder.location, kind.bytes, count, strong=strong)
    raw = type_named(f"b{kind.bits}") if kind.kind != "s" else kind
    writes = [decoder.write(name, raw) for name in names]
    location = decoder.location

    def execute(threads: Threads) -> None:
        registers = threads.registers
        where, place = space, address(registers)
        if where is None:
            where, place = generic_space(threads, place, location)
        for write, value in zip(writes, load(threads, where, place, access), strict=True):
            write(registers, value)

    return execute


def _load_parameter(decoder: Decoder, names: tuple[str, ...], kind: Type) -> Execute:
    """A kernel's parameter is a slot that the launch fills; a called function's is one that the caller fills."""
    operand = decoder.operands[1]
    assert isinstance(operand, Address)
    if operand.base in decoder.registers:
        return _load_from_parameters(decoder, names, kind)
    parameter = decoder.parameters.get(operand.base)
    executes = []
    for number, name in enumerate(names):
        offset = operand.offset + number * kind.bytes
        if parameter is not None:
            if not 0 <= offset <= parameter.bytes - kind.bytes:
                raise decoder.error(f"reads outside the {parameter.bytes} bytes of {operand.base}")
            slot = _parameter_slot(decoder, parameter.offset + offset, kind.bytes)
        elif operand.base in decoder.call_parameters:
            slot = call_slot(decoder, operand.base, offset, kind)
        else:
            raise decoder.error(f"unknown parameter {operand.base}")
        decoder.reads.add(slot)
        raw = kind if kind.kind == "s" else type_named(f"b{kind.bits}")
        write = decoder.write(name, raw)
        executes.append(compute(write, _identity, _viewed(slot, raw)))
    if len(executes) == 1:
        return executes[0]

    def execute(threads: Threads) -> None:
        for one in executes:
            one(threads)

    return execute


def _load_from_parameters(decoder: Decoder, names: tuple[str, ...], kind: Type) -> Execute:
    """A parameter that is chosen while the kernel runs: its address is an offset in the argument block."""
    address = decoder.address(decoder.operands[1])
    raw = type_named(f"b{kind.bits}")
    writes = [decoder.write(name, raw) for name in names]
    location = decoder.location

    def execute(threads: Threads) -> None:
        block = np.frombuffer(threads.launch.request.arguments, np.uint8)
        place = address(threads.registers).astype(np.int64)
        size = kind.bytes
        if (place < 0).any() or (place + size * len(writes) > len(block)).any() or (place % size).any():
            raise OutOfBoundsAccess("reads outside of the kernel's parameters", location)
        for number, write in enumerate(writes):
            index = place[:, None] + number * size + np.arange(size)
            write(threads.registers, block[index].reshape(-1).view(raw.view))

    return execute


def _identity(value: Array) -> Array:
    return value


def _viewed(slot: int, kind: Type) -> Reader:
    view = kind.view
    return lambda registers: registers[slot].view(view)


def _parameter_slot(decoder: Decoder, offset: int, size: int) -> int:
    name = f"<parameter {offset}>"
    known = decoder.slots.by_name.get((name, size * 8))
    if known is None:
        known = decoder.slots.new(name, size * 8, garbage(size * 8))
        decoder.slots.parameters.append((offset, size, known))
    return known


def call_slot(decoder: Decoder, variable: str, offset: int, kind: Type) -> int:
    """The slot of a part of a call's argument or result."""
    name = f"<{variable} + {offset}>"
    known = decoder.slots.by_name.get((name, kind.bits))
    return decoder.slots.new(name, kind.bits, garbage(kind.bits)) if known is None else known


@instruction("st")
def store_registers(decoder: Decoder) -> Execute:
    strong = take_hints(decoder)
    space = take_space(decoder)
    count = vector_length(decoder)
    kind = decoder.take_type()
    raw = type_named(f"b{kind.bits}")
    decoder.arity(2)
    target, source = decoder.operands
    names = decoder.vector(source)
    if len(names) != count:
        raise decoder.error(f"{count} registers expected")
    reads = [decoder.read(name, raw) for name in names]
    if space == "param":
        return _store_parameter(decoder, target, reads, raw)
    address = decoder.address(target)
    note_size(decoder, space, kind.bytes)
    access = Access(decoder.location, kind.bytes, count, is_store=True, strong=strong)
    location = decoder.location

    def execute(threads: Threads) -> None:
        registers = threads.registers
        where, place = space, address(registers)
        if where is None:
            where, place = generic_space(threads, place, location)
        store(threads, where, place, [read(registers) for read in reads], access)

    return execute


def _store_parameter(decoder: Decoder, target: object, reads: list[Reader], kind: Type) -> Execute:
    if not isinstance(target, Address) or target.base not in decoder.call_parameters:
        raise decoder.error("a parameter of a call expected")
    slots = [call_slot(decoder, target.base, target.offset + number * kind.bytes, kind) for number in range(len(reads))]
    decoder.writes.update(slots)

    def execute(threads: Threads) -> None:
        registers = threads.registers
        for slot, read in zip(slots, reads, strict=True):
            registers[slot] = read(registers).view(UNSIGNED[kind.bits])

    return execute
