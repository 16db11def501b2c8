"""atom and red: read-modify-write. Threads go in the order of their numbers, which a device leaves open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, Writer, instruction
from lazytorch.runtime.ptx_emulator.instructions.floating import Function, lanewise, maximum, minimum
from lazytorch.runtime.ptx_emulator.instructions.integer import BITWISE
from lazytorch.runtime.ptx_emulator.instructions.memory_access import note_size, take_space
from lazytorch.runtime.ptx_emulator.rounding import flush
from lazytorch.runtime.ptx_emulator.spaces import Access, check_read, generic_space, resolve
from lazytorch.runtime.ptx_emulator.threads import Threads
from lazytorch.runtime.ptx_emulator.types import Array, Type

Update = Callable[[Array, Array, Array], Array]


_INTEGER_UPDATES: dict[str, Function] = {"add": np.add, "min": np.minimum, "max": np.maximum}
_FLOAT_UPDATES: dict[str, Function] = {"add": np.add, "min": minimum, "max": maximum}


def _update(operation: str, kind: Type) -> Update:
    """From the old contents and the operands to the new contents."""
    if operation in BITWISE:
        bitwise = BITWISE[operation]
        return lambda old, value, _: bitwise(old, value)
    if operation == "exch":
        return lambda old, value, _: value
    if operation == "cas":
        return lambda old, expected, value: np.where(old == expected, value, old)
    if operation == "inc":
        return lambda old, limit, _: np.where(old >= limit, old.dtype.type(0), old + old.dtype.type(1))
    if operation == "dec":
        return lambda old, limit, _: np.where((old == 0) | (old > limit), limit, old - old.dtype.type(1))
    if kind.is_float:
        function = lanewise(kind, _FLOAT_UPDATES[operation])
    else:
        function = _INTEGER_UPDATES[operation]
    return lambda old, value, _: function(old, value)


def _accumulation(operation: str, kind: Type) -> np.ufunc | None:
    """The NumPy function, if there is one, that does the same to many places in the order of the threads."""
    if operation in BITWISE:
        return BITWISE[operation]
    if kind.kind in ("u", "s") or (kind.kind == "f" and kind.lanes == 1 and operation == "add"):
        return _ACCUMULATIONS.get(operation)
    return None


def _flushed_sum(old: Array, value: Array, _: Array) -> Array:
    """atom.add.f32 in global memory takes subnormals, and makes of them, zeros of their sign."""
    return flush(flush(old) + flush(value))


def _tiny(value: Array) -> bool:
    """Whether sums of such numbers may be subnormal: all others are multiples of the smallest normal number."""
    size = np.abs(value)
    return bool(((size < 2.0**-102) & (size > 0)).any())


_ACCUMULATIONS = {"add": np.add, "min": np.minimum, "max": np.maximum}


@instruction("atom", "red")
def atomic(decoder: Decoder) -> Execute:
    ordered = decoder.take("relaxed", "acquire", "release", "acq_rel")
    decoder.take("cta", "cluster", "gpu", "sys")
    space = take_space(decoder)
    operation = decoder.choose("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
    decoder.flag("noftz")
    kind = decoder.take_type()
    operands = list(decoder.operands)
    write: Writer | None = None
    if decoder.opcode == "atom":
        result = operands.pop(0)
        write = decoder.write(result, kind)
        if result == "_" or decoder.mentions[str(result)] == 1:
            write = None  # nobody reads it
    if len(operands) != (3 if operation == "cas" else 2):
        raise decoder.error("the wrong number of operands")
    address = decoder.address(operands[0])
    values = [decoder.read(operand, kind) for operand in operands[1:]]
    note_size(decoder, space, kind.bytes)
    update = _update(operation, kind)
    accumulate = None if write else _accumulation(operation, kind)
    access = Access(decoder.location, kind.bytes, 1, is_store=True, strong=True, atomic=True)
    view = kind.view
    adds_float32 = operation == "add" and kind.name == "f32"
    is_fence = ordered in ("acquire", "release", "acq_rel")

    def execute(threads: Threads) -> None:
        registers = threads.registers
        place = threads.full(address(registers))
        where = space
        if where is None:
            where, place = generic_space(threads, place, access.location)
        region, index, races = resolve(threads, where, place, access)
        check_read(threads, where, region, index, None, access)
        if is_fence:
            threads.launch.fence(threads)
        if races is not None:
            races.note_write(index, kind.bytes, threads, access.location, atomic=True)
        first = threads.full(values[0](registers))
        second = threads.full(values[1](registers)) if len(values) > 1 else first
        memory, index = region.words[kind.bytes].view(view), index // kind.bytes
        flushing = adds_float32 and where == "global" and (_tiny(first) or _tiny(memory[index]))
        if accumulate is not None and not flushing:
            accumulate.at(memory, index, first)
        else:
            old = in_turn(memory, index, first, second, _flushed_sum if flushing else update)
        if is_fence:
            threads.launch.fence(threads)
        if write:
            write(registers, old)

    return execute


def in_turn(memory: Array, index: Array, first: Array, second: Array, update: Update) -> Array:
    """Apply the update for one thread after the other, many at a time where their places differ; returns the old
    contents."""
    order = np.argsort(index, kind="stable")
    places = index[order]
    starts = np.flatnonzero(np.concatenate([[True], places[1:] != places[:-1]]))
    lengths = np.diff(np.append(starts, len(places)))
    old = np.empty(len(index), memory.dtype)
    for turn in range(int(lengths.max())):  # the turn-th thread of each place
        chosen = order[starts[lengths > turn] + turn]
        place = index[chosen]
        old[chosen] = memory[place]
        memory[place] = update(memory[place], first[chosen], second[chosen])
    return old
