"""NVIDIA's assembler as a judge of PTX: does it accept a module, and what does each kernel cost?

It needs no GPU and no driver. It is found in the file that LAZYTORCH_PTXAS names, on PATH, or in a wheel of PyPI:
`nvidia-cuda-nvcc-cu12` (a part of the extra `test`; it has no dependencies)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")


@dataclass(frozen=True, slots=True)
class Assembled:
    """What one kernel needs: registers per thread, bytes of spills, of static shared memory and of stack per thread."""

    registers: int
    spill_bytes: int
    shared_bytes: int
    stack_bytes: int


class AssemblyError(AssertionError):
    """ptxas refused a module."""


@cache
def find_ptxas() -> str | None:
    """The path of ptxas, or None."""
    named = os.environ.get("LAZYTORCH_PTXAS") or shutil.which("ptxas")
    if named:
        return named
    spec = find_spec("nvidia")
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    for folder in folders:
        for found in sorted(Path(folder).glob("*/bin/ptxas"), reverse=True):
            return str(found)
    return None


@cache
def assemble(ptx: str, architecture: str) -> dict[str, Assembled]:
    """Assemble a module for one architecture; by kernel, what it needs. Raises AssemblyError with what ptxas says."""
    ptxas = find_ptxas()
    if ptxas is None:
        raise FileNotFoundError("no ptxas: set LAZYTORCH_PTXAS, or pip install nvidia-cuda-nvcc-cu12")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "module.ptx")
        source.write_text(ptx)
        command = [
            ptxas,
            "--verbose",
            f"--gpu-name={architecture}",
            "--output-file",
            str(Path(folder, "cubin")),
            str(source),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if done.returncode:
        raise AssemblyError(f"ptxas refuses the module for {architecture}:\n{output}")
    return {name: _cost(text) for name, text in _SECTION.findall(output)}


_SECTION = re.compile(r"Compiling entry function '([^']+)'[^\n]*\n(.*?)(?=ptxas info\s+: Compiling|\Z)", re.DOTALL)


def _cost(text: str) -> Assembled:
    def number(pattern: str) -> int:
        match = re.search(pattern, text)
        return int(match[1]) if match else 0

    spills = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    return Assembled(
        number(r"Used (\d+) registers"), spills, number(r"(\d+) bytes smem"), number(r"(\d+) bytes stack frame")
    )
