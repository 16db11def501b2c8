"""The GPUs that code is generated for, as values beside the CPUs of codegen/target.py."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from lazytorch.codegen.target import llvm_version
from lazytorch.dtypes import DType, bfloat16, float16, float32
from lazytorch.ir.dialects.gpu import WARP

_KIB = 1024
_REGISTERS = 1 << 16
"""Registers of a multiprocessor. Warps get them in units of this size, four warps at a time:"""
_REGISTER_UNIT = 256
_WARP_UNIT = 4


@dataclass(frozen=True)
class GpuTarget:
    """An NVIDIA architecture: what LLVM must be told, and the sizes that schedules derive theirs from.

    name: `sm_80` and so on. ptx: the version of the PTX language that its code is written in (times 10): the oldest that
    knows the architecture, so that old drivers read it too. block: threads of a block. shared_bytes: memory that a block may
    share without asking the driver. vector_bits: the widest access to memory. resident_threads, resident_blocks,
    resident_shared: how many of them, and how many bytes of shared memory, a multiprocessor has.
    """

    name: str
    ptx: int
    resident_threads: int
    resident_blocks: int
    resident_shared: int
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

    def blocks_per_processor(self, threads: int, registers: int = 0, shared_bytes: int = 0) -> int:
        """How many blocks of so many threads a multiprocessor holds at a time; registers are those of a thread."""
        limits = [self.resident_blocks, self.resident_threads // threads]
        warps = -(-threads // WARP)
        if registers:
            per_warp = -(-registers * WARP // _REGISTER_UNIT) * _REGISTER_UNIT
            limits.append(_REGISTERS // per_warp // _WARP_UNIT * _WARP_UNIT // warps)
        if shared_bytes:
            reserved = _KIB if self.number >= 80 else 0  # by the system, for every block
            unit = 128 if self.number >= 80 else 256
            limits.append(self.resident_shared // (-(-(shared_bytes + reserved) // unit) * unit))
        return min(limits)

    def occupancy(self, threads: int, registers: int = 0, shared_bytes: int = 0) -> float:
        """Which part of a multiprocessor's threads blocks of this kind fill."""
        return self.blocks_per_processor(threads, registers, shared_bytes) * threads / self.resident_threads

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
    f"sm_{number}": GpuTarget(f"sm_{number}", ptx, threads, blocks, shared * _KIB)
    for number, ptx, threads, blocks, shared in (
        (75, 65, 1024, 16, 64),  # PTX 6.5 is the first that multiplies matrices
        (80, 70, 2048, 32, 164),
        (86, 71, 1536, 16, 100),
        (87, 74, 1536, 16, 164),
        (89, 78, 1536, 24, 100),
        (90, 78, 2048, 32, 228),
        (100, 86, 2048, 32, 228),
        (103, 88, 2048, 32, 228),
        (120, 87, 1536, 24, 100),
        (121, 88, 1536, 24, 100),
    )
}
"""Sizes of a multiprocessor: CUDA C++ Programming Guide, technical specifications per compute capability."""


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
