"""Matrix products and convolutions against torch eager in the same run: MKL and oneDNN are the measure.

Two ratios, torch's time divided by ours: of the whole call, and with the time of our native code alone (what is left of a
call when a captured step replays it). The share of the machine's fma peak is that of our native code.

python -m benchmarks contractions [--threads N] [--only TEXT] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lazytorch
from lazytorch.runtime.runner import NativeProgram

Work = Callable[[Any], Callable[[], object]]


@dataclass(frozen=True)
class Workload:
    """`make(library)` gives the function to time, which does `flops` floating point operations."""

    make: Work
    flops: float


def product(m: int, n: int, k: int, left: str = "n", right: str = "n", batch: tuple[int, ...] = ()) -> Workload:
    """[m, k] @ [k, n]; "t": the operand is a transposed view of its memory."""

    def make(torch: Any) -> Callable[[], object]:
        torch.manual_seed(0)
        a = torch.randn(*batch, m, k) if left == "n" else torch.randn(*batch, k, m).transpose(-1, -2)
        b = torch.randn(*batch, k, n) if right == "n" else torch.randn(*batch, n, k).transpose(-1, -2)
        return lambda: a @ b

    count = 1
    for size in batch:
        count *= size
    return Workload(make, 2.0 * m * n * k * count)


def linear_gelu(m: int, n: int, k: int) -> Workload:
    """A linear layer with bias and GELU."""

    def make(torch: Any) -> Callable[[], object]:
        torch.manual_seed(0)
        x, w, b = torch.randn(m, k), torch.randn(n, k), torch.randn(n)
        return lambda: torch.nn.functional.gelu(torch.nn.functional.linear(x, w, b))

    return Workload(make, 2.0 * m * n * k)


def convolution(
    batch: int, channels: int, outputs: int, size: int, kernel: int, backward: str = "", groups: int = 1
) -> Workload:
    """A 2d convolution that keeps the size; `backward`: x or w, the gradient of the input or of the weights."""

    def make(torch: Any) -> Callable[[], object]:
        torch.manual_seed(0)
        x = torch.randn(batch, channels, size, size)
        w = torch.randn(outputs, channels // groups, kernel, kernel)
        g = torch.randn(batch, outputs, size, size)
        if not backward:
            return lambda: torch.nn.functional.conv2d(x, w, padding=kernel // 2, groups=groups)
        if torch is lazytorch:
            return _own_gradient(x, w, g, kernel // 2, groups, backward)
        wanted = [backward == "x", backward == "w", False]
        arguments = ([1, 1], [kernel // 2, kernel // 2], [1, 1], False, [0, 0], groups)
        return lambda: torch.ops.aten.convolution_backward(g, x, w, None, *arguments, wanted)

    return Workload(make, 2.0 * batch * size * size * outputs * channels // groups * kernel * kernel)


def _own_gradient(x: Any, w: Any, g: Any, padding: int, groups: int, operand: str) -> Callable[[], object]:
    of = x if operand == "x" else w

    def run() -> object:
        of.requires_grad_(True)
        y = lazytorch.nn.functional.conv2d(x, w, padding=padding, groups=groups)
        return lazytorch.autograd.grad(y, of, g)[0]

    return run


WORKLOADS: dict[str, Workload] = {
    **{f"nn {size}": product(size, size, size) for size in (64, 128, 256, 512, 1024, 2048)},
    "nt 1024": product(1024, 1024, 1024, "n", "t"),
    "tn 1024": product(1024, 1024, 1024, "t", "n"),
    "nn 64x512x784": product(64, 512, 784),
    "nt 64x512x784": product(64, 512, 784, "n", "t"),
    "tn 512x784x64": product(512, 784, 64, "t", "n"),
    "nn 128x1024x1024": product(128, 1024, 1024),
    "nt 128x1024x1024": product(128, 1024, 1024, "n", "t"),
    "nn 1x1024x1024": product(1, 1024, 1024),
    "nt 1x1024x1024": product(1, 1024, 1024, "n", "t"),
    "nn 1024x1x1024": product(1024, 1, 1024),
    "nn 8x1024x1024": product(8, 1024, 1024),
    "nt 8x1024x1024": product(8, 1024, 1024, "n", "t"),
    "outer 1024x1024x1": product(1024, 1024, 1),
    "nn 1024x1024x8": product(1024, 1024, 8),
    "nn 4096x16x256": product(4096, 16, 256),
    "tn 64x64x32768": product(64, 64, 32768, "t", "n"),
    "nt 64x64x32768": product(64, 64, 32768, "n", "t"),
    "batch 32x128x128x64": product(128, 128, 64, "n", "t", (32,)),
    "batch 32x128x64x128": product(128, 64, 128, "n", "n", (32,)),
    "batch 512x16x16x16": product(16, 16, 16, "n", "n", (512,)),
    "gelu 64x512x784": linear_gelu(64, 512, 784),
    "gelu 256x2048x512": linear_gelu(256, 2048, 512),
    "gelu 1024x1024x1024": linear_gelu(1024, 1024, 1024),
    "conv3x3 8x64x64x56": convolution(8, 64, 64, 56, 3),
    "conv3x3 8x64x64x56 dx": convolution(8, 64, 64, 56, 3, "x"),
    "conv3x3 8x64x64x56 dw": convolution(8, 64, 64, 56, 3, "w"),
    "conv3x3 8x256x256x14": convolution(8, 256, 256, 14, 3),
    "conv3x3 8x256x256x14 dx": convolution(8, 256, 256, 14, 3, "x"),
    "conv3x3 8x256x256x14 dw": convolution(8, 256, 256, 14, 3, "w"),
    "conv1x1 8x256x64x28": convolution(8, 256, 64, 28, 1),
    "conv1x1 8x256x64x28 dx": convolution(8, 256, 64, 28, 1, "x"),
    "conv1x1 8x256x64x28 dw": convolution(8, 256, 64, 28, 1, "w"),
    "depthwise 8x128x28": convolution(8, 128, 128, 28, 3, "", 128),
    "depthwise 8x128x28 dx": convolution(8, 128, 128, 28, 3, "x", 128),
    "depthwise 8x128x28 dw": convolution(8, 128, 128, 28, 3, "w", 128),
}


Clock = Callable[[], float]


@contextmanager
def native_seconds(clock: Clock) -> Iterator[list[float]]:
    """Within the block, the seconds that native code takes are added to the list's only element."""
    native = [0.0]
    original = NativeProgram.run

    def timed(self: NativeProgram, *values: float) -> int:
        start = clock()
        result = original(self, *values)
        native[0] += clock() - start
        return result

    NativeProgram.run = timed  # type: ignore[method-assign]
    try:
        yield native
    finally:
        NativeProgram.run = original  # type: ignore[method-assign]


def measured(theirs: Callable[[], object], ours: Callable[[], object], rounds: int, clock: Clock) -> tuple[list[float], ...]:
    """Seconds per call of torch, of ours, and of our native code, in each of the rounds, in turn."""
    start = clock()
    for _ in range(2):
        theirs(), ours()
    once = (clock() - start) / 4
    start = clock()
    theirs()
    count = max(1, int(0.01 / max(min(once, clock() - start), 1e-7)))
    samples: tuple[list[float], ...] = ([], [], [])
    with native_seconds(clock) as native:
        for _ in range(rounds):
            time.sleep(0.02)  # the other's worker threads go to sleep meanwhile
            theirs()
            start = clock()
            for _ in range(count):
                theirs()
            samples[0].append((clock() - start) / count)
            time.sleep(0.02)
            ours()
            native[0] = 0.0
            start = clock()
            for _ in range(count):
                ours()
            samples[1].append((clock() - start) / count)
            samples[2].append(native[0] / count)
    return samples


def main(arguments: list[str]) -> None:
    """Print a line per workload."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks contractions", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="workloads whose name contains one of these texts, divided by commas")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    lazytorch.set_num_threads(options.threads)
    # One thread's own time is what other processes on the machine disturb least.
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    print(f"{'':26} {'torch us':>9} {'ours us':>9} {'native':>9}  ratio native (median)  GF/s torch ours")
    for name, workload in WORKLOADS.items():
        if not any(text in name for text in options.only.split(",")):
            continue
        run = workload.make(lazytorch)
        with torch.no_grad():
            theirs, ours, native = measured(workload.make(torch), lambda run=run: run().realize(), options.rounds, clock)  # type: ignore[misc]
        best = [min(times) * 1e6 for times in (theirs, ours, native)]
        median = statistics.median(theirs) / statistics.median(native)
        print(
            f"{name:26} {best[0]:9.1f} {best[1]:9.1f} {best[2]:9.1f}  {best[0] / best[1]:5.2f} {best[0] / best[2]:6.2f} "
            f"({median:5.2f})   {workload.flops / best[0] / 1e3:8.1f} {workload.flops / best[2] / 1e3:8.1f}",
            flush=True,
        )
