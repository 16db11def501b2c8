"""Timing of contestants in turn, so that what the machine does meanwhile hits all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds per call: the best round, and the median of the rounds."""

    best: float
    median: float


def interleaved(
    contestants: dict[str, Callable[[], object]], rounds: int = 15, seconds: float = 0.03, pause: float = 0.02
) -> dict[str, Timing]:
    """Time each contestant for `seconds` per round, in turn; `pause` lets the others' worker threads go to sleep."""
    counts = {}
    for name, function in contestants.items():
        for _ in range(3):
            function()
        start = time.perf_counter()
        function()
        counts[name] = max(1, int(seconds / max(time.perf_counter() - start, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            time.sleep(pause)
            function()
            gc.collect()
            count = counts[name]
            start = time.perf_counter()
            for _ in range(count):
                function()
            samples[name].append((time.perf_counter() - start) / count)
    return {name: Timing(min(values), statistics.median(values)) for name, values in samples.items()}
