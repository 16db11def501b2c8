"""Sequences of different lengths: padded, and packed so that no step computes what is padding (torch.nn.utils.rnn)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytorch import dtypes
from lazytorch.ops.creation import as_tensor
from lazytorch.ops.shaping import cat, stack
from lazytorch.tensor import Tensor, from_array


class PackedSequence(NamedTuple):
    """The elements of several sequences, step by step: `batch_sizes[t]` of them belong to step t, longest sequence first."""

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def to(self, *arguments: Any, **keywords: Any) -> PackedSequence:
        """The same sequences with their elements converted, or on another device."""
        data = self.data.to(*arguments, **keywords)
        orders = [None if x is None else x.to(data.device) for x in (self.sorted_indices, self.unsorted_indices)]
        return self._replace(data=data, sorted_indices=orders[0], unsorted_indices=orders[1])

    def cpu(self) -> PackedSequence:
        """On the CPU."""
        return self.to("cpu")

    def double(self) -> PackedSequence:
        """Elements in float64."""
        return self.to(dtypes.float64)

    def float(self) -> PackedSequence:
        """Elements in float32."""
        return self.to(dtypes.float32)

    @property
    def is_cuda(self) -> bool:
        """Whether the elements are on a GPU."""
        return False


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes it."""
    if permutation is None:
        return None
    order = np.asarray(permutation.cpu().numpy())
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    return from_array(inverse, dtypes.int64, permutation)


def packed(
    data: Tensor, batch_sizes: Tensor, sorted_indices: Tensor | None = None, unsorted_indices: Tensor | None = None
) -> PackedSequence:
    """A packed sequence, with the inverse of the sorting worked out."""
    return PackedSequence(
        data,
        batch_sizes,
        sorted_indices,
        invert_permutation(sorted_indices) if unsorted_indices is None else unsorted_indices,
    )


def _index(array: np.ndarray, like: Tensor | None = None) -> Tensor:
    return from_array(np.ascontiguousarray(array.astype(np.int64)), dtypes.int64, like)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack [T, N, ...] (or [N, T, ...]). Raises RuntimeError for lengths that are not positive, or not descending."""
    counts = np.asarray(as_tensor(lengths).cpu().numpy()).astype(np.int64)
    order = None
    if not enforce_sorted:
        order = np.argsort(-counts, kind="stable")
        counts = counts[order]
        input = input.index_select(0 if batch_first else 1, _index(order, input))
    x = input.transpose(0, 1) if batch_first else input
    steps, batch = x.shape[:2]
    if len(counts) != batch:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)} (batch_size={batch})")
    if len(counts) and counts.min() <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0")
    if (np.diff(counts) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you do "
            "not need ONNX exportability."
        )
    if len(counts) and counts[0] > steps:
        raise RuntimeError(f"Expected sequence length to be larger than {counts[0]}, but got {steps}")
    present = np.arange(int(counts.max(initial=0)))[:, None] < counts
    places = np.flatnonzero(present)
    data = x.reshape((steps * batch, *x.shape[2:])).index_select(0, _index(places, x))
    return packed(data, _index(present.sum(1)), None if order is None else _index(order, x))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The padded sequences [T, N, ...] (or [N, T, ...]) and their lengths: the inverse of `pack_padded_sequence`."""
    sizes = np.asarray(sequence.batch_sizes.cpu().numpy())
    steps, batch = len(sizes), int(sizes[0])
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    present = np.zeros((steps, batch), bool)
    present[: len(sizes)] = np.arange(batch) < sizes[:, None]
    places = np.zeros((steps, batch), np.int64)
    places[present] = np.arange(int(sizes.sum()))
    rest = tuple(sequence.data.shape[1:])
    out = sequence.data.index_select(0, _index(places.reshape(-1), sequence.data)).reshape((steps, batch, *rest))
    if not present.all():
        absent = from_array(~present.reshape(steps, batch, *(1,) * len(rest)), dtypes.bool_, sequence.data)
        out = out.masked_fill(absent, padding_value)
    lengths = _index(present.sum(0))
    if sequence.unsorted_indices is not None:
        out = out.index_select(1, sequence.unsorted_indices)
        lengths = lengths.index_select(0, sequence.unsorted_indices)
    return (out.transpose(0, 1) if batch_first else out), lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences [L, ...] of different lengths as one tensor [T, N, ...] (or [N, T, ...])."""
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: " + f"{type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise ValueError(f"Invalid padding_side: {padding_side}. Only 'left' and 'right' are supported.")
    parts = list(sequences.unbind(0)) if isinstance(sequences, Tensor) else list(sequences)
    longest = max([x.shape[0] for x in parts])
    wide = []
    for x in parts:
        missing = longest - x.shape[0]
        if missing:
            fill = x.new_full((missing, *x.shape[1:]), padding_value)
            x = cat([fill, x] if padding_side == "left" else [x, fill], 0)
        wide.append(x)
    return stack(wide, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor, each in its length."""
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:length] for row, length in zip(x.unbind(0), lengths.tolist(), strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences [L, ...]."""
    lengths = [x.shape[0] for x in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences that was packed."""
    out, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(out, lengths, batch_first=True)
