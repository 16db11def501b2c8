"""Our own elementwise math: every function as a sequence of exact operations, the same bits on every CPU."""

from lazytorch.codegen.math import exponential, logarithm, power, special, trigonometric
from lazytorch.codegen.math.expansion import expand_math

__all__ = ["expand_math", "exponential", "logarithm", "power", "special", "trigonometric"]
