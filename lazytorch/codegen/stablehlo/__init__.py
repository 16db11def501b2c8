"""Functions of tensor operations to StableHLO text, for XLA. Importing the package registers the rule of every operation."""

from lazytorch.codegen.stablehlo import algebra, elementwise, sequences, tensors
from lazytorch.codegen.stablehlo.emitter import translate

__all__ = ["algebra", "elementwise", "sequences", "tensors", "translate"]
