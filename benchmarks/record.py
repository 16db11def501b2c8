"""What recording costs: nanoseconds of Python per operation, and microseconds per training step, without the native part.

python -m benchmarks record
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import lazytorch as torch
from benchmarks.steps import mlp_step
from lazytorch.ir.trace import STATE
from lazytorch.runtime.runner import NativeProgram


def best(function: Callable[[], object], count: int, rounds: int = 50) -> float:
    """The best round's seconds per call."""
    found = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(count):
            function()
        found = min(found, (time.perf_counter() - start) / count)
    return found


def add_nanoseconds() -> float:
    """`a + b` with promotion, broadcasting, autograd flag, location and liveness, whole, including the deletion."""
    a, b = torch.ones(64, 64).realize(), torch.ones(64).realize()
    trace = STATE.trace
    found = float("inf")
    for _ in range(200):
        trace.reset()
        start = time.perf_counter()
        for _ in range(200):
            a + b
        found = min(found, (time.perf_counter() - start) / 200)
    trace.reset()
    return found * 1e9


def step_microseconds() -> tuple[float, float]:
    """A whole MLP training step, and the part of it that native code takes."""
    step = mlp_step(torch)
    for _ in range(5):
        step()
    whole = best(step, 50)
    native = [0.0]
    original = NativeProgram.run

    def timed(self: NativeProgram, *values: float) -> int:
        start = time.perf_counter()
        result = original(self, *values)
        native[0] += time.perf_counter() - start
        return result

    NativeProgram.run = timed  # type: ignore[method-assign]
    shares = []
    for _ in range(200):
        native[0] = 0.0
        step()
        shares.append(native[0])
    NativeProgram.run = original  # type: ignore[method-assign]
    return whole * 1e6, min(shares) * 1e6


def main(arguments: list[str]) -> None:
    """Print the figures, garbage collection off."""
    gc.disable()
    print(f"a + b: {add_nanoseconds():.0f} ns")
    whole, native = step_microseconds()
    print(f"MLP step: {whole:.0f} us, of which native {native:.0f} us, Python {whole - native:.0f} us")
    gc.enable()
