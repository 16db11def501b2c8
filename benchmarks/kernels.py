"""Where a training step's native time goes: every kernel of the benchmark's programs, slowest first."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import lazytorch
from benchmarks.steps import WORKLOADS
from benchmarks.workload import Library
from lazytorch.codegen.launch import Launch
from lazytorch.runtime.program import Program
from lazytorch.runtime.runner import NativeProgram

RUNS = 50


def profiled(step: Callable[[], object]) -> dict[tuple[int, int], tuple[Launch, int]]:
    """Per program and step: its launch, and the best nanoseconds of many runs."""
    best: dict[tuple[int, int], tuple[Launch, int]] = {}
    numbers: dict[Program, int] = {}
    run, native_run = Program.run, NativeProgram.run
    times: list[int] = []

    def timed_native(self: NativeProgram, *values: float) -> int:
        failed, taken = self.run_timed(*values)
        times[:] = taken
        return failed

    def timed(self: Program, *arguments: Any) -> None:
        times.clear()
        run(self, *arguments)
        number = numbers.setdefault(self, len(numbers))
        for position, taken in enumerate(times):
            launch = self.stages.launches[position]
            _, before = best.get((number, position), (launch, taken))
            best[number, position] = (launch, min(before, taken))

    Program.run, NativeProgram.run = timed, timed_native  # type: ignore[method-assign]
    try:
        for _ in range(RUNS):
            step()
    finally:
        Program.run, NativeProgram.run = run, native_run  # type: ignore[method-assign]
    return best


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the table."""
    parser.add_argument("--threads", type=int, default=0, help="number of threads (default: all cores)")
    parser.add_argument("--only", default="", help="training steps whose name contains this")


def main(options: argparse.Namespace) -> None:
    """Print a table per workload."""
    if options.threads:
        lazytorch.set_num_threads(options.threads)
    for name in [name for name in WORKLOADS if options.only in name]:
        step = WORKLOADS[name].make(Library("lazytorch", lazytorch))
        for _ in range(3):
            step()
        rows = profiled(step)
        print(f"{name}: {sum(taken for _, taken in rows.values()) / 1e3:.0f} us in {len(rows)} kernels")
        for _, (launch, taken) in sorted(rows.items(), key=lambda row: -row[1][1]):
            names = ", ".join(dict.fromkeys(operation.name for operation in launch.operations))
            place = launch.operations[0].location if launch.operations else ""
            speed = launch.flops / max(taken, 1)
            print(
                f"{taken / 1e3:9.1f} us  {speed:6.1f} GF/s  {launch.chunks:3} chunks  {launch.symbol}  {place}  {names[:90]}"
            )
