"""Two networks against each other: the generator learns eight groups of points by fooling the discriminator.

python -m lazytorch run examples/gan.py       (or: python examples/gan.py, with PyTorch)
"""

import math
from itertools import pairwise

import torch
from matplotlib import pyplot
from running import finish, start
from torch import nn
from torch.nn import functional as F


def network(*sizes):
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


def real_points(count):
    """Points scattered around eight places on a circle."""
    angle = torch.randint(8, (count,)) * (math.pi / 4)
    return torch.stack([angle.cos(), angle.sin()], dim=1) * 2 + torch.randn(count, 2) * 0.08


def train(generator, discriminator, steps, batch=128):
    optimize_generator = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    optimize_discriminator = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    losses = []
    for _ in range(steps):
        fake = generator(torch.randn(batch, 8))
        loss = F.softplus(-discriminator(real_points(batch))).mean() + F.softplus(discriminator(fake.detach())).mean()
        optimize_discriminator.zero_grad()
        loss.backward()
        optimize_discriminator.step()

        fooled = F.softplus(-discriminator(fake)).mean()
        optimize_generator.zero_grad()
        fooled.backward()
        optimize_generator.step()
        losses.append(loss.detach())
    return losses


def main():
    options = start(__doc__, steps=4000)
    generator, discriminator = network(8, 128, 128, 2), network(2, 128, 128, 1)
    losses = train(generator, discriminator, options.steps)
    with torch.no_grad():
        points = generator(torch.randn(2000, 8))

    def figure():
        picture, place = pyplot.subplots(figsize=(6, 6))
        place.scatter(*real_points(2000).t().numpy(), s=3, alpha=0.4, label="real")
        place.scatter(*points.t().numpy(), s=3, alpha=0.4, label="generated")
        place.legend(loc="upper right")
        return picture

    finish(options, losses, figure)
    print(f"mean distance from the centre: {points.norm(dim=1).mean().item():.3f} (of the real points: 2)")


if __name__ == "__main__":
    main()
