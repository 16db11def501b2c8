"""What recording costs: nanoseconds of Python per operation, microseconds per training step, milliseconds of import.

The native part of a sync is measured apart. Import is compared with NumPy's, in processor time of fresh processes.
"""

from __future__ import annotations

import argparse
import gc
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import lazytorch as torch
from benchmarks.steps import mlp_step
from benchmarks.timing import native_seconds
from benchmarks.workload import Library
from lazytorch.ir.trace import STATE


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
    step = mlp_step(Library("lazytorch", torch))
    for _ in range(5):
        step()
    whole = best(step, 50)
    shares = []
    with native_seconds(time.perf_counter) as native:
        for _ in range(200):
            native[0] = 0.0
            step()
            shares.append(native[0])
    return whole * 1e6, min(shares) * 1e6


def sync_nanoseconds(operations: int = 1000) -> float:
    """Key, program look-up, binding and results of a sync, per recorded operation, without the native part."""
    a, b = torch.ones(4).realize(), torch.ones(4).realize()
    found = float("inf")
    with native_seconds(time.perf_counter) as native:
        for _ in range(50):
            x = a
            for _ in range(operations):
                x = x + b
            native[0] = 0.0
            start = time.perf_counter()
            x.realize()
            found = min(found, time.perf_counter() - start - native[0])
    return found / operations * 1e9


def import_milliseconds(statement: str) -> float:
    """Processor time of a fresh interpreter that runs a statement, less that of one which does nothing."""

    def taken(code: str) -> float:
        samples = []
        for _ in range(7):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            samples.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(samples)

    return (taken(statement) - taken("pass")) * 1e3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def main(options: argparse.Namespace) -> None:
    """Print the figures, garbage collection off."""
    gc.disable()
    print(f"a + b: {add_nanoseconds():.0f} ns")
    whole, native = step_microseconds()
    print(f"key and binding at a sync: {sync_nanoseconds():.0f} ns per operation")
    print(f"MLP step: {whole:.0f} us, of which native {native:.0f} us, Python {whole - native:.0f} us")
    gc.enable()
    numpy, package = import_milliseconds("import numpy"), import_milliseconds("import lazytorch")
    print(f"import: numpy {numpy:.0f} ms, lazytorch {package:.0f} ms, ratio {package / numpy:.2f}")
