"""The default random generator (torch.random)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lazytorch.ops.sampling import (
    all_states,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    restore_states,
    seed,
    set_rng_state,
)

__all__ = ["default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **options: Any) -> Iterator[None]:
    """What a block draws leaves the default generator as it was."""
    if not enabled:
        yield
        return
    before = all_states()
    try:
        yield
    finally:
        restore_states(before)
