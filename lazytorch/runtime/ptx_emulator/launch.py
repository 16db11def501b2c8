"""What the threads of a launch share: where they are in the grid, their memory, clocks, counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.asynchronous import PendingCopies
from lazytorch.runtime.ptx_emulator.counters import LaunchReport
from lazytorch.runtime.ptx_emulator.errors import KernelFault, Location
from lazytorch.runtime.ptx_emulator.memory import DeviceMemory, Region
from lazytorch.runtime.ptx_emulator.program import KernelProgram
from lazytorch.runtime.ptx_emulator.races import RaceShadow, Shadows
from lazytorch.runtime.ptx_emulator.special import special_register
from lazytorch.runtime.ptx_emulator.threads import WARP, Threads
from lazytorch.runtime.ptx_emulator.types import UNSIGNED, Array

Dimensions = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Request:
    """A launch as it was asked for. `start` is the device's clock at its beginning; without `shadows`, races and reads of
    what was never written are not looked for."""

    program: KernelProgram
    grid: Dimensions
    block: Dimensions
    arguments: bytes
    dynamic_shared: int
    symbols: dict[str, int]
    memory: DeviceMemory
    shadows: Shadows | None
    start: int
    count: bool
    most_visits: int
    fenced: dict[int, int] = field(default_factory=dict)  # when a block executed its last fence

    @property
    def threads_per_block(self) -> int:
        return self.block[0] * self.block[1] * self.block[2]

    @property
    def blocks(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]


class Launch:
    """`blocks` blocks of a grid, from `first_block` on, whose threads execute at once."""

    def __init__(self, request: Request, first_block: int, blocks: int, report: LaunchReport, clock: int) -> None:
        program = request.program
        self.request: Request = request
        self.program, self.report = program, report
        self.memory: DeviceMemory = request.memory
        self.grid: Dimensions = request.grid
        self.block: Dimensions = request.block
        self.check: bool = request.shadows is not None
        self.count: bool = request.count
        self.first_block, self.blocks = first_block, blocks
        self.threads_per_block: int = request.threads_per_block
        self.total: int = self.threads_per_block * blocks
        self.first_thread: int = first_block * self.threads_per_block
        self.warps_per_block: int = -(-self.threads_per_block // WARP)
        self.warp_total: int = self.warps_per_block * blocks
        self.whole_warps: bool = self.threads_per_block % WARP == 0
        self.shared_limit: int = program.shared_bytes + request.dynamic_shared
        self.shared_stride: int = -(-self.shared_limit // 16) * 16
        self.shared = Region(self.shared_stride * blocks)
        self.local_stride: int = -(-program.local_bytes // 16) * 16
        self.local = Region(self.local_stride * self.total)
        # Times of accesses and barriers, see races.py.
        self.start: int = request.start
        self.clock: int = clock
        self.synced: NDArray[np.int64] = np.full(self.total, clock, np.int64)
        self.warp_synced: NDArray[np.int64] = np.full(self.total, clock, np.int64)
        self.oldest_barrier: int = clock  # the smallest of `synced`
        self.global_races: RaceShadow | None = None
        self.shared_races: RaceShadow | None = None
        if request.shadows:
            smallest = program.smallest_access
            self.global_races = request.shadows.get("global", smallest, self.memory.extent)
            self.shared_races = request.shadows.get("shared", smallest, self.shared_stride * blocks)
        self.copies = PendingCopies()
        self.all = Threads(self, np.arange(self.total), self._registers(), is_all=True)

    def _registers(self) -> list[Array]:
        program, request = self.program, self.request
        registers = program.slots.initial.copy()
        for name, slot in program.slots.special:
            registers[slot] = special_register(name, self)
        for offset, size, slot in program.slots.parameters:
            registers[slot] = np.frombuffer(request.arguments, UNSIGNED[size * 8], 1, offset)
        for name, bits, slot in program.slots.addresses:
            value = program.shared_offsets.get(name, program.local_offsets.get(name))
            registers[slot] = np.array([request.symbols[name] if value is None else value], UNSIGNED[bits])
        return registers

    # Who is who
    @property
    def thread_of(self) -> NDArray[np.int32]:
        """The number of each thread within its block."""
        return _places(self.threads_per_block, self.blocks)[0]

    @property
    def block_of(self) -> NDArray[np.int32]:
        """The block of each thread, counted from the first one here."""
        return _places(self.threads_per_block, self.blocks)[1]

    @property
    def warp_of(self) -> NDArray[np.int32]:
        """The warp of each thread, counted over the blocks here."""
        return _places(self.threads_per_block, self.blocks)[2]

    @property
    def lane_of(self) -> NDArray[np.int32]:
        return _places(self.threads_per_block, self.blocks)[3]

    @cached_property
    def shared_base(self) -> NDArray[np.int64]:
        """Where in the shared region each thread's block begins."""
        return self.block_of.astype(np.int64) * self.shared_stride

    def coordinates(self, thread: int) -> tuple[Dimensions, Dimensions]:
        """Thread and block indices of a thread, given its number in the grid."""
        block, inner = divmod(thread, self.threads_per_block)
        return _unravel(inner, self.block), _unravel(block, self.grid)

    def fault(self, kind: type[KernelFault], message: str, location: Location, thread: int) -> KernelFault:
        """A fault of a thread, given its number in the grid."""
        return kind(message, location, *self.coordinates(thread))

    # Order of accesses
    def synchronise(self, threads: Threads) -> None:
        """These threads have passed a barrier together."""
        self.clock += 1
        if threads.is_all:
            self.synced = np.full(self.total, self.clock, np.int64)
            self.oldest_barrier = self.clock
        else:
            self.synced[threads.slots] = self.clock
            self.oldest_barrier = int(self.synced.min())

    def fence(self, threads: Threads) -> None:
        """Threads of these blocks executed a fence."""
        self.clock += 1
        for block in np.unique(threads.ids // self.threads_per_block):
            self.request.fenced[int(block)] = self.clock

    def ordered_by_fences(
        self, other: NDArray[np.int32], mine: NDArray[np.int32], times: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether both blocks executed a fence since the other's access, as they do around a flag or a counter in memory."""
        fenced = self.request.fenced
        if not fenced:
            return np.zeros(len(times), bool)
        theirs = np.array([fenced.get(int(block), 0) for block in other], np.int64)
        ours = np.array([fenced.get(int(block), 0) for block in mine], np.int64)
        return (theirs > times) & (ours > times)


@lru_cache(maxsize=64)
def _places(threads_per_block: int, blocks: int) -> tuple[NDArray[np.int32], ...]:
    """Thread, block, warp and lane of every thread; launches of the same shape share these arrays."""
    thread = np.tile(np.arange(threads_per_block, dtype=np.int32), blocks)
    block = np.repeat(np.arange(blocks, dtype=np.int32), threads_per_block)
    warps_per_block = -(-threads_per_block // WARP)
    warp = (block * warps_per_block + thread // WARP).astype(np.int32)
    return thread, block, warp, (thread % WARP).astype(np.int32)


def _unravel(number: int, shape: Dimensions) -> Dimensions:
    x, y, _ = shape
    return number % x, number // x % y, number // (x * y)
