"""Fences, traps, hints. Branches and barriers end basic blocks and are decoded by program.py."""

from __future__ import annotations

from lazytorch.runtime.ptx_emulator.decoding import Decoder, Execute, instruction
from lazytorch.runtime.ptx_emulator.errors import Trap
from lazytorch.runtime.ptx_emulator.threads import Threads


@instruction("trap")
def trap(decoder: Decoder) -> Execute:
    location = decoder.location

    def execute(threads: Threads) -> None:
        raise threads.launch.fault(Trap, "trap", location, int(threads.ids[0]))

    return execute


@instruction("membar", "fence")
def fence(decoder: Decoder) -> Execute:
    decoder.take("proxy")
    decoder.take("acq_rel", "sc", "alias", "acquire", "release", "async")
    decoder.take("cta", "gl", "gpu", "sys", "cluster", "global", "shared::cta")

    def execute(threads: Threads) -> None:
        threads.launch.fence(threads)

    return execute


@instruction("nanosleep", "griddepcontrol", "prefetch", "prefetchu", "pmevent", "applypriority", "discard")
def hint(decoder: Decoder) -> Execute:
    """No effect on results."""
    decoder.modifiers.clear()
    return lambda threads: None
