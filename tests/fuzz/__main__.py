"""`python -m tests.fuzz --minutes 30 --seed 1`: random programs of all kinds for as long as you like.

Every batch runs in a process of its own, so that a crash ends one batch and is reported with its program. Each failure is
printed as the smallest program that fails in the same way. The exit status is 1 if there was one.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

KINDS = {
    "tensors": ("tensor_drawing.programs", "tensor_programs.check"),
    "derivatives": ("tensor_drawing.differentiable_programs", "derivatives.check"),
    "kernels": ("loop_kernels.kernels", "loop_kernels.check"),
    "ptx": ("ptx_kernels.ptx_kernels", "ptx_kernels.check"),
    "torch": ("torch_programs.programs", "torch_programs.check"),
    "networks": ("networks.trainings", "networks.check"),
    "text": ("damaged_text.texts", "damaged_text.check"),
}
"""What draws a program of each kind, and what checks it."""


def kind_named(name: str) -> tuple[st.SearchStrategy[Any], Callable[[Any], None]]:
    """The strategy and the check of a kind. Its modules are imported now: the parent process needs none of them."""
    found = []
    for path in KINDS[name]:
        module, _, member = path.partition(".")
        found.append(getattr(importlib.import_module(f"tests.fuzz.{module}"), member))
    return found[0](), found[1]


def run_batch(kind: str, number: int, examples: int, note: Path) -> int:
    """Raises what the smallest failing program raises; `note` always holds the program that is running. How many ran."""
    strategy, check = kind_named(kind)
    count = 0

    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def batch(program: Any) -> None:
        nonlocal count
        count += 1
        note.write_text(repr(program))
        try:
            check(program)
        except BaseException as error:
            error.add_note(repr(program))
            raise

    warnings.simplefilter("ignore")
    batch()
    return count


def run_for(minutes: float, first: int, kinds: list[str], examples: int) -> int:
    """Batches with one seed after another, of one kind after another; the number of those that failed."""
    end, number, failures = time.monotonic() + 60 * minutes, first, 0
    programs = dict.fromkeys(kinds, 0)
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder, "program")
        while time.monotonic() < end:
            kind = kinds[number % len(kinds)]
            command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", "--kinds", kind, "--seed", str(number)]
            command += ["--examples", str(examples), "--note", str(note)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                failures += 1
                print(f"--- {kind}, seed {number}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
                if done.returncode < 0:
                    print(f"it was running\n{note.read_text()}")
                print(f"{kind} {number}: FAILED", flush=True)
            else:
                programs[kind] += int(done.stdout)
                print(f"{kind} {number}: ok", flush=True)
            number += 1
    print(f"{failures} batches failed; programs in the others: {programs}")
    return failures


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the first batch; the next has the next number")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--examples", type=int, default=300, help="programs in a batch")
    parser.add_argument("--note", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.note is None:
        return int(run_for(options.minutes, options.seed, options.kinds, options.examples) > 0)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(run_batch(options.kinds[0], options.seed, options.examples, options.note))
    return 0


if __name__ == "__main__":
    sys.exit(main())
