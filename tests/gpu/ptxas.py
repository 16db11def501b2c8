"""NVIDIA's assembler as a judge of PTX, for these architectures."""

from lazytorch.runtime.gpu_tools import AssemblyError, assemble, find_ptxas

__all__ = ["ARCHITECTURES", "AssemblyError", "assemble", "find_ptxas"]

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
