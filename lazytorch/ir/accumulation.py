"""The order in which sums, products and contractions accumulate: part of what the operations mean.

Results must not depend on threads, vector width, fusion or batch, so the order is a function of the logical shape alone
(docs/architecture.md, "Numbers"). Kernels reproduce it in their own way; here it is written down as NumPy, for the
reference interpreter and for tests.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytorch.ir.fused_multiply_add import fused_multiply_add_f32, fused_multiply_add_f64

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]
LANES = 64
"""Partial results over trailing dimensions, whatever the vector width."""
BLOCK = 4096
"""Consecutive elements that one set of lanes takes."""
RUN = 64
"""Rows, and then sums of such rows, that are accumulated in turn over dimensions that are not trailing."""
CONTRACTION_BLOCK = 256
"""Products along K that are accumulated before they are added to the result."""


def innermost_group(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """The last of the groups of neighbours among the reduced dimensions, with all reduced dimensions of size 1.

    Dimensions of size 1 separate nothing: over shape [2, 1, 4, 5], dims (0, 2) are one group, (0, 3) are two.
    """
    group: list[int] = []
    for dim in range(len(shape) - 1, -1, -1):
        if dim in dims and shape[dim] != 1:
            group.append(dim)
        elif shape[dim] != 1 and group:
            break
    return tuple(sorted(group + [dim for dim in dims if shape[dim] == 1])) or dims


def reduce(x: np.ndarray, dims: tuple[int, ...], combine: np.ufunc, identity: float) -> np.ndarray:
    """tensor.reduce_sum and reduce_prod: floating types as `reduce_in_order` says, others in any order. 16-bit floats
    accumulate in float32 and are rounded at the end."""
    if x.dtype == np.float16:
        with np.errstate(over="ignore"):
            return reduce_in_order(x.astype(np.float32), dims, combine, identity).astype(x.dtype)
    if x.dtype.kind == "f" or not dims:
        return reduce_in_order(x, dims, combine, identity)
    return np.asarray(combine.reduce(x, axis=dims, dtype=x.dtype))


def extreme(x: np.ndarray, dims: tuple[int, ...], combine: Combine, ufunc: np.ufunc, identity: float) -> np.ndarray:
    """tensor.reduce_max and reduce_min: only floats have equal values that differ, zeros, so only they need the order."""
    if x.dtype.kind == "f":
        return reduce_in_order(x, dims, combine, identity)
    return np.asarray(ufunc.reduce(x, axis=dims))


def reduce_in_order(x: np.ndarray, dims: tuple[int, ...], combine: Combine, identity: float) -> np.ndarray:
    """Reduce over `dims` (ascending): group by group from the innermost, each as `_trailing` or `_leading` says.

    `combine(a, identity)` must be `a` for every value an accumulation from the identity reaches: what is missing to a
    whole block is filled with it.
    """
    while dims:
        inner = innermost_group(x.shape, dims)
        kept = tuple([size for dim, size in enumerate(x.shape) if dim not in inner])
        dims = tuple([dim - sum(gone < dim for gone in inner) for dim in dims if dim not in inner])
        wide = [dim for dim in inner if x.shape[dim] != 1]
        if not wide:
            x = combine(x.dtype.type(identity), x).reshape(kept)
            continue
        first, last = wide[0], wide[-1]
        count = int(np.prod([x.shape[dim] for dim in inner], dtype=np.int64))
        before = int(np.prod(x.shape[:first], dtype=np.int64))
        after = int(np.prod(x.shape[last + 1 :], dtype=np.int64))
        grouped = x.reshape(before, count, after)
        x = _trailing(grouped[..., 0], combine, identity) if after == 1 else _leading(grouped, combine, identity)
        x = x.reshape(kept)
    return x


def _trailing(rows: np.ndarray, combine: Combine, identity: float) -> np.ndarray:
    """Reduce [rows, n]: per block of 4096 elements, lane l takes elements l, l + 64, … in turn, then the lanes are
    folded in halves; the results of blocks b, b + 64, … go to lane b of a second level, folded the same way."""
    blocks = _split(_split(rows, BLOCK, identity), LANES, identity)
    results = _folded(_in_turn(blocks, 2, combine, identity), combine)
    if results.shape[1] == 1:
        return results[:, 0]
    second = _split(results, LANES, identity)
    return _folded(_in_turn(second, 1, combine, identity), combine)


def _leading(x: np.ndarray, combine: Combine, identity: float) -> np.ndarray:
    """Reduce the middle of [outer, n, inner]: runs of 64 in turn, runs of 64 of those, and the rest in turn."""
    x = np.moveaxis(x, 1, 2)
    for _ in range(2):
        x = _in_turn(_split(x, RUN, identity), 3, combine, identity)
    return _in_turn(x, 2, combine, identity)


def _split(x: np.ndarray, size: int, identity: float) -> np.ndarray:
    """The last dimension as [parts (at least one), size], filled up with the identity."""
    parts = max(-(-x.shape[-1] // size), 1)
    filler = np.full((*x.shape[:-1], parts * size - x.shape[-1]), identity, x.dtype)
    return np.concatenate([x, filler], axis=-1).reshape(*x.shape[:-1], parts, size)


def _in_turn(x: np.ndarray, axis: int, combine: Combine, identity: float) -> np.ndarray:
    """Accumulate along an axis, in order, from the identity."""
    total = np.full((*x.shape[:axis], *x.shape[axis + 1 :]), identity, x.dtype)
    for index in range(x.shape[axis]):
        total = combine(total, np.take(x, index, axis))
    return total


def _folded(lanes: np.ndarray, combine: Combine) -> np.ndarray:
    """Combine the last dimension's lane i with i + 32, then with i + 16, … 1."""
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = combine(lanes[..., :half], lanes[..., half:])
    return lanes[..., 0]


def contract_in_order(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[batch, m, k] times [batch, k, n] of float32 or float64: along K with fma from 0 within blocks of 256; the first
    block's sum is the result so far, each further one is added to it."""
    fma = fused_multiply_add_f32 if a.dtype == np.float32 else fused_multiply_add_f64
    shape = (a.shape[0], a.shape[1], b.shape[2])
    result = np.zeros(shape, a.dtype)
    for start in range(0, a.shape[2], CONTRACTION_BLOCK):
        total = np.zeros(shape, a.dtype)
        for k in range(start, min(start + CONTRACTION_BLOCK, a.shape[2])):
            total = fma(a[:, :, k, None], b[:, None, k, :], total)
        result = total if start == 0 else result + total
    return result


def contract(a: np.ndarray, b: np.ndarray, letters: tuple[str, str, str]) -> np.ndarray:
    """tensor.contract: one letter per dimension of a, b and the result; letters that the result lacks are summed, in
    row-major order of their appearance in a, then in b.

    float32 and float64 accumulate as `contract_in_order` says; other types exactly or in a wider type, rounded once.
    """
    left, right, out = letters
    if a.dtype not in (np.float32, np.float64):
        wide = np.float64 if a.dtype.kind == "f" else a.dtype
        names = {letter: number for number, letter in enumerate(dict.fromkeys(left + right))}
        spelled = [[names[letter] for letter in word] for word in letters]
        product = np.einsum(a.astype(wide), spelled[0], b.astype(wide), spelled[1], spelled[2])
        return np.asarray(product).astype(a.dtype)
    sizes = {**dict(zip(left, a.shape, strict=True)), **dict(zip(right, b.shape, strict=True))}
    summed = "".join([letter for letter in dict.fromkeys(left + right) if letter not in out])
    batch = "".join([letter for letter in out if letter in left and letter in right])
    rows = "".join([letter for letter in out if letter in left and letter not in batch])
    columns = "".join([letter for letter in out if letter not in left])
    count = [int(np.prod([sizes[letter] for letter in word], dtype=np.int64)) for word in (batch, rows, columns, summed)]
    with np.errstate(all="ignore"):
        result = contract_in_order(
            _arranged(a, left, batch + rows + summed, sizes).reshape(count[0], count[1], count[3]),
            _arranged(b, right, batch + summed + columns, sizes).reshape(count[0], count[3], count[2]),
        )
    made = batch + rows + columns
    return result.reshape([sizes[letter] for letter in made]).transpose([made.index(letter) for letter in out])


def _arranged(x: np.ndarray, have: str, want: str, sizes: dict[str, int]) -> np.ndarray:
    """The dimensions in another order; a letter that `x` does not have is repeated."""
    order = [have.index(letter) for letter in want if letter in have]
    shape = [sizes[letter] if letter in have else 1 for letter in want]
    return np.broadcast_to(x.transpose(order).reshape(shape), [sizes[letter] for letter in want])
