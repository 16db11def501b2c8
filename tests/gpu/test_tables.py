"""The tables of calls and modules that are compared with torch elsewhere, with `cuda` as the default device, and with the
CPU's random numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import lazytorch as torch
from lazytorch.config import config
from tests.frontend import (
    test_against_torch,
    test_compositions,
    test_functional,
    test_modules,
    test_shapes_and_indices,
    test_sorting_and_scans,
    test_statistics_and_random,
)

pytestmark = [pytest.mark.usefixtures("cuda"), pytest.mark.slow]

TABLES = (
    test_against_torch,
    test_shapes_and_indices,
    test_compositions,
    test_sorting_and_scans,
    test_statistics_and_random,
)
CALLS: dict[str, Any] = {
    f"{module.__name__.rpartition('.')[2]}: {name}": entry for module in TABLES for name, entry in module.CALLS.items()
}
CALLS |= {
    f"functional: {name}": lambda t, call=call: call(t, t.nn.functional) for name, call in test_functional.CALLS.items()
}
ON_THE_CPU = ("sparse",)
"""What has no form on a device."""


def _tensors(outcome: Any) -> Iterator[Any]:
    if isinstance(outcome, tuple | list):
        for item in outcome:
            yield from _tensors(item)
    else:
        yield outcome


def _numbers(outcome: Any) -> list[Any]:
    return [np.asarray(x.detach().cpu().tolist()) if isinstance(x, torch.Tensor) else str(x) for x in _tensors(outcome)]


def _called(call: Callable[..., Any], shape: tuple[int, ...] | None, device: str) -> list[Any]:
    with config(device=device, host_random=True):
        torch.manual_seed(11)
        if shape is None:
            return _numbers(call(torch))
        x = torch.randn(*shape).requires_grad_()
        outcome = list(_tensors(call(torch, x)))
        parts = [y for y in outcome if isinstance(y, torch.Tensor) and y.dtype.is_floating_point and y.requires_grad]
        if parts:
            sum((y * torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape)).sum() for y in parts).backward()
            outcome.append(x.grad)
        return _numbers(outcome)


BY_OTHER_BLOCKS = ("attention", "Transformer")
"""What runs in blocks of another size on a GPU, so that its sums round otherwise."""


def _same(name: str, got: list[Any], want: list[Any]) -> None:
    assert len(got) == len(want)
    for have, exact in zip(got, want, strict=True):
        if any(word.lower() in name.lower() for word in BY_OTHER_BLOCKS) and not isinstance(exact, str):
            np.testing.assert_allclose(have, exact, rtol=2e-5, atol=2e-6)
        else:
            np.testing.assert_array_equal(have, exact)


@pytest.mark.parametrize("name", [name for name in CALLS if not any(word in name for word in ON_THE_CPU)])
def test_a_call_gives_the_bits_of_the_cpu(name: str) -> None:
    entry = CALLS[name]
    call, shape = (entry[0], entry[1]) if isinstance(entry, tuple) else (entry, None)
    if not callable(call):
        call, shape = shape, call
    _same(name, _called(call, shape, "cuda"), _called(call, shape, "cpu"))


def _moved(value: Any, device: str, done: dict[int, Any]) -> Any:
    """The arguments on a device: what is one tensor stays one."""
    if hasattr(value, "to"):
        return done.setdefault(id(value), value.to(device))
    return type(value)(_moved(item, device, done) for item in value) if isinstance(value, tuple | list) else value


def _applied(text: str, device: str) -> list[Any]:
    torch.manual_seed(1)
    module = eval(f"nn.{text}", {"nn": torch.nn})
    arguments = test_modules.TABLE[text](torch)
    module, arguments = module.to(device), _moved(arguments, device, {})
    leaves = [x.requires_grad_() for x in _tensors(arguments) if isinstance(x, torch.Tensor) and x.is_floating_point()]
    torch.manual_seed(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with config(host_random=True):
            results = [x for x in _tensors(module(*arguments)) if isinstance(x, torch.Tensor)]
    parts = [x for x in results if x.is_floating_point() and x.requires_grad]
    if parts:
        sum(
            (x * torch.arange(x.numel(), device=x.device).reshape(x.shape).to(x.dtype).sin()).sum() for x in parts
        ).backward()
    gradients = [x.grad for x in (*leaves, *module.parameters()) if x.grad is not None]
    return _numbers([*results, *gradients, *module.state_dict().values()])


@pytest.mark.parametrize("text", test_modules.TABLE)
def test_a_module_gives_the_bits_of_the_cpu(text: str) -> None:
    _same(text, _applied(text, "cuda"), _applied(text, "cpu"))
