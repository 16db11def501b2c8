"""Datasets and the loader that batches them, in torch's order under a seed (torch.utils.data)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ops.creation import as_tensor, tensor_
from lazytorch.ops.sampling import Generator, default_generator, randperm
from lazytorch.ops.shaping import stack
from lazytorch.tensor import Tensor, from_array


class Dataset:
    """Something with items by number, and a length."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")


class TensorDataset(Dataset):
    """Rows of several tensors."""

    def __init__(self, *tensors: Tensor) -> None:
        if any(x.shape[0] != tensors[0].shape[0] for x in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple([x[index] for x in self.tensors])

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])


class Subset(Dataset):
    """Some items of a dataset."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[Any], generator: Generator | None = None) -> list[Subset]:
    """Parts of given lengths, in random order."""
    if sum(lengths) != len(dataset):
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    order = randperm(len(dataset), generator=generator).tolist()
    parts, at = [], 0
    for length in lengths:
        parts.append(Subset(dataset, order[at : at + length]))
        at += length
    return parts


def default_collate(batch: Sequence[Any]) -> Any:
    """Items as one batch: tensors are stacked, numbers become tensors, tuples and dictionaries go by their parts."""
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(batch, 0)
    if isinstance(first, np.ndarray | np.generic):
        return stack([as_tensor(np.asarray(x)) for x in batch], 0)
    if isinstance(first, float):
        return tensor_(list(batch), dtype=dtypes.float64)
    if isinstance(first, int):
        return tensor_(list(batch))
    if isinstance(first, str):
        return list(batch)
    if isinstance(first, dict):
        return {name: default_collate([item[name] for item in batch]) for name in first}
    if isinstance(first, tuple | list):
        return [default_collate(part) for part in zip(*batch, strict=True)]
    raise TypeError(f"default_collate: batch must contain tensors, numbers, dicts or lists; found {type(first)}")


class DataLoader:
    """Batches of a dataset."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        num_workers: int = 0,
        collate_fn: Callable[..., Any] | None = None,
        drop_last: bool = False,
        generator: Generator | None = None,
        pin_memory: bool = False,
    ) -> None:
        if num_workers:
            raise NotImplementedError("DataLoader with worker processes is not supported yet; use num_workers=0")
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.collate_fn, self.drop_last, self.generator = collate_fn, drop_last, generator

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        count = len(self.dataset)
        source = self.generator if self.generator is not None else default_generator
        # torch draws a base seed for workers first, then the sampler's own seed.
        _draw_seed(source)
        order = list(range(count))
        if self.shuffle:
            generator = self.generator
            if generator is None:
                generator = Generator().manual_seed(_draw_seed(default_generator))
            order = randperm(count, generator=generator).tolist()
        for at in range(0, count, self.batch_size):
            chosen = order[at : at + self.batch_size]
            if len(chosen) == self.batch_size or not self.drop_last:
                yield self._batch(chosen)

    def _batch(self, chosen: list[int]) -> Any:
        if self.collate_fn is None and type(self.dataset) is TensorDataset:
            index = from_array(np.array(chosen, np.int64), dtypes.int64)
            return [x[index] for x in self.dataset.tensors]
        collate = self.collate_fn or default_collate
        return collate([self.dataset[i] for i in chosen])


def _draw_seed(source: Generator) -> int:
    from lazytorch.ir import random_reference

    return int(source.draw(random_reference.random_full, 1, dtypes.int64)[0])
