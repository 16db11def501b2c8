"""Rows of tables: one call on torch and on lazytorch, compared in values, element types, shapes and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch as oracle

import lazytorch


def _tensors(outcome: Any) -> Iterator[Any]:
    """The tensors of a result, in order; what is no tensor (a number, a size) is compared as it is."""
    if isinstance(outcome, tuple | list) and not isinstance(outcome, oracle.Size | lazytorch.Size):
        for item in outcome:
            yield from _tensors(item)
    else:
        yield outcome


def _call(t: Any, call: Callable[..., Any], shape: tuple[int, ...] | None) -> tuple[list[Any], Any]:
    t.manual_seed(11)
    x = t.randn(shape).requires_grad_() if shape is not None else None
    outcome = list(_tensors(call(t) if x is None else call(t, x)))
    if x is not None:
        parts = [y for y in outcome if y.dtype.is_floating_point and y.requires_grad]
        # Fixed weights, so that no part of a gradient is lost in a sum that is constant.
        total = sum((y * t.linspace(0.5, 1.5, y.numel()).reshape(y.shape)).sum() for y in parts)
        total.backward()
    return outcome, None if x is None else x.grad


def _compare(got: Any, want: Any, rtol: float, atol: float) -> None:
    if not isinstance(want, oracle.Tensor):
        assert got == want or (got != got and want != want)
        return
    assert tuple(got.shape) == tuple(want.shape)
    assert got.dtype.torch_name == str(want.dtype).removeprefix("torch.")
    assert got.requires_grad == want.requires_grad
    have, exact = (np.asarray(x.detach().tolist()) for x in (got, want))
    np.testing.assert_allclose(have, exact, rtol=rtol, atol=atol, equal_nan=True)


@pytest.fixture
def same_as_torch() -> Callable[..., None]:
    """check(call) for `call(t)`, or check(call, shape) for `call(t, x)` with a random x that gradients flow to."""

    def check(
        call: Callable[..., Any], shape: tuple[int, ...] | None = None, rtol: float = 2e-5, atol: float = 2e-6
    ) -> None:
        (want, want_gradient), (got, gradient) = _call(oracle, call, shape), _call(lazytorch, call, shape)
        assert len(got) == len(want)
        for have, exact in zip(got, want, strict=True):
            _compare(have, exact, rtol, atol)
        if shape is not None:
            np.testing.assert_allclose(gradient.numpy(), want_gradient.numpy(), rtol=10 * rtol, atol=10 * atol)

    return check
