"""How many threads run kernels: `torch.set_num_threads` and `torch.get_num_threads`.

The number lives in `config.num_threads`; the pool looks there before each run. Apart from the pool, so that asking
needs no compiler.
"""

from __future__ import annotations

import os

from lazytorch.config import config


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0))


def set_num_threads(count: int) -> None:
    """Run every later kernel on at most `count` threads. Results do not change. Raises as `torch.set_num_threads`."""
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(count).__name__}")
    if count <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    config.num_threads = count


def get_num_threads() -> int:
    """Threads that run kernels, the caller's included: `config.num_threads`, or one for each core available."""
    return config.num_threads or available_cores()
