"""The loader: batches of a dataset, in torch's order under a seed, here or in worker processes (torch.utils.data)."""

from __future__ import annotations

import itertools
import multiprocessing
import queue
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.trace import STATE
from lazytorch.ops.sampling import Generator
from lazytorch.runtime.session import synchronize
from lazytorch.tensor import from_array
from lazytorch.utils.data.collate import default_collate, default_convert
from lazytorch.utils.data.dataset import IterableDataset, TensorDataset
from lazytorch.utils.data.pinning import PinnedBatches, can_pin
from lazytorch.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, drawn_seed
from lazytorch.utils.data.worker import Exhausted, Failure, get_worker_info, work


class _InfiniteConstantSampler(Sampler[None]):
    """What a loader of an iterable dataset steps by."""

    def __iter__(self) -> Iterator[None]:
        yield from itertools.repeat(None)


class _Fetch:
    """How item numbers become a batch. `started()`: ready to fetch in this process."""

    def __init__(self, loader: DataLoader) -> None:
        self.dataset, self.collate_fn = loader.dataset, loader.collate_fn
        self.auto, self.drop_last = loader._auto_collation, loader.drop_last
        self.iterable = loader._is_iterable
        self.iterator: Iterator[Any] | None = None
        self.ended = False

    def started(self) -> _Fetch:
        """Ready to fetch."""
        if self.iterable:
            self.iterator, self.ended = iter(self.dataset), False
        return self

    def fetch(self, chosen: Any) -> Any:
        """The batch of some item numbers, or an iterable dataset's next one."""
        if self.iterator is not None:
            return self._following(self.iterator, chosen)
        if not self.auto:
            return self.collate_fn(self.dataset[chosen])
        if self.collate_fn is default_collate and type(self.dataset) is TensorDataset:
            index = from_array(np.array(chosen, np.int64), dtypes.int64)
            return [x[index] for x in self.dataset.tensors]
        several = getattr(self.dataset, "__getitems__", None)
        return self.collate_fn(several(chosen) if several else [self.dataset[i] for i in chosen])

    def _following(self, iterator: Iterator[Any], chosen: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.auto:
            return self.collate_fn(next(iterator))
        items = list(itertools.islice(iterator, len(chosen)))
        if len(items) < len(chosen):
            self.ended = True
        if not items or (self.ended and self.drop_last):
            raise StopIteration
        return self.collate_fn(items)


class DataLoader:
    """Batches of a dataset."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[..., Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        self._check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.dataset, self.num_workers, self.timeout = dataset, num_workers, timeout
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.worker_init_fn, self.multiprocessing_context = worker_init_fn, multiprocessing_context
        self.persistent_workers, self.in_order = persistent_workers, in_order
        self._is_iterable = isinstance(dataset, IterableDataset)
        if self._is_iterable:
            self._check_iterable(shuffle, sampler, batch_sampler)
        shuffle = bool(shuffle)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            if self._is_iterable:
                sampler = _InfiniteConstantSampler()
            else:
                sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last, self.sampler, self.batch_sampler = batch_size, drop_last, sampler, batch_sampler
        self.generator = generator
        self._auto_collation = batch_sampler is not None
        self.collate_fn = collate_fn or (default_collate if self._auto_collation else default_convert)
        self._workers: _WorkerIterator | None = None

    @staticmethod
    def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent: bool) -> None:
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
                "multiprocessing, otherwise set prefetch_factor to None."
            )
        if prefetch_factor is not None and prefetch_factor < 0:
            raise ValueError("prefetch_factor option should be non-negative")
        if persistent and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")

    @staticmethod
    def _check_iterable(shuffle: bool | None, sampler: Any, batch_sampler: Any) -> None:
        for name, given in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
            if given is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={given}"
                )

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def __len__(self) -> int:
        if not self._is_iterable:
            return len(self._index_sampler)
        count = len(self.dataset)
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        batches = self._batches()
        return PinnedBatches(batches) if self.pin_memory and can_pin() else batches

    def _batches(self) -> Any:
        if not self.num_workers:
            return _Iterator(self)
        if not self.persistent_workers:
            return _WorkerIterator(self)
        if self._workers is None:
            self._workers = _WorkerIterator(self)
        else:
            self._workers.restart()
        return self._workers


class _Iterator:
    """Batches fetched in this process, one by one."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._indices = iter(loader._index_sampler)
        self._base_seed = drawn_seed(loader.generator)
        self._fetch = _Fetch(loader).started()

    def __iter__(self) -> _Iterator:
        return self

    def __len__(self) -> int:
        return len(self._loader._index_sampler)

    def __next__(self) -> Any:
        return self._fetch.fetch(next(self._indices))


class _WorkerIterator:
    """Batches fetched by worker processes, each a few ahead, given out in order."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._count = loader.num_workers
        context: Any = loader.multiprocessing_context
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        self._results = context.Queue()
        self._tasks = [context.Queue() for _ in range(self._count)]
        self._processes: list[Any] = []
        self._begin()
        self._base_seed = drawn_seed(loader.generator)
        # Forked processes would each compute what is pending here.
        synchronize(STATE.trace, (), "worker processes start")
        for number, tasks in enumerate(self._tasks):
            process = context.Process(
                target=work,
                args=(
                    _Fetch(loader),
                    loader.dataset,
                    tasks,
                    self._results,
                    number,
                    self._count,
                    self._base_seed,
                    loader.worker_init_fn,
                ),
                daemon=True,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            self._processes.append(process)
        self._prime()

    def _begin(self) -> None:
        self._indices = iter(self._loader._index_sampler)
        self._sent = self._given = 0
        self._ready: dict[int, Any] = {}
        self._active = [True] * self._count
        self._owner: dict[int, int] = {}
        self._turn = 0

    def restart(self) -> None:
        """The next epoch with the same (persistent) processes."""
        while self._owner:
            self._receive()
        self._begin()
        self._prime()

    def _prime(self) -> None:
        for _ in range((self._loader.prefetch_factor or 2) * self._count):
            self._send()

    def _send(self) -> None:
        """Give the next batch's numbers to the next worker that still has items."""
        for _ in range(self._count):
            number = self._turn
            self._turn = (self._turn + 1) % self._count
            if self._active[number]:
                break
        else:
            return
        try:
            chosen = next(self._indices)
        except StopIteration:
            return
        self._tasks[number].put((self._sent, chosen))
        self._owner[self._sent] = number
        self._sent += 1

    def _receive(self) -> None:
        waited = 0.0
        while True:
            try:
                place, batch = self._results.get(timeout=1.0)
                break
            except queue.Empty:
                waited += 1.0
                dead = [process.pid for process in self._processes if not process.is_alive()]
                if dead:
                    self._stop()
                    listed = ", ".join(map(str, dead))
                    raise RuntimeError(f"DataLoader worker (pid(s) {listed}) exited unexpectedly") from None
                if self._loader.timeout and waited >= self._loader.timeout:
                    self._stop()
                    raise RuntimeError(f"DataLoader timed out after {self._loader.timeout} seconds") from None
        self._owner.pop(place, None)
        self._ready[place] = batch

    def __iter__(self) -> _WorkerIterator:
        return self

    def __len__(self) -> int:
        return len(self._loader._index_sampler)

    def __next__(self) -> Any:
        while True:
            if self._given >= self._sent:
                if not self._loader.persistent_workers:
                    self._stop()
                raise StopIteration
            while self._given not in self._ready:
                self._receive()
            batch = self._ready.pop(self._given)
            self._given += 1
            if isinstance(batch, Exhausted):
                self._active[batch.worker] = False
                self._send()
                continue
            self._send()
            if isinstance(batch, Failure):
                if not self._loader.persistent_workers:
                    self._stop()
                batch.reraise()
            return batch

    def _stop(self) -> None:
        """End the processes."""
        for tasks in self._tasks:
            tasks.put(None)
        for process in self._processes:
            process.join(timeout=5.0)
            if process.is_alive():
                process.terminate()
        for channel in (*self._tasks, self._results):
            channel.cancel_join_thread()
            channel.close()
        self._processes, self._tasks = [], []

    def __del__(self) -> None:
        for process in self.__dict__.get("_processes", ()):
            process.terminate()


__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]
