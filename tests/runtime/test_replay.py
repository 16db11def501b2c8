"""Repeated backward walks: replayed ones give what walked ones give, and whatever a walk alone decides is walked."""

import sys
import threading

import pytest

import lazytorch as torch
from lazytorch.ir import backward, replay

ROUNDS = 4  # walked, walked and kept, replayed twice


def parameters():
    torch.manual_seed(3)
    return [torch.randn(5, 4).requires_grad_(), torch.randn(4).requires_grad_()]


def plain(x, w, b):
    torch.nn.functional.gelu(x @ w + b).sum().backward()


def seeded(x, w, b):
    (x @ w + b).tanh().backward(torch.ones(3, 4) * 0.5)


def several(x, w, b):
    y = x @ w
    torch.autograd.backward([y.sum(), (y * b).mean()])


def twice_in_one_trace(x, w, b):
    (x @ w).sigmoid().sum().backward()
    (x @ w + b).exp().sum().backward()


def retained(x, w, b):
    y = (x @ w + b).exp().sum()
    y.backward(retain_graph=True)
    y.backward()


def views(x, w, b):
    (x @ w.t().contiguous().view(4, 5).t()).sum().backward()
    b.view(2, 2).cos().sum().backward()


def written(x, w, b):
    y = x @ w
    y[0] = 2.0
    (y * b).sum().backward()


def forgotten(x, w, b):
    (x @ w + b).exp().sum().backward()
    first = [p.grad + 0 for p in (w, b)]
    w.grad = b.grad = None
    (x @ w + b).exp().sum().backward()
    w.grad += first[0]


def outlived(x, w, b):
    (x @ w + b).exp().sum().backward()
    kept = (w.grad * w).sum()
    w.grad = None
    x.sum().item()
    kept.backward()


@pytest.mark.parametrize(
    "program", [plain, seeded, several, twice_in_one_trace, retained, views, written, forgotten, outlived]
)
def test_replayed_walks_give_the_gradients_of_walked_ones(program, monkeypatch):
    replayed, found = [], []
    monkeypatch.setattr(backward, "replay", lambda trace, walk: replayed.append(walk) or replay.replay(trace, walk))
    w, b = parameters()
    x = torch.ones(3, 5).realize()
    for _ in range(ROUNDS):
        w.grad = b.grad = None
        program(x, w, b)
        found.append([None if p.grad is None else p.grad.tolist() for p in (w, b)])
    assert replayed
    assert found == [found[0]] * ROUNDS


def test_a_walk_after_a_replayed_one_of_the_same_trace_is_kept_as_well(monkeypatch):
    replayed, found = [], []
    monkeypatch.setattr(backward, "replay", lambda trace, walk: replayed.append(walk) or replay.replay(trace, walk))
    x, (w, b) = torch.ones(3, 5).realize(), parameters()
    for number in range(3 + ROUNDS):
        w.grad = b.grad = None
        (x @ w).sigmoid().sum().backward()
        if number >= 3:
            (x @ w + b).exp().sum().backward()
            found.append([w.grad.tolist(), b.grad.tolist()])
        w.grad.realize()
    assert found == [found[0]] * ROUNDS
    assert len({id(walk) for walk in replayed}) == 2


def test_threads_with_values_in_common_record_programs_of_their_own():
    """One weight, entered into the traces of several threads at once: every thread reads its own number of it."""
    w, bias = torch.ones(8).realize(), torch.full((8,), 2.0).realize()
    wrong = []

    def work(number):
        for step in range(100):
            x = torch.full((8,), float(number))
            for _ in range(step % 20):
                x = x + 0
            first, second = (w, bias) if number % 2 else (bias, w)  # as leaves of the trace
            first, second = first * 2, second * 2
            scaled, shift = (first, second) if number % 2 else (second, first)
            if (scaled * x - shift).sum().item() != 16 * (number - 2):
                wrong.append((number, step))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_a_graph_that_a_replayed_walk_freed_raises_as_any_other():
    w, _ = parameters()
    for _ in range(ROUNDS):
        y = w.exp().sum()
        y.backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            y.backward()


def test_hooks_and_functions_of_the_user_are_called_every_time():
    calls = []

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            calls.append("function")
            return g * 2

    w, b = parameters()
    for _ in range(ROUNDS):
        Double.apply(w).sum().backward()
        w.grad.realize()
    assert calls == ["function"] * ROUNDS
    for _ in range(ROUNDS):
        b.sin().sum().backward()
        b.grad.realize()
    b.register_hook(lambda g: calls.append("hook"))
    b.sin().sum().backward()
    assert calls[ROUNDS:] == ["hook"]


def test_what_was_written_over_is_found_in_every_round():
    w, _ = parameters()
    for _ in range(ROUNDS):
        y = w.exp()
        z = y.sum()
        y += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.backward()
        torch.ones(1).add(1).realize()


def test_replays_donate_memory_as_walks_do():
    """An update in place needs to know that nobody else reads the old value: hidden operations count as read."""
    model = torch.nn.Linear(64, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.ones(2, 64).realize()
    places = []
    for _ in range(ROUNDS + 2):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        loss.item()
        places.append(model.weight.data_ptr())
    assert len(set(places[2:])) == 1


def test_the_number_of_walks_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(replay, "_WALKS_KEPT", 4)
    monkeypatch.setattr(replay, "_walks", {})
    for size in range(1, 10):
        x = torch.ones(size).requires_grad_()
        x.sin().sum().backward()
        x.grad.realize()
    assert len(replay._walks) == 4


def test_a_walk_that_appends_nothing_is_passed_over():
    """The gradient of a number by itself is the seed: replayed, it stood where the next walk begins, read for ever."""
    for number in range(4 + ROUNDS):
        x, y = (torch.arange(1.0).reshape(()) * 2).requires_grad_(), torch.arange(2.0).requires_grad_()
        x.sum().backward()
        if number >= 4:
            (y * y).sum().backward()
            assert y.grad.tolist() == [0.0, 2.0]
        assert x.grad.item() == 1
