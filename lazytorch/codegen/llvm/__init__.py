"""Loop IR to LLVM text. Importing the package registers the rule of every operation."""

from lazytorch.codegen.llvm import arithmetic, memory, structure
from lazytorch.codegen.llvm.emitter import lower

__all__ = ["arithmetic", "lower", "memory", "structure"]
