"""Gamma, Dirichlet, Poisson and binomial variables, and the special functions of their distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch.ir import rejection_sampling
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import special
from lazytorch.ops.elementwise import DIV
from lazytorch.ops.recording import FUNCTIONS, apply, attach, in_place, torch_function
from lazytorch.ops.sampling import Generator, source_for
from lazytorch.tensor import Tensor, from_array, value


def _draw(name: str, method: Callable[..., Any], generator: Generator | None, *parameters: Tensor) -> Tensor:
    """Variables drawn with parameters of one shape and floating type."""
    first = parameters[0]
    if first.dtype.kind != "f" or first.dtype.itemsize < 4:
        raise NotImplementedError(f"\"{name}\" not implemented for '{first.dtype.title}'")
    arrays = [np.asarray(p.detach()._array(name)) for p in parameters]
    source = source_for(first._node.type.device, generator)
    return from_array(source.draw(method, *arrays), first.dtype, first)


@torch_function("_standard_gamma", method=False, out=False)
def _standard_gamma(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma variables of the given concentrations and rate 1, differentiable by the concentrations."""
    sample = _draw("gamma_cpu", rejection_sampling.gamma, generator, input)
    return apply(special.gamma_variable.operator(), value(input), value(sample))


@torch_function("_sample_dirichlet", method=False, out=False)
def _sample_dirichlet(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Dirichlet variables along the last dimension, differentiable by the concentrations."""
    sample = _draw("dirichlet", rejection_sampling.dirichlet, generator, input)
    return apply(special.dirichlet_variable.operator(), value(input), value(sample))


@torch_function("_dirichlet_grad", method=False, out=False)
def _dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """dx/da / (1 - x) of Dirichlet variables."""
    return apply(special.dirichlet_grad.operator(), value(x), value(alpha), value(total))


@torch_function("poisson", method=False, out=False)
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson variables of the given rates. Raises RuntimeError for a negative rate."""
    return _draw("poisson_cpu", rejection_sampling.poisson, generator, input)


@torch_function("binomial", method=False, out=False)
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of successes in `count` trials of probability `prob`; both of one floating type."""
    if count.dtype is not prob.dtype:
        raise RuntimeError(f"Found dtype {count.dtype.title} but expected {prob.dtype.title}")
    return _draw("binomial_cpu", rejection_sampling.binomial, generator, *FUNCTIONS["broadcast_tensors"](count, prob))


def _incomplete_gamma(declaration: Declaration, *names: str) -> None:
    operator = declaration.operator()

    def function(input: Tensor, other: Tensor) -> Tensor:
        a, x = DIV.operands(input, other)
        return apply(operator, a, x)

    function.__name__, function.__doc__ = names[0], f"Elementwise: {declaration.documentation}."
    torch_function(*names, inplace=True)(function)


_incomplete_gamma(special.gammainc, "igamma")
_incomplete_gamma(special.gammaincc, "igammac")


@torch_function("mvlgamma")
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p."""
    x = input if input.dtype.kind == "f" else input / 1
    below = FUNCTIONS["arange"](p, dtype=x.dtype, device=x.device) / -2
    return (x.unsqueeze(-1) + below).lgamma().sum(-1) + p * (p - 1) / 4 * math.log(math.pi)


attach("mvlgamma_", in_place(mvlgamma, "mvlgamma"))
