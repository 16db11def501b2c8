"""What the runtime has done so far, counted: for tests ("the second step compiled nothing"), for `info` and for users.

Counters are plain attributes that hot code increments (`STATISTICS.native_calls += 1`). Two Python threads that do so
at the same moment may lose a count: these are diagnostics, and a lock would cost more than what is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields


@dataclass(slots=True)
class Statistics:
    """The counters. Field names are the keys of `stats()`."""

    syncs: int = 0
    """Times that something asked for a value and pending operations had to run."""
    programs_planned: int = 0
    """Graphs that were captured, fused, scheduled and laid out."""
    calls_captured: int = 0
    """Forms of compiled functions that were kept to be replayed."""
    calls_replayed: int = 0
    """Calls of compiled functions that ran a kept form."""
    program_cache_hits: int = 0
    """Syncs that found a program made before."""
    kernels_compiled: int = 0
    """Kernels that went through LLVM."""
    modules_compiled: int = 0
    """LLVM modules turned into object code; one may hold many kernels."""
    compile_nanoseconds: int = 0
    """Time spent in LLVM for `modules_compiled`."""
    objects_loaded: int = 0
    """Object files linked into the process, freshly compiled or not."""
    objects_unloaded: int = 0
    """Object files taken out again; the difference to `objects_loaded` is live."""
    disk_cache_hits: int = 0
    """Object files found in the kernel cache on disk."""
    disk_cache_misses: int = 0
    """Object files looked for there and not found."""
    native_calls: int = 0
    """Calls from Python into compiled programs."""
    kernels_run: int = 0
    """Steps executed by those calls."""
    flops: int = 0
    """Floating-point operations of the steps whose number is known (contractions count 2 per multiply-add)."""

    def stats(self) -> dict[str, int]:
        """All counters, as a new dictionary."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def reset(self) -> None:
        """Set every counter to zero."""
        for field in fields(self):
            setattr(self, field.name, 0)


STATISTICS = Statistics()
"""The process's counters."""

OBSERVERS: list[Callable[[str, int], Callable[[], None]]] = []
"""The last one is told when a program begins: what asked for it, how many operations it has. What it returns is called when
the program has run (profiler.py)."""
