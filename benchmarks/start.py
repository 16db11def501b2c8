"""From nothing to the first trained step, in fresh processes: import, model, one step of the MLP or the CNN, its loss.

torch eager, torch.compile with an empty cache (where there is a C++ compiler), and lazytorch with an empty and with a filled
cache of kernels; wall clock and processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

_PROGRAM = """
import importlib, json, sys, time
import sys
library, workload, threads, compiled = sys.argv[1:]
torch = importlib.import_module(library)
if threads != "0":
    torch.set_num_threads(int(threads))
from benchmarks.steps import network
model, images = network(torch, workload)
labels = torch.randint(0, 10, (64,))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
def step():
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss
(torch.compile(step) if compiled == "1" else step)().item()
print(json.dumps(time.process_time()))
"""


def first_step(library: str, workload: str, threads: int, compiled: bool, caches: str) -> tuple[float, float]:
    """Seconds of wall clock and of processor time of a process that makes one step, with its caches in a folder."""
    environment = dict(os.environ, LAZYTORCH_CACHE_DIR=f"{caches}/lazytorch", TORCHINDUCTOR_CACHE_DIR=f"{caches}/inductor")
    command = [sys.executable, "-c", _PROGRAM, library, workload, str(threads), str(int(compiled))]
    before = os.times()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        raise RuntimeError(done.stderr)
    json.loads(done.stdout.splitlines()[-1])
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return after.elapsed - before.elapsed, used


def _print(name: str, samples: Sequence[tuple[float, float]], than: float | None) -> float:
    wall, processor = (statistics.median(column) for column in zip(*samples, strict=True))
    ratio = f"  {processor / than:5.2f} x torch eager's processor time" if than else ""
    print(f"  {name:28} {wall * 1e3:7.0f} ms, processor {processor * 1e3:7.0f} ms{ratio}")
    return processor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the comparison."""
    parser.add_argument("--threads", type=int, default=0, help="number of threads (default: all cores)")
    parser.add_argument("--only", choices=("cnn", "mlp"))
    parser.add_argument("--rounds", type=int, default=3)


def main(options: argparse.Namespace) -> None:
    """Print medians of interleaved rounds."""
    inductor = shutil.which(os.environ.get("CXX", "g++")) is not None
    for workload in [options.only] if options.only else ["mlp", "cnn"]:
        names = {"torch eager": ("torch", False, True), "lazytorch, empty cache": ("lazytorch", False, False)}
        names["lazytorch, filled cache"] = ("lazytorch", False, True)
        if inductor:
            names["torch.compile, empty cache"] = ("torch", True, False)
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        with tempfile.TemporaryDirectory() as kept:
            for library in ("torch", "lazytorch"):  # what is read from disk is in memory after that, for all alike
                first_step(library, workload, options.threads, False, kept)
            for _ in range(options.rounds):
                for name, (library, compiled, filled) in names.items():
                    with tempfile.TemporaryDirectory() as empty:
                        caches = kept if filled else empty
                        samples[name].append(first_step(library, workload, options.threads, compiled, caches))
        print(f"{workload}: import to the first trained step")
        eager = _print("torch eager", samples.pop("torch eager"), None)
        for name, own in samples.items():
            _print(name, own, eager)
    if not inductor:
        print("no C++ compiler was found: torch.compile cannot run here")
