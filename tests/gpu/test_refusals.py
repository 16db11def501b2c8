"""What LLVM cannot select for a GPU is refused before: it would end the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lazytorch.codegen.gpu_target import gpu_target
from lazytorch.codegen.llvm import emitter, lower, nvptx
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation
from lazytorch.ir.dialects import arith
from lazytorch.ir.parser import parse_module

KERNEL = "loop.kernel @k(%x: buffer<{dtype}, [1]>, %y: buffer<bf16, [1]>, %i: index) {{\n{body}\n}}\n"
TILE = "  %t = gpu.shared {{dtype = {dtype}, size = 512}} : buffer<{dtype}, [1]>\n"
PRODUCT = (
    TILE + "  %a = gpu.load_matrices %t, %i : vector<{lanes}x{dtype}>\n"
    "  %h = loop.shuffle %a, %a {{lanes = {half}}} : vector<{few}x{dtype}>\n"
    "  %c = arith.constant 0.0 : vector<4xf32>\n"
    "  %d = gpu.multiply_matrices %a, %h, %c : vector<4xf32>\n"
    "  %e = loop.extract %d {{lane = 0}} : f32\n  %f = arith.cast %e {{dtype = {dtype}}} : {dtype}\n  loop.store %f, %x, %i"
)
COPY = (
    TILE + '  %b = arith.compare %i, %i {{predicate = "eq"}} : i1\n  gpu.copy_async %t, %i, %x, %i, %b {{lanes = {lanes}}}'
)


def parsed(body: str, dtype: str, lanes: int = 1) -> Operation:
    """A module of one kernel."""
    few = lanes // 2
    filled = body.format(dtype=dtype, lanes=lanes, few=few, half=list(range(few)))
    return parse_module(KERNEL.format(dtype=dtype, body=filled))


@pytest.mark.parametrize(
    "body, architecture, dtype, lanes",
    [
        (PRODUCT, "sm_75", "bf16", 8),
        (PRODUCT, "sm_75", "f32", 4),
        (PRODUCT, "sm_90", "i32", 4),
        (COPY, "sm_75", "f32", 4),
        (COPY, "sm_80", "bf16", 1),
        (COPY, "sm_80", "f32", 8),
        ("  gpu.wait_copies {{pending = 0}}", "sm_75", "f32", 4),
        ("  gpu.copy_async %x, %i, %y, %i, %i {{lanes = 8}}", "sm_80", "bf16", 8),
        (TILE + "  %a = gpu.load_matrices %x, %i : vector<8xbf16>", "sm_80", "bf16", 8),
        (TILE + "  %a = gpu.load_matrices %t, %i {{transposed = true}} : vector<4xf32>", "sm_80", "f32", 4),
    ],
)
def test_what_an_architecture_lacks_is_an_error(body: str, architecture: str, dtype: str, lanes: int) -> None:
    module = parsed(body, dtype, lanes)
    with pytest.raises(CompileError):
        lower(module, gpu_target(architecture))


@pytest.mark.parametrize("architecture, dtype, lanes", [("sm_75", "f16", 8), ("sm_80", "bf16", 8), ("sm_90", "f32", 4)])
def test_what_it_has_is_taken(architecture: str, dtype: str, lanes: int) -> None:
    target = gpu_target(architecture)
    assert "@llvm.nvvm.mma." in lower(parsed(PRODUCT, dtype, lanes), target)
    if target.copies_async:
        assert "@llvm.nvvm.cp.async.cg.shared.global.16.s" in lower(parsed(COPY, dtype, lanes), target)


def test_a_function_that_nvptx_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def sine(f: emitter.FunctionEmitter, op: Operation) -> None:
        f.names[op.result] = f.intrinsic("llvm.sin.f32", "float", [("float", f[op.operands[0]])])

    monkeypatch.setitem(nvptx.GPU_RULES, arith.neg, sine)
    body = "  %v = loop.load %x, %i : f32\n  %w = arith.neg %v : f32\n  loop.store %w, %x, %i"
    module = parsed(body, "f32")
    with pytest.raises(CompileError, match=r"llvm\.sin\.f32"):
        lower(module, gpu_target("sm_80"))


def test_random_kernels_never_end_the_process(tmp_path) -> None:
    program = "import sys; from pathlib import Path; from tests.fuzz.__main__ import run_batch; "
    program += "print(run_batch('ptx', 1, 30, Path(sys.argv[1])))"
    note = tmp_path / "note"
    done = subprocess.run([sys.executable, "-c", program, str(note)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and int(done.stdout) >= 20, f"{done.stderr}\n{note.read_text() if note.exists() else ''}"
