"""Enlarging, shrinking, sampling and rearranging images (torch.nn.functional)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.nn.functions.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from lazytorch.ops.recording import FUNCTIONS, require_floating, rounding_once, same_type, without_slope
from lazytorch.ops.unary import where
from lazytorch.tensor import Tensor, from_array

# -- rearranging ------------------------------------------------------------


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """[..., C r^2, H, W] to [..., C, H r, W r]."""
    r = int(upscale_factor)
    if len(input.shape) < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {len(input.shape)} dimension(s)"
        )
    *lead, channels, high, wide = input.shape
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if channels % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but "
            f"input.size(-3)={channels} is not divisible by {r * r}"
        )
    rank = len(lead)
    x = input.reshape((*lead, channels // (r * r), r, r, high, wide))
    x = x.permute(*range(rank), rank, rank + 3, rank + 1, rank + 4, rank + 2)
    return x.reshape((*lead, channels // (r * r), high * r, wide * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """[..., C, H r, W r] to [..., C r^2, H, W]."""
    r = int(downscale_factor)
    if len(input.shape) < 3:
        raise RuntimeError(
            "pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
            f"{len(input.shape)} dimension(s)"
        )
    *lead, channels, high, wide = input.shape
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    for name, size, position in (("height", high, -2), ("width", wide, -1)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({position})={size} is "
                f"not divisible by {r}"
            )
    rank = len(lead)
    x = input.reshape((*lead, channels, high // r, r, wide // r, r))
    x = x.permute(*range(rank), rank, rank + 2, rank + 4, rank + 1, rank + 3)
    return x.reshape((*lead, channels * r * r, high // r, wide // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """[N, g k, ...] channels in the order of the transposed [g, k]."""
    shape = tuple(input.shape)
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    if shape[1] % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {shape[1]} channels and {groups} groups.")
    return input.reshape((shape[0], groups, shape[1] // groups, *shape[2:])).transpose(1, 2).reshape(shape)


# -- interpolation ------------------------------------------------------------


def _positions(extent: int, out: int, align: bool, scale: float | None, cubic: bool, real: Any) -> np.ndarray:
    """Where each output element lies between the input's, in torch's precision and order of operations."""
    i = np.arange(out).astype(real)
    if align:
        step = real(extent - 1) / real(out - 1) if out > 1 else real(0)
        return np.asarray(i * step)
    step = real(1.0 / scale) if scale is not None and scale > 0 else real(extent) / real(out)
    place = step * (i + real(0.5)) - real(0.5)
    return place if cubic else np.maximum(place, real(0))


def _weighted_taps(x: Tensor, d: int, taps: Sequence[tuple[np.ndarray, np.ndarray]]) -> Tensor:
    """The sum over taps of the elements at an index along `d`, times a weight per output element."""
    total = None
    rank = len(x.shape)
    for index, weight in taps:
        part = x.index_select(d, from_array(index.astype(np.int64), dtypes.int64, x))
        factor = from_array(weight.astype(x.dtype.numpy).reshape((-1, *(1,) * (rank - d - 1))), x.dtype, x)
        total = part * factor if total is None else total + part * factor
    assert total is not None
    return total


def _linear_taps(extent: int, place: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    low = np.minimum(place.astype(np.int64), extent - 1)
    weight = np.clip(place - low.astype(place.dtype), 0, 1)
    return [(low, 1 - weight), (np.minimum(low + 1, extent - 1), weight)]


def _cubic_weights(t: np.ndarray) -> list[np.ndarray]:
    """Keys' convolution with a = -0.75, as torch evaluates it."""
    a = t.dtype.type(-0.75)

    def inner(x: np.ndarray) -> np.ndarray:
        return np.asarray(((a + 2) * x - (a + 3)) * x * x + 1)

    def outer(x: np.ndarray) -> np.ndarray:
        return np.asarray(((a * x - 5 * a) * x + 8 * a) * x - 4 * a)

    return [outer(t + 1), inner(t), inner(1 - t), outer(2 - t)]


def _cubic_taps(extent: int, place: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    base = np.floor(place).astype(np.int64)
    weights = _cubic_weights(np.clip(place - base.astype(place.dtype), 0, 1))
    return [(np.clip(base + k - 1, 0, extent - 1), w) for k, w in enumerate(weights)]


def _antialiased_taps(
    extent: int, out: int, align: bool, scale: float | None, cubic: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights of a filter that widens with the shrinking (as Pillow's resize)."""
    if align:
        step = (extent - 1) / (out - 1) if out > 1 else 0.0
    else:
        step = 1.0 / scale if scale is not None and scale > 0 else extent / out
    radius = (2.0 if cubic else 1.0) * max(step, 1.0)
    inverse = 1.0 / step if step >= 1.0 else 1.0
    center = step * (np.arange(out) + 0.5)
    first = np.maximum((center - radius + 0.5).astype(np.int64), 0)
    end = np.minimum((center + radius + 0.5).astype(np.int64), extent)
    columns = np.arange(int((end - first).max()))
    distance = np.abs((columns[None, :] + first[:, None] - center[:, None] + 0.5) * inverse)
    if cubic:
        a = -0.5
        near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
        far = (((distance - 5) * distance + 8) * distance - 4) * a
        weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    else:
        weights = np.maximum(1.0 - distance, 0.0)
    weights = np.where(columns[None, :] < (end - first)[:, None], weights, 0.0)
    weights /= weights.sum(1, keepdims=True)
    return [(np.minimum(first + k, extent - 1), weights[:, k]) for k in columns]


def _nearest_index(extent: int, out: int, scale: float | None, exact: bool) -> np.ndarray:
    step = np.float32(1.0 / scale) if scale is not None and scale > 0 else np.float32(extent) / np.float32(out)
    i = np.arange(out).astype(np.float32)
    place = (i + np.float32(0.5)) * step if exact else i * step
    return np.minimum(np.floor(place).astype(np.int64), extent - 1)


_LINEAR_MODES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


def _output_sizes(
    input: Tensor, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """Spatial output sizes, and the scales that positions are computed with (None: from the sizes)."""
    spatial = len(input.shape) - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        given = (size,) * spatial if isinstance(size, int) else tuple([int(n) for n in size])
        if len(given) != spatial:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input with spatial dimensions "
                f"of {list(input.shape[2:])} and output size of {size}. Please provide input tensor in (N, C, d1, d2, "
                "...,dK) format and output size in (o1, o2, ...,oK) format."
            )
        return given, (None,) * spatial
    if scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    scales = tuple(scale_factor) if isinstance(scale_factor, list | tuple) else (scale_factor,) * spatial
    if len(scales) != spatial:
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got input with spatial "
            f"dimensions of {list(input.shape[2:])} and scale_factor of shape {scale_factor}."
        )
    outs = tuple([math.floor(float(n) * s) for n, s in zip(input.shape[2:], scales, strict=True)])
    return outs, (None,) * spatial if recompute else tuple([float(s) for s in scales])


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """[N, C, ...] in other spatial sizes.

    mode: 'nearest', 'nearest-exact', 'linear', 'bilinear', 'trilinear', 'bicubic' or 'area' (means of windows).
    Raises ValueError or NotImplementedError for options that do not go together.
    """
    spatial = len(input.shape) - 2
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
            )
    elif mode not in _LINEAR_MODES:
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got "
            f"{len(input.shape)}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact "
            f"(got {mode})"
        )
    elif _LINEAR_MODES[mode] != spatial:
        raise NotImplementedError(f"Got {len(input.shape)}D input, but {mode} mode needs {_LINEAR_MODES[mode] + 2}D input")
    if spatial not in (1, 2, 3):
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {len(input.shape)}D)")
    if antialias and not (mode in ("bilinear", "bicubic") and spatial == 2):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input")
    outs, scales = _output_sizes(input, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        pool: Any = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[spatial - 1]
        return pool(input, outs)
    return _resampled(input, outs, scales, mode, bool(align_corners), antialias)


@rounding_once
def _resampled(
    x: Tensor, outs: Sequence[int], scales: Sequence[float | None], mode: str, align: bool, antialias: bool
) -> Tensor:
    """Dimension by dimension, the last one first, as torch's sums nest."""
    real = np.float64 if x.dtype is dtypes.float64 else np.float32
    for axis in reversed(range(len(outs))):
        d, extent, out, scale = axis + 2, int(x.shape[axis + 2]), outs[axis], scales[axis]
        if mode in ("nearest", "nearest-exact"):
            index = _nearest_index(extent, out, scale, mode == "nearest-exact")
            x = x.index_select(d, from_array(index, dtypes.int64, x))
            continue
        cubic = mode == "bicubic"
        if antialias:
            taps = _antialiased_taps(extent, out, align, scale, cubic)
        else:
            place = _positions(extent, out, align, scale, cubic, real)
            taps = _cubic_taps(extent, place) if cubic else _linear_taps(extent, place)
        x = _weighted_taps(x, d, taps)
    return x


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """The old name of `interpolate`."""
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2)
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode 'nearest'."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode 'bilinear' and aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


# -- sampling at given places ------------------------------------------------------------


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Places in [-1, 1] for `grid_sample`: [N, H, W, 2] from matrices [N, 2, 3], or the same in three dimensions."""
    spatial = len(size) - 2
    if spatial not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
            f"Got size {tuple(size)}"
        )
    if tuple(theta.shape[1:]) != (spatial, spatial + 1):
        raise ValueError(
            f"Expected a batch of {spatial}D affine matrices of shape Nx{spatial}x{spatial + 1} for size "
            f"{tuple(size)}. Got {tuple(theta.shape)}."
        )
    extents = [int(n) for n in size[2:]]
    axes = []
    for n in extents:
        line = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        axes.append(line if align_corners or n == 1 else line * (n - 1) / n)
    mesh = np.meshgrid(*axes, indexing="ij")
    places = np.stack([*reversed(mesh), np.ones(extents)], -1).reshape(1, -1, spatial + 1)
    base = from_array(places.astype(theta.dtype.numpy), theta.dtype, theta)
    grid = base.expand(theta.shape[0], -1, -1).matmul(theta.transpose(1, 2))
    return grid.reshape((theta.shape[0], *extents, spatial))


def _unnormalised(x: Tensor, extent: int, align: bool) -> Tensor:
    return (x + 1) / 2 * (extent - 1) if align else ((x + 1) * extent - 1) / 2


def _mirrored(x: Tensor, low: float, high: float) -> Tensor:
    """Reflected at both ends until it lies between them."""
    if low == high:
        return x * 0
    span = (high - low) / 2
    distance = (x - low / 2).abs()
    turns = (distance / span).floor().detach()
    rest = distance - turns * span
    return where(turns % 2 == 0, rest + low / 2, span - rest + low / 2)


def _in_bounds(x: Tensor, extent: int, padding: str, align: bool) -> Tensor:
    if padding == "border":
        return x.clamp(0, extent - 1)
    if padding == "reflection":
        low, high = (0.0, 2.0 * (extent - 1)) if align else (-1.0, 2.0 * extent - 1)
        return _mirrored(x, low, high).clamp(0, extent - 1)
    return x


class _Sampler:
    """Reads elements of [N, C, ...] at whole-numbered places, 0 outside."""

    def __init__(self, input: Tensor) -> None:
        self.extents = [int(n) for n in input.shape[2:]]
        self.flat = input.reshape((*input.shape[:2], -1))

    def at(self, places: Sequence[Tensor]) -> Tensor:
        """[N, C, outputs...] of the elements at the places [N, outputs...], first spatial dimension first."""
        index = inside = None
        for place, extent in zip(places, self.extents, strict=True):
            whole = place.detach()
            fits = (whole >= 0) & (whole < extent)
            step = whole.clamp(0, extent - 1).long()
            index = step if index is None else index * extent + step
            inside = fits if inside is None else inside & fits
        assert index is not None and inside is not None
        count, channels = self.flat.shape[:2]
        wide = index.reshape((count, 1, -1)).expand(count, channels, -1)
        found = self.flat.gather(2, wide).reshape((count, channels, *index.shape[1:]))
        return where(inside.unsqueeze(1), found, found.new_zeros(()))


def _grid_linear(sampler: _Sampler, places: Sequence[Tensor]) -> Tensor:
    lows = [place.floor().detach() for place in places]
    total = None
    for corner in np.ndindex(*(2,) * len(places)):
        weight = None
        for place, low, side in zip(places, lows, corner, strict=True):
            part = place - low if side else low + 1 - place
            weight = part if weight is None else weight * part
        assert weight is not None
        term = sampler.at([low + side for low, side in zip(lows, corner, strict=True)]) * weight.unsqueeze(1)
        total = term if total is None else total + term
    assert total is not None
    return total


def _cubic_tensor_weights(t: Tensor) -> list[Tensor]:
    a = -0.75

    def inner(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def outer(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [outer(t + 1), inner(t), inner(1 - t), outer(2 - t)]


def _grid_cubic(sampler: _Sampler, places: Sequence[Tensor], padding: str, align: bool) -> Tensor:
    bases = [place.floor().detach() for place in places]
    weights = [_cubic_tensor_weights(place - base) for place, base in zip(places, bases, strict=True)]
    total = None
    for row in range(4):
        line = None
        for column in range(4):
            spots = [
                _in_bounds(base + step - 1, extent, padding, align)
                for base, step, extent in zip(bases, (row, column), sampler.extents, strict=True)
            ]
            term = sampler.at([spot.round() for spot in spots]) * weights[1][column].unsqueeze(1)
            line = term if line is None else line + term
        assert line is not None
        line = line * weights[0][row].unsqueeze(1)
        total = line if total is None else total + line
    assert total is not None
    return total


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Elements of [N, C, ...] at the places [N, outputs..., d] in [-1, 1] (last dimension first).

    mode: 'bilinear', 'nearest' or 'bicubic' (two dimensions); padding_mode: 'zeros', 'border' or 'reflection'.
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    spatial = len(input.shape) - 2
    if spatial not in (2, 3) or len(input.shape) != len(grid.shape) or grid.shape[-1] != spatial:
        raise RuntimeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    require_floating(f"grid_sampler_{spatial}d_cpu_kernel_impl", input)
    same_type(input, grid)
    align = bool(align_corners)
    sampler = _Sampler(input)
    places = [
        _unnormalised(grid.select(-1, spatial - 1 - axis), extent, align) for axis, extent in enumerate(sampler.extents)
    ]
    if mode == "bicubic":
        if spatial != 2:
            raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
        return _grid_cubic(sampler, places, padding_mode, align)
    places = [_in_bounds(x, n, padding_mode, align) for x, n in zip(places, sampler.extents, strict=True)]
    if mode == "nearest":
        return without_slope(sampler.at([FUNCTIONS["round"](x) for x in places]), grid)
    return _grid_linear(sampler, places)
