"""The steps of code generation that are passes, one file each: known by name once this package is imported."""

from lazytorch.codegen.passes.expand_math import ExpandMath
from lazytorch.codegen.passes.fuse import Fuse

__all__ = ["ExpandMath", "Fuse"]
