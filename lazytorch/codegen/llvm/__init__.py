"""Loop IR to LLVM text. Importing the package registers the rule of every operation."""

from lazytorch.codegen.llvm import arithmetic, memory, nvptx, nvptx_matrix, structure
from lazytorch.codegen.llvm.lowering import lower

__all__ = ["arithmetic", "lower", "memory", "nvptx", "nvptx_matrix", "structure"]
