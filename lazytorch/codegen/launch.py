"""What a schedule hands to the runtime: kernels to compile, and how to call them with today's sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.target import Target
from lazytorch.ir.core import Operation, Value


@dataclass(frozen=True)
class Address:
    """The memory of a tensor value (operand or result of a fused.kernel), from a byte offset on."""

    value: Value
    offset: int = 0


@dataclass(frozen=True)
class Scratch:
    """Temporary memory of the launches of one fused.kernel: the same `index` in two launches is the same memory."""

    index: int
    nbytes: int


@dataclass(frozen=True, eq=False)
class Table:
    """Constant data computed while planning (offset tables of strided contractions, say), 64-byte aligned."""

    array: np.ndarray


@dataclass(frozen=True)
class Status:
    """The program's status words (see loop.fail). `code` in loop.fail identifies `operation` for the error message."""


Slot = Address | Scratch | Table | Status | int


@dataclass
class Launch:
    """One call of one kernel.

    key: canonical text of the kernel's structure: equal keys are equal kernels, whatever the sizes.
    build: makes the module with the loop.kernel named `symbol`; called only when no code is cached for the key.
    slots: the 8-byte slots of the argument block in the order of the kernel's arguments (a buffer: its address, then
        its run-time strides in elements; an index: its value).
    host: a Python function that is called with the slots instead of a kernel (`build` is None then).
    chunks: into how many pieces the parallel loop is divided at most (1: runs on the calling thread; on a GPU: how many
        threads find something to do).
    blocks, threads: the grid of a GPU kernel whose threads work together, at most (grid_of); 0 where `chunks` decides.
    """

    key: str
    symbol: str
    build: Callable[[], Operation] | None
    slots: Sequence[Slot]
    chunks: int = 1
    flops: int = 0
    bytes: int = 0
    operations: Sequence[Operation] = field(default_factory=list)
    host: Callable[[Any], object] | None = None
    blocks: int = 0
    threads: int = 0


def grid_of(launch: Launch, target: GpuTarget, processors: int) -> tuple[int, int]:
    """The blocks, and the threads of each, of a launch on a GPU of so many multiprocessors. Kernels loop over what there is
    to do: more blocks than the processors hold at a time would only begin later."""
    threads = launch.threads or min(target.block, -(-launch.chunks // target.warp) * target.warp)
    blocks = launch.blocks or -(-launch.chunks // threads)
    return min(blocks, processors * target.blocks_per_processor(threads)), threads


def symbol_of(prefix: str, key: str) -> str:
    """A kernel's name: readable, and unique to its structure."""
    return f"{prefix}_{hashlib.sha256(key.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class ScheduleContext:
    """What schedules decide by: the target, how many threads may share a kernel (on a CPU), and whether products of f32 may
    have the precision of tf32 (on a GPU)."""

    target: Target | GpuTarget
    threads: int
    tf32: bool = False
