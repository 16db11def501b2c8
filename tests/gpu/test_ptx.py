"""What the PTX of kernels looks like, and that NVIDIA's assembler takes it."""

from __future__ import annotations

import re

import pytest

import lazytorch as torch
from lazytorch.codegen.fusion import fuse
from lazytorch.codegen.gpu_target import gpu_target
from lazytorch.codegen.launch import Launch, ScheduleContext
from lazytorch.codegen.schedules import schedule
from lazytorch.config import config
from lazytorch.ir.capture import capture
from lazytorch.ir.dialects import fused
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.trace import STATE, enter
from lazytorch.runtime.engine import engine
from lazytorch.runtime.kernels import kernel_text
from lazytorch.runtime.planner import GPU_PIPELINE
from lazytorch.tensor import value
from lazytorch.tools.translate import main as translate
from tests.gpu.programs import PROGRAMS, A, C
from tests.gpu.ptxas import ARCHITECTURES, assemble, find_ptxas

X, Y = torch.rand(1024).realize(), torch.rand(1024).realize()


def launches(y: torch.Tensor, architecture: str) -> list[Launch]:
    """The launches that would compute a pending tensor on a GPU."""
    node, trace = value(y), STATE.trace
    func = capture(trace, [enter(trace, node) if node.epoch is not trace.epoch else node.number])
    PassManager(GPU_PIPELINE).run_on_func(func)
    fuse(func)
    context = ScheduleContext(gpu_target(architecture), 1, config.tf32)
    kernels = [operation for operation in func.region.block if operation.declaration is fused.kernel]
    return [launch for kernel in kernels for launch in schedule(kernel, context)]


def modules(y: torch.Tensor, architecture: str) -> list[str]:
    """Their PTX."""
    target = gpu_target(architecture)
    found = {launch.key: launch for launch in launches(y, architecture) if launch.build is not None}
    return [engine().ptx(kernel_text(launch, target), target) for launch in found.values()]


def test_a_fused_chain_is_one_launch_in_128_bit_accesses() -> None:
    (text,) = modules(torch.relu(X * Y + X).exp() - 1, "sm_80")
    assert len(re.findall(r"ld\.global\.nc\.v4\.b32", text)) == 2 and len(re.findall(r"st\.global\.v4\.b32", text)) == 1
    (text,) = modules(X.bfloat16() * 2, "sm_80")
    assert "ld.global.nc.v4.b32" in text


def test_two_runs_give_the_same_ptx() -> None:
    program = PROGRAMS["softmax"]
    assert modules(program(lambda x: x), "sm_90") == modules(program(lambda x: x), "sm_90")


def test_no_library_is_called() -> None:
    for text in modules(torch.sin(A) + torch.lgamma(C) + torch.pow(A, 2.5), "sm_75"):
        assert "call" not in text and ".extern" not in text


def test_dumps_show_ptx_for_values_anywhere() -> None:
    assert ".target sm_80" in torch.dump(X + 1, "ptx")
    with config(cuda="emulator:sm_90"):
        assert ".target sm_90" in torch.dump(X.cuda() + 1, "ptx")
        assert "tensor.transfer" in torch.dump(X.cuda() + 1, "graph")


def test_ir_text_is_translated(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.mlir"
    path.write_text(
        "func @f(%x: tensor<8xf32>) -> tensor<8xf32> {\n"
        "  %0 = arith.add %x, %x : tensor<8xf32>\n  return %0 : tensor<8xf32>\n}\n"
    )
    assert translate([str(path), "--to=ptx", "--target=sm_100"]) == 0
    assert ".target sm_100" in capsys.readouterr().out
    assert translate([str(path), "--to=ptx", "--target=sm_12"]) == 1
    assert "no GPU target 'sm_12'" in capsys.readouterr().err


@pytest.mark.skipif(find_ptxas() is None, reason="there is no ptxas: pip install nvidia-cuda-nvcc-cu12")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ptxas_takes_kernels_without_spills(architecture: str) -> None:
    number = ARCHITECTURES.index(architecture)
    # Each kernel for one architecture; the slow test takes all for all.
    _assembles(architecture, list(PROGRAMS)[number :: len(ARCHITECTURES)])


@pytest.mark.slow
@pytest.mark.skipif(find_ptxas() is None, reason="there is no ptxas: pip install nvidia-cuda-nvcc-cu12")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ptxas_takes_every_kernel_without_spills(architecture: str) -> None:
    _assembles(architecture, list(PROGRAMS))


def _assembles(architecture: str, names: list[str]) -> None:
    for name in names:
        outcome = PROGRAMS[name](lambda x: x)
        for text in modules(outcome if isinstance(outcome, torch.Tensor) else outcome[-1], architecture):
            for kernel, cost in assemble(text, architecture).items():
                assert cost.spill_bytes == 0 and cost.registers <= 128, f"{name}: {kernel}: {cost}"
