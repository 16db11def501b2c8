"""Streams and events. Work is recorded first and put into a stream when it is run: what is pending when another stream is
chosen goes into the one that was chosen when it was recorded."""

from __future__ import annotations

from typing import Any

from lazytorch.cuda.devices import device_of, is_available, run_what_is_pending
from lazytorch.runtime.cuda.device import CudaDevice
from lazytorch.runtime.device import Device


class Stream:
    """A queue of work of a CUDA device; work of different streams may overlap. Raises RuntimeError where there is no device.

    A tensor that another stream has computed is waited for where it is used: `wait_stream`, `record_stream` and the like
    are not needed for right results, only to order what the program does not show.
    """

    def __init__(self, device: Any = None, priority: int = 0, **given: Any) -> None:
        if not is_available():
            raise RuntimeError("torch.cuda.Stream requires CUDA support")
        self.on: CudaDevice = given["on"] if "on" in given else device_of(device)
        self.queue = given["queue"] if "queue" in given else self.on.driver.stream(priority)
        self.device = Device(self.on.name)
        self.device_index = self.on.number

    @property
    def cuda_stream(self) -> int:
        """The driver's handle."""
        return int(self.queue.handle)

    def synchronize(self) -> None:
        """Run what is pending, and wait for what is in it. Raises what went wrong."""
        run_what_is_pending("Stream.synchronize()")
        with self.on.naming_faults():
            self.queue.synchronize()
        self.on.raise_what_was_found()

    def query(self) -> bool:
        """Whether everything in it is done."""
        run_what_is_pending("Stream.query()")
        return bool(self.queue.done())

    def wait_event(self, event: Event) -> None:
        """What comes next waits for an event, if it has been recorded."""
        run_what_is_pending("Stream.wait_event()")
        if event.point is not None:
            self.queue.wait(event.point)

    def wait_stream(self, stream: Stream) -> None:
        """What comes next waits for what is in another stream now."""
        self.wait_event(stream.record_event())

    def record_event(self, event: Event | None = None) -> Event:
        """An event of now in this stream."""
        event = event or Event()
        event.record(self)
        return event

    def __enter__(self) -> Stream:
        self.context = StreamContext(self)
        self.context.__enter__()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.context.__exit__(kind, error, traceback)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.queue is self.queue

    def __hash__(self) -> int:
        return hash(self.queue)

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


def _of(device: CudaDevice, queue: Any) -> Stream:
    return Stream(on=device, queue=queue)


def current_stream(device: Any = None) -> Stream:
    """The stream that this thread's work on a device goes to."""
    found = device_of(device)
    return _of(found, found.stream)


def default_stream(device: Any = None) -> Stream:
    """The stream that work goes to where none was chosen. It is in order with the legacy default stream of CUDA."""
    found = device_of(device)
    return _of(found, found.main_stream)


def set_stream(stream: Stream | None) -> None:
    """Send this thread's work to a stream from now on."""
    if stream is not None:
        run_what_is_pending("torch.cuda.set_stream()")
        stream.on.stream = stream.queue


class StreamContext:
    """A block whose work goes to a stream; None: where it went before."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream
        self.before: Stream | None = None

    def __enter__(self) -> None:
        if self.stream is not None:
            self.before = _of(self.stream.on, self.stream.on.stream)
            set_stream(self.stream)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        set_stream(self.before)


def stream(stream: Stream | None) -> StreamContext:
    """`with torch.cuda.stream(s):` sends work to a stream in a block."""
    return StreamContext(stream)


class Event:
    """A place in a stream, to wait for and to measure time between. Raises RuntimeError where there is no device."""

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, external: bool = False
    ) -> None:
        if not is_available():
            raise RuntimeError("Tried to instantiate dummy base class Event")
        self.enable_timing = enable_timing
        self.point: Any = None
        self.on: CudaDevice | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Run what is pending, and put the event behind it."""
        stream = stream or current_stream()
        run_what_is_pending("Event.record()")
        if self.on is not stream.on:
            self.on, self.point = stream.on, stream.on.driver.event(self.enable_timing)
        self.point.record(stream.queue)

    def wait(self, stream: Stream | None = None) -> None:
        """A stream's next work waits for it."""
        (stream or current_stream()).wait_event(self)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds to a later event. Raises ValueError unless both measure time and were recorded."""
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self.point is None or end_event.point is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return float(end_event.point.milliseconds_since(self.point))

    def query(self) -> bool:
        """Whether everything before it is done."""
        return self.point is None or bool(self.point.done())

    def synchronize(self) -> None:
        """Wait for it. Raises what went wrong before it."""
        if self.on is not None:
            with self.on.naming_faults():
                self.point.synchronize()
            self.on.raise_what_was_found()
