"""Timing of contestants in turn, so that what the machine does meanwhile hits all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lazytorch.runtime.runner import NativeProgram

Clock = Callable[[], float]
FEWEST = 3
WARM_SECONDS = 10.0
"""For calls before a contestant is timed, of which there are FEWEST at least."""


@dataclass(frozen=True)
class Timing:
    """Seconds per call: of the first one, of the best round, the median of the rounds; of native code in the best round."""

    first: float
    best: float
    median: float
    native: float


def clock_for(threads: int, against: Collection[str] = ()) -> Clock:
    """One thread's own time is what other processes on the machine disturb least; JAX computes in threads of its own."""
    return time.thread_time if threads == 1 and "jax" not in against else time.perf_counter


@contextmanager
def native_seconds(clock: Clock) -> Iterator[list[float]]:
    """Within the block, the seconds that our native code takes are added to the list's only element."""
    native = [0.0]
    original = NativeProgram.run

    def timed(self: NativeProgram, *values: float) -> int:
        start = clock()
        result = original(self, *values)
        native[0] += clock() - start
        return result

    NativeProgram.run = timed  # type: ignore[method-assign]
    try:
        yield native
    finally:
        NativeProgram.run = original  # type: ignore[method-assign]


def interleaved(
    contestants: dict[str, Callable[[], object]],
    rounds: int,
    threads: int,
    seconds: float = 0.03,
    pause: float = 0.02,
    warm: Mapping[str, int] | None = None,
) -> dict[str, Timing]:
    """Time each contestant for `seconds` per round, in turn; `pause` lets the others' worker threads go to sleep.

    warm: calls before, of a contestant that needs more than a few.
    """
    clock = clock_for(threads, contestants)
    first, counts = {}, {}
    for name, function in contestants.items():
        start = time.perf_counter()  # compilers have threads of their own
        function()
        first[name] = time.perf_counter() - start
        started = time.perf_counter()
        for number in range(max(FEWEST, (warm or {}).get(name, 0))):
            if number >= FEWEST and time.perf_counter() - started > WARM_SECONDS:
                break
            function()
        start = clock()
        function()
        counts[name] = max(1, int(seconds / max(clock() - start, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    native: dict[str, list[float]] = {name: [] for name in contestants}
    with native_seconds(clock) as inside:
        for _ in range(rounds):
            for name, function in contestants.items():
                time.sleep(pause)
                function()
                gc.collect()
                count = counts[name]
                inside[0] = 0.0
                start = clock()
                for _ in range(count):
                    function()
                samples[name].append((clock() - start) / count)
                native[name].append(inside[0] / count)
    return {
        name: Timing(first[name], min(values), statistics.median(values), min(native[name]))
        for name, values in samples.items()
    }
