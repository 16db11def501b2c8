"""`tensor`: sliding windows over the last dimensions, and their adjoint."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytorch.ir import window_reference
from lazytorch.ir.attribute_checks import sizes
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example, leading
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.types import TensorType


def _infer_window(attributes: Attributes, x: TensorType) -> TensorType:
    spatial = len(attributes.sizes)
    extents = x.shape[x.rank - spatial :]
    counts = []
    for extent, size, stride, dilation in zip(
        extents, attributes.sizes, attributes.strides, attributes.dilations, strict=True
    ):
        if size < 1 or stride < 1 or dilation < 1:
            raise RuntimeError(f"tensor.window: size {size}, stride {stride} and dilation {dilation} must be at least 1")
        span = dilation * (size - 1) + 1
        if span > extent:
            raise RuntimeError(
                f"Calculated padded input size per channel: ({' x '.join(map(str, extents))}). "
                f"Kernel size: ({' x '.join(map(str, attributes.sizes))}). "
                "Kernel size can't be greater than actual input size"
            )
        counts.append((extent - span) // stride + 1)
    return TensorType(x.dtype, (*x.shape[: x.rank - spatial], *counts, *attributes.sizes))


window: Declaration = Declaration(
    "tensor.window",
    _infer_window,
    attributes=("sizes", "strides", "dilations"),
    traits=tensor.VIEW,
    vjp=(
        lambda op, g: fold_windows(
            g,
            shape=op.operands[0].type.shape,
            strides=op.attributes.strides,
            dilations=op.attributes.dilations,
        ),
    ),
    batch=leading(),
    reference=lambda attributes, x: window_reference.window(x, attributes.sizes, attributes.strides, attributes.dilations),
    gradient_name="Unfold",
    example=example("tensor<2x5xf32>", sizes=(3,), strides=(2,), dilations=(1,)),
    doc="sliding windows over the last len(sizes) dimensions: [..., positions, window]; overlapping, an index map",
)


def _infer_fold(attributes: Attributes, g: TensorType) -> TensorType:
    whole = TensorType(g.dtype, sizes("tensor.fold_windows", attributes.shape))
    windows = Attributes({**attributes.as_dict(), "sizes": g.shape[g.rank - len(attributes.strides) :]})
    if _infer_window(windows, whole) is not g:
        raise RuntimeError(f"tensor.fold_windows: {g} is not what the windows of {whole} are")
    return whole


def _decompose_fold(op: Any) -> Any:
    """Sum over the window's elements of the slice of g at that element, padded back to the input's shape."""
    a, g = op.attributes, op.operands[0]
    shape = g.type.shape
    spatial = len(a.strides)
    lead = len(shape) - 2 * spatial
    total = None
    for offset in np.ndindex(*shape[lead + spatial :]):
        part = tensor.slice_(
            g,
            starts=(0,) * (lead + spatial) + offset,
            sizes=shape[: lead + spatial] + (1,) * spatial,
            steps=(1,) * len(shape),
        )
        part = tensor.reshape(part, shape=shape[: lead + spatial])
        low = tuple([o * d for o, d in zip(offset, a.dilations, strict=True)])
        spans = [(n - 1) * s + 1 for n, s in zip(shape[lead : lead + spatial], a.strides, strict=True)]
        high = tuple([e - lo - span for e, lo, span in zip(a.shape[lead:], low, spans, strict=True)])
        part = tensor.pad(
            part,
            low=(0,) * lead + low,
            high=(0,) * lead + high,
            interior=(0,) * lead + tuple([s - 1 for s in a.strides]),
            value=0.0,
        )
        total = part if total is None else arith.add(total, part)
    return total


fold_windows: Declaration = Declaration(
    "tensor.fold_windows",
    _infer_fold,
    attributes=("shape", "strides", "dilations"),
    traits=(Trait.PURE, Trait.COMPOSITE, Trait.ADDITIVE),
    vjp=(
        lambda op, g: window(
            g,
            sizes=op.operands[0].type.shape[-len(op.attributes.strides) :],
            strides=op.attributes.strides,
            dilations=op.attributes.dilations,
        ),
    ),
    batch=leading(lambda a, size: {"shape": (size, *a.shape)}),
    reference=lambda attributes, g: window_reference.fold(g, attributes.shape, attributes.strides, attributes.dilations),
    decompose=_decompose_fold,
    gradient_name="Fold",
    example=example("tensor<2x2x3xf32>", shape=(2, 5), strides=(2,), dilations=(1,)),
    doc="the adjoint of window: add every window's element back to its place in a tensor of `shape`",
)
