"""The CPUs that code is generated for: what LLVM must be told, and the sizes that schedules are derived from.

A target is a value. Nothing here decides numbers: the results of a program are the same bits on every target, only
its speed differs. llvmlite is loaded when the host's CPU or a fingerprint is asked for, not when this module is
imported.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from lazytorch.config import config

_KIB = 1024
_HOST = "host"


class RegisterTile(NamedTuple):
    """The part of a contraction's result that stays in registers: `rows` rows of `vectors` vectors each."""

    rows: int
    vectors: int


@dataclass(frozen=True)
class Target:
    """One CPU to generate code for.

    `triple`, `cpu` and `features` are LLVM's words; `vector_bits` is the width of a vector register and
    `vector_registers` how many there are; `fma` says that a multiply-add in vectors is one instruction (else it is a
    library call, correct but slow); `l1d_bytes` and `l2_bytes` are the caches of one core.
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bits: int
    vector_registers: int
    fma: bool = True
    l1d_bytes: int = 32 * _KIB
    l2_bytes: int = 512 * _KIB

    @property
    def is_x86(self) -> bool:
        """True for 64-bit x86, False for AArch64."""
        return self.triple.startswith("x86_64")

    @property
    def is_host(self) -> bool:
        """True when this machine's architecture is the target's, so that its code can be loaded here."""
        return self.triple.split("-")[0] == _host_architecture()

    def lanes(self, dtype_bytes: int) -> int:
        """How many elements of `dtype_bytes` bytes (1, 2, 4, 8 or 16) one vector register holds."""
        if dtype_bytes not in (1, 2, 4, 8, 16):
            raise ValueError(f"lanes: an element has 1, 2, 4, 8 or 16 bytes, got {dtype_bytes}")
        return self.vector_bits // (8 * dtype_bytes)

    @property
    def has_mask_registers(self) -> bool:
        """True where a load or store under a mask costs what a whole one costs, and masks do not take vector registers."""
        return self.vector_bits == 512

    def contract_tile(self) -> RegisterTile:
        """The register tile of a contraction: 13x2 for AVX-512, 6x2 for AVX2, 8x3 for AArch64.

        A row of accumulators is two vectors; three where a vector is so short that loads would outweigh arithmetic. One
        row of the right operand is kept too, and an eighth of the registers is left for broadcasts and early loads
        (measured: more rows than that spill, fewer leave the multiply-add units waiting).
        """
        vectors = 2 if self.vector_bits > 128 else 3
        rows = (self.vector_registers - self.vector_registers // 8) // vectors - 1
        return RegisterTile(rows, self.tile_vectors(rows))

    def tile_vectors(self, rows: int) -> int:
        """How many vectors the rows of a register tile may have, when there are so many rows: at most 8.

        A single row takes its part of the right operand from memory, so that none is kept.
        """
        free = self.vector_registers - self.vector_registers // 8
        return max(1, min(8, free // (rows + 1 if rows > 1 else 1)))

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits for everything that machine code depends on besides its text; part of cache keys."""
        parts = (llvm_version(), self.triple, self.cpu, self.features)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


_X86_TRIPLE = "x86_64-unknown-linux-gnu"
_ARM_TRIPLE = "aarch64-unknown-linux-gnu"

_NAMED = {
    target.name: target
    for target in (
        Target("x86-64-v2", _X86_TRIPLE, "x86-64-v2", "", vector_bits=128, vector_registers=16, fma=False),
        Target("x86-64-v3", _X86_TRIPLE, "x86-64-v3", "", vector_bits=256, vector_registers=16),
        Target("x86-64-v4", _X86_TRIPLE, "x86-64-v4", "", vector_bits=512, vector_registers=32, l2_bytes=1024 * _KIB),
        Target("aarch64", _ARM_TRIPLE, "generic", "+neon", vector_bits=128, vector_registers=32),
    )
}


def target_named(name: str) -> Target:
    """The target called `name`: x86-64-v2, x86-64-v3, x86-64-v4, aarch64, `host`, or the host's own CPU name.

    Raises ValueError for any other name: code for a CPU whose caches and vectors are unknown would only be guessed at.
    """
    if name in _NAMED:
        return _NAMED[name]
    host = host_target()
    if name in (_HOST, host.cpu):
        return host
    raise ValueError(f"no CPU target {name!r}; there are {', '.join(_NAMED)}, and {host.cpu} (this machine)")


def current_target() -> Target:
    """The target that `config.target` (LAZYTORCH_TARGET) names; this machine's CPU when it is empty."""
    return target_named(config.target) if config.target else host_target()


@cache
def host_target() -> Target:
    """This machine's CPU, with all its features. Raises RuntimeError on an architecture that is not supported."""
    import llvmlite.binding as llvm  # here, because it takes longer to load than the rest of the package together

    triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
    available = llvm.get_host_cpu_features()
    features = available.flatten()
    l1d_bytes, l2_bytes = _cache_bytes("l1d", 32 * _KIB), _cache_bytes("l2", 512 * _KIB)
    architecture = _host_architecture()
    if architecture == "aarch64":
        return Target(cpu, triple, cpu, features, 128, 32, True, l1d_bytes, l2_bytes)
    if architecture != "x86_64":
        raise RuntimeError(f"lazytorch generates code for x86_64 and aarch64, this machine is {architecture}")
    # All four subsets, as x86-64-v4 has them: kernels mix floats, bytes, masks and short vectors.
    if all(available.get(f"avx512{subset}") for subset in ("f", "bw", "dq", "vl")):
        vector_bits, vector_registers = 512, 32
    elif available.get("avx2"):
        vector_bits, vector_registers = 256, 16
    else:
        vector_bits, vector_registers = 128, 16
    fma = bool(available.get("fma"))
    return Target(cpu, triple, cpu, features, vector_bits, vector_registers, fma, l1d_bytes, l2_bytes)


def _host_architecture() -> str:
    """The machine's architecture as the first word of an LLVM triple."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


@cache
def llvm_version() -> str:
    """The version of LLVM that generates code."""
    import llvmlite.binding as llvm  # see host_target

    return ".".join(str(part) for part in llvm.llvm_version_info)


def _cache_bytes(level: str, default: int) -> int:
    """Size of one core's data cache (`l1d`) or second-level cache (`l2`) as Linux tells it, else `default`.

    Hypervisors make up sizes, so a number outside of what CPUs have is not believed.
    """
    wanted = {"l1d": ("1", "Data", 8 * _KIB, 256 * _KIB), "l2": ("2", "Unified", 128 * _KIB, 4096 * _KIB)}[level]
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            depth, kind, text = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if (depth, kind) == wanted[:2] and text[:-1].isdigit():
            size = int(text[:-1]) * {"K": _KIB, "M": _KIB * _KIB}.get(text[-1], 0)
            return size if wanted[2] <= size <= wanted[3] else default
    return default
