"""From addresses to bytes: state spaces, windows of the generic space, and the checks of every access."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator.errors import (
    DataRace,
    KernelFault,
    Location,
    MisalignedAccess,
    OutOfBoundsAccess,
    UninitialisedRead,
    UnsupportedOperation,
)
from lazytorch.runtime.ptx_emulator.memory import BASE, IN_FLIGHT, Region
from lazytorch.runtime.ptx_emulator.races import RaceShadow
from lazytorch.runtime.ptx_emulator.threads import Threads
from lazytorch.runtime.ptx_emulator.types import Array

# Where shared and local memory appear among generic addresses.
WINDOWS = {"shared": 0x0100_0000_0000, "local": 0x0200_0000_0000}
WINDOW_SIZE = 0x0100_0000_0000

Addresses = NDArray[np.int64]


def in_window(address: Addresses, space: str) -> NDArray[np.bool_]:
    start = WINDOWS.get(space)
    if start is None:
        return address >= BASE
    return (address >= start) & (address < start + WINDOW_SIZE)


@dataclass(frozen=True, slots=True)
class Access:
    """What an instruction does to memory: `size` bytes as `count` words of `element` bytes; `strong` for volatile and
    relaxed."""

    location: Location
    element: int
    count: int
    is_store: bool = False
    strong: bool = False
    atomic: bool = False

    @property
    def size(self) -> int:
        return self.element * self.count


def generic_space(threads: Threads, address: Addresses, location: Location) -> tuple[str, Addresses]:
    """The one space that generic addresses lie in, and the addresses within it."""
    low, high = int(address.min()), int(address.max())
    for space, start in WINDOWS.items():
        if start <= low and high < start + WINDOW_SIZE:
            return space, address - start
    for start in WINDOWS.values():
        if low < start + WINDOW_SIZE and high >= start:
            raise _fault(threads, UnsupportedOperation, "generic addresses of different spaces in one access", location, 0)
    return "global", address


def resolve(threads: Threads, space: str, address: Addresses, access: Access) -> tuple[Region, Addresses, RaceShadow | None]:
    """The bytes behind an access, with bounds, alignment and counters seen to: region, byte indices, and the region's
    shadow."""
    launch = threads.launch
    size = access.size
    if size > 1:
        bad = np.flatnonzero(address & (size - 1))
        if bad.size:
            place = int(bad[0])
            message = f"misaligned access of {size} bytes at {int(address[place]):#x}"
            raise _fault(threads, MisalignedAccess, message, access.location, place)
    if space == "shared":
        _within(threads, "shared", address, access, launch.shared_limit)
        if launch.count:
            launch.report.count_shared(threads, address, size, access.location.line)
        base = launch.shared_base if threads.is_all else launch.shared_base[threads.slots]
        return launch.shared, address + base if launch.blocks > 1 or len(address) > 1 else address, launch.shared_races
    if space == "local":
        _within(threads, "local", address, access, launch.program.local_bytes)
        return launch.local, address + threads.slots * launch.local_stride, None
    if launch.count:
        launch.report.count_global(threads, address, size, access.is_store, access.location.line)
    offsets = address - BASE
    outside = launch.memory.outside(offsets, size)
    if outside is not None:
        place = int(outside[0])
        verb = "write" if access.is_store else "read"
        where = launch.memory.describe(int(offsets[place]))
        message = f"{verb} of {size} bytes at {int(address[place]):#x} is out of bounds: {where}"
        raise _fault(threads, OutOfBoundsAccess, message, access.location, place)
    return launch.memory.region, offsets, launch.global_races


def _within(threads: Threads, space: str, address: Addresses, access: Access, limit: int) -> None:
    if int(address.min()) < 0 or int(address.max()) + access.size > limit:
        place = int(np.flatnonzero((address < 0) | (address + access.size > limit))[0])
        message = f"access of {access.size} bytes at {int(address[place])} is outside the {limit} bytes of {space} memory"
        raise _fault(threads, OutOfBoundsAccess, message, access.location, place)


def load(threads: Threads, space: str, address: Addresses, access: Access) -> list[Array]:
    """The words at these addresses, one array for each component of a vector."""
    region, index, races = resolve(threads, space, address, access)
    check_read(threads, space, region, index, races, access)
    return region.load(index, access.element, access.count)


def check_read(
    threads: Threads, space: str, region: Region, index: Addresses, races: RaceShadow | None, access: Access
) -> None:
    if not threads.launch.check:
        return
    if races is not None:
        races.note_read(index, access.size, threads, access.location, access.strong)
    unknown = region.unknown(index, access.size)
    if unknown is not None:
        place = int(unknown[0])
        flying = (region.state[int(index[place]) : int(index[place]) + access.size] == IN_FLIGHT).any()
        what = "that an asynchronous copy has not reached: its wait is missing" if flying else "that was never written"
        raise _fault(threads, UninitialisedRead, f"read of {space} memory {what}", access.location, place)


def store(threads: Threads, space: str, address: Addresses, values: list[Array], access: Access) -> None:
    if len(address) < threads.count and any(len(value) > 1 for value in values):
        address = threads.full(address)
    region, index, races = resolve(threads, space, address, access)
    if len(index) == 1 or races is None:
        values = [value if len(value) == len(index) else np.broadcast_to(value, index.shape) for value in values]
    if races is None or not threads.launch.check:
        region.store(index, access.element, values)
        return
    places = index if len(index) == threads.count else threads.full(index)
    repeated = races.note_write(places, access.size, threads, access.location, access.strong or access.atomic)
    region.store(index, access.element, values)
    if repeated is not None:
        _same_values(threads, region, places, values, access)


def _same_values(threads: Threads, region: Region, index: Addresses, values: list[Array], access: Access) -> None:
    """Several threads wrote one place in one instruction: which of them wins is open, unless they agree."""
    for found, value in zip(region.load(index, access.element, access.count), values, strict=True):
        different = np.flatnonzero(found != value)
        if different.size:
            from_many = "several threads write different values to one place in one instruction"
            raise _fault(threads, DataRace, from_many, access.location, int(different[0]))


def _fault(threads: Threads, kind: type[KernelFault], message: str, location: Location, place: int) -> KernelFault:
    """The fault of the thread at this position; a uniform address is every thread's."""
    return threads.launch.fault(kind, message, location, int(threads.ids[place]))
