"""Whole programs give on a GPU the bits that they give on the CPU: reductions and contractions have one order everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazytorch as torch
from lazytorch.config import config
from tests.gpu.programs import PROGRAMS, ROUNDED_OTHERWISE, A, B

pytestmark = pytest.mark.usefixtures("cuda")


def _arrays(outcome: Any) -> list[np.ndarray]:
    outcomes = [outcome] if isinstance(outcome, torch.Tensor) else list(outcome)
    return [x.cpu().float().numpy() if x.is_floating_point() else x.cpu().numpy() for x in outcomes]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_gives_the_bits_of_the_cpu(name: str) -> None:
    program = PROGRAMS[name]
    got = program(lambda x: x.cuda())
    assert all(x.is_cuda for x in ([got] if isinstance(got, torch.Tensor) else got))
    for have, want in zip(_arrays(got), _arrays(program(lambda x: x)), strict=True):
        if name in ROUNDED_OTHERWISE:
            np.testing.assert_allclose(have, want, rtol=2.0**-7, atol=2.0**-7 * np.abs(want).max())
        else:
            np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("name", ["softmax", "variance", "product with epilogue", "map of a chain"])
@pytest.mark.parametrize("setting", ["fuse", "eager"])
def test_bits_do_not_depend_on_fusion(name: str, setting: str) -> None:
    (want,) = _arrays(PROGRAMS[name](lambda x: x.cuda()))
    with config(**{setting: setting == "eager"}):
        torch.zeros(()).realize()  # the trace takes up the setting when it is new
        (got,) = _arrays(PROGRAMS[name](lambda x: x.cuda()))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_network_learns_the_same_numbers(kind: str) -> None:
    def losses(device: str) -> list[float]:
        torch.manual_seed(0)
        x, target = torch.rand(16, 64), torch.randint(0, 10, (16,))
        model = torch.nn.Sequential(
            torch.nn.Linear(64, 24), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.LayerNorm(24), torch.nn.Linear(24, 10)
        ).to(device)
        x, target = x.to(device), target.to(device)
        optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.05)
        found = []
        for _ in range(2):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        assert all(parameter.device == torch.device(device) for parameter in model.parameters())
        return found

    with config(host_random=True):
        assert losses("cuda:0") == losses("cpu")


def test_gradients_flow_through_a_move() -> None:
    x = A.clone().requires_grad_()
    y = x.cuda()
    ((y * 3).sum() + (x * 2).sum().cuda()).backward()
    assert x.grad.device == torch.device("cpu")
    assert torch.equal(x.grad, torch.full_like(x, 5.0))


def test_a_program_may_go_to_and_fro() -> None:
    y = (A.cuda() + 1).cpu() * 2
    z = y.cuda().sum(1).cpu() + y.sum(1)
    assert torch.equal(z, 2 * ((A + 1) * 2).sum(1))


def test_an_index_out_of_range_raises() -> None:
    with pytest.raises(IndexError, match="index 40 is out of bounds") as error:
        A.cuda()[torch.tensor([1, 40]).cuda()].tolist()
    assert "test_programs.py" in str(error.value)


def test_operands_on_two_devices_are_refused() -> None:
    for combine in (lambda: A.cuda() + A, lambda: B @ torch.ones(70, 3, device="cuda"), lambda: torch.cat([A, A.cuda()])):
        with pytest.raises(
            RuntimeError, match="Expected all tensors to be on the same device, but found at least two devices"
        ):
            combine()
    assert (A.cuda() * torch.tensor(2.0)).is_cuda  # a number goes with every device
