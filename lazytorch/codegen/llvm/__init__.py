"""Loop IR to LLVM text."""

from lazytorch.codegen.llvm.lowering import lower

__all__ = ["lower"]
