"""Pooling over windows: largest, mean, power mean, adaptive, fractional, and the inverse (torch.nn.functional)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.dialects import nn_pooling
from lazytorch.nn.functions.convolution import sizes
from lazytorch.ops.recording import FUNCTIONS, apply, takes_out
from lazytorch.tensor import Tensor, from_array, value


def _windows(count: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> dict[str, Any]:
    kernel = sizes(kernel_size, count)
    given = stride is not None and stride != ()
    return {
        "sizes": kernel,
        "strides": sizes(stride, count, "stride") if given else kernel,
        "padding": sizes(padding, count, "padding"),
        "dilations": sizes(dilation, count, "dilation"),
        "ceil": bool(ceil_mode),
    }


def _max_pool(count: int) -> Callable[..., Any]:
    def max_pool(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        options = _windows(count, kernel_size, stride, padding, dilation, ceil_mode)
        if any(n < 1 for n in options["dilations"]):
            raise RuntimeError(f"max_pool{count}d() dilation must be greater than zero, but got {min(options['dilations'])}")
        out = apply(nn_pooling.max_pool.operator(**options), value(input))
        if return_indices:
            return out, apply(nn_pooling.max_pool_index.operator(**options), value(input))
        return out

    max_pool.__name__ = f"max_pool{count}d"
    max_pool.__doc__ = f"The largest element of every window over the last {count} dimensions (and where it was)."
    return max_pool


max_pool1d, max_pool2d, max_pool3d = _max_pool(1), _max_pool(2), _max_pool(3)


def _mean_of_windows(
    count: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    options = _windows(count, kernel_size, stride, padding, 1, ceil_mode)
    operator = nn_pooling.avg_pool.operator(**options, count_padding=bool(count_include_pad), divisor=divisor_override or 0)
    return apply(operator, value(input))


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of every window along the last dimension."""
    return _mean_of_windows(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def _avg_pool(count: int) -> Callable[..., Tensor]:
    def avg_pool(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        return _mean_of_windows(count, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    avg_pool.__name__ = f"avg_pool{count}d"
    avg_pool.__doc__ = f"The mean of every window over the last {count} dimensions."
    return avg_pool


avg_pool2d, avg_pool3d = takes_out(_avg_pool(2), same=True), takes_out(_avg_pool(3), same=True)


def _lp_pool(count: int) -> Callable[..., Tensor]:
    def lp_pool(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
        kernel = sizes(kernel_size, count)
        total = _mean_of_windows(count, input.pow(norm_type), kernel, stride, 0, ceil_mode, True, None)
        volume = float(np.prod(kernel))
        return (total.sign() * total.abs().relu()).mul(volume).pow(1.0 / norm_type)

    lp_pool.__name__ = f"lp_pool{count}d"
    lp_pool.__doc__ = f"(sum of x^p)^(1 / p) of every window over the last {count} dimensions."
    return lp_pool


lp_pool1d, lp_pool2d, lp_pool3d = _lp_pool(1), _lp_pool(2), _lp_pool(3)


# -- adaptive ------------------------------------------------------------


def _wanted(output_size: Any, input: Tensor, count: int) -> tuple[int, ...]:
    """The output's spatial sizes; None keeps the input's."""
    given = (output_size,) * count if output_size is None or isinstance(output_size, int) else tuple(output_size)
    if len(given) == 1:
        given = given * count
    if len(given) != count:
        raise RuntimeError(f"adaptive pooling: output_size must be {count}")
    if any(n is not None and n < 0 for n in given):
        raise RuntimeError("adaptive pooling: elements of output_size must be greater than or equal to 0")
    return tuple([have if n is None else int(n) for n, have in zip(given, input.shape[-count:], strict=True)])


def _checked(input: Tensor, count: int, name: str) -> None:
    if len(input.shape) < count + 1:
        raise (ValueError if count > 1 else RuntimeError)(f"Input dimension should be at least {count + 1}")
    if len(input.shape) not in (count + 1, count + 2):
        raise RuntimeError(f"{name}(): Expected {count + 1}D or {count + 2}D tensor, but got {list(input.shape)}")


def _adaptive_bounds(extent: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one after last element of each of `out` windows: floor(i n / o) and ceil((i + 1) n / o)."""
    i = np.arange(out)
    return i * extent // out, -(-(i + 1) * extent // out)


def _window_index(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Elements of each window [windows, longest window] and which of them count; the others repeat the last one."""
    place = starts[:, None] + np.arange(int((ends - starts).max()))
    return np.minimum(place, ends[:, None] - 1), place < ends[:, None]


def _adaptive_avg_pool(count: int, input: Tensor, output_size: Any) -> Tensor:
    _checked(input, count, f"adaptive_avg_pool{count}d")
    wanted = _wanted(output_size, input, count)
    extents = tuple(input.shape[-count:])
    if all(w and e % w == 0 for e, w in zip(extents, wanted, strict=True)):
        return _mean_of_windows(
            count, input, [e // w for e, w in zip(extents, wanted, strict=True)], None, 0, False, True, None
        )
    out = input
    volume = np.ones((), input.dtype.numpy)
    for axis in range(count):
        starts, ends = _adaptive_bounds(extents[axis], wanted[axis])
        volume = volume[..., None] * (ends - starts).astype(input.dtype.numpy)
        out = _window_sums(out, len(out.shape) - count + axis, starts, ends)
    return out / from_array(volume, input.dtype, input)


def _window_sums(x: Tensor, d: int, starts: np.ndarray, ends: np.ndarray) -> Tensor:
    """The sums of windows along one dimension."""
    place, counts = _window_index(starts, ends)
    shape = x.shape
    taken = x.index_select(d, from_array(place.reshape(-1).astype(np.int64), dtypes.int64, x))
    taken = taken.reshape((*shape[:d], *place.shape, *shape[d + 1 :]))
    if not counts.all():
        keep = from_array(counts.reshape(counts.shape + (1,) * (len(shape) - d - 1)), dtypes.bool_, x)
        taken = taken.masked_fill(keep.logical_not(), 0)
    return taken.sum(d + 1)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The means of `output_size` windows that cover the last dimension evenly."""
    return _adaptive_avg_pool(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The means of windows that cover the last two dimensions evenly."""
    return _adaptive_avg_pool(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """The means of windows that cover the last three dimensions evenly."""
    return _adaptive_avg_pool(3, input, output_size)


def _largest_in(input: Tensor, windows: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Largest elements of the products of windows along the last dimensions, and their flat spatial indices."""
    count = len(windows)
    lead, extents = tuple(input.shape[:-count]), tuple(input.shape[-count:])
    flat = np.zeros((), np.int64)
    for axis, (starts, ends) in enumerate(windows):
        place, _ = _window_index(starts, ends)
        flat = flat[..., None, None] * extents[axis] + place
    order = (*range(0, 2 * count, 2), *range(1, 2 * count, 2))
    flat = flat.transpose(order)
    outs = flat.shape[:count]
    elements = from_array(np.ascontiguousarray(flat.reshape(-1)), dtypes.int64, input)
    spatial = input.reshape((*lead, int(np.prod(extents))))
    candidates = spatial.detach().index_select(len(lead), elements).reshape((*lead, *outs, -1))
    chosen = candidates.argmax(-1)
    windows_of = from_array(np.ascontiguousarray(flat.reshape(int(np.prod(outs)), -1)), dtypes.int64, input)
    base = from_array(np.arange(int(np.prod(outs))).reshape(outs) * windows_of.shape[1], dtypes.int64, input)
    index = windows_of.reshape(-1)[(chosen + base)]
    best = spatial.gather(len(lead), index.reshape((*lead, -1))).reshape((*lead, *outs))
    return best, index


def _adaptive_max_pool(count: int) -> Callable[..., Any]:
    def adaptive_max_pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        _checked(input, count, f"adaptive_max_pool{count}d")
        wanted = _wanted(output_size, input, count)
        bounds = [_adaptive_bounds(e, w) for e, w in zip(input.shape[-count:], wanted, strict=True)]
        out, index = _largest_in(input, bounds)
        return (out, index) if return_indices else out

    adaptive_max_pool.__name__ = f"adaptive_max_pool{count}d"
    adaptive_max_pool.__doc__ = f"The largest elements of windows that cover the last {count} dimensions evenly."
    return adaptive_max_pool


adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = [_adaptive_max_pool(n) for n in (1, 2, 3)]

# -- fractional ------------------------------------------------------------


def _fractional_starts(sample: float, extent: int, out: int, window: int, real: Any) -> np.ndarray:
    """Window starts along one dimension: floor((i + u) * alpha) - floor(u * alpha) (Graham 2014), in torch's precision."""
    starts = np.empty(out, np.int64)
    if out > 1:
        alpha = real(real(extent - window) / real(out - 1))
        u = real(sample)
        i = np.arange(out - 1).astype(real)
        starts[:-1] = ((i + u) * alpha).astype(np.int64) - int(u * alpha)
    starts[-1] = extent - window
    return starts


def _fractional_max_pool(count: int) -> Callable[..., Any]:
    def fractional_max_pool(
        input: Tensor,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        if output_size is None and output_ratio is None:
            raise ValueError(f"fractional_max_pool{count}d requires specifying either an output_size or an output_ratio")
        kernel, extents = sizes(kernel_size, count), tuple(input.shape[-count:])
        if output_size is None:
            ratios = (output_ratio,) * count if isinstance(output_ratio, float) else tuple(output_ratio)
            wanted = tuple([int(e * r) for e, r in zip(extents, ratios, strict=True)])
        else:
            wanted = sizes(output_size, count, "output_size")
        lead = tuple(input.shape[:-count])
        if not input._node.type.numel:
            empty = input.new_zeros((*lead, *wanted))
            return (empty, empty.long()) if return_indices else empty
        shape = (lead[0] if len(lead) > 1 else 1, lead[-1], count)
        if _random_samples is None:
            _random_samples = FUNCTIONS["rand"](*shape, dtype=input.dtype, device=input.device)
        samples = _random_samples.detach().cpu().numpy().reshape(-1, count)[: int(np.prod(lead))]
        planes = input.reshape((len(samples), *extents))
        parts = []
        for number, sample in enumerate(samples):
            # torch keeps the samples with the last dimension first.
            order = [sample[count - 1 - axis] if count == 2 else sample[axis] for axis in range(count)]
            starts = [
                _fractional_starts(u, e, w, k, input.dtype.numpy.type)
                for u, e, w, k in zip(order, extents, wanted, kernel, strict=True)
            ]
            windows = [(start, start + k) for start, k in zip(starts, kernel, strict=True)]
            parts.append(_largest_in(planes[number : number + 1], windows))
        stacked = [FUNCTIONS["cat"](group, 0).reshape((*lead, *wanted)) for group in zip(*parts, strict=True)]
        return tuple(stacked) if return_indices else stacked[0]

    fractional_max_pool.__name__ = f"fractional_max_pool{count}d"
    fractional_max_pool.__doc__ = f"Largest elements of windows at random places over the last {count} dimensions."
    return fractional_max_pool


fractional_max_pool2d, fractional_max_pool3d = _fractional_max_pool(2), _fractional_max_pool(3)

# -- the inverse ------------------------------------------------------------


def _max_unpool(count: int) -> Callable[..., Tensor]:
    def max_unpool(
        input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
    ) -> Tensor:
        if tuple(indices.shape) != tuple(input.shape):
            raise RuntimeError(
                f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
                f"tensor with shape: {list(indices.shape)}"
            )
        kernel = sizes(kernel_size, count)
        strides = kernel if stride is None else sizes(stride, count, "stride")
        pads = sizes(padding, count, "padding")
        spatial = [(n - 1) * s + k - 2 * p for n, s, k, p in zip(input.shape[-count:], strides, kernel, pads, strict=True)]
        if output_size is not None:
            spatial = [int(n) for n in output_size][-count:]
        lead = tuple(input.shape[:-count])
        flat = input.new_zeros((*lead, int(np.prod(spatial))))
        out = flat.scatter(len(lead), indices.reshape((*lead, -1)), input.reshape((*lead, -1)))
        return out.reshape((*lead, *spatial))

    max_unpool.__name__ = f"max_unpool{count}d"
    max_unpool.__doc__ = f"The inverse of max_pool{count}d: elements back at their indices, zeros elsewhere."
    return max_unpool


max_unpool1d, max_unpool2d, max_unpool3d = [_max_unpool(n) for n in (1, 2, 3)]
