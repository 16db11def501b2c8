"""Transformations of functions: derivatives and vectorisation, nested in any order (torch.func)."""

from __future__ import annotations

from lazytorch.func.derivatives import grad, grad_and_value, jvp, linearize, vjp
from lazytorch.func.jacobians import hessian, jacfwd, jacrev
from lazytorch.func.modules import functional_call, stack_module_state
from lazytorch.vectorization import vmap

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "vjp",
    "vmap",
]
