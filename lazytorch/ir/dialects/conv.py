"""`tensor.conv`: convolution of any number of spatial dimensions, as a contraction over sliding windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch.ir.declaration import Attributes, Declaration, example
from lazytorch.ir.dialects import tensor, tensor_windows
from lazytorch.ir.dialects.composite import composite
from lazytorch.ir.types import TensorType

_SPACE, _WINDOW = "hwd", "ijk"


def _infer(attributes: Attributes, x: TensorType, w: TensorType) -> TensorType:
    spatial = w.rank - 2
    if x.rank != w.rank:
        raise RuntimeError(
            f"Expected {w.rank - 1}D (unbatched) or {w.rank}D (batched) input to conv{spatial}d, but got input of size: "
            f"{list(x.shape)}"
        )
    groups = attributes.groups
    if x.shape[1] != w.shape[1] * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(w.shape)}, expected input{list(x.shape)} to have "
            f"{w.shape[1] * groups} channels, but got {x.shape[1]} channels instead"
        )
    if x.dtype is not w.dtype:
        raise RuntimeError(f"Input type ({x.dtype}) and weight type ({w.dtype}) should be the same")
    padded = [size + 2 * pad for size, pad in zip(x.shape[2:], attributes.padding, strict=True)]
    out = []
    for size, kernel, stride, dilation in zip(padded, w.shape[2:], attributes.strides, attributes.dilations, strict=True):
        span = dilation * (kernel - 1) + 1
        if span > size:
            raise RuntimeError(
                f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). Kernel size: "
                f"({' x '.join(map(str, w.shape[2:]))}). Kernel size can't be greater than actual input size"
            )
        out.append((size - span) // stride + 1)
    return TensorType(x.dtype, (x.shape[0], w.shape[0], *out))


def _decompose(op: Any) -> Any:
    x, w = op.operands
    a = op.attributes
    spatial = len(w.type.shape) - 2
    if any(a.padding):
        sides = (0, 0, *a.padding)
        x = tensor.pad(x, low=sides, high=sides, interior=(0,) * len(sides), value=0.0)
    return _correlate(x, w, a.strides, a.dilations, a.groups, f"oc{_WINDOW[:spatial]}", "c", "o")


def _correlate(
    x: Any, w: Any, strides: tuple[int, ...], dilations: tuple[int, ...], groups: int, letters: str, summed: str, kept: str
) -> Any:
    """Windows of x times weights, whose two leading dimensions are `letters`: channels `summed` of x give `kept`."""
    spatial = len(w.type.shape) - 2
    windows = tensor_windows.window(x, sizes=tuple(w.type.shape[2:]), strides=strides, dilations=dilations)
    space, inside = _SPACE[:spatial], _WINDOW[:spatial]
    if groups == 1:
        return tensor.contract(windows, w, lhs=f"n{summed}{space}{inside}", rhs=letters, out=f"n{kept}{space}")
    shape = windows.type.shape
    grouped = tensor.reshape(windows, shape=(shape[0], groups, shape[1] // groups, *shape[2:]))
    weights = tensor.reshape(w, shape=(groups, w.type.shape[0] // groups, *w.type.shape[1:]))
    out = tensor.contract(grouped, weights, lhs=f"ng{summed}{space}{inside}", rhs=f"g{letters}", out=f"ng{kept}{space}")
    n, g, channels, *rest = out.type.shape
    return tensor.reshape(out, shape=(n, g * channels, *rest))


def spread(x: Any, low: Sequence[int], high: Sequence[int], strides: Sequence[int]) -> Any:
    """[N, C, ...] with the elements `stride` apart and zeros around them; a negative number of zeros takes elements away."""
    x = tensor.pad(
        x,
        low=(0, 0, *[max(n, 0) for n in low]),
        high=(0, 0, *[max(n, 0) for n in high]),
        interior=(0, 0, *[stride - 1 for stride in strides]),
        value=0.0,
    )
    starts = (0, 0, *[max(-n, 0) for n in low])
    ends = (0, 0, *[max(-n, 0) for n in high])
    if not any(starts) and not any(ends):
        return x
    kept = tuple([n - a - b for n, a, b in zip(x.type.shape, starts, ends, strict=True)])
    return tensor.slice_(x, starts=starts, sizes=kept, steps=(1,) * len(kept))


def _gradient(op: Any, g: Any, operand: int) -> Any:
    """The input's cotangent is a convolution itself: of the cotangent, spread out by the strides and surrounded by zeros,
    with the weights turned by 180 degrees (Dumoulin and Visin, "A guide to convolution arithmetic", 2016).

    The weights' cotangent is the derivative of the decomposition: the input's windows times the cotangent.
    """
    if operand != 0:
        return NotImplemented
    x, w = op.operands
    a = op.attributes
    spatial = len(w.type.shape) - 2
    low, high = [], []
    for axis in range(spatial):
        reach = a.dilations[axis] * (w.type.shape[2 + axis] - 1)
        low.append(reach - a.padding[axis])
        extent = (g.type.shape[2 + axis] - 1) * a.strides[axis] + 1
        high.append(x.type.shape[2 + axis] + reach - low[-1] - extent)
    g = spread(g, low, high, a.strides)
    turned = tensor.flip(w, dims=tuple(range(2, 2 + spatial)))
    return _correlate(g, turned, (1,) * spatial, a.dilations, a.groups, f"oc{_WINDOW[:spatial]}", "o", "c")


conv: Declaration = composite(
    "tensor.conv",
    _infer,
    _decompose,
    differentiable=(0, 1),
    gradient=_gradient,
    attributes=("strides", "padding", "dilations", "groups"),
    rounds_once=False,
    gradient_name="Convolution",
    saves=(0, 1),
    example=example(
        "tensor<2x3x8x8xf32>", "tensor<4x3x3x3xf32>", strides=(1, 1), padding=(1, 1), dilations=(1, 1), groups=1
    ),
    doc="x [N, C, ...] with weights [O, C / groups, ...]: cross-correlation, `padding` zeros on both sides",
)
