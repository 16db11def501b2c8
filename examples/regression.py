"""LBFGS fits the peaks of a noisy spectrum, in a few dozen evaluations and in double precision.

python -m lazytorch run examples/regression.py       (or: python examples/regression.py, with PyTorch)
"""

import torch
from matplotlib import pyplot
from running import finish, start
from torch import nn


class Spectrum(nn.Module):
    """Bell-shaped peaks on a straight line."""

    def __init__(self, centres, widths, heights):
        super().__init__()
        self.centres, self.heights = nn.Parameter(torch.tensor(centres)), nn.Parameter(torch.tensor(heights))
        self.widths = nn.Parameter(torch.tensor(widths).log())
        self.line = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        distance = (x[:, None] - self.centres) / self.widths.exp()
        return (self.heights * (-(distance**2) / 2).exp()).sum(dim=1) + self.line[0] + self.line[1] * x


def train(model, x, y, steps):
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=10, line_search_fn="strong_wolfe")
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        losses.append(optimizer.step(closure).item())
    return losses


def main():
    options = start(__doc__, steps=12)
    torch.set_default_dtype(torch.float64)
    x = torch.linspace(0, 10, 400)
    truth = Spectrum([2.5, 4.0, 7.0], [0.3, 0.5, 0.8], [1.0, 0.6, 1.4])
    with torch.no_grad():
        truth.line += torch.tensor([0.2, 0.05])
        y = truth(x) + torch.randn(400) * 0.05
    model = Spectrum([2.0, 5.0, 8.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    losses = train(model, x, y, options.steps)

    def figure():
        picture, place = pyplot.subplots(figsize=(8, 4))
        place.plot(x.numpy(), y.numpy(), ".", color="silver", label="measured")
        place.plot(x.numpy(), model(x).detach().numpy(), label="fitted")
        place.legend()
        return picture

    finish(options, losses, figure)
    print("centres:", ", ".join(f"{centre:.3f}" for centre in model.centres.tolist()), "(of the data: 2.5, 4, 7)")


if __name__ == "__main__":
    main()
