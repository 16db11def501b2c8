"""A neural ordinary differential equation learns the flow of a spiral from one path through it.

python -m lazytorch run examples/neural_ode.py       (or: python examples/neural_ode.py, with PyTorch)
"""

import torch
from matplotlib import pyplot
from running import finish, start
from torch import nn

STEP = 0.05


def integrate(flow, x, count):
    """The path from x in `count` steps of the classical Runge-Kutta method, [count + 1, *x.shape]."""
    path = [x]
    for _ in range(count):
        k1 = flow(x)
        k2 = flow(x + STEP / 2 * k1)
        k3 = flow(x + STEP / 2 * k2)
        k4 = flow(x + STEP * k3)
        x = x + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(x)
    return torch.stack(path)


def spiral(x):
    """The flow to be learned."""
    return x**3 @ torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])


def train(flow, path, steps, batch=32, ahead=5):
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        starts = torch.randint(len(path) - ahead, (batch,))
        wanted = path[starts + torch.arange(ahead + 1)[:, None]]
        loss = (integrate(flow, wanted[0], ahead) - wanted).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def main():
    options = start(__doc__, steps=800)
    path = integrate(spiral, torch.tensor([2.0, 0.0]), 400)
    flow = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
    losses = train(flow, path, options.steps)

    def figure():
        picture, place = pyplot.subplots(figsize=(6, 6))
        with torch.no_grad():
            ticks = torch.linspace(-2.2, 2.2, 24)
            grid = torch.cartesian_prod(ticks, ticks)
            place.quiver(*grid.t().numpy(), *nn.functional.normalize(flow(grid)).t().numpy(), color="silver", scale=40)
            followed = integrate(flow, path[0], 200)
        place.plot(*path[:201].t().numpy(), "k--", label="the spiral")
        place.plot(*followed.t().numpy(), label="learned")
        place.legend(loc="upper right")
        return picture

    finish(options, losses, figure)


if __name__ == "__main__":
    main()
