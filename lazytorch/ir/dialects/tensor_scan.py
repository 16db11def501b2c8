"""`tensor`: scans, running reductions along one dimension, in order from its first element: sequential by definition.

One element's chain of operations never depends on vectors, threads or neighbours, so the bits are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch.ir.declaration import Attributes, Declaration, Rule, Trait, example, leading
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.types import TensorType

SCAN = (Trait.PURE, Trait.EXPENSIVE)
BATCH = leading(lambda a, size: {"dim": a.dim + 1})


def _scan(name: str, combine: Callable[..., Any], vjp: Rule, doc: str, gradient_name: str = "") -> Declaration:
    return Declaration(
        f"tensor.scan_{name}",
        lambda attributes, x: x,
        attributes=("dim",),
        traits=(*SCAN, Trait.ADDITIVE) if combine is np.cumsum else SCAN,
        vjp=(vjp,),
        batch=BATCH,
        reference=lambda attributes, x: combine(x, axis=attributes.dim, dtype=x.dtype),
        gradient_name=gradient_name,
        example=example("tensor<2x3xf32>", dim=1),
        doc=doc,
    )


def reversed_scan(declaration: Declaration, *operands: Any, dim: int) -> Any:
    """The scan that begins at the last element."""
    turned = [tensor.flip(x, dims=(dim,)) for x in operands]
    return tensor.flip(declaration(*turned, dim=dim), dims=(dim,))


def shifted(x: Any, dim: int, first: float) -> Any:
    """`first`, then all elements of x but the last."""
    shape = x.type.shape
    rank = len(shape)
    size = max(shape[dim] - 1, 0)
    kept = tensor.slice_(
        x, starts=(0,) * rank, sizes=tuple([size if d == dim else n for d, n in enumerate(shape)]), steps=(1,) * rank
    )
    low = tuple([min(shape[dim], 1) if d == dim else 0 for d in range(rank)])
    return tensor.pad(kept, low=low, high=(0,) * rank, interior=(0,) * rank, value=first)


def _sum_vjp(op: Any, g: Any) -> Any:
    return reversed_scan(scan_sum, g, dim=op.attributes.dim)


def _prod_vjp(op: Any, g: Any) -> Any:
    """The product before element k times S_k = g_k + x_{k+1} S_{k+1}: no division, so right where x is 0 too."""
    x, dim = op.operands[0], op.attributes.dim
    before = shifted(op.result, dim, 1.0)
    following = tensor.flip(shifted(tensor.flip(x, dims=(dim,)), dim, 0.0), dims=(dim,))
    return arith.mul(before, reversed_scan(scan_linear, following, g, dim=dim))


def _extreme_vjp(op: Any, g: Any) -> Any:
    """The element that a running extreme last changed to, or that met it again, has the sum up to the next such one."""
    x, dim = op.operands[0], op.attributes.dim
    chosen = arith.bit_or(arith.compare(x, op.result, predicate="eq"), arith.compare(x, x, predicate="ne"))
    passed_on = arith.select(chosen, arith.zeros_like(g), arith.constant.build(g.builder, value=1.0, type=g.type))
    following = tensor.flip(shifted(tensor.flip(passed_on, dims=(dim,)), dim, 0.0), dims=(dim,))
    return arith.select(chosen, reversed_scan(scan_linear, following, g, dim=dim), arith.zeros_like(g))


def _accumulated(choose: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """One element after the other: NumPy's own accumulation does not say which of two equal zeros it keeps."""

    def combine(x: np.ndarray, axis: int, dtype: np.dtype[Any]) -> np.ndarray:
        out = np.moveaxis(x.astype(dtype), axis, 0)
        for i in range(1, len(out)):
            out[i] = choose(out[i - 1], out[i])
        return np.moveaxis(out, 0, axis)

    return combine


scan_sum: Declaration = _scan("sum", np.cumsum, _sum_vjp, "running sum along `dim`", "Cumsum")
scan_prod: Declaration = _scan("prod", np.cumprod, _prod_vjp, "running product along `dim`", "Cumprod")
scan_max: Declaration = _scan(
    "max",
    _accumulated(arith.larger),
    _extreme_vjp,
    "running maximum along `dim`, of equal ones the first; nan from the first nan on",
    "Cummax",
)
scan_min: Declaration = _scan(
    "min",
    _accumulated(arith.smaller),
    _extreme_vjp,
    "running minimum along `dim`, of equal ones the first; nan from the first nan on",
    "Cummin",
)


def _infer_linear(attributes: Attributes, factor: TensorType, term: TensorType) -> TensorType:
    if factor is not term:
        raise RuntimeError(f"tensor.scan_linear: expected operands of one type but got {factor} and {term}")
    return term


def _reference_linear(attributes: Attributes, factor: np.ndarray, term: np.ndarray) -> np.ndarray:
    a, b = np.moveaxis(factor, attributes.dim, 0), np.moveaxis(term, attributes.dim, 0)
    out = b.copy()
    for i in range(1, len(b)):
        out[i] = a[i] * out[i - 1] + b[i]
    return np.moveaxis(out, 0, attributes.dim)


def _linear_vjp(op: Any, g: Any) -> tuple[Any, Any]:
    """The cotangent of b is the reverse recurrence R_i = g_i + a_{i+1} R_{i+1}; that of a is y_{i-1} R_i."""
    a, dim = op.operands[0], op.attributes.dim
    following = tensor.flip(shifted(tensor.flip(a, dims=(dim,)), dim, 0.0), dims=(dim,))
    reverse = reversed_scan(scan_linear, following, g, dim=dim)
    return arith.mul(shifted(op.result, dim, 0.0), reverse), reverse


scan_linear: Declaration = Declaration(
    "tensor.scan_linear",
    _infer_linear,
    attributes=("dim",),
    traits=SCAN,
    vjp=_linear_vjp,
    batch=BATCH,
    reference=_reference_linear,
    example=example("tensor<2x3xf32>", "tensor<2x3xf32>", dim=1),
    doc="y_i = a_i y_{i-1} + b_i along `dim`, from y_0 = b_0: a linear recurrence (a product, then a sum: not fused)",
)
