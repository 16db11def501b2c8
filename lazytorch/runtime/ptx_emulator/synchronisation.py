"""Barriers of a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lazytorch.runtime.ptx_emulator.errors import Location
from lazytorch.runtime.ptx_emulator.types import type_named

if TYPE_CHECKING:
    from lazytorch.runtime.ptx_emulator.decoding import Decoder, Reader, Writer

BARRIERS = ("bar", "barrier")


@dataclass(slots=True)
class Barrier:
    """`number` of the barrier and how many threads take part (None: the whole block). `waits` is false for `arrive`;
    a reduction combines `source` over the block into `result`."""

    number: Reader
    participants: Reader | None
    waits: bool
    location: Location
    reduction: str | None = None
    source: Reader | None = None
    result: Writer | None = None
    result_slots: frozenset[int] = frozenset()


def decode_barrier(decoder: Decoder) -> Barrier:
    decoder.flag("cta")
    action = decoder.choose("sync", "arrive", "red")
    decoder.flag("aligned")
    u32 = type_named("u32")
    operands = list(decoder.operands)
    location = decoder.location
    if action != "red":
        decoder.arity(1, 2)
        participants = decoder.read(operands[1], u32) if len(operands) > 1 else None
        if action == "arrive" and participants is None:
            raise decoder.error("arrive needs a number of threads")
        return Barrier(decoder.read(operands[0], u32), participants, action == "sync", location)
    reduction = decoder.choose("popc", "and", "or")
    kind = decoder.take_type()
    decoder.arity(3, 4)
    participants = decoder.read(operands[2], u32) if len(operands) == 4 else None
    return Barrier(
        decoder.read(operands[1], u32),
        participants,
        True,
        location,
        reduction,
        decoder.predicate(operands[-1]),
        decoder.write(operands[0], kind),
        frozenset(decoder.writes),
    )
