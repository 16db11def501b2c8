"""Barriers of a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lazytorch.runtime.ptx_emulator.errors import DivergentSynchronisation, Location
from lazytorch.runtime.ptx_emulator.threads import WARP, Threads
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


def check_participants(barrier: Barrier, threads: Threads) -> None:
    """A barrier that names a number of threads, reached by all threads of their blocks."""
    if barrier.participants is None:
        return
    launch = threads.launch
    wanted, size = int(barrier.participants(threads.registers).max()), launch.threads_per_block
    if not size <= wanted <= -(-size // WARP) * WARP:
        message = f"a barrier for {wanted} threads, reached by the {size} threads of the block"
        raise launch.fault(DivergentSynchronisation, message, barrier.location, int(threads.ids[0]))


def reduce_over_blocks(barrier: Barrier, threads: Threads) -> None:
    """bar.red: count, or combine, the predicates of the threads of each block."""
    assert barrier.source is not None and barrier.result is not None
    launch = threads.launch
    holds = threads.full(barrier.source(threads.registers))
    blocks = launch.block_of[threads.slots]
    votes = np.bincount(blocks[holds], minlength=launch.blocks)
    voters = np.bincount(blocks, minlength=launch.blocks)
    results = {"popc": votes.astype(np.uint32), "and": votes == voters, "or": votes > 0}
    barrier.result(threads.registers, results[barrier.reduction or ""][blocks])
