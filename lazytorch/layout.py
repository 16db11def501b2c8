"""Strides of views as torch reports them, and the order in memory of elementwise results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch.codegen.views import Access, chained, contiguous
from lazytorch.ir.declaration import Operator
from lazytorch.ir.saved import SHARED, Shared
from lazytorch.ir.trace import Node
from lazytorch.ir.types import TensorType

_KEPT = 4096
_shared: dict[Any, Shared] = {}
_orders: dict[Any, tuple[int, ...] | None] = {}


def _keep(cache: dict[Any, Any], key: Any, found: Any) -> Any:
    if len(cache) >= _KEPT:
        cache.clear()
    cache[key] = found
    return found


def access(storage: TensorType, view: tuple[Operator, ...]) -> Access:
    """Strides and offset, in elements, of a view of a storage in row-major order."""
    found = chained(storage, view)
    assert found is not None
    return found


def shared(storage: TensorType, view: tuple[Operator, ...]) -> Shared:
    """What the node of a view says of its storage."""
    found = _shared.get((storage, view))
    if found is None:
        have = access(storage, view)
        plain = is_row_major(have.shape, have.strides)
        found = _keep(_shared, (storage, view), SHARED if plain else Shared(have.strides))
    return found


def is_row_major(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements lie in order and without gaps."""
    want = contiguous(tuple(shape)).strides
    return 0 in shape or all(a == b or n == 1 for a, b, n in zip(strides, want, shape, strict=True))


def memory_order(shape: tuple[int, ...], operands: Sequence[Node]) -> tuple[int, ...] | None:
    """The dimensions of an elementwise result from the slowest to the fastest; None for row-major order."""
    marks = [mark.strides if type(mark := x.storage) is Shared else None for x in operands]
    if len(shape) < 2 or not any(marks):
        return None
    key = (shape, *[(x.type.shape, strides) for x, strides in zip(operands, marks, strict=True)])
    if key in _orders:
        return _orders[key]
    every = []
    for x, strides in zip(operands, marks, strict=True):
        own = Access(x.type.shape, strides or contiguous(x.type.shape).strides)
        every.append(own.expanded(shape).strides)
    found: tuple[int, ...] | None = tuple(reversed(_fastest_first(shape, every)))
    if found == tuple(range(len(shape))) or 0 in shape:
        found = None
    return _keep(_orders, key, found)


def _fastest_first(shape: tuple[int, ...], operands: Sequence[tuple[int, ...]]) -> list[int]:
    """torch's TensorIterator::reorder_dimensions: an insertion sort in which the first operand that can tell decides."""
    order = list(reversed(range(len(shape))))
    for i in range(1, len(order)):
        moving = i
        for other in range(i - 1, -1, -1):
            decision = _slower(shape, operands, order[other], order[moving])
            if decision > 0:
                order[other], order[moving] = order[moving], order[other]
                moving = other
            elif decision < 0:
                break
    return order


def _slower(shape: tuple[int, ...], operands: Sequence[tuple[int, ...]], a: int, b: int) -> int:
    """1 if dimension a belongs outside of b, -1 if inside, 0 if no operand can tell."""
    for strides in operands:
        if strides[a] == 0 or strides[b] == 0:
            continue
        if strides[a] != strides[b]:
            return 1 if strides[a] > strides[b] else -1
        if shape[a] > shape[b]:
            return 1
    return 0
