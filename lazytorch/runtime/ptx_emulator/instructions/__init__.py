"""The instructions, by family. Importing this package registers them all."""

from lazytorch.runtime.ptx_emulator.instructions import control, conversion, data, floating, integer, memory_access

__all__ = ["control", "conversion", "data", "floating", "integer", "memory_access"]
