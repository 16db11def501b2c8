"""`pad` with its modes (torch.nn.functional): zeros or a number, reflected, replicated, circular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.dialects import tensor
from lazytorch.ops.recording import FUNCTIONS, emit, place, result
from lazytorch.ops.shaping import cat
from lazytorch.tensor import Tensor, from_array, value


def _cropped(input: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Without the elements that negative paddings take away. `pairs`: low and high of the last dimension first."""
    rank = len(input.shape)
    for number, (low, high) in enumerate(pairs):
        if low < 0 or high < 0:
            d = rank - 1 - number
            start, end = max(-low, 0), input.shape[d] - max(-high, 0)
            if start > end:
                raise RuntimeError(
                    f"The input size {input.shape[d]}, plus negative padding {low} and {high}, resulted in a negative "
                    "output size, which is invalid. Check dimension "
                    f"{d} of your input."
                )
            input = input.narrow(d, start, end - start)
    return input


def _constant(input: Tensor, pairs: Sequence[tuple[int, int]], fill: float) -> Tensor:
    x = _cropped(input, pairs)
    rank = len(x.shape)
    sides = [(max(low, 0), max(high, 0)) for low, high in reversed(pairs)]
    sides = [(0, 0)] * (rank - len(sides)) + sides
    place()
    node = emit(
        tensor.pad,
        value(x),
        low=tuple([low for low, _ in sides]),
        high=tuple([high for _, high in sides]),
        interior=(0,) * rank,
        value=float(fill) if x.dtype.kind == "f" else bool(fill) if x.dtype.kind == "b" else int(fill),
    )
    return result(node)


def _reflected(x: Tensor, d: int, low: int, high: int) -> Tensor:
    size = x.shape[d]
    if max(low, high) >= size:
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
            f"({low}, {high}) at dimension {d} of input {list(x.shape)}"
        )
    parts = [x]
    if low > 0:
        parts.insert(0, x.narrow(d, 1, low).flip(d))
    if high > 0:
        parts.append(x.narrow(d, size - 1 - high, high).flip(d))
    return cat(parts, d)


def _repeated_edges(input: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Padded by copies of the first and last elements; negative counts take away from what was there."""
    out = input
    for number, (low, high) in enumerate(pairs):
        if low or high:
            d = len(input.shape) - 1 - number
            size = input.shape[d]
            if size + low + high < 0:
                raise RuntimeError(f"input (dimension {d}: {size}) is too small for padding {low} and {high}")
            at = np.clip(np.arange(-low, size + high), 0, size - 1)
            out = out.index_select(d, from_array(at.astype(np.int64), dtypes.int64).to(input.device))
    return FUNCTIONS["clone"](out) if out is input else out


def _wrapped(x: Tensor, d: int, low: int, high: int) -> Tensor:
    size = x.shape[d]
    if max(low, high) > size:
        raise RuntimeError("Padding value causes wrapping around more than once.")
    parts = [x]
    if low > 0:
        parts.insert(0, x.narrow(d, size - low, low))
    if high > 0:
        parts.append(x.narrow(d, 0, high))
    return cat(parts, d)


_MODES = {"reflect": _reflected, "circular": _wrapped}


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """The input with elements added around it.

    pad: low and high count of the last dimension, of the one before, and so on; negative counts take elements away.
    mode: 'constant' (filled with `value`), 'reflect', 'replicate' or 'circular'; the last three pad spatial dimensions
    only. Raises RuntimeError or NotImplementedError for paddings that do not fit.
    """
    counts = [int(n) for n in pad]
    rank = len(input.shape)
    if len(counts) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(counts) > 2 * rank:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(counts)} and input of dimension {rank}"
        )
    pairs = list(zip(counts[::2], counts[1::2], strict=True))
    if mode == "constant":
        return _constant(input, pairs, 0.0 if value is None else value)
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in (*_MODES, "replicate"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if rank not in (len(pairs) + 1, len(pairs) + 2) or len(pairs) > 3:
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now")
    return _spatial(input, pairs, mode)


def _spatial(input: Tensor, pairs: Sequence[tuple[int, int]], mode: str) -> Tensor:
    rank = len(input.shape)
    if mode == "replicate":
        return _repeated_edges(input, pairs)
    out: Any = _cropped(input, pairs)
    for number, (low, high) in reversed(list(enumerate(pairs))):
        if low > 0 or high > 0:
            out = _MODES[mode](out, rank - 1 - number, max(low, 0), max(high, 0))
    return FUNCTIONS["clone"](out) if out is input else out
