"""Peak memory of a training step: resident memory that parameters, optimizer and step add to a process that is warm.

python -m benchmarks.memory LIBRARY WORKLOAD prints bytes; each library is measured in a process of its own.
"""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from pathlib import Path

from benchmarks.workload import Library
from lazytorch.runtime.pieces import SIGHTS

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(library: str, workload: str, threads: int) -> int:
    """Of a fresh process, with the kernels in the cache: the second of two runs counts, of which the first one compiles."""
    command = [sys.executable, "-m", "benchmarks.memory", library, workload, str(threads)]
    for _ in range(2):
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output.split()[-1])


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def main() -> None:
    """Measure in this process."""
    from benchmarks.steps import WORKLOADS

    name, workload, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    module = importlib.import_module(name)
    module.set_num_threads(threads)
    WORKLOADS["training step, digits MLP"].make(Library(name, module))()  # what a process needs for any step
    gc.collect()
    before = _resident("VmRSS")
    step = WORKLOADS[workload].make(Library(name, module))
    for _ in range(SIGHTS + 2 if name == "lazytorch" else 2):  # see run.py
        step()
    _RESET.write_text("5")  # the peak begins anew
    step()
    print(_resident("VmHWM") - before)


if __name__ == "__main__":
    main()
