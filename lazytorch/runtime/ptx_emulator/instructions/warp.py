"""Instructions that lanes of a warp execute together: shuffles, votes, matches, reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, collective, instruction
from lazytorch.runtime.ptx_emulator.errors import DivergentSynchronisation, Location
from lazytorch.runtime.ptx_emulator.instructions.integer import BITWISE
from lazytorch.runtime.ptx_emulator.threads import WARP, Threads
from lazytorch.runtime.ptx_emulator.types import Array, type_named

_B32, _U32, _PRED = type_named("b32"), type_named("u32"), type_named("pred")
_BITS = (np.uint32(1) << np.arange(WARP, dtype=np.uint32)).astype(np.uint32)
_LANES = np.arange(WARP)


def ballot(matrix: Array) -> Array:
    """The lanes of each warp for which a truth value holds, as bits."""
    bits: Array = np.bitwise_or.reduce(np.where(matrix, _BITS, np.uint32(0)), axis=1)
    return bits


def members(threads: Threads, mask: Array, location: Location) -> Array:
    """The mask of every thread; a thread that executes such an instruction has to be in its mask."""
    outside = np.flatnonzero((threads.full(mask) >> threads.lanes.astype(np.uint32)) & np.uint32(1) == 0)
    if outside.size:
        message = "a thread executes this that its own mask leaves out"
        raise threads.launch.fault(DivergentSynchronisation, message, location, int(threads.ids[outside[0]]))
    return threads.full(mask)


def take_mask(decoder: Decoder, operand: object) -> Callable[[list[Array]], Array]:
    decoder.mask = decoder.read(operand, _U32)  # type: ignore[arg-type]
    return decoder.mask


@collective("shfl")
def shuffle(decoder: Decoder) -> Execute:
    decoder.choose("sync")
    mode = decoder.choose("up", "down", "bfly", "idx")
    decoder.take_type()
    decoder.arity(5)
    names = [name.strip() for name in str(decoder.operands[0]).split("|")]
    write = decoder.write(names[0], _B32)
    write_valid = decoder.write(names[1], _PRED) if len(names) > 1 else None
    source, distance, limits = (decoder.read(operand, _B32) for operand in decoder.operands[1:4])
    mask = take_mask(decoder, decoder.operands[4])
    location = decoder.location

    def execute(threads: Threads) -> None:
        registers = threads.registers
        named = members(threads, mask(registers), location)
        lane = threads.lanes.astype(np.int64)
        by, packed = (distance(registers) & np.uint32(31)).astype(np.int64), limits(registers).astype(np.int64)
        segment, clamp = (packed >> 8) & 31, packed & 31
        highest = (lane & segment) | (clamp & ~segment)
        lowest = lane & segment
        if mode == "up":
            wanted = lane - by
            valid = wanted >= highest
        else:
            wanted = {"down": lane + by, "bfly": lane ^ by, "idx": lowest | (by & ~segment)}[mode]
            valid = wanted <= highest
        partner = np.where(valid, wanted, lane)
        missing = np.flatnonzero(~threads.present[threads.warps, partner] | ((named >> partner.astype(np.uint32)) & 1 == 0))
        if missing.size:
            place = int(missing[0])
            message = f"shuffle from lane {int(partner[place])}, which does not take part"
            raise threads.launch.fault(DivergentSynchronisation, message, location, int(threads.ids[place]))
        write(registers, threads.by_lane(source(registers))[threads.warps, partner])
        if write_valid:
            write_valid(registers, valid)

    return execute


@collective("vote")
def vote(decoder: Decoder) -> Execute:
    decoder.choose("sync")
    mode = decoder.choose("all", "any", "uni", "ballot")
    kind = decoder.take_type()
    decoder.arity(3)
    write = decoder.write(decoder.operands[0], kind)
    source = decoder.predicate(decoder.operands[1])
    mask = take_mask(decoder, decoder.operands[2])
    location = decoder.location

    def execute(threads: Threads) -> None:
        registers = threads.registers
        named = members(threads, mask(registers), location)
        yes = ballot(threads.by_lane(source(registers)) & threads.present)[threads.warps] & named
        here = ballot(threads.present)[threads.warps] & named
        results = {"ballot": yes, "any": yes != 0, "all": yes == here, "uni": (yes == here) | (yes == 0)}
        write(registers, results[mode])

    return execute


@collective("match")
def match(decoder: Decoder) -> Execute:
    mode = decoder.choose("any", "all")
    decoder.choose("sync")
    kind = decoder.take_type()
    decoder.arity(3)
    names = [name.strip() for name in str(decoder.operands[0]).split("|")]
    write = decoder.write(names[0], _B32)
    write_all = decoder.write(names[1], _PRED) if len(names) > 1 else None
    source = decoder.read(decoder.operands[1], kind)
    mask = take_mask(decoder, decoder.operands[2])
    location = decoder.location

    def execute(threads: Threads) -> None:
        registers = threads.registers
        named = members(threads, mask(registers), location)
        rows = threads.by_lane(source(registers))
        equal = (rows[:, :, None] == rows[:, None, :]) & threads.present[:, None, :]
        same = np.bitwise_or.reduce(np.where(equal, _BITS, np.uint32(0)), axis=2)
        same = same[threads.warps, threads.lanes] & named
        if mode == "any":
            write(registers, same)
            return
        everyone = same == (ballot(threads.present)[threads.warps] & named)
        write(registers, np.where(everyone, same, np.uint32(0)))
        if write_all:
            write_all(registers, everyone)

    return execute


@collective("redux")
def reduce(decoder: Decoder) -> Execute:
    decoder.choose("sync")
    operation = decoder.choose("add", "min", "max", "and", "or", "xor")
    absolute = decoder.flag("abs")
    propagate = decoder.flag("NaN")
    kind = decoder.take_type()
    decoder.arity(3)
    write = decoder.write(decoder.operands[0], kind)
    source = decoder.read(decoder.operands[1], kind)
    mask = take_mask(decoder, decoder.operands[2])
    location = decoder.location
    functions: dict[str, np.ufunc] = {"add": np.add, "min": np.minimum, "max": np.maximum, **BITWISE}
    if kind.is_float and not propagate:
        functions.update(min=np.fmin, max=np.fmax)
    function = functions[operation]

    def execute(threads: Threads) -> None:
        registers = threads.registers
        named = members(threads, mask(registers), location)
        value = threads.full(source(registers))
        result = np.empty(threads.count, value.dtype)
        groups = threads.warps.astype(np.int64) << 32 | named
        for group in np.unique(groups):  # of the lanes of a warp, those with the same mask
            chosen = groups == group
            result[chosen] = function.reduce(np.abs(value[chosen]) if absolute else value[chosen])
        write(registers, result)

    return execute


@instruction("activemask")
def active_mask(decoder: Decoder) -> Execute:
    decoder.take_type()
    decoder.arity(1)
    write = decoder.write(decoder.operands[0], _B32)
    return lambda threads: write(threads.registers, ballot(threads.present)[threads.warps])


@collective("elect")
def elect(decoder: Decoder) -> Execute:
    decoder.choose("sync")
    decoder.arity(2)
    names = [name.strip() for name in str(decoder.operands[0]).split("|")]
    write, write_leader = decoder.write(names[0], _B32), decoder.write(names[1], _PRED)
    mask = take_mask(decoder, decoder.operands[1])
    location = decoder.location

    def execute(threads: Threads) -> None:
        named = members(threads, mask(threads.registers), location)
        here = ballot(threads.present)[threads.warps] & named
        lowest = np.bitwise_count((here & (~here + np.uint32(1))) - np.uint32(1)).astype(np.uint32)
        write(threads.registers, lowest)
        write_leader(threads.registers, threads.lanes == lowest)

    return execute


@collective("bar", "barrier")
def synchronise_warp(decoder: Decoder) -> Execute:
    """bar.warp.sync: orders the memory accesses of the lanes."""
    decoder.choose("warp")
    decoder.choose("sync")
    decoder.arity(1)
    mask = take_mask(decoder, decoder.operands[0])
    location = decoder.location

    def execute(threads: Threads) -> None:
        members(threads, mask(threads.registers), location)
        launch = threads.launch
        launch.clock += 1
        launch.warp_synced[threads.slots] = launch.clock

    return execute
