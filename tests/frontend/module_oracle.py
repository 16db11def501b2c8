"""Builds a module in torch and in lazytorch under one seed and compares everything one can see of it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch as oracle

import lazytorch


def tensors_of(value: Any) -> list[Any]:
    """The tensors in nested sequences (and packed sequences), in order."""
    if hasattr(value, "batch_sizes"):
        return [value.data]
    if isinstance(value, tuple | list):
        return [x for part in value for x in tensors_of(part)]
    return [value] if hasattr(value, "requires_grad_") else []


def numbers_of(x: Any) -> np.ndarray:
    """The elements as an array."""
    return np.asarray(x.detach().numpy())


def same(mine: Any, theirs: Any, tolerance: float, what: str) -> None:
    """Equal shapes and dtypes, close numbers."""
    assert str(mine.dtype) == str(theirs.dtype), what
    assert tuple(mine.shape) == tuple(theirs.shape), what
    np.testing.assert_allclose(numbers_of(mine), numbers_of(theirs), rtol=tolerance, atol=tolerance, err_msg=what)


def _run(torch: Any, build: Any, inputs: Any, training: bool) -> dict[str, Any]:
    torch.manual_seed(1)
    module = build(torch)
    module.train(training)
    initial = {name: numbers_of(x).copy() for name, x in module.state_dict().items()}
    arguments = inputs(torch)
    leaves = [x.requires_grad_() for x in tensors_of(arguments) if x.is_floating_point()]
    torch.manual_seed(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = module(*arguments)
    results = tensors_of(out)
    total = torch.zeros(())
    for x in results:
        if x.is_floating_point() and x.requires_grad:
            total = total + (x * torch.arange(x.numel()).reshape(x.shape).to(x.dtype).sin()).sum()
    if total.requires_grad:
        total.backward()
    return {
        "repr": repr(module),
        "initial": initial,
        "final": dict(module.state_dict().items()),
        "results": results,
        "input gradients": [x.grad for x in leaves],
        "parameter gradients": {name: p.grad for name, p in module.named_parameters()},
    }


def compare_module(build: Any, inputs: Any, training: bool, tolerance: float = 2e-5) -> None:
    """The same text, initial state (bit for bit), outputs, buffers afterwards, and gradients."""
    mine, theirs = (_run(torch, build, inputs, training) for torch in (lazytorch, oracle))
    assert mine["repr"] == theirs["repr"]
    assert list(mine["initial"]) == list(theirs["initial"])
    for name, x in theirs["initial"].items():
        assert np.array_equal(mine["initial"][name], x), f"initial {name}"
    assert len(mine["results"]) == len(theirs["results"])
    for number, (x, y) in enumerate(zip(mine["results"], theirs["results"], strict=True)):
        same(x, y, tolerance, f"output {number}")
    for name, y in theirs["final"].items():
        same(mine["final"][name], y, tolerance, f"{name} afterwards")
    gradients = [
        (f"gradient of input {number}", x, y)
        for number, (x, y) in enumerate(zip(mine["input gradients"], theirs["input gradients"], strict=True))
    ]
    gradients += [(f"gradient of {k}", mine["parameter gradients"][k], y) for k, y in theirs["parameter gradients"].items()]
    for what, x, y in gradients:
        assert (x is None) == (y is None), what
        if y is not None:
            same(x, y, tolerance * 10, what)
