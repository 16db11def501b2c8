"""The pool runs every chunk exactly once, whoever asks and however many threads there are."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from lazytorch.codegen.target import target_named
from lazytorch.config import config
from lazytorch.runtime.engine import LoadedCode, engine
from lazytorch.runtime.runner import runner_text
from lazytorch.runtime.thread_count import available_cores, get_num_threads, set_num_threads
from lazytorch.runtime.thread_pool import MAX_CHUNKS, pool_text, thread_pool


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    """More threads than this machine may have cores, so that they interrupt each other."""
    with config(num_threads=4):
        yield
    thread_pool().apply_settings()


class Counters:
    """One counter per chunk, and the argument block that leads a kernel to them."""

    def __init__(self, count: int = 128) -> None:
        self.counts = np.zeros(count, np.int32)
        self._arguments = np.array([self.counts.ctypes.data], np.int64)
        self.address = self._arguments.ctypes.data


@pytest.mark.parametrize("chunks", [0, 1, 2, 3, 4, 5, 64, 127])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_chunk_runs_exactly_once(kernels: LoadedCode, chunks: int, threads: int) -> None:
    counters = Counters()
    set_num_threads(threads)
    for _ in range(50):
        thread_pool().parallel(kernels["count"], counters.address, chunks)
    assert counters.counts.tolist() == [50] * chunks + [0] * (128 - chunks)


def test_regions_of_changing_size_do_not_mix(kernels: LoadedCode) -> None:
    """A late worker of a small region must not claim from a larger one that follows it."""
    expected = np.zeros(128, np.int32)
    counters = Counters()
    sizes = [2, 100, 3, 7, 128, 2] * 500
    for chunks in sizes:
        thread_pool().parallel(kernels["count"], counters.address, chunks)
        expected[:chunks] += 1
    assert counters.counts.tolist() == expected.tolist()


def test_a_region_inside_a_region_runs_every_chunk(kernels: LoadedCode) -> None:
    counters = Counters()
    for _ in range(100):
        thread_pool().parallel(kernels["nested"], counters.address, 5)
    assert counters.counts[:8].tolist() == [500] * 8


def test_two_python_threads_may_open_regions_at_the_same_time(kernels: LoadedCode) -> None:
    counters = [Counters() for _ in range(3)]

    def work(mine: Counters) -> None:
        for _ in range(2000):
            thread_pool().parallel(kernels["count"], mine.address, 6)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in counters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine.counts[:6].tolist() == [2000] * 6 for mine in counters)


def test_workers_are_made_when_needed_and_leave_when_fewer_are_wanted(kernels: LoadedCode) -> None:
    pool, counters = thread_pool(), Counters()
    pool.parallel(kernels["count"], counters.address, 64)
    assert pool.worker_count == 3
    set_num_threads(2)
    pool.apply_settings()
    for _ in range(10_000):
        if pool.worker_count <= 1:
            break
        pool.parallel(kernels["count"], counters.address, 64)
        os.sched_yield()
    assert pool.worker_count == 1


def test_a_forked_child_has_threads_of_its_own(kernels: LoadedCode) -> None:
    pool, counters = thread_pool(), Counters()
    pool.parallel(kernels["count"], counters.address, 64)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a child that hangs is killed, and seen below
        pool.parallel(kernels["count"], counters.address, 64)
        right = counters.counts[:64].tolist() == [2] * 64 and pool.worker_count == 3
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    pool.parallel(kernels["count"], counters.address, 64)
    assert counters.counts[:64].tolist() == [2] * 64


def test_workers_leave_signals_to_python(kernels: LoadedCode) -> None:
    thread_pool().parallel(kernels["count"], Counters().address, 64)
    blocked = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status") as status:
            mask = next(line.split()[1] for line in status if line.startswith("SigBlk"))
        blocked.append(bool(int(mask, 16) >> (signal.SIGINT - 1) & 1))
    assert sum(blocked) >= thread_pool().worker_count > 0


def test_the_number_of_threads_is_a_setting() -> None:
    set_num_threads(3)
    assert get_num_threads() == config.num_threads == 3
    config.num_threads = 0
    assert get_num_threads() == available_cores()


@pytest.mark.parametrize(("count", "error"), [(0, RuntimeError), (-1, RuntimeError), (1.5, TypeError), (True, TypeError)])
def test_a_wrong_number_of_threads_is_refused(count: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="set_num_threads expects"):
        set_num_threads(count)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunks", [-1, MAX_CHUNKS + 1])
def test_a_wrong_number_of_chunks_is_refused(kernels: LoadedCode, chunks: int) -> None:
    with pytest.raises(ValueError, match="chunks"):
        thread_pool().parallel(kernels["count"], Counters().address, chunks)


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v4", "aarch64"])
def test_pool_and_runner_compile_for_other_targets(name: str) -> None:
    target = target_named(name)
    assert "lt_parallel" in engine().assembly(pool_text(target), target)
    assert "lt_run" in engine().assembly(runner_text(), target)


def test_a_python_callback_may_be_the_kernel() -> None:
    seen: list[tuple[int, int]] = []
    signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    callback = signature(lambda arguments, chunk, chunks: seen.append((chunk, chunks)))
    thread_pool().parallel(ctypes.cast(callback, ctypes.c_void_p).value or 0, 0, 5)
    assert sorted(seen) == [(chunk, 5) for chunk in range(5)]
