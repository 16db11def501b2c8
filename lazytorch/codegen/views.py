"""View operations as strided access: offset and strides, in elements, on a contiguous buffer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import tensor, tensor_strided, tensor_windows
from lazytorch.ir.types import TensorType


@dataclass(frozen=True)
class Access:
    """Element `index` of the view lies at `offset + sum(index[d] * strides[d])` in the buffer."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    def expanded(self, shape: tuple[int, ...]) -> Access:
        """Broadcast as in NumPy: a broadcast dimension has stride 0."""
        if shape == self.shape:
            return self
        extra = len(shape) - len(self.shape)
        strides = [0] * extra
        for have, want, stride in zip(self.shape, shape[extra:], self.strides, strict=True):
            strides.append(stride if have == want else 0)
        return Access(shape, tuple(strides), self.offset)


@lru_cache(maxsize=4096)
def contiguous(shape: tuple[int, ...]) -> Access:
    """The whole buffer in row-major order."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return Access(shape, tuple(reversed(strides)))


def offsets(dims: Sequence[tuple[int, int]]) -> np.ndarray:
    """The offset of every index of dimensions given as (size, stride), in row-major order."""
    table = np.zeros((), np.int64)
    for size, stride in dims:
        table = table[..., None] + np.arange(size, dtype=np.int64) * stride
    return table.reshape(-1)


@lru_cache(maxsize=4096)
def chained(storage: TensorType, view: tuple[Operator, ...]) -> Access | None:
    """The access of view operations, one after the other, to a value in row-major order; None as in `apply_view`."""
    type: Any = storage
    out: Access | None = contiguous(storage.shape)
    for operator in view:
        operation = Operation(operator, [Value(type, _NOWHERE, 0)])
        type = operation.results[0].type
        assert out is not None
        out = apply_view(out, operation)
        operation.operands = ()
        if out is None:
            break
    return out


_NOWHERE = Block()


def apply_view(access: Access, view: Operation) -> Access | None:
    """The access seen through one view operation; None where strides cannot express it (some reshapes)."""
    a = view.attributes
    declaration = view.declaration
    if declaration is tensor.reshape:
        return reshaped(access, a.shape)
    if declaration is tensor.permute:
        return Access(tuple([access.shape[d] for d in a.order]), tuple([access.strides[d] for d in a.order]), access.offset)
    if declaration is tensor.expand:
        return access.expanded(a.shape)
    if declaration is tensor.slice_:
        offset = access.offset + sum(start * stride for start, stride in zip(a.starts, access.strides, strict=True))
        strides = tuple([stride * step for stride, step in zip(access.strides, a.steps, strict=True)])
        return Access(a.sizes, strides, offset if 0 not in a.sizes else 0)
    if declaration is tensor.flip:
        offset, strides_list = access.offset, list(access.strides)
        for d in a.dims:
            offset += max(access.shape[d] - 1, 0) * access.strides[d]
            strides_list[d] = -access.strides[d]
        return Access(access.shape, tuple(strides_list), offset)
    if declaration is tensor_windows.window:
        shape = view.result.type.shape
        spatial = len(a.sizes)
        lead = access.strides[: len(access.strides) - spatial]
        last = access.strides[len(access.strides) - spatial :]
        steps = [stride * step for stride, step in zip(last, a.strides, strict=True)]
        inside = [stride * step for stride, step in zip(last, a.dilations, strict=True)]
        return Access(shape, (*lead, *steps, *inside), access.offset)
    if declaration is tensor_strided.diagonal:
        rows, columns = access.strides[-2:]
        start = a.offset * columns if a.offset >= 0 else -a.offset * rows
        shape = view.result.type.shape
        return Access(shape, (*access.strides[:-2], rows + columns), access.offset + (start if shape[-1] else 0))
    if declaration is tensor_strided.as_strided:
        (step,) = access.strides
        return Access(a.shape, tuple([stride * step for stride in a.strides]), access.offset + a.offset * step)
    if declaration in (tensor.alias, tensor.detach):
        return access
    raise AssertionError(f"{declaration.name} is declared a view but has no access rule")


def reshaped(access: Access, shape: tuple[int, ...]) -> Access | None:
    """The same elements in row-major order in another shape (torch's computeStride); None if that needs a copy."""
    if 0 in access.shape:
        return Access(shape, contiguous(shape).strides, 0)
    old = [(size, stride) for size, stride in zip(access.shape, access.strides, strict=True) if size != 1]
    strides = [0] * len(shape)
    position = len(shape) - 1
    while old:
        size, stride = old.pop()
        step = stride
        while old and old[-1][1] == stride * size:
            size *= old.pop()[0]
        while position >= 0 and (size > 1 or shape[position] == 1):
            extent = shape[position]
            if size % extent:
                return None
            strides[position] = step
            step *= extent
            size //= extent
            position -= 1
        if size != 1:
            return None
    while position >= 0:
        if shape[position] != 1:
            return None
        strides[position] = 1
        position -= 1
    return Access(shape, tuple(strides), access.offset)


def common_refinement(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape with the fewest dimensions that both shapes of as many elements can be split into: (6, 4) and (2, 12) into
    (2, 3, 4). None where there is none: (2, 3) and (3, 2)."""
    boundaries = {1}
    for shape in (first, second):
        step = 1
        for size in reversed(shape):
            step *= size
            boundaries.add(step)
    ordered = sorted(boundaries)
    if ordered[0] == 0 or any(above % below for below, above in itertools.pairwise(ordered)):
        return None
    return tuple([above // below for below, above in itertools.pairwise(ordered)][::-1])
