"""NVIDIA's assembler and disassembler, where they are installed: what a kernel costs, and what becomes of its PTX.

Neither needs a GPU or a driver, and nothing else needs them. They are looked for in the file that `config.ptxas` names (and
beside it), on PATH, and in wheels of PyPI: `nvidia-cuda-nvcc-cu12` has ptxas, `nvidia-cuda-nvdisasm` has nvdisasm.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lazytorch.config import config
from lazytorch.errors import CompileError

INSTALL = {
    "ptxas": "set LAZYTORCH_PTXAS, or pip install nvidia-cuda-nvcc-cu12",
    "nvdisasm": "put nvdisasm beside ptxas or on PATH, or pip install nvidia-cuda-nvdisasm",
}


@dataclass(frozen=True, slots=True)
class Assembled:
    """What one kernel needs: registers per thread, bytes of spills, of static shared memory and of stack per thread."""

    registers: int
    spill_bytes: int
    shared_bytes: int
    stack_bytes: int


class AssemblyError(CompileError):
    """ptxas refused a module."""

    def __init__(self, message: str) -> None:
        super().__init__(message, stage="ptxas")


def find_ptxas() -> str | None:
    """The path of ptxas, or None."""
    return _found("ptxas", config.ptxas)


@cache
def _found(tool: str, ptxas: str) -> str | None:
    """The path of a tool, or None. ptxas: what the setting says."""
    if ptxas:
        beside = Path(ptxas).with_name(tool)
        if tool == "ptxas" or beside.exists():
            return str(beside) if tool != "ptxas" else ptxas
    named = shutil.which(tool)
    if named:
        return named
    spec = find_spec("nvidia")
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    for folder in folders:
        for found in sorted(Path(folder).glob(f"*/bin/{tool}"), reverse=True):
            return str(found)
    return None


def _tool(name: str) -> str:
    """The path of a tool. Raises FileNotFoundError that says how to get it."""
    path = _found(name, config.ptxas)
    if path is None:
        raise FileNotFoundError(f"no {name}: {INSTALL[name]}")
    return path


@cache
def assemble(ptx: str, architecture: str) -> dict[str, Assembled]:
    """Assemble a module for one architecture; by kernel, what it needs. Raises AssemblyError with what ptxas says, and
    FileNotFoundError where there is no ptxas."""
    with tempfile.TemporaryDirectory() as folder:
        output = _assembled(ptx, architecture, Path(folder))
    return {name: _cost(text) for name, text in _SECTION.findall(output)}


def disassemble(ptx: str, architecture: str) -> str:
    """The machine code (SASS) of a module for one architecture. Raises as `assemble`, and where there is no nvdisasm."""
    disassembler = _tool("nvdisasm")
    with tempfile.TemporaryDirectory() as folder:
        _assembled(ptx, architecture, Path(folder))
        command = [disassembler, "--print-code", str(Path(folder, "cubin"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(f"nvdisasm fails:\n{done.stdout}{done.stderr}", stage="nvdisasm")
    return done.stdout


def _assembled(ptx: str, architecture: str, folder: Path) -> str:
    """Assemble to the file `cubin` in a folder; what ptxas says."""
    source = Path(folder, "module.ptx")
    source.write_text(ptx)
    target = ["--output-file", str(Path(folder, "cubin"))]
    command = [_tool("ptxas"), "--verbose", f"--gpu-name={architecture}", *target, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if done.returncode:
        raise AssemblyError(f"ptxas refuses the module for {architecture}:\n{output}")
    return output


_SECTION = re.compile(r"Compiling entry function '([^']+)'[^\n]*\n(.*?)(?=ptxas info\s+: Compiling|\Z)", re.DOTALL)


def _cost(text: str) -> Assembled:
    def number(pattern: str) -> int:
        match = re.search(pattern, text)
        return int(match[1]) if match else 0

    spills = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    return Assembled(
        number(r"Used (\d+) registers"), spills, number(r"(\d+) bytes smem"), number(r"(\d+) bytes stack frame")
    )


_SHARED = re.compile(r"^\s*\.shared\s+(?:\.align\s+\d+\s+)?\.[bsuf](\d+)\s+\w+(?:\[(\d+)\])?", re.MULTILINE)


def shared_bytes(ptx: str) -> int:
    """The static shared memory that a module of one kernel declares."""
    return sum(int(bits) // 8 * int(count or 1) for bits, count in _SHARED.findall(ptx))
