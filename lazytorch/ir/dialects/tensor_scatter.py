"""`tensor`: scatters that combine with what is there by a product or an extreme; `tensor.scatter_add` is the sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch.ir.declaration import Attributes, Declaration, Rule, example
from lazytorch.ir.dialects import arith, indirect, tensor


def _zeros(like: Any) -> Any:
    return arith.constant.build(like.builder, value=0.0, type=like.type)


def _equal(a: Any, b: Any) -> Any:
    """1.0 where two values are equal, else 0.0."""
    return arith.cast(arith.compare(a, b, predicate="eq"), dtype=a.type.dtype)


def _extreme_vjp(op: Any, g: Any) -> tuple[Any, None, Any]:
    """The cotangent, divided evenly among the elements (of base and values) that are equal to the result."""
    base, index, value = op.operands
    in_base, in_value = _equal(base, op.result), _equal(value, tensor.gather(op.result, index))
    share = arith.div(g, tensor.scatter_add(in_base, index, in_value))
    return arith.mul(in_base, share), None, arith.mul(in_value, tensor.gather(share, index))


def _product_vjp(op: Any, g: Any) -> tuple[Any, None, Any]:
    """g times the product of the other factors: without the one factor that is 0, and 0 where another one is."""
    base, index, value = op.operands
    no_base, no_value = _equal(base, _zeros(base)), _equal(value, _zeros(value))
    zeros = tensor.scatter_add(no_base, index, no_value)
    rest = scatter_mul(arith.add(base, no_base), index, arith.add(value, no_value), **op.attributes.as_dict())

    def share(own: Any, is_zero: Any, zeros: Any, rest: Any) -> Any:
        others = arith.sub(zeros, is_zero)
        product = arith.div(rest, arith.add(own, is_zero))
        return arith.select(arith.compare(others, _zeros(others), predicate="eq"), product, _zeros(own))

    in_base = arith.mul(g, share(base, no_base, zeros, rest))
    spread = [tensor.gather(x, index) for x in (zeros, rest, g)]
    return in_base, None, arith.mul(spread[2], share(value, no_value, spread[0], spread[1]))


def _combining(name: str, combine: Any, vjp: Rule, doc: str) -> Declaration:
    def reference(attributes: Attributes, base: np.ndarray, index: np.ndarray, value: np.ndarray) -> np.ndarray:
        out = base.copy()
        combine.at(out, indirect.checked(attributes, index, base.shape[0]), value)
        return out

    return Declaration(
        f"tensor.scatter_{name}",
        tensor.scatter_add.infer,
        **indirect.ATTRIBUTES,
        vjp=vjp,
        batch=indirect.batch_scatter,
        reference=reference,
        gradient_name="ScatterReduce",
        example=example("tensor<5x3xf32>", "tensor<4xi64>", "tensor<4x3xf32>"),
        doc=f"base with value[i] combined at index[i] along the first dimension by {doc}, in the order of i",
    )


scatter_mul: Declaration = _combining("mul", np.multiply, _product_vjp, "multiplication")
scatter_max: Declaration = _combining("max", np.maximum, _extreme_vjp, "the larger of the two")
scatter_min: Declaration = _combining("min", np.minimum, _extreme_vjp, "the smaller of the two")

COMBINE: dict[Declaration, Callable[..., Any]] = {
    tensor.scatter_add: arith.add,
    scatter_mul: arith.mul,
    scatter_max: arith.maximum,
    scatter_min: arith.minimum,
}
"""How each scatter combines what is there with what comes; `tensor.scatter` replaces it."""
