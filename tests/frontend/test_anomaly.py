"""Anomaly detection: which function gave a nan, and where it was called."""

import warnings
from typing import Any

import pytest
import torch as oracle

import lazytorch


def _found(torch: Any, call: Any) -> tuple[str, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError) as raised, torch.autograd.detect_anomaly():
            call(torch, torch.tensor([0.0, 1.0], requires_grad=True)).backward()
    return str(raised.value), [
        str(each.message).partition("Traceback")[0] for each in caught if each.category is UserWarning
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda t, x: ((x * 0).sqrt() * 0).sum(),
        lambda t, x: (x / x.detach()[:1]).sum() * x.sum() * 0,
        lambda t, x: t.where(x > 0, x.log(), x * 0).mul(0.0).div(x * 0).sum(),
    ],
)
def test_the_function_whose_gradient_is_nan_is_named(call: Any) -> None:
    assert _found(lazytorch, call) == _found(oracle, call)


def test_the_warning_shows_the_forward_line() -> None:
    with lazytorch.autograd.set_detect_anomaly(True), pytest.warns(UserWarning, match=r"test_anomaly.py.*\n.*sqrt"):
        assert lazytorch.is_anomaly_enabled()
        x = lazytorch.zeros(2, requires_grad=True)
        with pytest.raises(RuntimeError, match="SqrtBackward0"):
            lazytorch.autograd.grad((x.sqrt() * 0).sum(), x)
    assert not lazytorch.is_anomaly_enabled()


def test_without_a_nan_gradients_are_what_they_are() -> None:
    x = lazytorch.tensor([1.0, 4.0], requires_grad=True)
    with lazytorch.autograd.set_detect_anomaly(True):
        x.sqrt().sum().backward()
    assert x.grad.tolist() == [0.5, 0.25]
