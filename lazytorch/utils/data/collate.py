"""Items as a batch (torch.utils.data)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ops.creation import as_tensor, tensor_
from lazytorch.ops.shaping import stack
from lazytorch.tensor import Tensor


def default_convert(data: Any) -> Any:
    """Arrays inside nested data as tensors."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray | np.generic):
        return data if np.asarray(data).dtype.kind in "SaUO" else as_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return _like(data, {name: default_convert(entry) for name, entry in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*[default_convert(entry) for entry in data])
    if isinstance(data, tuple):
        return [default_convert(entry) for entry in data]
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return [default_convert(entry) for entry in data]
    return data


def _like(data: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    """A mapping of the same kind with other entries."""
    try:
        if isinstance(data, MutableMapping):
            clone = copy.copy(data)
            clone.update(entries)
            return clone
        return type(data)(entries)  # type: ignore[call-arg]
    except TypeError:
        return entries


def default_collate(batch: Sequence[Any]) -> Any:
    """Items as one batch: tensors are stacked, numbers become tensors, tuples and dictionaries go by their parts.

    Raises TypeError for anything else, and RuntimeError for sequences of different lengths.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(batch, 0)
    if isinstance(first, np.ndarray | np.generic):
        return _collated_arrays(batch, first)
    if isinstance(first, float):
        return tensor_(list(batch), dtype=dtypes.float64)
    if isinstance(first, int):
        return tensor_(list(batch))
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _like(first, {name: default_collate([item[name] for item in batch]) for name in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*[default_collate(part) for part in zip(*batch, strict=True)])
    if isinstance(first, Sequence):
        if any(len(item) != len(first) for item in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        parts = [default_collate(part) for part in zip(*batch, strict=True)]
        if isinstance(first, tuple) or not isinstance(first, MutableSequence):
            return parts
        clone = copy.copy(first)
        for number, part in enumerate(parts):
            clone[number] = part
        return clone
    raise TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {type(first)}"
    )


def _collated_arrays(batch: Sequence[Any], first: Any) -> Tensor:
    if np.asarray(first).dtype.kind in "SaUO":
        raise TypeError(
            "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
            f"{np.asarray(first).dtype}"
        )
    if np.asarray(first).shape == ():
        return as_tensor(np.asarray(batch))
    return stack([as_tensor(np.asarray(x)) for x in batch], 0)
