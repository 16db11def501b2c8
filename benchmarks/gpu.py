"""`python -m benchmarks gpu`: one report of a machine with an NVIDIA GPU, in less than ten minutes.

Whether the tests hold there, how much of the memory's bandwidth and of the arithmetic is used, attention, training steps and
launches, beside PyTorch where it is installed with CUDA. `--small` makes everything tiny, to see that it runs at all (in the
PTX emulator, say, where the times say nothing); `--out FILE` writes the report to a file, too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lazytorch
from lazytorch.config import config

PEAKS = {  # TFLOP/s without sparsity by NVIDIA's data sheets: f32, tf32, f16 and bf16
    "T4": (8.1, 0.0, 65.0),
    "V100": (15.7, 0.0, 125.0),
    "A100": (19.5, 156.0, 312.0),
    "A10": (31.2, 62.5, 125.0),
    "L4": (30.3, 60.0, 121.0),
    "L40": (90.5, 90.5, 181.0),
    "H100 PCIe": (51.0, 378.0, 756.0),
    "H100": (67.0, 494.0, 989.0),
    "H200": (67.0, 494.0, 989.0),
    "4090": (82.6, 82.6, 165.2),
    "3090": (35.6, 35.6, 71.0),
}
_KINDS = ("f32", "tf32", "half")


@dataclass
class Sizes:
    """How large the problems are."""

    elements: int = 1 << 26
    rows: tuple[int, int] = (1 << 14, 4096)
    products: tuple[int, ...] = (1024, 4096, 8192)
    attention: tuple[int, int, int, int] = (4, 16, 2048, 64)
    width: int = 1024
    batch: int = 256
    chain: int = 100
    repeat: int = 20


SMALL = Sizes(1 << 12, (8, 64), (32,), (1, 2, 16, 16), 16, 8, 6, 2)


class Report:
    """Lines that are printed as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)

    def row(self, name: str, ours: str, theirs: str = "", note: str = "") -> None:
        """A row of a table."""
        self(f"{name:<44} {ours:>16} {theirs:>16}  {note}".rstrip())


def seconds(t: Any, step: Callable[[], Any], repeat: int) -> float:
    """The time of a step on the device, by events, after two that nobody counts."""

    def run() -> Any:
        found = step()
        return found.realize() if t is lazytorch and isinstance(found, lazytorch.Tensor) else found

    for _ in range(3):  # the third is the first that lazytorch launches as a graph
        run()
    start, end = t.cuda.Event(enable_timing=True), t.cuda.Event(enable_timing=True)
    t.cuda.synchronize()
    start.record()
    for _ in range(repeat):
        run()
    end.record()
    t.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / repeat


def other_torch() -> Any:
    """PyTorch with a CUDA device, or None."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def compared(
    report: Report, name: str, make: Callable[[Any], Callable[[], Any]], amount: float, unit: str, peak: float, n: int
) -> None:
    """A row: `amount` units of work per step, in units per second, of us and of PyTorch, and our share of the peak."""
    rates = []
    for t in (lazytorch, other_torch()):
        if t is None:
            rates.append("")
            continue
        try:
            taken = seconds(t, make(t), n)
            rates.append(f"{amount / max(taken, 1e-9):.1f} {unit}")
            if t is lazytorch:
                share = f"{100 * amount / max(taken, 1e-9) / peak:.0f}% of peak" if peak else ""
        except (RuntimeError, NotImplementedError) as error:
            rates.append("failed")
            share = str(error).splitlines()[0][:70] if t is lazytorch else share
    report.row(name, rates[0], rates[1], share)


def peak_bandwidth() -> float:
    """Bytes per second between the device and its memory at most, in units of 1e9; 0 where nobody says."""
    if config.cuda:
        return 0.0
    import pycuda.driver as cuda

    device, of = cuda.Device(lazytorch.cuda.current_device()), cuda.device_attribute
    return 2 * device.get_attribute(of.MEMORY_CLOCK_RATE) * 1e3 * device.get_attribute(of.GLOBAL_MEMORY_BUS_WIDTH) / 8 / 1e9


def peak_arithmetic(name: str) -> dict[str, float]:
    """TFLOP/s by kind of number, as far as the table has the device."""
    found = next((PEAKS[key] for key in PEAKS if key in name), (0.0, 0.0, 0.0))
    return dict(zip(_KINDS, found, strict=True))


def bandwidth(report: Report, sizes: Sizes) -> None:
    """Kernels that are bound by memory."""
    peak = peak_bandwidth()
    report(f"\nbandwidth (peak {peak:.0f} GB/s)" if peak else "\nbandwidth")
    n, (rows, columns) = sizes.elements, sizes.rows

    def two(t: Any, *shape: int) -> Any:
        return t.rand(*shape, device="cuda"), t.rand(*shape, device="cuda")

    def chain(t: Any) -> Callable[[], Any]:
        x, y = two(t, n)
        return lambda: t.relu(x * y + x) - 0.5

    def halves(t: Any) -> Callable[[], Any]:
        x, y = (z.bfloat16() for z in two(t, n))
        return lambda: x + y

    def of_rows(function: Callable[[Any, Any], Any]) -> Callable[[Any], Callable[[], Any]]:
        def make(t: Any) -> Callable[[], Any]:
            x = t.rand(rows, columns, device="cuda")
            return lambda: function(t, x)

        return make

    whole = rows * columns
    kernels = [
        ("relu(x * y + x) - 0.5, f32", chain, 12 * n),
        ("x + y, bf16", halves, 6 * n),
        ("sum of everything", of_rows(lambda t, x: x.sum()), 4 * whole),
        ("sum of rows", of_rows(lambda t, x: x.sum(1)), 4 * whole),
        ("sum of columns", of_rows(lambda t, x: x.sum(0)), 4 * whole),
        ("softmax", of_rows(lambda t, x: t.softmax(x, 1)), 8 * whole),
        ("layer norm", of_rows(lambda t, x: t.nn.functional.layer_norm(x, (columns,))), 8 * whole),
        ("transposed copy", of_rows(lambda t, x: x.t() + 1), 8 * whole),
        ("random numbers", of_rows(lambda t, x: t.rand(rows, columns, device="cuda")), 4 * whole),
    ]
    for name, make, nbytes in kernels:
        compared(report, name, make, nbytes / 1e9, "GB/s", peak, sizes.repeat)


def arithmetic(report: Report, sizes: Sizes) -> None:
    """Matrix products and attention."""
    peaks = peak_arithmetic(lazytorch.cuda.get_device_name())
    report("\narithmetic")

    def product(n: int, kind: str, dtype: str) -> Callable[[Any], Callable[[], Any]]:
        def make(t: Any) -> Callable[[], Any]:
            t.backends.cuda.matmul.allow_tf32 = kind == "tf32"
            x, y = (t.rand(n, n, device="cuda").to(getattr(t, dtype)) for _ in range(2))
            return lambda: x @ y

        return make

    for n in sizes.products:
        for kind, dtype in (("f32", "float32"), ("tf32", "float32"), ("half", "bfloat16"), ("half", "float16")):
            name = f"{n} x {n} x {n}, {kind if dtype == 'float32' else dtype}"
            compared(report, name, product(n, kind, dtype), 2 * n**3 / 1e12, "TFLOP/s", peaks[kind], sizes.repeat)
    batch, heads, length, depth = sizes.attention

    def attention(t: Any) -> Callable[[], Any]:
        q, k, v = (t.rand(batch, heads, length, depth, device="cuda").to(t.bfloat16) for _ in range(3))
        return lambda: t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    flops = 2 * batch * heads * length**2 * depth  # half of the scores are masked
    name = f"causal attention {batch} x {heads} x {length} x {depth}, bf16"
    compared(report, name, attention, flops / 1e12, "TFLOP/s", peaks["half"], sizes.repeat)


def training(report: Report, sizes: Sizes) -> None:
    """Whole steps: forward, backward, optimizer."""
    report("\ntraining, steps per second")
    width, batch = sizes.width, sizes.batch

    def perceptron(t: Any) -> Any:
        layers = [layer for _ in range(3) for layer in (t.nn.Linear(width, width), t.nn.ReLU())]
        return t.nn.Sequential(*layers), t.rand(batch, width, device="cuda")

    def transformer(t: Any) -> Any:
        layer = t.nn.TransformerEncoderLayer(width, max(width // 64, 2), 4 * width, dropout=0.0, batch_first=True)
        return layer, t.rand(max(batch // 32, 2), max(width // 4, 8), width, device="cuda")

    def convolutions(t: Any) -> Any:
        model = t.nn.Sequential(t.nn.Conv2d(3, 16, 3), t.nn.ReLU(), t.nn.Conv2d(16, 16, 3), t.nn.ReLU())
        return model, t.rand(max(batch // 4, 2), 3, 16, 16, device="cuda")

    for name, build in (("perceptron", perceptron), ("transformer layer", transformer), ("convolutions", convolutions)):

        def make(t: Any, build: Callable[[Any], Any] = build) -> Callable[[], Any]:
            t.manual_seed(0)
            model, x = build(t)
            model = model.to("cuda")
            optimizer = t.optim.Adam(model.parameters(), lr=1e-3)

            def step() -> Any:
                optimizer.zero_grad()
                loss = model(x).square().mean()
                loss.backward()
                optimizer.step()
                return loss.detach()

            return step

        compared(report, f"{name}, Adam, f32", make, 1, "steps/s", 0.0, max(sizes.repeat // 2, 2))


def launches(report: Report, sizes: Sizes) -> None:
    """What a launch costs: a program of many tiny kernels."""
    report("\nlaunches")

    def chain(t: Any) -> Callable[[], Any]:
        x = t.rand(64, 64, device="cuda") / 64

        def step() -> Any:
            y = x
            for _ in range(sizes.chain):
                y = y @ x
            return y

        return step

    compared(report, f"chain of {sizes.chain} small products", chain, sizes.chain / 1e3, "k/s", 0.0, sizes.repeat)
    if not config.cuda:
        with config(cuda_sync=True):
            taken = seconds(lazytorch, chain(lazytorch), 2)
        report.row("the same, waiting for each", f"{sizes.chain / taken / 1e3:.1f} k/s")


def correctness(report: Report) -> None:
    """The GPU tests on this device."""
    level = "emulator" if config.cuda else "device"
    report(f"\ntests (--cuda {level})")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "--cuda", level, "tests/gpu"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=270)
    except subprocess.TimeoutExpired:
        report("  not finished after 270 seconds")
        return
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR", "CUDA devices")) or " passed" in line or " failed" in line:
            report(f"  {line}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--small", action="store_true", help="tiny problems, no tests")
    parser.add_argument("--out", default="", help="file for the report")


def main(options: argparse.Namespace) -> None:
    """Write the report."""
    report = Report()
    if not lazytorch.cuda.is_available():
        print("there is no CUDA device: python -m lazytorch info says why")
        return
    found = lazytorch.cuda.get_device_properties()
    other = other_torch()
    report(
        f"{found.name}, sm_{found.major}{found.minor}, {found.multi_processor_count} multiprocessors, "
        f"{found.total_memory >> 20} MiB; lazytorch {lazytorch.__version__}, "
        f"{'PyTorch ' + other.__version__ if other else 'no PyTorch with CUDA'}"
    )
    sizes = SMALL if options.small else Sizes()
    if not options.small:
        correctness(report)
    report()
    report.row("", "lazytorch", "PyTorch" if other else "")
    for part in (bandwidth, arithmetic, training, launches):
        part(report, sizes)
    if options.out:
        Path(options.out).write_text("\n".join(report.lines) + "\n")
