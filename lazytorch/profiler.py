"""Where time goes (torch.profiler, torch.autograd.profiler): blocks that the user names, and the programs that ran in them.

Operations are recorded, not run one by one, so what takes time is a program: it is listed under what asked for it
(`item()`, `print`, ...), with the number of operations it computed.
"""

from __future__ import annotations

import enum
import functools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from lazytorch.runtime.statistics import OBSERVERS

__all__ = [
    "EventList",
    "ProfilerAction",
    "ProfilerActivity",
    "profile",
    "record_function",
    "schedule",
    "tensorboard_trace_handler",
]


class ProfilerActivity(enum.Enum):
    """What is observed."""

    CPU = 0
    CUDA = 2


class ProfilerAction(enum.Enum):
    """What a profiler does in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


class Event(NamedTuple):
    """A block or a program: when it began and how long it took, in seconds; how much of that was other events within."""

    key: str
    start: float
    seconds: float
    inner: float
    operations: int = 0


@dataclass(frozen=True)
class Average:
    """All events of a name together, in microseconds as torch has them."""

    key: str
    count: int
    self_cpu_time_total: float
    cpu_time_total: float

    @property
    def cpu_time(self) -> float:
        """The mean of one event."""
        return self.cpu_time_total / self.count


_TITLES = ("Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls")


def _duration(microseconds: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3f}{unit}"
    return f"{microseconds:.3f}us"


class EventList(list[Any]):
    """Averages by name."""

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all, in microseconds."""
        return float(sum(average.self_cpu_time_total for average in self))

    def table(self, sort_by: str | None = None, row_limit: int = 100, **options: Any) -> str:
        """A table of text, by an attribute of the averages in descending order if `sort_by` is given."""
        rows = sorted(self, key=lambda x: getattr(x, sort_by), reverse=True) if sort_by else list(self)
        total = self.self_cpu_time_total or 1.0
        cells = [_TITLES]
        for x in rows[: row_limit if row_limit >= 0 else None]:
            own, whole = x.self_cpu_time_total, x.cpu_time_total
            shares = f"{100 * own / total:.2f}%", f"{100 * whole / total:.2f}%"
            times = _duration(own), _duration(whole), _duration(x.cpu_time)
            cells.append((x.key, shares[0], times[0], shares[1], times[1], times[2], str(x.count)))
        widths = [max(len(row[column]) for row in cells) for column in range(len(_TITLES))]
        line = "  ".join("-" * width for width in widths)
        texts = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([line, texts[0], line, *texts[1:], line, f"Self CPU time total: {_duration(total)}"]) + "\n"

    def __str__(self) -> str:
        return self.table()


class _Recorder:
    """The events of a profiler that is open."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.inner = [0.0]

    def open(self) -> float:
        """A block begins."""
        self.inner.append(0.0)
        return time.perf_counter()

    def close(self, key: str, start: float, operations: int = 0) -> None:
        """The innermost block ends."""
        seconds = time.perf_counter() - start
        inner = self.inner.pop()
        self.inner[-1] += seconds
        self.events.append(Event(key, start, seconds, inner, operations))

    def program(self, cause: str, operations: int) -> Callable[[], None]:
        """A program begins; what is returned is called when it has run."""
        start = self.open()
        return lambda: self.close(f"program: {cause}", start, operations)


_open: list[_Recorder] = []


class record_function:
    """A block (or function) whose time is listed under a name while a profiler is open."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name

    def __enter__(self) -> Self:
        self._recorder = _open[-1] if _open else None
        self._start = self._recorder.open() if self._recorder else 0.0
        return self

    def __exit__(self, *arguments: Any) -> None:
        if self._recorder is not None:
            self._recorder.close(self.name, self._start)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            with record_function(self.name):
                return function(*arguments, **keywords)

        return call


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """By step: wait, warm up, record, and hand over in the last of the `active` steps; `repeat` times (0: for ever)."""

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        if step < 0:
            return ProfilerAction.NONE
        round_, place = divmod(step, wait + warmup + active)
        if (repeat and round_ >= repeat) or place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        last = place == wait + warmup + active - 1
        return ProfilerAction.RECORD_AND_SAVE if last else ProfilerAction.RECORD

    return action


class profile:
    """A block whose named parts and programs are timed.

    schedule: what to do in which step, where `step()` ends each. on_trace_ready(profiler): called at the end of a
    recording. What only other devices or operations run one by one have (shapes, stacks, flops) is accepted and not
    recorded.
    """

    def __init__(
        self,
        enabled: bool = True,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        self._action = schedule
        self._ready = on_trace_ready
        self._enabled = enabled
        self.step_num = 0
        self._recorder = _Recorder()

    def _records(self) -> bool:
        recording = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        return self._enabled and (self._action is None or self._action(self.step_num) in recording)

    def start(self) -> None:
        """Open it."""
        self._recorder = _Recorder()
        if self._records():
            _open.append(self._recorder)
            OBSERVERS.append(self._recorder.program)

    def stop(self) -> None:
        """Close it, and hand over what was recorded."""
        if self._recorder in _open:
            _open.remove(self._recorder)
            OBSERVERS.remove(self._recorder.program)
            if self._ready is not None and (self._action is None or self._hands_over()):
                self._ready(self)

    def _hands_over(self) -> bool:
        return self._action is not None and self._action(self.step_num) is ProfilerAction.RECORD_AND_SAVE

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *arguments: Any) -> None:
        self.stop()

    def step(self) -> None:
        """A step of the schedule ends."""
        if self._action is None:
            self.step_num += 1
            return
        was, handed = self._recorder in _open, self._hands_over()
        if handed:
            self.stop()
        self.step_num += 1
        if handed or self._records() is not was:
            if was and not handed:
                self.stop()
            self.start()

    def events(self) -> list[Event]:
        """All blocks and programs, in the order in which they ended."""
        return self._recorder.events

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, **options: Any) -> EventList:
        """The events by name."""
        groups: dict[str, list[Event]] = {}
        for event in self._recorder.events:
            groups.setdefault(event.key, []).append(event)
        return EventList(
            Average(
                key,
                len(events),
                1e6 * sum(event.seconds - event.inner for event in events),
                1e6 * sum(event.seconds for event in events),
            )
            for key, events in groups.items()
        )

    def export_chrome_trace(self, path: str) -> None:
        """Write the events for chrome://tracing."""
        rows = [
            {
                "name": event.key,
                "ph": "X",
                "ts": 1e6 * event.start,
                "dur": 1e6 * event.seconds,
                "pid": 0,
                "tid": 0,
                "args": {"operations": event.operations},
            }
            for event in self._recorder.events
        ]
        Path(path).write_text(json.dumps({"traceEvents": rows}))


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[Any], None]:
    """For `on_trace_ready`: write the events to a file of a folder."""

    def handle(profiler: profile) -> None:
        folder = Path(dir_name)
        folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(folder / f"{worker_name or 'worker'}.{time.time_ns()}.pt.trace.json"))

    return handle
