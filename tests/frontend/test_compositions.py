"""Elementwise compositions, windows and small methods against torch."""

from collections.abc import Callable

import pytest
import torch as oracle

import lazytorch
from tests.frontend.error_oracle import messages

INF, NAN = float("inf"), float("nan")


def odd(t):
    """Numbers at which elementwise functions are special."""
    return t.tensor([0.0, -0.0, 1.0, -1.0, 2.5, -2.5, INF, -INF, NAN, 1e-40, 0.5])


def pairs(t):
    """Every pair of them."""
    x = odd(t)
    return x.unsqueeze(1).expand(11, 11), x.expand(11, 11)


CALLS = {
    "signs": lambda t: (
        t.signbit(odd(t)),
        t.signbit(t.tensor([-3, 2])),
        t.copysign(*pairs(t)),
        t.copysign(t.arange(3), -1.0),
    ),
    "infinities": lambda t: (t.isposinf(odd(t)), t.isneginf(odd(t)), t.isreal(odd(t)), t.isposinf(t.arange(3))),
    "frac": lambda t: (t.frac(t.tensor([1.5, -1.5, 2.0])), t.tensor([2.25]).frac_()),
    "fmax and fmin": lambda t: (t.fmax(*pairs(t)), t.fmin(*pairs(t)), t.fmax(t.arange(3), t.tensor(1))),
    "heaviside": lambda t: (t.heaviside(*pairs(t)), t.heaviside(t.tensor([-1, 0, 2]), t.tensor([5]))),
    "degrees": lambda t: (t.rad2deg(t.rand(4)), t.deg2rad(t.arange(3)), t.rand(3).rad2deg_()),
    "ldexp": lambda t: (t.ldexp(t.rand(4), t.tensor([1, -2, 0, 10])), t.ldexp(t.tensor([1.5]), t.tensor(3))),
    "float_power": lambda t: (
        t.float_power(t.arange(4), 2),
        t.float_power(t.tensor([2.0]), t.tensor([0.5])),
        t.float_power(2, t.arange(3)),
    ),
    "gcd and lcm": lambda t: (
        t.gcd(t.tensor([12, -8, 0]), t.tensor([18, 12, 0])),
        t.lcm(t.tensor([[4], [6]]), t.tensor([10, -15])),
    ),
    "logarithms of sums": lambda t: (
        t.logaddexp(*pairs(t)),
        t.logaddexp2(t.rand(5) * 90, t.rand(5)),
        t.logaddexp(t.rand(3), t.tensor(INF)),
    ),
    "logit": lambda t: (t.logit(t.tensor([0.0, 0.2, 1.0, 1.5])), t.logit(t.tensor([0.0, 0.2, 1.0]), eps=1e-3)),
    "sinc": lambda t: t.sinc(t.tensor([0.0, 0.5, 1.25, -2.3])),
    "xlogy": lambda t: (t.xlogy(*pairs(t)), t.xlogy(t.arange(3), 2.0), t.xlogy(2.0, t.rand(3))),
    "nextafter": lambda t: (t.nextafter(*pairs(t)), t.nextafter(t.rand(3).double(), t.ones(3).double())),
    "positive and conj": lambda t: (
        t.positive(odd(t)),
        t.conj(odd(t)),
        t.real(odd(t)),
        t.angle(odd(t)),
        t.angle(t.tensor([-1, 2])),
    ),
    "functions of networks": lambda t: (
        t.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), t.rand(3), padding=1),
        t.conv_transpose2d(t.rand(1, 2, 3, 3), t.rand(2, 3, 2, 2), stride=2),
        t.layer_norm(t.rand(2, 4), (4,)),
        t.max_pool2d(t.rand(1, 1, 4, 4), 2),
        t.dropout(t.ones(3), 0.5, False),
        t.cosine_similarity(t.rand(2, 3), t.rand(2, 3)),
        t.selu(t.rand(3)),
        t.threshold(t.rand(4), 0.5, 0.0),
    ),
    "windows": lambda t: [
        getattr(t, f"{name}_window")(length, periodic)
        for name in ("hann", "hamming", "blackman", "bartlett", "kaiser")
        for length in (0, 1, 2, 9)
        for periodic in (True, False)
    ],
    "signal windows": lambda t: [
        getattr(t.signal.windows, name)(7, sym=sym)
        for name in [
            "bartlett",
            "blackman",
            "cosine",
            "exponential",
            "gaussian",
            "general_hamming",
            "hamming",
            "hann",
            "kaiser",
            "nuttall",
        ]
        for sym in (True, False)
    ],
    "options of windows": lambda t: (
        t.signal.windows.general_cosine(6, a=[0.5, 0.3, 0.2]),
        t.signal.windows.gaussian(5, std=0.9, dtype=t.float64),
        t.hamming_window(5, True, 0.5, 0.5),
        t.kaiser_window(5, False, beta=4.0),
    ),
    "writing functions": lambda t: (
        t.fill(t.ones(2), 3),
        t.fill_(t.ones(2), 2),
        t.zero_(t.ones(2)),
        t.ones(2).resize_as_(t.ones(3)).shape,
    ),
    "copies of views": lambda t: (t.t_copy(t.rand(2, 3)), t.unbind_copy(t.rand(2, 2)), t.narrow_copy(t.rand(4), 0, 1, 2)),
    "small methods": lambda t: (
        3 in t.arange(4),
        9 in t.arange(4),
        t.ones(2, 3).ndimension(),
        next(iter(reversed(t.arange(3)))),
        t.tensor([1.0, -2.0]).apply_(lambda v: v * 2),
        t.ones(1).double().new([1, 2]),
        t.ones(1).new(2, 3).shape,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(CALLS[name])


GRADIENTS = {
    "signs": lambda t, x: (t.copysign(x, -x.flip(0)), t.frac(x), t.positive(x)),
    "fmax and fmin": lambda t, x: (t.fmax(x, x.flip(0)), t.fmin(x, x.flip(1) * 2), t.fmax(x, x * 1)),
    "scalings": lambda t, x: (t.rad2deg(x), t.ldexp(x, t.tensor(2)), t.float_power(x.abs(), 1.5)),
    "logarithms of sums": lambda t, x: (t.logaddexp(x, x.flip(0)), t.logaddexp2(x, x * 2), t.logaddexp(x, x * 1)),
    "logit": lambda t, x: (t.logit(x.sigmoid()), t.logit(x, eps=0.2)),
    "sinc": lambda t, x: (t.sinc(x), t.sinc(x * 0)),
    "xlogy": lambda t, x: (t.xlogy(x, x.abs()), t.xlogy(x * 0, x.abs()), t.xlogy(x, 2.0)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(GRADIENTS[name], (4, 5))


def test_a_detached_tensor_has_no_history() -> None:
    for t in (oracle, lazytorch):
        x = t.ones(2, requires_grad=True) * 2
        assert x.detach_() is x
        assert not x.requires_grad
        with pytest.raises(RuntimeError, match="Can't detach views in-place"):
            (t.ones(4, requires_grad=True) * 2)[:2].detach_()


WRONG = {
    "positive of bools": lambda t: t.positive(t.tensor([True])),
    "frac of integers": lambda t: t.frac(t.arange(3)),
    "gcd of floats": lambda t: t.gcd(t.ones(1), t.ones(1)),
    "heaviside of two types": lambda t: t.heaviside(t.ones(1), t.ones(1).long()),
    "an integer window": lambda t: t.hann_window(3, dtype=t.int64),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_error_is_torchs(name: str) -> None:
    mine, theirs = messages(WRONG[name])
    assert mine[:20] == theirs[:20]
