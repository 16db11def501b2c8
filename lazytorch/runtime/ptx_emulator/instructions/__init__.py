"""The instructions, by family. Importing this package registers them all."""

from lazytorch.runtime.ptx_emulator.instructions import (
    atomics,
    control,
    conversion,
    copies,
    data,
    floating,
    integer,
    matrix,
    memory_access,
    warp,
)

__all__ = ["atomics", "control", "conversion", "copies", "data", "floating", "integer", "matrix", "memory_access", "warp"]
