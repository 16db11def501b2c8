"""`nn`: max and average pooling over the last `len(sizes)` dimensions.

Small windows are unrolled: the elements of all windows at one offset are a strided slice of the input, so pooling is an
elementwise operation over a few slices, which fuses with what surrounds it.
"""

from __future__ import annotations

import math as python_math
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, example
from lazytorch.ir.dialects import arith, tensor, tensor_windows
from lazytorch.ir.dialects.composite import composite, filled, number
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.types import TensorType

Sizes = tuple[int, ...]
_UNROLLED = 16
WINDOW_ATTRIBUTES = ("sizes", "strides", "padding", "dilations", "ceil")


def pooled_size(extent: int, size: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """How many windows fit; with `ceil` a last one may overhang, unless it would start in the padding on the right."""
    reach = extent + 2 * padding - dilation * (size - 1) - 1
    count = (-(-reach // stride) if ceil else reach // stride) + 1
    if ceil and (count - 1) * stride >= extent + padding:
        count -= 1
    return count


def _counts(a: Attributes, extents: Sizes) -> Sizes:
    triples = zip(extents, a.sizes, a.strides, a.padding, a.dilations, strict=True)
    return tuple([pooled_size(e, k, s, p, d, a.ceil) for e, k, s, p, d in triples])


def _infer_pool(name: str) -> Any:
    def infer(a: Attributes, x: TensorType) -> TensorType:
        spatial = len(a.sizes)
        if x.rank not in (spatial + 1, spatial + 2):
            raise RuntimeError(f"{name}: Expected {spatial + 1}D or {spatial + 2}D input, but got {list(x.shape)}")
        for size, stride, padding in zip(a.sizes, a.strides, a.padding, strict=True):
            if size <= 0 or stride <= 0:
                raise RuntimeError(f"{name}: kernel size and stride should be greater than zero")
            if padding < 0 or 2 * padding > size:
                raise RuntimeError(
                    "pad should be at most half of effective kernel size, but got "
                    f"pad={padding}, kernel_size={size} and dilation={a.dilations[0]}"
                )
        counts = _counts(a, x.shape[x.rank - spatial :])
        if min(counts) < 1:
            shown = "x".join(map(str, x.shape[-spatial - 1 :]))
            raise RuntimeError(
                f"Given input size: ({shown}). Calculated output size: "
                f"({'x'.join(map(str, (x.shape[-spatial - 1], *counts)))}). Output size is too small"
            )
        return TensorType(x.dtype, (*x.shape[: x.rank - spatial], *counts))

    return infer


class _Windows:
    """The windows of x: a padded input and, per offset inside the window, the slice of all windows' elements there."""

    def __init__(self, op: Any, x: Any, fill: float) -> None:
        a = op.attributes
        shape = x.type.shape
        self.spatial = len(a.sizes)
        self.lead = len(shape) - self.spatial
        self.extents = shape[self.lead :]
        self.counts = _counts(a, self.extents)
        self.sizes, self.strides, self.dilations = a.sizes, a.strides, a.dilations
        spans = [
            (n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(self.counts, a.strides, a.dilations, a.sizes, strict=True)
        ]
        self.low = a.padding
        self.high = tuple([max(span - e - p, 0) for span, e, p in zip(spans, self.extents, a.padding, strict=True)])
        self.padded = x
        if any(self.low) or any(self.high):
            none = (0,) * self.lead
            value = fill if x.type.dtype.kind == "f" else int(max(fill, np.iinfo(x.type.dtype.numpy).min))
            self.padded = tensor.pad(x, low=none + self.low, high=none + self.high, interior=(0,) * len(shape), value=value)
        self.offsets = list(np.ndindex(*a.sizes))

    def at(self, offset: Sizes) -> Any:
        """The element at `offset` of every window."""
        shape = self.padded.type.shape
        first = [o * d for o, d in zip(offset, self.dilations, strict=True)]
        return tensor.slice_(
            self.padded,
            starts=(0,) * self.lead + tuple(first),
            sizes=(*shape[: self.lead], *self.counts),
            steps=(1,) * self.lead + self.strides,
        )

    @property
    def is_tiling(self) -> bool:
        """Whether the windows lie side by side and nothing is padded, so that they are a reshape of the input."""
        return (
            self.strides == self.sizes and not any(self.low) and not any(self.high) and all(d == 1 for d in self.dilations)
        )

    def tiled(self, v: Any) -> Any:
        """[lead, n, m] -> [lead, n, 1, m, 1], to broadcast against the tiles."""
        shape = list(v.type.shape[: self.lead])
        for count in self.counts:
            shape += [count, 1]
        return tensor.reshape(v, shape=tuple(shape))

    def untile(self, tiles: Any) -> Any:
        """[lead, n, k, m, l] -> [lead, n k, m l], with zeros where the input had a remainder that no window reads."""
        lead = tiles.type.shape[: self.lead]
        covered = tuple([n * k for n, k in zip(self.counts, self.sizes, strict=True)])
        out = tensor.reshape(tiles, shape=(*lead, *covered))
        rest = tuple([e - c for e, c in zip(self.extents, covered, strict=True)])
        if any(rest):
            none = (0,) * self.lead
            rank = self.lead + self.spatial
            out = tensor.pad(out, low=(0,) * rank, high=none + rest, interior=(0,) * rank, value=0.0)
        return out

    def scatter(self, parts: list[Any]) -> Any:
        """The adjoint of `at` for all offsets: every part added back to its elements of the input."""
        extents = self.padded.type.shape[self.lead :]
        none = (0,) * self.lead
        total = None
        for offset, part in zip(self.offsets, parts, strict=True):
            low = tuple([o * d for o, d in zip(offset, self.dilations, strict=True)])
            spans = [(n - 1) * s + 1 for n, s in zip(self.counts, self.strides, strict=True)]
            high = tuple([e - lo - span for e, lo, span in zip(extents, low, spans, strict=True)])
            interior = tuple([s - 1 for s in self.strides])
            part = tensor.pad(part, low=none + low, high=none + high, interior=none + interior, value=0.0)
            total = part if total is None else arith.add(total, part)
        assert total is not None
        if self.padded.type.shape[self.lead :] == self.extents:
            return total
        shape = total.type.shape
        return tensor.slice_(
            total,
            starts=none + self.low,
            sizes=(*shape[: self.lead], *self.extents),
            steps=(1,) * len(shape),
        )


# -- max pooling ------------------------------------------------------------


def _largest(windows: _Windows) -> tuple[Any, Any]:
    """Largest element of every window and the number of its offset: the first largest, or the last nan, as in torch."""
    best = index = None
    for position, offset in enumerate(windows.offsets):
        v = windows.at(offset)
        if best is None:
            best = v
            index = filled(0, _integer_like(v), v.type.shape)
            continue
        better = arith.bit_or(arith.compare(v, best, predicate="gt"), arith.compare(v, v, predicate="ne"))
        best = arith.select(better, v, best)
        index = arith.select(better, number(position, index), index)
    return best, index


class _integer_like:
    """Stands for an i32 value beside `like`, for `filled`: offsets in a window are small, and as wide as a float."""

    def __init__(self, like: Any) -> None:
        self.builder = like.builder
        self.type = TensorType(dtypes.int32, (), like.type.device)


def _max_pool(op: Any) -> Any:
    windows = _Windows(op, op.operands[0], -python_math.inf)
    if len(windows.offsets) > _UNROLLED:
        return tensor.reduce_max(_window_view(windows), dims=_window_dims(windows))
    return _largest(windows)[0]


def _window_view(windows: _Windows) -> Any:
    view = tensor_windows.window(windows.padded, sizes=windows.sizes, strides=windows.strides, dilations=windows.dilations)
    wanted = (*view.type.shape[: windows.lead], *windows.counts, *windows.sizes)
    if view.type.shape != wanted:
        rank = len(wanted)
        view = tensor.slice_(view, starts=(0,) * rank, sizes=wanted, steps=(1,) * rank)
    return view


def _window_dims(windows: _Windows) -> Sizes:
    first = windows.lead + windows.spatial
    return tuple(range(first, first + windows.spatial))


def _max_pool_gradient(op: Any, g: Any, operand: int) -> Any:
    x = op.operands[0]
    windows = _Windows(op, x, -python_math.inf)
    _, index = _largest(windows)
    if not windows.is_tiling:
        zero = number(0, g)
        parts = [
            arith.select(arith.compare(index, number(position, index), predicate="eq"), g, zero)
            for position in range(len(windows.offsets))
        ]
        return windows.scatter(parts)
    code: Any = None
    for axis, size in enumerate(windows.sizes):
        steps = positions(x, size, dtypes.int32)
        following = windows.spatial - 1 - axis
        steps = tensor.reshape(steps, shape=(size,) + (1,) * (2 * following))
        code = steps if code is None else arith.add(arith.mul(code, number(size, code)), steps)
    hit = arith.compare(windows.tiled(index), code, predicate="eq")
    return windows.untile(arith.select(hit, windows.tiled(g), number(0, g)))


max_pool: Declaration = composite(
    "nn.max_pool",
    _infer_pool("max_pool"),
    _max_pool,
    gradient=_max_pool_gradient,
    attributes=WINDOW_ATTRIBUTES,
    rounds_once=False,
    gradient_name="MaxPool2DWithIndices",
    example=example("tensor<1x2x4x4xf32>", sizes=(2, 2), strides=(2, 2), padding=(0, 0), dilations=(1, 1), ceil=False),
    doc="the largest of every window; a gradient goes to the first largest",
)


def _infer_pool_index(attributes: Attributes, x: TensorType) -> TensorType:
    pooled: TensorType = _infer_pool("max_pool")(attributes, x)
    return pooled.with_dtype(dtypes.int64)


def _max_pool_index(op: Any) -> Any:
    """Offset number in the window -> flat index in the input's spatial dimensions."""
    windows = _Windows(op, op.operands[0], -python_math.inf)
    _, offset = _largest(windows)
    offset = arith.cast(offset, dtype=dtypes.int64)
    flat: Any = None
    remaining = offset
    parts: list[Any] = []
    for size in reversed(windows.sizes):
        parts.insert(0, arith.remainder(remaining, number(size, remaining)))
        remaining = arith.div(remaining, number(size, remaining))
    for axis, part in enumerate(parts):
        count, following = windows.counts[axis], windows.spatial - 1 - axis
        window = positions(offset, count, dtypes.int64)
        window = tensor.reshape(window, shape=(count,) + (1,) * following)
        start = arith.sub(arith.mul(window, windows.strides[axis]), windows.low[axis])
        position = arith.add(arith.mul(part, windows.dilations[axis]), start)
        flat = position if flat is None else arith.add(arith.mul(flat, windows.extents[axis]), position)
    return flat


max_pool_index: Declaration = composite(
    "nn.max_pool_index",
    _infer_pool_index,
    _max_pool_index,
    differentiable=(),
    attributes=WINDOW_ATTRIBUTES,
    rounds_once=False,
    example=example("tensor<1x2x4x4xf32>", sizes=(2, 2), strides=(2, 2), padding=(0, 0), dilations=(1, 1), ceil=False),
    doc="where the largest of every window lies, as a flat index into the spatial dimensions",
)

# -- average pooling ------------------------------------------------------------


def _window_sum(op: Any, x: Any) -> Any:
    windows = _Windows(op, x, 0.0)
    if windows.sizes == windows.extents and not any(windows.low):
        shape = x.type.shape
        dims = tuple(range(windows.lead, len(shape)))
        return tensor.unreduce(tensor.reduce_sum(x, dims=dims), shape, dims)
    if len(windows.offsets) > _UNROLLED:
        return tensor.reduce_sum(_window_view(windows), dims=_window_dims(windows))
    total = None
    for offset in windows.offsets:
        v = windows.at(offset)
        total = v if total is None else arith.add(total, v)
    return total


def _pool_divisors(a: Attributes, extents: Sizes) -> np.ndarray:
    """How many elements each window is divided by: [n, m]. Only those inside the padded input count, or without
    `count_padding` those inside the input itself."""
    counts = _counts(a, extents)
    sides = []
    for axis, count in enumerate(counts):
        start = np.arange(count) * a.strides[axis] - a.padding[axis]
        end = np.minimum(start + a.sizes[axis], extents[axis] + a.padding[axis])
        if not a.count_padding:
            start, end = np.maximum(start, 0), np.minimum(end, extents[axis])
        sides.append(end - start)
    out = sides[0]
    for side in sides[1:]:
        out = out[..., None] * side
    return np.asarray(out)


def _avg_pool(op: Any) -> Any:
    x, a = op.operands[0], op.attributes
    total = _window_sum(op, x)
    if a.divisor:
        return arith.div(total, float(a.divisor))
    divisors = _pool_divisors(a, x.type.shape[-len(a.sizes) :])
    if divisors.min() == divisors.max():
        return arith.div(total, float(divisors.flat[0]))
    return arith.div(total, _varying_divisor(op, x))


def _varying_divisor(op: Any, x: Any) -> Any:
    """The counts as a value: the window sums of ones, where what does not count is 0."""
    a = op.attributes
    shape = x.type.shape
    spatial = len(a.sizes)
    ones = filled(1.0, x, (1,) * (len(shape) - spatial) + shape[len(shape) - spatial :])
    if not a.count_padding:
        return _window_sum(op, ones)
    rank = len(shape)
    none = (0,) * (rank - spatial)
    ones = tensor.pad(ones, low=none + a.padding, high=none + a.padding, interior=(0,) * rank, value=1.0)
    inner = Attributes({**a.as_dict(), "padding": (0,) * spatial})
    view = type("Padded", (), {"attributes": inner})()
    counts = _window_sum(view, ones)
    wanted = _counts(a, shape[rank - spatial :])
    if counts.type.shape[rank - spatial :] != wanted:
        counts = tensor.slice_(
            counts, starts=(0,) * rank, sizes=(*counts.type.shape[: rank - spatial], *wanted), steps=(1,) * rank
        )
    return counts


def _avg_pool_gradient(op: Any, g: Any, operand: int) -> Any:
    x, a = op.operands[0], op.attributes
    windows = _Windows(op, x, 0.0)
    if not windows.is_tiling:
        return NotImplemented
    share = arith.div(windows.tiled(g), float(a.divisor or python_math.prod(a.sizes)))
    lead = g.type.shape[: windows.lead]
    tiles = tuple([n for pair in zip(windows.counts, windows.sizes, strict=True) for n in pair])
    return windows.untile(tensor.expand(share, shape=(*lead, *tiles)))


avg_pool: Declaration = composite(
    "nn.avg_pool",
    _infer_pool("avg_pool"),
    _avg_pool,
    gradient=_avg_pool_gradient,
    attributes=(*WINDOW_ATTRIBUTES, "count_padding", "divisor"),
    defaults={"count_padding": True, "divisor": 0},
    gradient_name="AvgPool2D",
    example=example("tensor<1x2x4x4xf32>", sizes=(2, 2), strides=(2, 2), padding=(0, 0), dilations=(1, 1), ceil=False),
    doc="the mean of every window; `divisor` (if not 0) replaces the count of elements",
)
