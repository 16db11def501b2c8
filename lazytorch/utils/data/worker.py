"""Worker processes of a loader: each fetches batches from its copy of the dataset."""

from __future__ import annotations

import os
import queue
import random
import sys
import traceback
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytorch.ops.sampling import manual_seed
from lazytorch.runtime.thread_count import set_num_threads


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker knows about itself."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_current: list[WorkerInfo | None] = [None]


def get_worker_info() -> WorkerInfo | None:
    """This process's WorkerInfo, None in the main process."""
    return _current[0]


@dataclass(frozen=True)
class Failure:
    """An exception in a worker, on its way to the main process."""

    kind: type[BaseException]
    text: str

    def reraise(self) -> None:
        """Raise it here, with the worker's traceback as its message."""
        if self.kind is KeyError:
            raise KeyError(_Shown(self.text))
        try:
            error = self.kind(self.text)
        except Exception:
            raise RuntimeError(self.text) from None
        raise error


class _Shown(str):
    """A KeyError shows its argument's repr: this one is its text."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Exhausted:
    """An iterable dataset came to its end in a worker."""

    worker: int


def failure_here(worker: int) -> Failure:
    """The exception being handled, with the text that torch gives it."""
    kind, error, _ = sys.exc_info()
    assert kind is not None
    text = "".join(traceback.format_exception(error))
    return Failure(kind, f"Caught {kind.__name__} in DataLoader worker process {worker}.\nOriginal {text}")


def numpy_seed(base_seed: int, worker: int) -> list[int]:
    """Four numbers of 32 bits from the loader's seed and the worker's number: NumPy's SeedSequence, as torch derives it."""
    init_a, mult_a, init_b, mult_b = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
    mix_l, mix_r, mask = 0xCA01F9DD, 0x4973F715, 0xFFFFFFFF
    entropy = [worker, base_seed & mask, base_seed >> 32, 0]
    constant = init_a

    def hashed(value: int) -> int:
        nonlocal constant
        value = (value ^ constant) & mask
        constant = (constant * mult_a) & mask
        value = (value * constant) & mask
        return (value ^ (value >> 16)) & mask

    pool = [hashed(entropy[i]) for i in range(4)]
    for source in range(4):
        for target in range(4):
            if source != target:
                mixed = (mix_l * pool[target] - mix_r * hashed(pool[source])) & mask
                pool[target] = (mixed ^ (mixed >> 16)) & mask
    state, constant_b = [], init_b
    for value in pool:
        value = (value ^ constant_b) & mask
        constant_b = (constant_b * mult_b) & mask
        value = (value * constant_b) & mask
        state.append((value ^ (value >> 16)) & mask)
    return state


def work(fetch: Any, dataset: Any, indices: Any, results: Any, number: int, count: int, base_seed: int, init: Any) -> None:
    """A worker's life: take lists of item numbers until None comes, give batches back."""
    set_num_threads(1)
    seed = base_seed + number
    random.seed(seed)
    manual_seed(seed)
    np.random.seed(numpy_seed(base_seed, number))
    _current[0] = WorkerInfo(number, count, seed, dataset)
    parent = os.getppid()
    problem = None
    try:
        if init is not None:
            init(number)
        source = fetch.started()
    except Exception:
        problem = failure_here(number)
    while True:
        try:
            task = indices.get(timeout=5.0)
        except queue.Empty:
            if os.getppid() != parent:
                return
            continue
        if task is None:
            break
        place, chosen = task
        if problem is not None:
            results.put((place, problem))
            problem = None
            continue
        try:
            batch = source.fetch(chosen)
        except StopIteration:
            batch = Exhausted(number)
        except Exception:
            batch = failure_here(number)
        results.put((place, batch))
    results.close()
    results.join_thread()
