"""An LSTM learns a noisy rhythm and goes on with it alone.

python -m lazytorch run examples/forecasting.py       (or: python examples/forecasting.py, with PyTorch)
"""

import torch
from matplotlib import pyplot
from running import finish, start
from torch import nn
from torch.nn import functional as F

WINDOW = 24


def series(length=600):
    """Two superposed oscillations and noise."""
    time = torch.arange(length) * 0.25
    return torch.sin(time) * (1 + 0.4 * torch.sin(time * 0.21)) + torch.randn(length) * 0.05


class Forecaster(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x, state=None):
        hidden, state = self.lstm(x.unsqueeze(-1), state)
        return self.head(hidden).squeeze(-1), state


def train(model, known, steps, batch=32):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    windows = known.unfold(0, WINDOW + 1, 1)
    losses = []
    for _ in range(steps):
        chosen = windows[torch.randint(len(windows), (batch,))]
        loss = F.mse_loss(model(chosen[:, :-1])[0], chosen[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
    return losses


@torch.no_grad()
def forecast(model, known, length):
    """What the model expects after `known`, each value made from the ones before it."""
    expected, state = model(known[None])
    values = [expected[:, -1:]]
    while len(values) < length:
        expected, state = model(values[-1], state)
        values.append(expected)
    return torch.cat(values, dim=1)[0]


def main():
    options = start(__doc__, steps=300)
    data = series()
    known, future = data[:500], data[500:]
    model = Forecaster()
    losses = train(model, known, options.steps)
    expected = forecast(model, known[-120:], len(future) if options.plot else 5)

    def figure():
        picture, place = pyplot.subplots(figsize=(10, 3))
        place.plot(range(400, 600), data[400:].numpy(), color="silver", label="what happened")
        place.plot(range(500, 600), expected.numpy(), label="forecast")
        place.axvline(500, color="black", linewidth=0.5)
        place.legend(loc="lower left")
        return picture

    finish(options, losses, figure)
    print(f"mean error of the forecast: {F.l1_loss(expected, future[: len(expected)]).item():.3f}")


if __name__ == "__main__":
    main()
