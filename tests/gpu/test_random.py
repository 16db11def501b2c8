"""Random numbers of CUDA devices: what torch prints on NVIDIA's, seeds and states, and statistics of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazytorch as torch
from lazytorch.config import config

pytestmark = pytest.mark.usefixtures("cuda")


def near(found: Any, want: list[float]) -> None:
    """Equal to the four digits that were printed."""
    np.testing.assert_allclose(found.cpu().numpy().reshape(-1)[: len(want)], want, rtol=0, atol=5.1e-5)


def test_uniform_and_normal_numbers_are_those_that_torch_prints_on_a_gpu() -> None:
    """Outputs of torch with CUDA that many public texts show, for the seeds 0 and 42."""
    torch.manual_seed(0)
    near(torch.rand(10, device="cuda"), [0.3990, 0.5167, 0.0249, 0.9401, 0.9459, 0.7967, 0.4150, 0.8203, 0.2290, 0.9096])
    near(torch.rand(10, device="cuda"), [0.9722, 0.7910, 0.4690, 0.3300, 0.3345, 0.3783, 0.7640, 0.6405, 0.1103, 0.3594])
    torch.manual_seed(0)
    rows = torch.randn(4, 8, device="cuda")
    near(rows[0], [-0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284])
    near(rows[3, :8], [0.0697, -0.0074, 1.8969, 0.6878, -0.0779, -0.8373, 1.3506, -0.2879])
    torch.manual_seed(42)
    near(torch.randn(6, device="cuda"), [0.1940, 2.1614, -0.1721, 0.8491, -1.9244, 0.6530])


def test_seeds_and_states() -> None:
    torch.manual_seed(7)
    first = torch.rand(5, device="cuda").tolist()
    state = torch.cuda.get_rng_state()
    assert state.tolist() == [7, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0] and torch.cuda.initial_seed() == 7
    second = torch.rand(5, device="cuda").tolist()
    torch.cuda.set_rng_state(state)
    assert torch.rand(5, device="cuda").tolist() == second != first
    torch.cuda.manual_seed_all(7)
    assert torch.rand(5, device="cuda").tolist() == first
    own = torch.Generator(device="cuda").manual_seed(7)
    assert own.device == torch.device("cuda:0") and torch.rand(5, device="cuda", generator=own).tolist() == first
    with torch.random.fork_rng():
        torch.rand(9, device="cuda")
    assert torch.rand(5, device="cuda").tolist() == second
    assert [g.initial_seed() for g in torch.cuda.default_generators] == [7]


def test_draws_of_the_cpu_and_of_a_device_are_apart() -> None:
    torch.manual_seed(1)
    want = torch.rand(4).tolist()
    torch.manual_seed(1)
    torch.rand(100, device="cuda")
    torch.randperm(5, device="cuda").realize()
    assert torch.rand(4).tolist() == want
    for device, other in (("cuda", "cpu"), ("cpu", "cuda")):
        with pytest.raises(RuntimeError, match=f"Expected a '{device}' device type for generator but found '{other}'"):
            torch.rand(3, device=device, generator=torch.Generator(device=other))
    with config(host_random=True):
        torch.manual_seed(1)
        assert torch.rand(4, device="cuda").tolist() == want


DRAWS = {
    "uniform": (lambda x: x.uniform_(-1.0, 3.0), 1.0, 4 / 12**0.5),
    "normal": (lambda x: x.normal_(2.0, 0.5), 2.0, 0.5),
    "integers": (lambda x: x.random_(0, 10), 4.5, 8.25**0.5),
    "many integers": (lambda x: x.random_(0, 1 << 40), 2.0**39, 2.0**40 / 12**0.5),
    "bernoulli": (lambda x: x.bernoulli_(0.3), 0.3, 0.21**0.5),
    "probabilities": (lambda x: torch.bernoulli(x.fill_(0.3)), 0.3, 0.21**0.5),
    "exponential": (lambda x: x.exponential_(2.0), 0.5, 0.5),
    "geometric": (lambda x: x.geometric_(0.25), 4.0, 12**0.5),
    "logarithms": (lambda x: x.log_normal_(0.5, 0.25).log(), 0.5, 0.25),
    "quantiles of cauchy": (lambda x: x.cauchy_().arctan(), 0.0, np.pi / 12**0.5),
    "dropout": (lambda x: torch.nn.functional.dropout(x.fill_(1.0), 0.25), 1.0, 3**-0.5),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DRAWS)
def test_draws_have_their_mean_and_deviation(name: str, dtype: Any) -> None:
    draw, mean, deviation = DRAWS[name]
    torch.manual_seed(5)
    drawn = draw(torch.zeros(5_000, dtype=dtype, device="cuda"))
    assert drawn.is_cuda and drawn.dtype is dtype
    found = drawn.cpu().double().numpy()
    assert abs(found.mean() - mean) < 4 * deviation / 5_000**0.5 and abs(found.std() / deviation - 1) < 0.08


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.int8, torch.bool])
def test_narrow_types_are_drawn(dtype: Any) -> None:
    torch.manual_seed(2)
    x = torch.zeros(500, dtype=dtype, device="cuda")
    assert len(set(x.random_(0, 2).tolist())) == len(set(x.bernoulli_(0.5).tolist())) == 2
    x.random_()
    if dtype.is_floating_point:
        assert 0 <= min(x.uniform_().tolist()) < 0.1 and max(x.tolist()) <= 1.0
        assert -4.5 < min(x.normal_().tolist()) < -1.5


def test_a_checkpoint_drops_the_same_elements_again() -> None:
    x = torch.ones(64, device="cuda", requires_grad=True)
    torch.manual_seed(3)
    y = torch.utils.checkpoint.checkpoint(lambda v: torch.nn.functional.dropout(v, 0.5), x, use_reentrant=False)
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()


def test_vmap_draws_for_every_example() -> None:
    x = torch.zeros(3, 4, device="cuda")
    rows = torch.func.vmap(lambda v: v + torch.rand(4, device="cuda"), randomness="different")(x)
    assert len({tuple(row) for row in rows.tolist()}) == 3
    same = torch.func.vmap(lambda v: v + torch.rand(4, device="cuda"), randomness="same")(x)
    assert len({tuple(row) for row in same.tolist()}) == 1


def test_a_replayed_call_takes_the_next_numbers() -> None:
    def step(x: Any) -> Any:
        return torch.nn.functional.dropout(x, 0.5) + torch.rand(16, device="cuda")

    x = torch.ones(16, device="cuda")
    torch.manual_seed(4)
    want = [step(x).tolist() for _ in range(5)]
    compiled = torch.compile(step)
    torch.manual_seed(4)
    assert [compiled(x).tolist() for _ in range(5)] == want
