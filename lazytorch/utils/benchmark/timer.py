"""Timer and Measurement (torch.utils.benchmark): what a statement takes, every operation run at once."""

from __future__ import annotations

import textwrap
import timeit as standard
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from lazytorch.config import config
from lazytorch.ir.trace import STATE
from lazytorch.runtime.session import synchronize
from lazytorch.runtime.thread_count import get_num_threads, set_num_threads


def timer() -> float:
    """The time, after everything pending has run."""
    synchronize(STATE.trace, (), "a benchmark's timer")
    return perf_counter()


_UNITS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))


def _scaled(seconds: float) -> tuple[str, float]:
    """The unit in which a time is at least 1, and its size."""
    for unit, size in _UNITS:
        if seconds >= size:
            return unit, size
    return _UNITS[-1]


@dataclass(frozen=True)
class Measurement:
    """How long runs of a statement took. Times are in seconds per run."""

    number_per_run: int
    raw_times: list[float]
    stmt: str = ""
    setup: str = "pass"
    num_threads: int = 1
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def times(self) -> list[float]:
        """Seconds per run of every measurement."""
        return [time / self.number_per_run for time in self.raw_times]

    @property
    def median(self) -> float:
        """Their median."""
        return float(np.median(self.times))

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(np.mean(self.times))

    @property
    def iqr(self) -> float:
        """The range of the middle half."""
        low, high = np.percentile(self.times, [25, 75])
        return float(high - low)

    @property
    def title(self) -> str:
        """What was measured."""
        name = self.label or self.stmt
        return f"{name}: {self.sub_label}" if self.sub_label else name

    def __repr__(self) -> str:
        unit, size = _scaled(self.median)
        count = len(self.raw_times)
        lines = [f"<torch.utils.benchmark.utils.common.Measurement object at {id(self):#x}>", self.title]
        if self.setup and self.setup != "pass":
            lines.append(
                f"setup: {self.setup}" if "\n" not in self.setup else f"setup:\n{textwrap.indent(self.setup, '  ')}"
            )
        if count == 1:
            lines.append(f"  {self.median / size:.2f} {unit}")
            lines.append(f"  1 measurement, {self.number_per_run} runs , {self.num_threads} thread")
        else:
            low, high = np.percentile(self.times, [25, 75])
            lines.append(f"  Median: {self.median / size:.2f} {unit}")
            lines.append(f"  IQR:    {self.iqr / size:.2f} {unit} ({low / size:.2f} to {high / size:.2f})")
            lines.append(f"  {count} measurements, {self.number_per_run} runs per measurement, {self.num_threads} thread")
        return "\n".join(lines) + ("s" if self.num_threads > 1 else "")


class Timer:
    """Times a statement. Every operation runs when it is called, so that a result nobody asks for counts too."""

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: str = "python",
    ) -> None:
        if str(language).lower().rpartition(".")[2] not in ("python", "py"):
            raise NotImplementedError("Timer runs Python statements only")
        self._stmt, self._setup = textwrap.dedent(stmt).strip(), textwrap.dedent(setup).strip()
        self._names: dict[str, Any] = {"label": label, "sub_label": sub_label, "description": description, "env": env}
        self._threads = num_threads
        self._timer = standard.Timer(self._stmt, self._setup, timer, dict(globals or {}))

    def _run(self, number: int) -> float:
        before = get_num_threads()
        set_num_threads(self._threads)
        try:
            with config(eager=True):
                return max(self._timer.timeit(number), 1e-9)
        finally:
            set_num_threads(before)

    def _measured(self, number: int, times: list[float]) -> Measurement:
        return Measurement(number, times, self._stmt, self._setup, self._threads, **self._names)

    def timeit(self, number: int = 1000000) -> Measurement:
        """One measurement of `number` runs, after some to warm up."""
        self._run(max(number // 100, 2))
        return self._measured(number, [self._run(number)])

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """Not offered by torch either: use `timeit` or `blocked_autorange`."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def _block_size(self, least: float) -> int:
        """Runs that take long enough for the clock not to matter."""
        number = 1
        while True:
            taken = self._run(number)
            if taken > least / 1000 or number > 10_000_000:
                return number
            number *= 10

    def blocked_autorange(
        self, callback: Callable[[int, float], None] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Measurements of blocks of runs, until they have taken `min_run_time` seconds."""
        number = self._block_size(min_run_time)
        times: list[float] = []
        while sum(times) < min_run_time:
            times.append(self._run(number))
            if callback is not None:
                callback(number, times[-1])
        return self._measured(number, times)

    autorange = blocked_autorange

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], None] | None = None,
    ) -> Measurement:
        """Measurements of blocks of runs, until their spread is below a share of the median."""
        number = self._block_size(min_run_time)
        times: list[float] = []
        while sum(times) < max_run_time:
            times.append(self._run(number))
            if callback is not None:
                callback(number, times[-1])
            found = self._measured(number, times)
            if len(times) > 3 and sum(times) > min_run_time and found.iqr / found.median < threshold:
                break
        return self._measured(number, times)
