"""Checkpointed parts of networks: the same values, gradients and random numbers as without, and as torch's."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import pytest
import torch as oracle

import lazytorch

importlib.import_module("torch.utils.checkpoint")


def run(torch: Any, wrap: Any) -> list[np.ndarray]:
    """Loss and gradients of a network with dropout, some of it wrapped."""
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.4), torch.nn.Tanh())
    head = torch.nn.Linear(8, 1)
    x = torch.randn(6, 3, requires_grad=True)
    scale = torch.nn.Parameter(torch.tensor(1.5))

    def part(y: Any, factor: float) -> Any:
        return body(y) * scale * factor

    hidden = wrap(part, x * 2, 0.5)
    loss = (head(hidden) ** 2).mean()
    loss.backward()
    values = [loss, x.grad, scale.grad, torch.rand(2), *[p.grad for p in (*body.parameters(), *head.parameters())]]
    return [np.asarray(v.detach().numpy()) for v in values]


def plain(function: Any, *arguments: Any) -> Any:
    """Without a checkpoint."""
    return function(*arguments)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_part_gives_the_gradients_it_gives_without(reentrant: bool) -> None:
    def wrap(torch: Any) -> Any:
        return lambda function, *given: torch.utils.checkpoint.checkpoint(function, *given, use_reentrant=reentrant)

    mine, unwrapped = run(lazytorch, wrap(lazytorch)), run(lazytorch, plain)
    for a, b, c in zip(mine, unwrapped, run(oracle, wrap(oracle)), strict=True):
        assert np.array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-6)


def test_parameters_get_gradients_though_no_input_wants_one() -> None:
    layer = lazytorch.nn.Linear(2, 2)
    x = lazytorch.ones(1, 2)
    lazytorch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).sum().backward()
    assert layer.weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad"):
        out = lazytorch.utils.checkpoint.checkpoint(layer, x, use_reentrant=True)
    assert not out.requires_grad


def test_a_sequence_is_checkpointed_in_segments() -> None:
    results = []
    for torch in (lazytorch, oracle):
        torch.manual_seed(1)
        layers = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(5)])
        x = torch.randn(2, 3, requires_grad=True)
        torch.utils.checkpoint.checkpoint_sequential(layers, 2, x, use_reentrant=False).square().sum().backward()
        results.append([np.asarray(v.numpy()) for v in (x.grad, *[p.grad for p in layers.parameters()])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_wrong_options_raise_as_in_torch() -> None:
    for torch in (lazytorch, oracle):
        x = torch.ones(1, requires_grad=True)
        with pytest.raises(ValueError, match="Unexpected keyword arguments: factor"):
            torch.utils.checkpoint.checkpoint(lambda y, factor: y * factor, x, use_reentrant=True, factor=2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.utils.checkpoint.checkpoint(lambda y: y * 2, x)
        assert "use_reentrant parameter should be passed explicitly" in str(caught[0].message)
