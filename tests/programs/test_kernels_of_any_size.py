"""Kernels are keyed by structure: other batch sizes and sequence lengths plan anew and compile next to nothing."""

import pytest

import lazytorch as torch
from lazytorch.runtime import planner

nn = torch.nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.body = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        h = self.before(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.body(self.after(x))


def transformer():
    model = nn.Sequential(nn.Embedding(50, 32), Block(32), nn.LayerNorm(32), nn.Linear(32, 50))
    optimizer = torch.optim.Adam(model.parameters())

    def step(batch, length):
        x = torch.randint(0, 50, (batch, length))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x).flatten(0, 1), x.flatten()).backward()
        optimizer.step()

    return step


def convolutions():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10))
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)

    def step(batch, size):
        optimizer.zero_grad()
        x = torch.rand(batch, 1, size, size)
        nn.functional.cross_entropy(model(x), torch.zeros(batch, dtype=torch.int64)).backward()
        optimizer.step()

    return step


WORKLOADS = {
    # name: the step, its usual arguments, twenty others, how many kernels these may need that the usual ones do not
    "batches of a transformer": (transformer, (8, 16), [(batch, 16) for batch in range(2, 22)], 14),
    "lengths of a transformer": (transformer, (4, 32), [(4, length) for length in range(8, 68, 3)], 18),
    "batches of a convolution": (convolutions, (16, 8), [(batch, 8) for batch in range(4, 64, 3)], 12),
}


def run(step, sizes):
    """One step, and whatever it left pending."""
    step(*sizes)
    torch.zeros(1).realize()


@pytest.mark.parametrize("name", WORKLOADS)
def test_twenty_sizes_share_their_kernels(name, monkeypatch):
    make, usual, others, most = WORKLOADS[name]
    used = set()
    address = planner.kernel_address

    def noted(launch, target):
        used.add(launch.key)
        return address(launch, target)

    monkeypatch.setattr(planner, "kernel_address", noted)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them divide long sums, by kernels of their own
    torch.manual_seed(0)
    step = make()
    for _ in range(2):  # the second step finds the states of the optimizer that the first one made
        run(step, usual)
    first = len(used)
    for sizes in others:
        run(step, sizes)
    torch.set_num_threads(threads)
    assert first > 10
    assert len(used) - first <= most
