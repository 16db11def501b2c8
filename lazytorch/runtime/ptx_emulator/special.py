"""Special registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lazytorch.runtime.ptx_emulator.threads import WARP
from lazytorch.runtime.ptx_emulator.types import Array

if TYPE_CHECKING:
    from lazytorch.runtime.ptx_emulator.launch import Launch


def _one(value: int, dtype: type[np.uint32] | type[np.uint64] = np.uint32) -> Array:
    return np.array([value], dtype)


def _thread(launch: Launch, axis: int) -> Array:
    x, y, _ = launch.block
    if launch.block[axis] == 1:
        return _one(0)
    inner = launch.thread_of
    return (inner % x if axis == 0 else inner // x % y if axis == 1 else inner // (x * y)).astype(np.uint32)


def _block(launch: Launch, axis: int) -> Array:
    x, y, _ = launch.grid
    numbers = np.arange(launch.first_block, launch.first_block + launch.blocks)
    places = (numbers % x if axis == 0 else numbers // x % y if axis == 1 else numbers // (x * y)).astype(np.uint32)
    if launch.blocks == 1 or launch.grid[axis] == 1:
        return places[:1]
    return np.repeat(places, launch.threads_per_block)


def _lane_mask(launch: Launch, relation: Callable[[Array], Array]) -> Array:
    return relation(np.uint64(1) << launch.lane_of.astype(np.uint64)).astype(np.uint32)


SPECIAL: dict[str, Callable[[Launch], Array]] = {
    "%laneid": lambda launch: launch.lane_of.astype(np.uint32),
    "%warpid": lambda launch: (launch.thread_of // WARP).astype(np.uint32),
    "%nwarpid": lambda launch: _one(launch.warps_per_block),
    "%smid": lambda launch: _one(0),
    "%nsmid": lambda launch: _one(1),
    "%gridid": lambda launch: _one(0, np.uint64),
    "%clock": lambda launch: _one(launch.clock & 0xFFFFFFFF),
    "%clock64": lambda launch: _one(launch.clock, np.uint64),
    "%globaltimer": lambda launch: _one(launch.clock, np.uint64),
    "%lanemask_eq": lambda launch: _lane_mask(launch, lambda bit: bit),
    "%lanemask_lt": lambda launch: _lane_mask(launch, lambda bit: bit - np.uint64(1)),
    "%lanemask_le": lambda launch: _lane_mask(launch, lambda bit: bit * np.uint64(2) - np.uint64(1)),
    "%lanemask_ge": lambda launch: _lane_mask(launch, lambda bit: ~(bit - np.uint64(1))),
    "%lanemask_gt": lambda launch: _lane_mask(launch, lambda bit: ~(bit * np.uint64(2) - np.uint64(1))),
    "%dynamic_smem_size": lambda launch: _one(launch.request.dynamic_shared),
    "%total_smem_size": lambda launch: _one(launch.shared_limit),
}


def _dimension(which: str, axis: int) -> Callable[[Launch], Array]:
    return {
        "tid": lambda launch: _thread(launch, axis),
        "ctaid": lambda launch: _block(launch, axis),
        "ntid": lambda launch: _one(launch.block[axis]),
        "nctaid": lambda launch: _one(launch.grid[axis]),
    }[which]


SPECIAL.update(
    (f"%{which}.{'xyz'[axis]}", _dimension(which, axis)) for which in ("tid", "ctaid", "ntid", "nctaid") for axis in range(3)
)


def special_register(name: str, launch: Launch) -> Array:
    return SPECIAL[name](launch)
