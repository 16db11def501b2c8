"""`torch.cuda`: the devices, waiting for them, and their memory. Where there are none, questions are answered and uses raise
as in torch without CUDA."""

from __future__ import annotations

from typing import Any

from lazytorch.cuda import amp, memory, random
from lazytorch.cuda.devices import (
    DeviceProperties,
    can_device_access_peer,
    current_device,
    device,
    device_count,
    get_arch_list,
    get_device_capability,
    get_device_name,
    get_device_properties,
    init,
    is_available,
    is_bf16_supported,
    is_initialized,
    set_device,
    synchronize,
)
from lazytorch.cuda.devices import device_of_tensor as device_of
from lazytorch.cuda.graphs import CUDAGraph, graph, is_current_stream_capturing, make_graphed_callables
from lazytorch.cuda.memory import (
    empty_cache,
    get_per_process_memory_fraction,
    max_memory_allocated,
    max_memory_cached,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_cached,
    memory_reserved,
    memory_stats,
    memory_summary,
    reset_max_memory_allocated,
    reset_max_memory_cached,
    reset_peak_memory_stats,
    set_per_process_memory_fraction,
)
from lazytorch.cuda.random import (
    get_rng_state,
    get_rng_state_all,
    initial_seed,
    manual_seed,
    manual_seed_all,
    seed,
    seed_all,
    set_rng_state,
    set_rng_state_all,
)
from lazytorch.cuda.streams import (
    Event,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    set_stream,
    stream,
)
from lazytorch.errors import AcceleratorError, OutOfMemoryError
from lazytorch.ops.tensor_types import CUDA_KINDS

globals().update(CUDA_KINDS)


def __getattr__(name: str) -> Any:
    """`default_generators`: made when they are asked for, as there are devices then."""
    if name == "default_generators":
        return random.default_generators()
    raise AttributeError(f"module 'lazytorch.cuda' has no attribute {name!r}")


__all__ = [
    "AcceleratorError",
    "CUDAGraph",
    "DeviceProperties",
    "Event",
    "OutOfMemoryError",
    "Stream",
    "StreamContext",
    "amp",
    "can_device_access_peer",
    "current_device",
    "current_stream",
    "default_stream",
    "device",
    "device_count",
    "device_of",
    "empty_cache",
    "get_arch_list",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "get_per_process_memory_fraction",
    "get_rng_state",
    "get_rng_state_all",
    "graph",
    "init",
    "initial_seed",
    "is_available",
    "is_bf16_supported",
    "is_current_stream_capturing",
    "is_initialized",
    "make_graphed_callables",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_cached",
    "max_memory_reserved",
    "mem_get_info",
    "memory",
    "memory_allocated",
    "memory_cached",
    "memory_reserved",
    "memory_stats",
    "memory_summary",
    "random",
    "reset_max_memory_allocated",
    "reset_max_memory_cached",
    "reset_peak_memory_stats",
    "seed",
    "seed_all",
    "set_device",
    "set_per_process_memory_fraction",
    "set_rng_state",
    "set_rng_state_all",
    "set_stream",
    "stream",
    "synchronize",
]
