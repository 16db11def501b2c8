"""Processes that pass tensors to each other (torch.multiprocessing): Python's own module; tensors are copied, not shared."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["ProcessContext", "ProcessExitedException", "ProcessRaisedException", "spawn"]


def __getattr__(name: str) -> Any:
    """Everything else is Python's: Process, Queue, Pool, get_context, set_start_method ..."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(multiprocessing, name)


def get_all_sharing_strategies() -> set[str]:
    """How tensors may travel."""
    return {"file_system"}


def get_sharing_strategy() -> str:
    """How tensors travel."""
    return "file_system"


def set_sharing_strategy(new_strategy: str) -> None:
    """Nothing to choose: tensors are copied."""
    assert new_strategy in ("file_system", "file_descriptor")


class ProcessException(Exception):
    """A process that `spawn` started failed: its number and process id."""

    def __init__(self, msg: str, error_index: int, pid: int | None) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid


class ProcessRaisedException(ProcessException):
    """It raised: the message holds its traceback."""


class ProcessExitedException(ProcessException):
    """It was ended: by a signal, or with an exit code."""

    def __init__(
        self, msg: str, error_index: int, error_pid: int | None, exit_code: int, signal_name: str | None = None
    ) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name


def _run(fn: Callable[..., Any], number: int, arguments: tuple[Any, ...], errors: Any) -> None:
    try:
        fn(number, *arguments)
    except KeyboardInterrupt:
        pass
    except Exception:
        errors.put(traceback.format_exc())
        raise SystemExit(1) from None


class ProcessContext:
    """The processes of `spawn(..., join=False)`."""

    def __init__(self, processes: list[Any], errors: list[Any]) -> None:
        self.processes = processes
        self.errors = errors

    def pids(self) -> list[int]:
        """Their process ids."""
        return [int(process.pid) for process in self.processes]

    def join(self, timeout: float | None = None) -> bool:
        """Wait until one ends; True once all have. Ends the others, and raises ProcessException, when one fails."""
        waiting = [process.sentinel for process in self.processes if process.is_alive()]
        if waiting:
            multiprocessing.connection.wait(waiting, timeout=timeout)
        for number, process in enumerate(self.processes):
            if process.exitcode not in (None, 0):
                self._fail(number, process)
        return all(process.exitcode == 0 for process in self.processes)

    def _fail(self, number: int, process: Any) -> None:
        for other in self.processes:
            if other.is_alive():
                other.terminate()
            other.join()
        if not self.errors[number].empty():
            message = f"\n\n-- Process {number} terminated with the following error:\n{self.errors[number].get()}"
            raise ProcessRaisedException(message, number, process.pid)
        code = process.exitcode
        if code < 0:
            name = signal.Signals(-code).name
            raise ProcessExitedException(f"process {number} terminated with signal {name}", number, process.pid, code, name)
        raise ProcessExitedException(f"process {number} terminated with exit code {code}", number, process.pid, code)


def spawn(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """Run `fn(number, *args)` in `nprocs` processes. Raises ProcessException when one of them fails."""
    context: Any = multiprocessing.get_context(start_method)
    processes, errors = [], []
    for number in range(nprocs):
        channel = context.SimpleQueue()
        process = context.Process(target=_run, args=(fn, number, args, channel), daemon=daemon)
        process.start()
        processes.append(process)
        errors.append(channel)
    running = ProcessContext(processes, errors)
    if not join:
        return running
    while not running.join():
        pass
    return None
