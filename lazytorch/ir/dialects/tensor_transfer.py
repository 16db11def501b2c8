"""What enters a program: numbers written in its text, and values from other devices (it runs in stages, one per device)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.attribute_checks import number_of
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


def _infer_literal(attributes: Attributes) -> TensorType:
    type = attributes.type
    if not isinstance(type, TensorType):
        raise TypeError(f"tensor.literal: expected the type of a tensor but got {type}")
    values = attributes.values
    if not isinstance(values, tuple) or len(values) != type.numel:
        given = len(values) if isinstance(values, tuple) else 1
        raise RuntimeError(f"tensor.literal: {type} has {type.numel} elements but {given} are given")
    for value in values:
        number_of("tensor.literal", value, type.dtype)
    return type


literal: Declaration = Declaration(
    "tensor.literal",
    _infer_literal,
    attributes=("values", "type"),
    traits=(Trait.PURE, Trait.HOST, Trait.CONSTANT),
    reference=lambda attributes: np.array(attributes.values, attributes.type.dtype.numpy).reshape(attributes.type.shape),
    example=example(values=(1.0, -0.5, 0.0, 2.0, 0.1, 3.0), type=TensorType(dtypes.float32, (2, 3))),
    doc="the given numbers, in the order of memory; of one number in all places, and inside of kernels, `arith.constant`",
)


def positions(like: Any, size: int, dtype: DType) -> Any:
    """0, 1, 2, ... for use with `like`: where its builder adds, and on its device."""
    steps = iota.build(like.builder, size=size, dtype=dtype)
    device = like.type.device
    return steps if device is None else transfer(steps, device=device)
