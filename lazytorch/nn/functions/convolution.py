"""Convolutions, transposed convolutions and sliding windows (torch.nn.functional)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.ir.dialects import arith, tensor, tensor_windows
from lazytorch.ir.dialects.conv import conv as convolution
from lazytorch.ir.dialects.conv import spread
from lazytorch.ir.trace import STATE, Node, record_node
from lazytorch.ops.autocasting import narrowing
from lazytorch.ops.recording import apply, emit, place, require_floating, result
from lazytorch.tensor import Tensor, value


def sizes(x: Any, count: int, name: str = "kernel_size") -> tuple[int, ...]:
    """One number for every spatial dimension, or a sequence of them. Raises RuntimeError for a wrong length."""
    if isinstance(x, int):
        return (x,) * count
    found = tuple([int(n) for n in x])
    if len(found) == 1:
        return found * count
    if len(found) != count:
        raise RuntimeError(f"{name} must be an int or a tuple of {count} ints, but got {found}")
    return found


def _biased(out: Tensor, bias: Tensor | None, count: int) -> Tensor:
    """The channels' biases added."""
    if bias is None:
        return out
    place()
    node = record_node(STATE.trace, tensor.reshape.operator(shape=(bias.shape[0], *(1,) * count)), (value(bias),))
    return result(record_node(STATE.trace, arith.add.operator("Convolution"), (value(out), node)))


def _padded_same(x: Tensor, weight: Tensor, strides: Sequence[int], dilations: Sequence[int]) -> Tensor:
    """Zeros so that the output is as large as the input; an odd total puts the larger half on the right."""
    if any(s != 1 for s in strides):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for d, k in zip(dilations, weight.shape[2:], strict=True)]
    low = (0, 0, *[n // 2 for n in total])
    high = (0, 0, *[n - n // 2 for n in total])
    return apply(tensor.pad.operator(low=low, high=high, interior=(0,) * len(low), value=0.0), value(x))


def _require_kind(name: str, x: Tensor) -> None:
    if x.dtype.kind == "b":
        require_floating(name, x)


def _require_positive(strides: Sequence[int], dilations: Sequence[int], paddings: Sequence[int]) -> None:
    """Raise torch's RuntimeError for windows that go nowhere."""
    for name, numbers, least in (("stride", strides, 1), ("padding", paddings, 0), ("dilation", dilations, 1)):
        if any(n < least for n in numbers):
            if name == "dilation":
                raise RuntimeError("dilation should be greater than zero")
            raise RuntimeError("non-positive stride is not supported" if least else "negative padding is not supported")


def _convolution(count: int) -> Callable[..., Tensor]:
    def convolve(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        batched = len(input.shape) != count + 1
        x = input if batched else input.unsqueeze(0)
        if len(weight.shape) != count + 2 or len(x.shape) != count + 2:
            rank = len(weight.shape)
            raise RuntimeError(
                f"Expected {rank}-dimensional input for {rank}-dimensional weight{list(weight.shape)}, but got "
                f"{len(input.shape)}-dimensional input of size {list(input.shape)} instead"
            )
        _require_kind(f"slow_conv{max(count, 2)}d_cpu", input)
        strides, dilations = sizes(stride, count, "stride"), sizes(dilation, count, "dilation")
        _require_positive(strides, dilations, () if isinstance(padding, str) else sizes(padding, count, "padding"))
        if padding == "same":
            x, padding = _padded_same(x, weight, strides, dilations), 0
        elif padding == "valid":
            padding = 0
        operator = convolution.operator(
            strides=strides, padding=sizes(padding, count, "padding"), dilations=dilations, groups=groups
        )
        out = _biased(apply(operator, value(x), value(weight)), bias, count)
        return out if batched else out.squeeze(0)

    convolve.__name__ = f"conv{count}d"
    convolve.__doc__ = f"Convolution of [N, C, ...] or [C, ...] over {count} dimensions, with weights [O, C / groups, ...]."
    return narrowing(convolve)


conv1d, conv2d, conv3d = _convolution(1), _convolution(2), _convolution(3)


# -- transposed ------------------------------------------------------------


def _turned(weight: Node, groups: int) -> Node:
    """[C, O / groups, ...] as the weights of the convolution that spreads: [O, C / groups, ...], mirrored."""
    channels, outputs, *kernel = weight.type.shape
    spatial = tuple(range(2, 2 + len(kernel)))
    node = emit(tensor.flip, weight, dims=spatial)
    if groups == 1:
        return emit(tensor.permute, node, order=(1, 0, *spatial))
    node = emit(tensor.reshape, node, shape=(groups, channels // groups, outputs, *kernel))
    node = emit(tensor.permute, node, order=(0, 2, 1, *[d + 1 for d in spatial]))
    return emit(tensor.reshape, node, shape=(groups * outputs, channels // groups, *kernel))


def _check_transposed(count: int, input: Tensor, x: Tensor, weight: Tensor, groups: int) -> None:
    if len(x.shape) != count + 2:
        raise RuntimeError(
            f"Expected {count + 1}D (unbatched) or {count + 2}D (batched) input to conv_transpose{count}d, but got input "
            f"of size: {list(input.shape)}"
        )
    if x.shape[1] != weight.shape[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input{list(x.shape)} to have "
            f"{weight.shape[0]} channels, but got {x.shape[1]} channels instead"
        )


def _transposed(count: int) -> Callable[..., Tensor]:
    def convolve(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Tensor:
        batched = len(input.shape) != count + 1
        x = input if batched else input.unsqueeze(0)
        _check_transposed(count, input, x, weight, groups)
        _require_kind(f"slow_conv_transpose{max(count, 2)}d_out_cpu", input)
        strides, dilations = sizes(stride, count, "stride"), sizes(dilation, count, "dilation")
        paddings, extra = sizes(padding, count, "padding"), sizes(output_padding, count, "output_padding")
        for e, s, d in zip(extra, strides, dilations, strict=True):
            if e >= s and e >= d:
                raise RuntimeError(
                    f"output padding must be smaller than either stride or dilation, but got output_padding: {list(extra)}, "
                    f"stride: {list(strides)}, dilation: {list(dilations)}"
                )
        low = [d * (k - 1) - p for d, k, p in zip(dilations, weight.shape[2:], paddings, strict=True)]
        high = [n + e for n, e in zip(low, extra, strict=True)]
        place()
        node = spread(value(x), low, high, strides)
        operator = convolution.operator(strides=(1,) * count, padding=(0,) * count, dilations=dilations, groups=groups)
        out = _biased(apply(operator, node, _turned(value(weight), groups)), bias, count)
        return out if batched else out.squeeze(0)

    convolve.__name__ = f"conv_transpose{count}d"
    convolve.__doc__ = f"The adjoint of `conv{count}d` with the same weights, [C, O / groups, ...]."
    return narrowing(convolve)


conv_transpose1d, conv_transpose2d, conv_transpose3d = _transposed(1), _transposed(2), _transposed(3)


# -- sliding windows ------------------------------------------------------------


def _batched(function: Callable[[Tensor], Tensor], input: Tensor, rank: int) -> Tensor:
    """Apply a function of [N, ...] to an input that may lack the batch dimension."""
    return function(input) if len(input.shape) == rank else function(input.unsqueeze(0)).squeeze(0)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of [N, C, H, W] as columns: [N, C * window, positions] (im2col)."""
    kernel, dilations = sizes(kernel_size, 2), sizes(dilation, 2, "dilation")
    pads, strides = sizes(padding, 2, "padding"), sizes(stride, 2, "stride")
    if len(input.shape) not in (3, 4):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {list(input.shape)}"
        )

    def columns(x: Tensor) -> Tensor:
        place()
        sides = (0, 0, *pads)
        node = emit(tensor.pad, value(x), low=sides, high=sides, interior=(0,) * 4, value=0.0)
        windows = emit(tensor_windows.window, node, sizes=kernel, strides=strides, dilations=dilations)
        count, channels, high, wide = windows.type.shape[:4]
        windows = emit(tensor.permute, windows, order=(0, 1, 4, 5, 2, 3))
        shape = (count, channels * kernel[0] * kernel[1], high * wide)
        return result(emit(tensor.reshape, windows, shape=shape, label="Im2Col"))

    return _batched(columns, input, 4)


def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The adjoint of `unfold`: columns [N, C * window, positions] added up to [N, C, H, W] (col2im)."""
    out, kernel = sizes(output_size, 2, "output_size"), sizes(kernel_size, 2)
    dilations, pads, strides = sizes(dilation, 2, "dilation"), sizes(padding, 2, "padding"), sizes(stride, 2, "stride")
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    counts = [(n + 2 * p - span) // s + 1 for n, p, span, s in zip(out, pads, spans, strides, strict=True)]
    if len(input.shape) not in (2, 3):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for input, "
            f"but got: {list(input.shape)}"
        )
    if input.shape[-2] % (kernel[0] * kernel[1]):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={input.shape[-2]} and kernel_size=({kernel[0]}, {kernel[1]})."
        )
    if input.shape[-1] != counts[0] * counts[1]:
        raise RuntimeError(
            f"Given output_size=({out[0]}, {out[1]}), kernel_size=({kernel[0]}, {kernel[1]}), "
            f"dilation=({dilations[0]}, {dilations[1]}), padding=({pads[0]}, {pads[1]}), stride=({strides[0]}, "
            f"{strides[1]}), expected size of input's dimension 2 to match the calculated number of sliding blocks "
            f"{counts[0]} * {counts[1]} = {counts[0] * counts[1]}, but got input.size(2)={input.shape[-1]}."
        )

    def image(x: Tensor) -> Tensor:
        place()
        count, rows = x.shape[:2]
        channels = rows // (kernel[0] * kernel[1])
        node = emit(tensor.reshape, value(x), shape=(count, channels, *kernel, *counts))
        node = emit(tensor.permute, node, order=(0, 1, 4, 5, 2, 3))
        padded = (count, channels, *[n + 2 * p for n, p in zip(out, pads, strict=True)])
        node = emit(tensor_windows.fold_windows, node, shape=padded, strides=strides, dilations=dilations, label="Col2Im")
        if not any(pads):
            return result(node)
        return result(emit(tensor.slice_, node, starts=(0, 0, *pads), sizes=(count, channels, *out), steps=(1,) * 4))

    return _batched(image, input, 3)
