"""`linalg`: the root that turns a sum of powers into a norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytorch.ir.declaration import Attributes, Declaration, Trait, example
from lazytorch.ir.dialects import arith, math


def _root(op: Any) -> Any:
    total, order = op.operands[0], op.attributes.order
    return arith.sqrt(total) if order == 2 else math.pow_(total, 1.0 / order)


def _root_vjp(op: Any, g: Any) -> Any:
    """g result^(1 - order) / order, and 0 where the norm is 0 (a subgradient, as torch's)."""
    norm, order = op.result, op.attributes.order
    nothing = arith.compare(norm, 0.0, predicate="eq")
    divisor = norm if order == 2 else math.pow_(norm, order - 1.0)
    one = norm.builder.constant(1.0, norm)
    slope = arith.div(g, arith.mul(arith.select(nothing, one, divisor), order))
    return arith.select(nothing, norm.builder.constant(0.0, norm), slope)


def _reference(attributes: Attributes, total: np.ndarray) -> np.ndarray:
    root: np.ndarray = np.sqrt(total) if attributes.order == 2 else np.power(total, 1.0 / attributes.order)
    out: np.ndarray = root.astype(total.dtype)
    return out


norm_root: Declaration = Declaration(
    "linalg.norm_root",
    lambda attributes, total: total,
    attributes=("order",),
    traits=(*arith.ELEMENTWISE, Trait.COMPOSITE),
    vjp=(_root_vjp,),
    reference=_reference,
    decompose=_root,
    gradient_name="LinalgVectorNorm",
    example=example("tensor<2x3xf32>", order=3.0),
    doc="the order-th root of a sum of powers; its derivative at 0 is 0",
)
