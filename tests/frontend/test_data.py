"""Datasets, samplers and loaders: the same items in the same order as torch's, under the same seed."""

from __future__ import annotations

import collections
import random
from typing import Any

import numpy as np
import pytest
import torch as oracle

import lazytorch

Point = collections.namedtuple("Point", "x y")


def plain(value: Any) -> Any:
    """Nested batches with tensors as lists and their element types."""
    if hasattr(value, "numpy") and hasattr(value, "dtype"):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [type(value).__name__, *[plain(entry) for entry in value]]
    return value


def numbers(torch: Any, count: int = 10) -> Any:
    """A dataset of tensors."""
    return torch.utils.data.TensorDataset(torch.arange(count), torch.arange(2.0 * count).reshape(count, 2))


class Records:
    """Items of every kind that is collated."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def __len__(self) -> int:
        return 7

    def __getitem__(self, i: int) -> Any:
        entries = {"a": i, "b": [0.5 * i, self.torch.ones(2) * i], "c": np.full(3, i, np.float32), "d": f"n{i}"}
        return {**entries, "e": Point(np.int64(i), (i, True)), "f": np.float64(i)}


def stream(torch: Any, count: int = 11) -> Any:
    """An iterable dataset whose workers share the numbers."""

    class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Any:
            info = torch.utils.data.get_worker_info()
            first, step = (info.id, info.num_workers) if info is not None else (0, 1)
            return iter(range(first, count, step))

    return Stream()


LOADERS = {
    "in order": lambda t, d: d.DataLoader(numbers(t), batch_size=3),
    "shuffled": lambda t, d: d.DataLoader(numbers(t), 4, shuffle=True),
    "shuffled by a generator": lambda t, d: d.DataLoader(
        numbers(t), 4, shuffle=True, drop_last=True, generator=t.Generator().manual_seed(5)
    ),
    "every kind of item": lambda t, d: d.DataLoader(Records(t), batch_size=3),
    "single items": lambda t, d: d.DataLoader(Records(t), batch_size=None),
    "with replacement": lambda t, d: d.DataLoader(
        numbers(t), 5, sampler=d.RandomSampler(numbers(t), replacement=True, num_samples=70)
    ),
    "more than there are": lambda t, d: d.DataLoader(numbers(t), 5, sampler=d.RandomSampler(numbers(t), num_samples=23)),
    "weighted": lambda t, d: d.DataLoader(numbers(t, 4), 5, sampler=d.WeightedRandomSampler([0.1, 2.0, 0, 1], 12)),
    "some in random order": lambda t, d: d.DataLoader(numbers(t), 2, sampler=d.SubsetRandomSampler([3, 1, 8])),
    "given batches": lambda t, d: d.DataLoader(
        numbers(t), batch_sampler=d.BatchSampler(d.SequentialSampler(range(8)), 3, drop_last=True)
    ),
    "one process's share": lambda t, d: d.DataLoader(numbers(t), 2, sampler=d.DistributedSampler(numbers(t), 3, 1, seed=4)),
    "own collation": lambda t, d: d.DataLoader(numbers(t), 4, collate_fn=lambda items: len(items)),
    "concatenated": lambda t, d: d.DataLoader(numbers(t, 3) + d.Subset(numbers(t), [5, 9]), 2),
    "stacked": lambda t, d: d.DataLoader(d.StackDataset(a=numbers(t, 4), b=range(4)), 3),
    "a stream": lambda t, d: d.DataLoader(stream(t), 4),
    "a stream's whole batches": lambda t, d: d.DataLoader(stream(t), 4, drop_last=True),
    "chained streams": lambda t, d: d.DataLoader(stream(t, 3) + stream(t, 4), 2),
    "a split": lambda t, d: d.DataLoader(d.random_split(numbers(t), [0.3, 0.5, 0.2])[1], 2),
    "workers": lambda t, d: d.DataLoader(numbers(t, 23), 2, shuffle=True, num_workers=2),
    "workers on a stream": lambda t, d: d.DataLoader(stream(t, 17), 2, num_workers=3),
    "persistent workers": lambda t, d: d.DataLoader(Records(t), 2, num_workers=2, persistent_workers=True, shuffle=True),
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_gives_torchs_batches(name: str) -> None:
    seen = []
    for torch in (lazytorch, oracle):
        torch.manual_seed(11)
        loader = LOADERS[name](torch, torch.utils.data)
        epochs = [[plain(batch) for batch in loader] for _ in range(2)]
        length = None if "stream" in name else len(loader)
        seen.append((epochs, length, torch.rand(3).tolist()))
        del loader
    assert seen[0] == seen[1]


class Drawn:
    """Random numbers drawn by the worker."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> Any:
        return self.torch.rand(2).tolist(), np.random.rand(), random.random(), self.torch.utils.data.get_worker_info().id


def test_worker_processes_draw_torchs_random_numbers() -> None:
    seen = []
    for torch in (lazytorch, oracle):
        torch.manual_seed(3)
        started: list[int] = []
        loader = torch.utils.data.DataLoader(Drawn(torch), num_workers=2, worker_init_fn=started.append, collate_fn=list)
        seen.append([batch[0] for batch in loader])
    assert seen[0] == seen[1]


class Broken:
    """Item 2 cannot be had."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        if i == 2:
            raise KeyError("missing")
        return i


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_dataset_reaches_the_loop(workers: int) -> None:
    texts = []
    for torch in (lazytorch, oracle):
        loader = iter(torch.utils.data.DataLoader(Broken(), num_workers=workers))
        assert next(loader).tolist() == [0]
        with pytest.raises(KeyError) as raised:
            list(loader)
        texts.append(str(raised.value).splitlines()[0])
    assert texts[0] == texts[1]


WRONG = {
    "shuffle and sampler": lambda d: d.DataLoader([1], shuffle=True, sampler=[0]),
    "batch size of a batch sampler": lambda d: d.DataLoader([1], batch_size=3, batch_sampler=[[0]]),
    "no batches to drop": lambda d: d.DataLoader([1], batch_size=None, drop_last=True),
    "negative workers": lambda d: d.DataLoader([1], num_workers=-1),
    "prefetching without workers": lambda d: d.DataLoader([1], prefetch_factor=2),
    "persistent without workers": lambda d: d.DataLoader([1], persistent_workers=True),
    "batches of nothing": lambda d: d.DataLoader([1], batch_size=0),
    "an empty random order": lambda d: d.RandomSampler([1], num_samples=0),
    "a split that leaves items": lambda d: d.random_split(range(5), [1, 2]),
    "a shuffled stream": lambda d: d.DataLoader(d.ChainDataset([]), shuffle=True),
    "no datasets": lambda d: d.ConcatDataset([]),
    "what is not collated": lambda d: d.default_collate([object()]),
    "lists of different lengths": lambda d: d.default_collate([[1, 2], [3]]),
    "an unwritten dataset": lambda d: d.Dataset()[0],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_raise_torchs_error(name: str) -> None:
    raised = []
    for torch in (lazytorch, oracle):
        with pytest.raises(Exception) as caught:
            WRONG[name](torch.utils.data)
        raised.append((type(caught.value), str(caught.value)[:60].replace("torch.", "")))
    assert raised[0] == raised[1]
