"""The CUDA devices of the process: their streams, kernels and memory, and what went wrong on them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import numpy.typing as npt

from lazytorch.codegen.gpu_target import GpuTarget, target_of_capability
from lazytorch.codegen.launch import Launch
from lazytorch.config import config
from lazytorch.errors import AcceleratorError
from lazytorch.runtime.cuda.discovery import drivers
from lazytorch.runtime.cuda.driver import Driver, Event, Kernel, NoDevice, Stream
from lazytorch.runtime.cuda.memory import DeviceMemory
from lazytorch.runtime.cuda.upload import Uploads

_REMEMBERED = 64  # programs that a fault found later may have come from


class Check(Protocol):
    """What a program left to be looked at when it is done."""

    event: Event

    def raise_if_failed(self) -> None:
        """Raise the user's error for what kernels noted."""


class CudaDevice:
    """One device: its target, the kernels loaded into it, its streams and the memory in use on it.

    launched: what was put into its streams and is not known to have succeeded, as texts that name the user's lines.
    checks: what programs left to be looked at.
    """

    def __init__(self, number: int, driver: Driver) -> None:
        self.number = number
        self.name = f"cuda:{number}"
        self.driver = driver
        self.target: GpuTarget = target_of_capability(*driver.capability)
        self.memory = DeviceMemory(self.name, driver)
        self.uploads = Uploads(driver)
        self.main_stream = driver.stream(main=True)
        self.copy_stream = driver.stream()
        self.launched: deque[Callable[[], str]] = deque(maxlen=_REMEMBERED)
        self.checks: list[Check] = []
        self.busy: list[tuple[Event, object]] = []
        self._kernels: dict[str, Kernel] = {}
        self._local = threading.local()

    @property
    def stream(self) -> Stream:
        """The stream that this thread's work goes to."""
        chosen: Stream = getattr(self._local, "stream", self.main_stream)
        return chosen

    @stream.setter
    def stream(self, stream: Stream) -> None:
        self._local.stream = stream

    def kernel(self, launch: Launch, compiled: Callable[[Launch, GpuTarget], str]) -> Kernel:
        """The launch's kernel, compiled to PTX and loaded if it is new."""
        found = self._kernels.get(launch.key)
        if found is None:
            found = self._kernels[launch.key] = self.driver.load(compiled(launch, self.target), launch.symbol)
        return found

    def keep_until_done(self, owner: object, stream: Stream) -> None:
        """Keep an object as long as a stream may read its memory."""
        self.busy = [entry for entry in self.busy if not entry[0].done()]
        event = self.driver.event()
        event.record(stream)
        self.busy.append((event, owner))

    def read(self, address: int, into: npt.NDArray[Any]) -> None:
        """Copy to the host, when this thread's stream has come to it. Raises what was found wrong by then."""
        with self.naming_faults():
            self.driver.read(address, into, self.stream)
        self.raise_what_was_found()

    def synchronize(self) -> None:
        """Wait for everything. Raises what was found wrong."""
        with self.naming_faults():
            self.driver.synchronize()
        self.launched.clear()
        self.busy.clear()
        self.raise_what_was_found()

    def raise_what_was_found(self) -> None:
        """Look at the checks whose programs are done; raise for the first that failed."""
        if not self.checks:
            return
        checks, self.checks = self.checks, []
        while checks:
            check = checks.pop(0)
            if not check.event.done():
                self.checks.append(check)
                continue
            try:
                check.raise_if_failed()
            except BaseException:
                self.checks += checks
                raise

    @contextmanager
    def naming_faults(self) -> Iterator[None]:
        """Add to what the driver reports of kernels the lines that they were recorded at: it reports late, so that several
        may come into question."""
        try:
            yield
        except AcceleratorError as error:
            if self.launched:
                places = "\n".join(f"  {describe()}" for describe in dict.fromkeys(self.launched))
                hint = "" if config.cuda_sync else "\nwith LAZYTORCH_CUDA_SYNC=1 the first of them that fails is named alone"
                error.args = (f"{error}\nlaunched since the device was last known to be well:\n{places}{hint}",)
                self.launched.clear()
            raise


@cache
def _devices(setting: str) -> list[CudaDevice] | str:
    """The devices that a setting of LAZYTORCH_CUDA gives, or why there are none."""
    try:
        return [CudaDevice(number, driver) for number, driver in enumerate(drivers())]
    except NoDevice as reason:
        return str(reason)


def devices() -> list[CudaDevice]:
    """All devices; none where CUDA is not there."""
    found = _devices(config.cuda)
    return [] if isinstance(found, str) else found


def why_none() -> str:
    """Why there are no devices, and what to do."""
    found = _devices(config.cuda)
    return found if isinstance(found, str) else ""


_chosen = threading.local()


def current() -> int:
    """The number of the device that `cuda` without a number means, in this thread."""
    number: int = getattr(_chosen, "number", 0)
    return number


def set_current(number: int) -> None:
    """Change it."""
    _chosen.number = number


def device_named(name: str) -> CudaDevice:
    """The device called cuda:0, cuda:1 ..."""
    return devices()[int(name.removeprefix("cuda:"))]


def places_of(launches: Sequence[Launch]) -> str:
    """The kernels of launches, and the lines that they were recorded at."""
    texts = []
    for launch in launches:
        places = dict.fromkeys(str(operation.location) for operation in launch.operations)
        texts.append(f"kernel {launch.symbol}, recorded at {', '.join(places)}")
    return "; ".join(texts)
