"""A diffusion model turns noise into two moons, a little at a time (Ho et al., 2020).

python -m lazytorch run examples/diffusion.py       (or: python examples/diffusion.py, with PyTorch)
"""

import torch
from matplotlib import pyplot
from running import finish, start
from sklearn.datasets import make_moons
from torch import nn
from torch.nn import functional as F

LEVELS = 40
VARIANCES = torch.linspace(1e-4, 0.25, LEVELS)
KEPT = torch.cumprod(1 - VARIANCES, dim=0)
"""How much of a point's variance is left at each level of noise."""


class Denoiser(nn.Module):
    """Guesses the noise in a point at a level."""

    def __init__(self, width=128):
        super().__init__()
        self.level = nn.Embedding(LEVELS, width)
        self.point = nn.Linear(2, width)
        self.network = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, level):
        return self.network(self.point(x) + self.level(level))


def train(model, points, steps, batch=256):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(steps):
        x = points[torch.randint(len(points), (batch,))]
        level = torch.randint(LEVELS, (batch,))
        noise = torch.randn(batch, 2)
        kept = KEPT[level].unsqueeze(1)
        loss = F.mse_loss(model(kept.sqrt() * x + (1 - kept).sqrt() * noise, level), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


@torch.no_grad()
def sample(model, count):
    """Points made from noise, and what they were at every level on the way: [LEVELS + 1, count, 2]."""
    x = torch.randn(count, 2)
    way = [x]
    for level in reversed(range(LEVELS)):
        variance, kept = VARIANCES[level], KEPT[level]
        noise = model(x, torch.full((count,), level))
        x = (x - variance / (1 - kept).sqrt() * noise) / (1 - variance).sqrt()
        if level > 0:
            x = x + variance.sqrt() * torch.randn(count, 2)
        way.append(x)
    return torch.stack(way)


def main():
    options = start(__doc__, steps=2000)
    points = torch.tensor(make_moons(4000, noise=0.05, random_state=0)[0], dtype=torch.float32)
    points = (points - points.mean(dim=0)) / points.std(dim=0)
    model = Denoiser()
    losses = train(model, points, options.steps)

    def figure():
        way = sample(model, 1000)
        picture, places = pyplot.subplots(1, 5, figsize=(15, 3), sharex=True, sharey=True)
        for place, level in zip(places, (0, 20, 30, 35, LEVELS), strict=True):
            place.scatter(*way[level].t().numpy(), s=2)
            place.set_title(f"after {level} of {LEVELS} steps")
        return picture

    finish(options, losses, figure)


if __name__ == "__main__":
    main()
