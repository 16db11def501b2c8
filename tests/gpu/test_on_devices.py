"""Tests that are not about devices, a part of them here with every tensor on one (`pytest --device cuda` runs them all), the
digits example, and the benchmark of GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu as benchmark

ROOT = Path(__file__).parents[2]
PART = ("softmax or embedding or conv2d or views or gather or attention or written or sort or std",)


def test_a_part_of_the_tests_holds_on_the_device() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "--device", "cuda", "-k", *PART]
    done = subprocess.run(
        [*command, "tests/frontend/test_against_torch.py"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "tensors are made on: cuda" in done.stdout and " passed" in done.stdout


def test_the_digits_are_learned_there(tmp_path: Path) -> None:
    losses = {}
    environment = {**os.environ, "LAZYTORCH_CUDA": "emulator", "LAZYTORCH_HOST_RANDOM": "1"}
    for device in ("cpu", "cuda"):
        command = [sys.executable, "-m", "lazytorch", "run", str(ROOT / "examples" / "digits.py"), "--model", "mlp"]
        options = ["--steps", "2", "--plot", "", "--losses", str(tmp_path / device)]
        subprocess.run(
            [*command, *options], env={**environment, "LAZYTORCH_DEVICE": device}, check=True, capture_output=True
        )
        losses[device] = (tmp_path / device).read_text()
    assert losses["cuda"] == losses["cpu"] and len(losses["cpu"].split()) == 2


@pytest.mark.usefixtures("cuda")
def test_the_benchmark_measures() -> None:
    report = benchmark.Report()
    benchmark.launches(report, benchmark.SMALL)
    assert "small products" in report.lines[-1] and "failed" not in report.lines[-1]
