"""A variational autoencoder draws handwriting: the picture is the plane it arranges the digits in.

python -m lazytorch run examples/vae.py       (or: python examples/vae.py, with PyTorch)
"""

import torch
from matplotlib import pyplot
from running import finish, start
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 256), nn.ELU(), nn.Linear(256, 64), nn.ELU(), nn.Linear(64, 4))
        self.decoder = nn.Sequential(nn.Linear(2, 64), nn.ELU(), nn.Linear(64, 256), nn.ELU(), nn.Linear(256, 64))

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decoder(code), mean, log_variance


def negative_evidence(model, images):
    """The bound on -log p(image), averaged: reconstruction and distance of the code from a normal distribution."""
    decoded, mean, log_variance = model(images)
    reconstruction = F.binary_cross_entropy_with_logits(decoded, images, reduction="sum")
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
    return (reconstruction + divergence) / len(images)


def train(model, images, steps, batch=128):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(steps):
        loss = negative_evidence(model, images[torch.randint(len(images), (batch,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


@torch.no_grad()
def plane(model, count=18):
    """Images decoded from a grid of codes, as one large image."""
    ticks = torch.erfinv(torch.linspace(-0.94, 0.94, count)) * 2**0.5
    codes = torch.cartesian_prod(ticks, ticks)
    tiles = model.decoder(codes).sigmoid().view(count, count, 8, 8)
    return tiles.permute(0, 2, 1, 3).reshape(count * 8, count * 8)


def main():
    options = start(__doc__, steps=3000)
    images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    model = Autoencoder()
    losses = train(model, images, options.steps)

    def figure():
        picture, place = pyplot.subplots(figsize=(7, 7))
        place.imshow(plane(model).numpy(), cmap="bone")
        place.axis("off")
        return picture

    finish(options, losses, figure)


if __name__ == "__main__":
    main()
