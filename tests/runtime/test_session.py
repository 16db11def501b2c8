"""Settings of the session: checking against the reference, dumps, logs."""

from pathlib import Path

import pytest

import lazytorch as torch
from lazytorch import nn
from lazytorch.config import config


def test_every_program_of_a_training_step_agrees_with_the_reference_interpreter() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 4)
    )
    optimizer = torch.optim.Adam(model.parameters())
    with config(check=True, verify=True):
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(torch.rand(5, 1, 8, 8)), torch.tensor([0, 1, 2, 3, 0])).backward()
            optimizer.step()
            model[0].weight.realize()


def test_the_interpreter_can_run_everything() -> None:
    x = torch.arange(12.0).reshape(3, 4)
    compiled = torch.softmax(x @ x.t(), 1).tolist()
    with config(interpret=True):
        interpreted_rows = torch.softmax(x @ x.t(), 1).tolist()
    for row, other in zip(interpreted_rows, compiled, strict=True):
        assert row == pytest.approx(other, rel=1e-5, abs=1e-30)


def test_a_dump_holds_every_stage(tmp_path: Path) -> None:
    x = torch.rand(5, 7)
    with config(dump=str(tmp_path)):
        (x * 3 + x.sum(0)).tolist()
    (folder,) = tmp_path.iterdir()
    texts = {file.name: file.read_text() for file in folder.iterdir()}
    assert sorted(texts) == ["fused.mlir", "graph.mlir", "kernels.ll", "loop.mlir", "tensor.mlir"]
    assert "fused.kernel" in texts["fused.mlir"]
    assert "loop.parallel" in texts["loop.mlir"]
    assert "define void @" in texts["kernels.ll"]


def test_syncs_and_compilations_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with config(log=("sync",)):
        (torch.rand(3) + 1).tolist()
    assert "sync: tolist()" in capsys.readouterr().err


def test_dump_shows_the_users_line_at_every_stage() -> None:
    x, w = torch.rand(4, 8), torch.rand(8, 3)
    y = torch.relu(x @ w + 1)
    for stage in ("graph", "tensor", "fused"):
        assert "test_session.py" in torch.dump(y, stage=stage)
    assert "arith.fma" in torch.dump(y, stage="loop")
    assert "llvm.fma" in torch.dump(y, stage="llvm")
    assert "vfmadd" in torch.dump(y, stage="asm")
    with pytest.raises(ValueError, match="graph, tensor"):
        torch.dump(y, stage="nonsense")


def test_an_update_of_storage_that_nobody_else_holds_happens_in_place() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    addresses = set()
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.ones(3, 8)).square().sum().backward()
        optimizer.step()
        model.weight.realize()
        addresses.add(model.weight.data_ptr())
    assert len(addresses) == 1


def test_memory_that_somebody_else_holds_is_not_overwritten() -> None:
    x = torch.ones(4)
    same_memory = torch.nn.Parameter(x, requires_grad=False)
    y = torch.ones(4).realize()
    before = y + 10  # recorded before the write: sees the old elements
    x += 1
    y += 1
    assert (x + y).tolist() == [4.0] * 4
    assert before.tolist() == [11.0] * 4
    kept = torch.ones(4, requires_grad=True)
    weight = torch.full((4,), 3.0)
    product = kept * weight
    weight.data.add_(1)  # autograd does not look at what is written through `data`
    weight.realize()
    product.sum().backward()
    assert kept.grad.tolist() == [3.0] * 4
    assert same_memory.shape == (4,)
