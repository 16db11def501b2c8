"""Our own elementwise math: every function as a sequence of exact operations, the same bits on every CPU."""

from lazytorch.codegen.math import (
    error_function,
    exponential,
    gamma,
    inverse_trigonometric,
    logarithm,
    power,
    trigonometric,
)
from lazytorch.codegen.math.expansion import expand_math

__all__ = [
    "error_function",
    "expand_math",
    "exponential",
    "gamma",
    "inverse_trigonometric",
    "logarithm",
    "power",
    "trigonometric",
]
