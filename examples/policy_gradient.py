"""REINFORCE learns to balance poles on carts: many at once, in a small simulation in NumPy.

python -m lazytorch run examples/policy_gradient.py       (or: python examples/policy_gradient.py, with PyTorch)
"""

import numpy as np
import torch
from matplotlib import pyplot
from running import finish, start
from torch import nn

POLES, LENGTH, DISCOUNT = 16, 60, 0.97


class Carts:
    """Carts that are pushed left or right, each with a pole that must not fall (the equations of Barto et al., 1983)."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)

    def reset(self):
        self.state = self.random.uniform(-0.05, 0.05, (4, POLES))  # place, speed, angle, turning speed
        return self.state

    def step(self, action):
        """Push with action 0 or 1 for 0.02 s; returns the state and which poles still stand."""
        _, speed, angle, turning = self.state
        push = np.where(action == 1, 10.0, -10.0)
        force = (push + 0.05 * turning**2 * np.sin(angle)) / 1.1
        swing = (9.8 * np.sin(angle) - np.cos(angle) * force) / (0.5 * (4 / 3 - 0.1 * np.cos(angle) ** 2 / 1.1))
        pull = force - 0.05 * swing * np.cos(angle) / 1.1
        self.state = self.state + 0.02 * np.stack([speed, pull, turning, swing])
        return self.state, (np.abs(self.state[0]) < 2.4) & (np.abs(self.state[2]) < 0.21)


def play(policy, carts):
    """One game of all carts: log-probabilities of the actions taken and whether each pole stood before, [time, pole]."""
    state, standing = carts.reset(), np.ones(POLES, dtype=bool)
    chances, alive = [], []
    for _ in range(LENGTH):
        logits = policy(torch.from_numpy(state.T).float()).log_softmax(dim=1)
        action = torch.multinomial(logits.detach().exp(), 1)
        chances.append(logits.gather(1, action).squeeze(1))
        alive.append(standing)
        state, upright = carts.step(action[:, 0].numpy())
        standing = standing & upright
    return torch.stack(chances), torch.from_numpy(np.stack(alive)).float()


def returns(alive):
    """Discounted number of steps that each pole will still stand, normalised over all of them."""
    total, values = torch.zeros(POLES), []
    for reward in alive.flip(0):
        total = reward + DISCOUNT * total
        values.append(total)
    values = torch.stack(values).flip(0)
    mean = (values * alive).sum() / alive.sum()
    deviation = ((values - mean) ** 2 * alive).sum().div(alive.sum()).sqrt()
    return (values - mean) / (deviation + 1e-6)


def train(policy, steps):
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    carts, losses, lengths = Carts(), [], []
    for _ in range(steps):
        chances, alive = play(policy, carts)
        loss = -(chances * returns(alive) * alive).sum() / alive.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        lengths.append(alive.sum().item() / POLES)
    return losses, lengths


def main():
    options = start(__doc__, steps=60)
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    losses, lengths = train(policy, options.steps)

    def figure():
        picture, place = pyplot.subplots(figsize=(7, 4))
        place.plot(lengths)
        place.set(xlabel="game", ylabel=f"steps until the pole falls (at most {LENGTH})")
        return picture

    finish(options, losses, figure)
    print(f"poles stand for {lengths[0]:.1f} steps at first, for {max(lengths):.1f} at best")


if __name__ == "__main__":
    main()
