"""`special`: incomplete gamma functions, derivatives of random variables, orthogonal polynomials: host operations.

They are integrals (ir/implicit_derivatives.py) and recurrences as long as elements ask (ir/orthogonal_polynomials.py), for
which NumPy's own loops over elements are fast enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch.ir import implicit_derivatives, orthogonal_polynomials
from lazytorch.ir.declaration import Attributes, Declaration, Rule, Trait, example, leading
from lazytorch.ir.dialects import arith, math, tensor
from lazytorch.ir.types import Type

_VECTOR = "tensor<2x3xf32>"


def _infer(name: str) -> Callable[..., Type]:
    def infer(attributes: Attributes, *types: Type) -> Type:
        if any(x.dtype is not types[0].dtype for x in types):
            raise RuntimeError(f"{name}: expected operands of one dtype but got {', '.join([str(x.dtype) for x in types])}")
        if types[0].dtype.kind != "f" or types[0].dtype.itemsize < 4:
            raise NotImplementedError(f"\"{name}\" not implemented for '{types[0].dtype.title}'")
        return arith.elementwise_type(*types)

    return infer


def _declare(
    name: str, meaning: Callable[..., np.ndarray], operands: int, doc: str, vjp: tuple[Rule | None, ...] | None = None
) -> Declaration:
    return Declaration(
        f"special.{name}",
        _infer(name),
        traits=(Trait.PURE, Trait.HOST, Trait.EXPENSIVE),
        vjp=vjp,
        batch=leading(),
        reference=lambda attributes, *arrays: meaning(*arrays).astype(arrays[0].dtype),
        gradient_name=name.title().replace("_", ""),
        example=example(*[_VECTOR] * operands),
        doc=doc,
    )


def _no_derivative(name: str) -> Rule:
    def rule(op: Any, g: Any) -> Any:
        raise NotImplementedError(f"the derivative for '{name}: input' is not implemented.")

    return rule


def _density(op: Any) -> Any:
    """That of a gamma variable: exp((a - 1) log x - x - lgamma(a))."""
    a, x = op.operands
    return math.exp(arith.sub(arith.sub(arith.mul(arith.sub(a, 1.0), math.log(x)), x), math.lgamma(a)))


gammainc: Declaration = _declare(
    "igamma",
    lambda a, x: implicit_derivatives.gamma_tails(a, x)[0],
    2,
    "the regularized lower incomplete gamma function P(a, x)",
    (_no_derivative("igamma"), lambda op, g: arith.mul(g, _density(op))),
)
gammaincc: Declaration = _declare(
    "igammac",
    lambda a, x: implicit_derivatives.gamma_tails(a, x)[1],
    2,
    "the regularized upper incomplete gamma function Q(a, x)",
    (_no_derivative("igammac"), lambda op, g: arith.mul(g, arith.neg(_density(op)))),
)
standard_gamma_grad: Declaration = _declare(
    "standard_gamma_grad",
    implicit_derivatives.gamma_derivative,
    2,
    "the derivative of the second operand, a gamma variable, by the first, its concentration",
)
dirichlet_grad: Declaration = _declare(
    "dirichlet_grad",
    implicit_derivatives.beta_derivative,
    3,
    "dx/da / (1 - x) of a beta variable x, for the operands x, a and the total of both concentrations",
)
zeta: Declaration = _declare(
    "zeta",
    orthogonal_polynomials.hurwitz_zeta,
    2,
    "the Hurwitz zeta function: the sum of (k + q)^-s over k = 0, 1, ...",
    (_no_derivative("zeta"), lambda op, g: _zeta_slope(op, g)),
)


def _zeta_slope(op: Any, g: Any) -> Any:
    s, q = op.operands
    return arith.mul(g, arith.mul(arith.neg(s), zeta(arith.add(s, 1.0), q)))


polynomial: Declaration = Declaration(
    "special.polynomial",
    _infer("polynomial"),
    attributes=("kind",),
    traits=(Trait.PURE, Trait.HOST, Trait.EXPENSIVE),
    batch=leading(),
    reference=lambda attributes, x, degree: orthogonal_polynomials.polynomial(attributes.kind, x, degree),
    example=example(_VECTOR, _VECTOR, kind="legendre_polynomial_p"),
    doc="the orthogonal polynomial of the first operand of the degree that the second says; no derivative",
)


def _drawn(name: str, rule: Rule, gradient_name: str, doc: str) -> Declaration:
    """The second operand, a random variable, with its derivative by the first, the parameter it was drawn with."""
    return Declaration(
        f"special.{name}",
        lambda attributes, parameter, sample: sample,
        traits=(Trait.PURE, Trait.COMPOSITE),
        vjp=(rule, None),
        batch=leading(),
        reference=lambda attributes, parameter, sample: sample,
        decompose=lambda op: op.operands[1],
        gradient_name=gradient_name,
        example=example(_VECTOR, _VECTOR),
        doc=doc,
    )


def _dirichlet_rule(op: Any, g: Any) -> Any:
    concentration, x = op.operands
    shape = concentration.type.shape
    last = (len(shape) - 1,)

    def total(y: Any) -> Any:
        return tensor.unreduce(tensor.reduce_sum(y, dims=last), shape, last)

    slope = dirichlet_grad(x, concentration, tensor.expand(total(concentration), shape=shape))
    return arith.mul(slope, arith.sub(g, total(arith.mul(x, g))))


gamma_variable: Declaration = _drawn(
    "gamma_variable",
    lambda op, g: arith.mul(g, standard_gamma_grad(*op.operands)),
    "StandardGamma",
    "the second operand, gamma variables, differentiable by the first, their concentrations",
)
dirichlet_variable: Declaration = _drawn(
    "dirichlet_variable",
    _dirichlet_rule,
    "Dirichlet",
    "the second operand, Dirichlet variables along the last dimension, differentiable by the first, their concentrations",
)
