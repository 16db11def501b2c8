"""`tensor.conv`: convolution of any number of spatial dimensions, as a contraction over sliding windows."""

from __future__ import annotations

from typing import Any

from lazytorch.ir.declaration import Attributes, Declaration, example
from lazytorch.ir.dialects import tensor
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
    windows = tensor.window(x, sizes=tuple(w.type.shape[2:]), strides=a.strides, dilations=a.dilations)
    space, inside = _SPACE[:spatial], _WINDOW[:spatial]
    if a.groups == 1:
        return tensor.contract(windows, w, lhs=f"nc{space}{inside}", rhs=f"oc{inside}", out=f"no{space}")
    count, channels = w.type.shape[:2]
    shape = windows.type.shape
    grouped = tensor.reshape(windows, shape=(shape[0], a.groups, channels, *shape[2:]))
    weights = tensor.reshape(w, shape=(a.groups, count // a.groups, *w.type.shape[1:]))
    out = tensor.contract(grouped, weights, lhs=f"ngc{space}{inside}", rhs=f"goc{inside}", out=f"ngo{space}")
    return tensor.reshape(out, shape=(shape[0], count, *out.type.shape[3:]))


conv: Declaration = composite(
    "tensor.conv",
    _infer,
    _decompose,
    differentiable=(0, 1),
    attributes=("strides", "padding", "dilations", "groups"),
    gradient_name="Convolution",
    example=example(
        "tensor<2x3x8x8xf32>", "tensor<4x3x3x3xf32>", strides=(1, 1), padding=(1, 1), dilations=(1, 1), groups=1
    ),
    doc="x [N, C, ...] with weights [O, C / groups, ...]: cross-correlation, `padding` zeros on both sides",
)
