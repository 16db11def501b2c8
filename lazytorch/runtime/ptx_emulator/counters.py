"""What a launch did: instructions, memory sectors, bank conflicts."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.threads import WARP, Threads

SECTOR = 32  # bytes
BANKS = 32
BANK_WIDTH = 4  # bytes
_FAR = np.iinfo(np.int64).max


@dataclass(slots=True)
class LaunchReport:
    """Counters of one launch, as a profiler of a real device names them.

    Instructions are counted per thread and per warp. A request is one memory instruction of one warp; a sector is 32 bytes
    of global memory that a request touches; `used_bytes` are the distinct bytes it asks for. A wave is one pass through the
    banks of shared memory; without conflicts a request takes `ideal` waves. What is lost is told by PTX line, too."""

    kernel: str = ""
    threads: int = 0
    blocks: int = 0
    thread_instructions: int = 0
    warp_instructions: int = 0
    instructions_by_opcode: dict[str, int] = field(default_factory=dict)
    load_requests: int = 0
    load_sectors: int = 0
    load_used_bytes: int = 0
    store_requests: int = 0
    store_sectors: int = 0
    store_used_bytes: int = 0
    shared_requests: int = 0
    shared_waves: int = 0
    shared_ideal_waves: int = 0
    barriers: int = 0
    unused_bytes_by_line: dict[int, int] = field(default_factory=dict)
    bank_conflicts_by_line: dict[int, int] = field(default_factory=dict)

    @property
    def used_bytes_per_sector(self) -> float:
        """Of the 32 bytes of a sector, how many were asked for, on the average over loads and stores."""
        sectors = self.load_sectors + self.store_sectors
        return (self.load_used_bytes + self.store_used_bytes) / sectors if sectors else float(SECTOR)

    @property
    def bank_conflicts(self) -> int:
        """Waves beyond those that conflict-free accesses would take."""
        return self.shared_waves - self.shared_ideal_waves

    def count_instructions(self, opcodes: Counter[str], threads: int, warps: int) -> None:
        """Instructions that so many threads, of so many warps, executed."""
        number = opcodes.total()
        self.thread_instructions += number * threads
        self.warp_instructions += number * warps
        for opcode, times in opcodes.items():
            self.instructions_by_opcode[opcode] = self.instructions_by_opcode.get(opcode, 0) + times * threads

    def count_global(self, threads: Threads, address: NDArray[np.int64], size: int, is_store: bool, line: int) -> None:
        requests = threads.warp_count
        if len(address) == 1:
            sectors = used = requests
        else:
            rows = threads.by_lane(address, -1)
            if not bool((rows[:, 1:] >= rows[:, :-1]).all()):
                rows = np.sort(rows, axis=1)
            sectors, used = _distinct(rows >> 5), _distinct(rows)
        unused = sectors * SECTOR - used * size
        if unused:
            self.unused_bytes_by_line[line] = self.unused_bytes_by_line.get(line, 0) + unused
        if is_store:
            self.store_requests += requests
            self.store_sectors += sectors
            self.store_used_bytes += used * size
        else:
            self.load_requests += requests
            self.load_sectors += sectors
            self.load_used_bytes += used * size

    def count_shared(self, threads: Threads, address: NDArray[np.int64], size: int, line: int) -> None:
        requests = threads.warp_count
        self.shared_requests += requests
        if len(address) == 1:
            waves = ideal = requests * 1
        else:
            rows = threads.by_lane(address, -1)
            waves, ideal = bank_waves(rows, size)
        self.shared_waves += waves
        self.shared_ideal_waves += ideal
        if waves > ideal:
            self.bank_conflicts_by_line[line] = self.bank_conflicts_by_line.get(line, 0) + waves - ideal


def _distinct(rows: NDArray[Any]) -> int:
    """How many different values that are not negative the rows, each sorted, hold."""
    first = int(np.count_nonzero(rows[:, 0] >= 0))
    return first + int(np.count_nonzero((rows[:, 1:] != rows[:, :-1]) & (rows[:, 1:] >= 0)))


def bank_waves(rows: NDArray[np.int64], size: int) -> tuple[int, int]:
    """(waves, waves without conflicts) of accesses of `size` bytes at addresses[warp, lane]; -1 is a lane that takes no
    part.

    A warp moves at most 128 bytes a wave: accesses of 8 bytes go in two halves of the warp, of 16 bytes in four quarters.
    Within a wave, lanes that ask for the same word share it; different words of one bank take a wave each."""
    words = max(1, size // BANK_WIDTH)
    lanes = WARP // words
    phases = rows.reshape(-1, lanes)
    phases = phases[(phases >= 0).any(axis=1)]
    low = np.where(phases >= 0, phases, _FAR).min(axis=1, initial=_FAR) // BANK_WIDTH
    wide = phases.max(axis=1, initial=-1) // BANK_WIDTH + words - low > BANKS
    ideal = len(phases)
    if not wide.any():  # no two words of one bank
        return ideal, ideal
    phases = phases[wide]
    parts = (phases[:, :, None] // BANK_WIDTH + np.arange(words)).reshape(len(phases), -1)
    active = np.repeat(phases >= 0, words, axis=1)
    parts = np.sort(np.where(active, parts, -1), axis=1)
    new = np.ones(parts.shape, bool)
    new[:, 1:] = parts[:, 1:] != parts[:, :-1]
    new &= parts >= 0
    phase = np.nonzero(new)[0]
    banks = parts[new] % BANKS
    counts = np.bincount(phase * BANKS + banks, minlength=len(parts) * BANKS).reshape(len(parts), BANKS)
    return ideal - len(phases) + int(counts.max(axis=1).sum()), ideal
