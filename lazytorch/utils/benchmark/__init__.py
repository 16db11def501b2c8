"""Timing of statements (torch.utils.benchmark)."""

from lazytorch.utils.benchmark.timer import Measurement, Timer, timer

__all__ = ["Measurement", "Timer", "timer"]
