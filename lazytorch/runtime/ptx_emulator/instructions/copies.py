"""cp.async: copies from global to shared memory whose bytes arrive when they are waited for."""

from __future__ import annotations

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, instruction
from lazytorch.runtime.ptx_emulator.instructions.memory_access import note_size
from lazytorch.runtime.ptx_emulator.memory import IN_FLIGHT
from lazytorch.runtime.ptx_emulator.spaces import Access, check_read, resolve
from lazytorch.runtime.ptx_emulator.threads import Threads
from lazytorch.runtime.ptx_emulator.types import Array, type_named


@instruction("cp")
def copy(decoder: Decoder) -> Execute:
    decoder.choose("async")
    action = decoder.take("commit_group", "wait_group", "wait_all")
    if action == "commit_group":
        decoder.arity(0)
        return lambda threads: threads.launch.copies.commit(threads)
    if action == "wait_group":
        decoder.arity(1)
        most = decoder.constant(decoder.operands[0])
        return lambda threads: threads.launch.copies.wait(threads, most)
    if action == "wait_all":
        decoder.arity(0)
        return _wait_for_all
    return _start(decoder)


def _wait_for_all(threads: Threads) -> None:
    threads.launch.copies.commit(threads)
    threads.launch.copies.wait(threads, 0)


def _start(decoder: Decoder) -> Execute:
    through = decoder.choose("ca", "cg")
    decoder.choose("shared", "shared::cta")
    decoder.choose("global")
    hints = [modifier for modifier in decoder.modifiers if modifier.startswith("L2::")]
    decoder.take(*hints)
    decoder.arity(3, 4)
    size = decoder.constant(decoder.operands[2])
    if size not in ((16,) if through == "cg" else (4, 8, 16)):
        raise decoder.error(f"cp.async.{through} does not copy {size} bytes")
    target, source = decoder.address(decoder.operands[0]), decoder.address(decoder.operands[1])
    given = decoder.read(decoder.operands[3], type_named("u32")) if len(decoder.operands) == 4 else None
    note_size(decoder, "shared", size)
    note_size(decoder, "global", 4)
    word = min(size, 8)
    reads = Access(decoder.location, word, size // word)
    writes = Access(decoder.location, word, size // word, is_store=True)

    def execute(threads: Threads) -> None:
        registers = threads.registers
        to, come = threads.full(target(registers)), threads.full(source(registers))
        count = None if given is None else threads.full(given(registers))
        data = _source_bytes(threads, come, reads, count)
        region, index, races = resolve(threads, "shared", to, writes)
        if races is not None:
            races.note_write(index, size, threads, writes.location)
        region.mark(index, size, IN_FLIGHT)
        threads.launch.copies.start(threads, index, data, writes.location)

    return execute


def _source_bytes(threads: Threads, address: Array, access: Access, count: Array | None) -> Array:
    """The bytes to copy, one row for each thread; zeros beyond the count, where memory is not read."""
    size = access.size
    data = np.zeros((threads.count, size), np.uint8)
    for length in (size,) if count is None else np.unique(np.minimum(count, size)):
        if length == 0:
            continue
        chosen = np.arange(threads.count) if count is None else np.flatnonzero(np.minimum(count, size) == length)
        part = threads if len(chosen) == threads.count else threads.subset(chosen, ())
        whole = int(length) == size
        # A partial copy reads only its first bytes, but its address is aligned as that of a whole one.
        form = access if whole else Access(access.location, 1, int(length))
        region, index, races = resolve(part, "global", address[chosen], form)
        check_read(part, "global", region, index, races, form)
        data[chosen, : int(length)] = region.data[index[:, None] + np.arange(int(length))]
    return data
