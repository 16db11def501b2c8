"""The GPUs that code is generated for, as values beside the CPUs of codegen/target.py."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from lazytorch.codegen.target import llvm_version
from lazytorch.dtypes import DType, bfloat16, float16, float32
from lazytorch.ir.dialects.gpu import WARP

_KIB = 1024


@dataclass(frozen=True)
class GpuTarget:
    """An NVIDIA architecture: what LLVM must be told, and the sizes that schedules derive theirs from.

    name: `sm_80` and so on. ptx: the version of the PTX language that its code is written in (times 10): the oldest that
    knows the architecture, so that old drivers read it too. block: threads of a block. shared_bytes: memory that a block may
    share without asking the driver. vector_bits: the widest access to memory.
    """

    name: str
    ptx: int
    block: int = 256
    vector_bits: int = 128
    shared_bytes: int = 48 * _KIB
    registers: int = 255
    triple: str = "nvptx64-nvidia-cuda"

    @property
    def number(self) -> int:
        """80 of sm_80."""
        return int(self.name.removeprefix("sm_"))

    @property
    def copies_async(self) -> bool:
        """Whether memory can be copied to shared memory in the background."""
        return self.number >= 80

    @property
    def matrix_types(self) -> tuple[DType, ...]:
        """The types of matrices that a warp multiplies in one instruction; of f32 the upper 19 bits."""
        return (float16, bfloat16, float32) if self.number >= 80 else (float16,)

    @property
    def warp(self) -> int:
        """Threads that run in step."""
        return WARP

    def lanes(self, dtype_bytes: int) -> int:
        """How many elements of `dtype_bytes` bytes one access to memory moves at most."""
        return self.vector_bits // (8 * dtype_bytes)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits for everything that PTX depends on besides its source; part of cache keys."""
        parts = (llvm_version(), self.triple, self.name, str(self.ptx), str(self.block))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


GPU_TARGETS = {
    f"sm_{number}": GpuTarget(f"sm_{number}", ptx)
    for number, ptx in (
        (75, 65),  # the first that multiplies matrices
        (80, 70),
        (86, 71),
        (87, 74),
        (89, 78),
        (90, 78),
        (100, 86),
        (103, 88),
        (120, 87),
        (121, 88),
    )
}


def gpu_target(name: str) -> GpuTarget:
    """The target called sm_75, sm_80, ... Raises ValueError for an architecture that there is no code for."""
    found = GPU_TARGETS.get(name)
    if found is None:
        raise ValueError(f"no GPU target {name!r}; there are {', '.join(GPU_TARGETS)}")
    return found


def target_of_capability(major: int, minor: int) -> GpuTarget:
    """The newest target that a device of this compute capability runs. Raises ValueError for devices before 7.5."""
    numbers = [int(name[3:]) for name in GPU_TARGETS]
    fitting = [number for number in numbers if number <= 10 * major + minor]
    if not fitting:
        raise ValueError(f"lazytorch needs a GPU of compute capability 7.5 or newer; this one has {major}.{minor}")
    return GPU_TARGETS[f"sm_{max(fitting)}"]
