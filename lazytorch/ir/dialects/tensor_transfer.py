"""The operation between devices. A program that has one runs in stages, one per device at a time."""

from __future__ import annotations

from typing import Any

from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example, leading
from lazytorch.ir.dialects.tensor import iota
from lazytorch.ir.types import TensorType


def _infer(attributes: Attributes, x: TensorType) -> TensorType:
    return x.on(None if attributes.device == "cpu" else attributes.device)


transfer: Declaration = Declaration(
    "tensor.transfer",
    _infer,
    attributes=("device",),
    traits=(Trait.PURE, Trait.LINEAR, Trait.ADDITIVE, Trait.TRANSFER),
    vjp=(lambda op, g: transfer(g, device=op.operands[0].type.device or "cpu"),),
    reference=lambda attributes, x: x,
    batch=leading(),
    gradient_name="ToCopy",
    example=example("tensor<2x3xf32>", device="cuda:0"),
    doc="the same elements on a device",
)


def positions(like: Any, size: int, dtype: DType) -> Any:
    """0, 1, 2, ... for use with `like`: where its builder adds, and on its device."""
    steps = iota.build(like.builder, size=size, dtype=dtype)
    device = like.type.device
    return steps if device is None else transfer(steps, device=device)
