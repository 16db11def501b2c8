"""What fusion puts into a kernel."""

from __future__ import annotations

import re

import lazytorch as torch


def operations_of_kernels(text: str) -> list[int]:
    """How many operations each fused.kernel of a program's text has."""
    bodies = re.findall(r"fused\.kernel(.*?)fused\.yield", text, flags=re.DOTALL)
    return [len(re.findall(r"\b(?:arith|math)\.\w+", body)) for body in bodies]


def recurrence(steps: int) -> torch.Tensor:
    """The states of a recurrent cell, whose own chain is elementwise: c' = sigmoid(z) c + sigmoid(-z) tanh(z)."""
    weight, hidden, cell = torch.ones(16, 16), torch.ones(4, 16), torch.ones(4, 16)
    for _ in range(steps):
        z = hidden @ weight
        cell = torch.sigmoid(z) * cell + torch.sigmoid(-z) * torch.tanh(z)
        hidden = torch.tanh(cell) * torch.sigmoid(z * 2)
    return hidden


def test_the_kernels_of_a_recurrence_do_not_grow_with_its_length() -> None:
    short = operations_of_kernels(torch.dump(recurrence(6), stage="fused"))
    long = operations_of_kernels(torch.dump(recurrence(24), stage="fused"))
    assert max(long) == max(short) <= 24
    assert sum(long) <= 6 * sum(short)


def test_what_two_kernels_read_is_computed_twice_while_it_is_cheap() -> None:
    x, weight = torch.ones(4, 16), torch.ones(16, 16)
    y = torch.tanh(x * 2)
    text = torch.dump(((y * 3) @ weight) * y, stage="fused")
    assert text.count("math.tanh") == 2
