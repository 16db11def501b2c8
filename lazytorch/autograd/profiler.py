"""The older name of `torch.profiler` (torch.autograd.profiler)."""

from __future__ import annotations

from lazytorch.profiler import EventList, profile, record_function

__all__ = ["EventList", "profile", "record_function"]
