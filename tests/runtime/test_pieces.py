"""Long graphs run in pieces: the same bits as in one program, planned once for a loop of any length."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lazytorch as torch
from lazytorch.runtime import pieces, session

nn, F = torch.nn, torch.nn.functional


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(session, "_programs", {})
    monkeypatch.setattr(pieces, "LONG", 100)
    yield


def recurrent(length: int) -> list[Any]:
    """Two directions, and a step of an optimizer."""
    model, head = nn.GRU(3, 4, batch_first=True, bidirectional=True), nn.Linear(8, 3)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    out, _ = model(torch.randn(2, length, 3))
    loss = F.cross_entropy(head(out[:, -1]), torch.tensor([1, 2]))
    loss.backward()
    optimizer.step()
    return [loss.item(), *[p.tolist() for p in parameters]]


def episode(length: int) -> list[Any]:
    """Rewards that were normalised, a log probability each, sums over the rounds."""
    actor, critic = nn.Linear(4, 2), nn.Linear(4, 1)
    rewards = torch.rand(length)
    rewards = (rewards - rewards.mean()) / rewards.std()
    terms, values = [], []
    for reward in rewards:
        state = torch.randn(4)
        terms.append(-torch.log_softmax(actor(state), -1)[1] * reward)
        values.append(F.smooth_l1_loss(critic(state)[0], reward))
    (torch.stack(terms).sum() + torch.stack(values).mean()).backward()
    return [p.grad.tolist() for p in (*actor.parameters(), *critic.parameters())]


def kept(length: int) -> list[Any]:
    """A value is asked for before backward() is: the history outlives the run."""
    w = torch.randn(4, 4, requires_grad=True)
    x = y = torch.ones(4)
    for _ in range(length):
        x = torch.tanh(x @ w) * 0.5 + x.flip(0)
        y = y + x[1:3].sum() * x
    found = [y.tolist()]
    y.sum().backward()
    return [*found, w.grad.tolist()]


def written(length: int) -> list[Any]:
    """Storages that are updated on the way, and a view that is a result."""
    memory, seen = torch.zeros(6, 3).realize(), torch.ones(3)
    for i in range(length):
        seen = torch.sin(seen * 1.5) + memory[i % 6]
        memory[(i + 1) % 6] = seen.cos() - memory[i % 6] * 0.25
    return [memory.tolist(), seen[1:].tolist()]


PROGRAMS: list[Callable[[int], list[Any]]] = [recurrent, episode, kept, written]


def run(program: Callable[[int], list[Any]], length: int) -> list[Any]:
    torch.manual_seed(length)
    return program(length)


@pytest.mark.parametrize("program", PROGRAMS)
def test_pieces_compute_the_bits_of_the_whole(program: Callable[[int], list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    divided = []
    monkeypatch.setattr(session, "divide", lambda *given: divided.append(pieces.divide(*given)) or divided[-1])
    in_pieces = run(program, 20)
    assert any(found is not None for found in divided)
    monkeypatch.setattr(pieces, "LONG", 10**9)
    monkeypatch.setattr(session, "_programs", {})
    assert run(program, 20) == in_pieces


@pytest.mark.parametrize("program", [recurrent, episode])
def test_another_length_plans_little(program: Callable[[int], list[Any]]) -> None:
    for length in (20, 22):
        run(program, length)
    before = torch.stats()
    run(program, 27)
    after = torch.stats()
    run_at_all = after["native_calls"] - before["native_calls"]
    assert after["programs_planned"] - before["programs_planned"] < run_at_all / 4


def test_a_graph_that_comes_often_is_planned_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "SIGHTS", 2)
    found, calls = [], []
    for _ in range(5):
        before = torch.stats()["native_calls"]
        found.append(run(kept, 20))
        calls.append(torch.stats()["native_calls"] - before)
    assert found == [found[0]] * 5
    assert calls[4] < calls[1] / 4


def test_what_does_not_repeat_itself_is_one_program() -> None:
    x = torch.ones(3)
    for _ in range(120):
        x = torch.cat([x, x[:1] * 0.5])
    calls = torch.stats()["native_calls"]
    x.tolist()
    assert torch.stats()["native_calls"] == calls + 1
