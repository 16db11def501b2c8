"""What `explain` and `dump` tell of kernels for a GPU, on a machine without one."""

from __future__ import annotations

import pytest

import lazytorch as torch
from lazytorch.codegen.gpu_target import gpu_target
from lazytorch.config import config
from lazytorch.ir.trace import STATE
from lazytorch.runtime import explanation, gpu_tools
from lazytorch.runtime.explanation import explain_node
from lazytorch.runtime.gpu_tools import assemble, find_ptxas, shared_bytes
from lazytorch.tensor import value
from tests.gpu.test_ptx import modules

A, B = torch.rand(96, 64).realize(), torch.rand(64, 80).realize()

OCCUPANCIES = [  # as NVIDIA's occupancy calculator has them
    ("sm_75", 256, 64, 0, 1.0),
    ("sm_75", 1024, 65, 0, 0.0),
    ("sm_75", 256, 32, 33 * 1024, 0.25),
    ("sm_80", 256, 64, 0, 0.5),
    ("sm_80", 256, 32, 0, 1.0),
    ("sm_80", 128, 255, 0, 0.125),
    ("sm_80", 256, 32, 48 * 1024, 0.375),
    ("sm_86", 128, 40, 0, 1.0),
    ("sm_90", 32, 16, 0, 0.5),
    ("sm_100", 512, 32, 100 * 1024, 0.5),
]


@pytest.mark.parametrize("name, threads, registers, shared, part", OCCUPANCIES)
def test_occupancy_follows_from_the_limits_of_a_multiprocessor(
    name: str, threads: int, registers: int, shared: int, part: float
) -> None:
    assert gpu_target(name).occupancy(threads, registers, shared) == part


def test_a_table_has_a_row_per_launch() -> None:
    y = torch.softmax(torch.relu(A @ B), 1)
    (product, rows) = explain_node(STATE.trace, value(y), gpu_target("sm_90"))
    assert product.flops == 2 * 96 * 64 * 80 and product.bytes == 4 * (96 * 64 + 64 * 80 + 96 * 80)
    assert product.threads == 256 and 1 < product.intensity < 20 and rows.bytes == 2 * 4 * 96 * 80
    assert "test_explain.py" in product.places[0]
    text = torch.explain(y, "sm_90")
    assert product.symbol in text and "2 launches" in text and "test_explain.py" in text
    assert "cpu" in torch.explain(y)
    with config(cuda="emulator:sm_80"):
        assert "sm_80" in torch.explain(A.cuda() + 1)
    with pytest.raises(ValueError, match="no GPU target 'sm_12'"):
        torch.explain(y, "sm_12")


@pytest.mark.skipif(find_ptxas() is None, reason="there is no ptxas: pip install nvidia-cuda-nvcc-cu12")
def test_registers_and_shared_memory_are_those_of_the_assembler() -> None:
    (text,) = modules(A @ B, "sm_80")
    (cost,) = assemble(text, "sm_80").values()
    (row,) = explain_node(STATE.trace, value(A @ B), gpu_target("sm_80"))
    assert (row.registers, row.spill_bytes) == (cost.registers, 0)
    assert row.shared_bytes == cost.shared_bytes == shared_bytes(text) > 0
    assert row.occupancy == gpu_target("sm_80").occupancy(row.threads, row.registers, row.shared_bytes)


def test_without_an_assembler_registers_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanation, "find_ptxas", lambda: None)
    (row,) = explain_node(STATE.trace, value(A @ B), gpu_target("sm_80"))
    assert row.registers == row.spill_bytes == -1 and row.shared_bytes > 0 and 0 < row.occupancy <= 1
    assert "registers: unknown" in torch.explain(A @ B, "sm_80")


def test_machine_code_needs_the_tools_of_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_tools, "_found", lambda tool, ptxas: None)
    with pytest.raises(FileNotFoundError, match=r"no nvdisasm: .*pip install nvidia-cuda-nvdisasm"):
        torch.dump(A + 1, "sass")


@pytest.mark.skipif(find_ptxas() is None, reason="there is no ptxas: pip install nvidia-cuda-nvcc-cu12")
def test_machine_code_is_what_the_disassembler_prints(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    printer = tmp_path / "nvdisasm"  # stands for a tool that is not in the test extra
    printer.write_text('#!/bin/sh\necho "$1"; head -c 4 "$2"\n')
    printer.chmod(0o755)
    found = gpu_tools._found
    monkeypatch.setattr(gpu_tools, "_found", lambda tool, ptxas: str(printer) if tool == "nvdisasm" else found(tool, ptxas))
    text = torch.dump(A + 1, "sass")
    assert "--print-code" in text and "ELF" in text
