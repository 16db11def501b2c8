"""Sorting, searching, counting and running sums against torch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch as oracle

import lazytorch
from lazytorch.config import config
from tests.frontend.error_oracle import messages

NAN, INF = float("nan"), float("inf")


def holes(t):
    """Numbers with nan, infinities and equal elements."""
    return t.tensor([[1.0, NAN, 3.0, -INF, 1.0], [2.0, 2.0, -0.0, 0.0, INF], [NAN, NAN, 5.0, 4.0, NAN]])


CALLS = {
    "cumsum of integers": lambda t: (t.arange(6).reshape(2, 3).cumsum(0), t.tensor([True, True]).cumsum(0)),
    "cumsum of narrow types": lambda t: (t.rand(50).half().cumsum(0), t.rand(50).bfloat16().cumsum(0)),
    "cumsum with a dtype": lambda t: t.cumsum(t.rand(4), 0, dtype=t.float64),
    "cumsum with axis": lambda t: t.cumsum(t.rand(4, 2), axis=1),
    "cumsum of nothing": lambda t: (t.zeros(0, 3).cumsum(0), t.tensor(3.0).cumsum(0)),
    "cumsum in place": lambda t: t.ones(4).cumsum_(0),
    "cumprod with nan": lambda t: holes(t).cumprod(1),
    "cumprod of integers": lambda t: t.cumprod(t.arange(1, 6), axis=0),
    "cummax": lambda t: (t.cummax(holes(t), 1), t.cummin(holes(t), 0), t.cummax(t.tensor([1, 3, 3, 2]), 0)),
    "logcumsumexp": lambda t: t.logcumsumexp(t.tensor([-INF, 800.0, 2.0, 801.0, -INF]), 0),
    "diff": lambda t: (t.diff(t.arange(7) ** 2, n=2), t.diff(t.tensor([True, False]), prepend=t.tensor([True]))),
    "trapezoid": lambda t: (t.trapezoid(t.rand(3, 4), dx=0.5), t.trapz(t.rand(3, 4), t.rand(4))),
    "cumulative_trapezoid": lambda t: t.cumulative_trapezoid(t.rand(3, 4), t.rand(3, 4), dim=0),
    "sort": lambda t: (t.sort(holes(t), dim=-1, stable=True), holes(t).sort(dim=0, descending=True, stable=True)),
    "sort of integers": lambda t: t.sort(t.randint(0, 5, (3, 40)), dim=1, descending=True, stable=True),
    "sort of bools": lambda t: t.tensor([True, False, True]).sort(dim=0, stable=True),
    "sort of narrow types": lambda t: (t.rand(20).half().sort(), t.tensor([3, 1], dtype=t.uint8).sort()),
    "sort of a long row": lambda t: t.sort(t.rand(5000)),
    "sort of nothing": lambda t: (t.sort(t.zeros(0)), t.sort(t.tensor(2.0)), t.sort(t.zeros(2, 0, 3), 1)),
    "argsort": lambda t: t.argsort(t.rand(4, 5), 0, descending=True),
    "msort": lambda t: t.msort(t.rand(4, 5)),
    "topk": lambda t: (t.topk(t.rand(4, 9), 3, dim=1), t.topk(t.rand(9), k=2, largest=False), t.rand(4, 2).topk(4, 0)),
    "topk of a long row": lambda t: (
        t.topk(t.rand(3, 700), 20),
        t.topk(t.arange(900) % 7, 5)[0],
        t.rand(600, 4).topk(9, 0, largest=False),
    ),
    "topk with nan": lambda t: t.topk(t.tensor([1.0, NAN, 3.0]), 2).values,
    "kthvalue": lambda t: (t.kthvalue(t.rand(5, 7), 3), t.kthvalue(t.rand(5, 7), 2, 0, True)),
    "median": lambda t: (t.rand(7, 4).median(), t.rand(7, 4).median(1), t.median(holes(t), 1, True).values),
    "median of integers": lambda t: (t.median(t.tensor([4, 2, 9, 1])), t.median(t.tensor([[4, 2, 9]]), dim=0)),
    "nanmedian": lambda t: (t.nanmedian(holes(t), 1).values, t.nanmedian(holes(t))),
    "mode": lambda t: (t.mode(t.tensor([[3, 1, 1, 3, 2], [0, 0, 4, 4, 4]])).values, t.mode(t.tensor([0, 5]))[0]),
    "quantile": lambda t: (t.quantile(t.rand(5, 6), 0.3), t.quantile(t.rand(5, 6), t.tensor([0.1, 0.9]), 1, True)),
    "quantile with nan": lambda t: (t.quantile(holes(t)[:1], 0.5, 1), t.nanquantile(holes(t)[::2], 0.5, 1)),
    "quantile interpolation": lambda t: [
        t.quantile(t.arange(8.0), 0.4, interpolation=kind) for kind in ("lower", "higher", "nearest", "midpoint")
    ],
    "quantile keepdim": lambda t: (
        t.quantile(t.rand(5, 6), 0.5, keepdim=True),
        t.quantile(t.rand(2, 3, 4), t.tensor([0.2, 0.4]), 1),
    ),
    "searchsorted": lambda t: (
        t.searchsorted(t.tensor([1, 3, 5, 5]), t.tensor([[0, 5], [3, 9]])),
        t.searchsorted(t.tensor([1.0, 3.0]), 3, right=True),
        t.searchsorted(t.tensor([[1, 2], [3, 4]]), t.tensor([[2], [2]]), side="right", out_int32=True),
        t.searchsorted(t.zeros(0), t.ones(2)),
    ),
    "searchsorted with nan": lambda t: t.searchsorted(t.tensor([1.0, 2.0, NAN]), t.tensor([NAN, INF, -INF])),
    "bucketize": lambda t: t.bucketize(t.tensor([1.0, 7.0]), t.tensor([1, 3, 7]), right=True),
    "isin": lambda t: (t.isin(t.arange(6), t.tensor([4, 1, 1])), t.isin(t.arange(3), 2, invert=True)),
    "bincount": lambda t: (
        t.bincount(t.tensor([1, 4, 4])),
        t.bincount(t.tensor([0, 1, 1]), t.tensor([0.5, 1.0, 2.0]), minlength=4),
        t.tensor([2, 1]).bincount(t.tensor([1, 2])),
    ),
    "histc": lambda t: (t.histc(t.randn(200), 7), t.histc(t.tensor([1.0, 2.0, 9.0]), bins=4, min=0, max=4)),
    "histogram": lambda t: (
        t.histogram(t.randn(200), 7),
        t.histogram(t.rand(50), 4, range=(0.2, 0.8), density=True),
        t.histogram(t.tensor([1.0, 2.0, 3.0, 9.0]), t.tensor([1.0, 2.0, 3.0]), weight=t.tensor([1.0, 2.0, 4.0, 8.0])),
    ),
    "unique": lambda t: (
        t.unique(t.tensor([[3, 1], [2, 3]])),
        t.unique(t.tensor([3.0, 1.0, 3.0]), return_inverse=True, return_counts=True),
        t.tensor([[1, 2], [0, 5], [1, 2]]).unique(dim=0, return_counts=True, return_inverse=True),
    ),
    "unique_consecutive": lambda t: t.unique_consecutive(t.tensor([1, 1, 2, 1]), return_inverse=True, return_counts=True),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(CALLS[name])


GRADIENTS = {
    "cumsum": lambda t, x: t.cumsum(x, 0),
    "cumprod": lambda t, x: t.cumprod(x, 1),
    "cumprod with zeros": lambda t, x: t.cumprod(x * t.tensor([1.0, 0.0, 1.0, 0.0, 1.0]), 1),
    "cummax": lambda t, x: t.cummax(x, 1).values + t.cummin(x, 0).values,
    "logcumsumexp": lambda t, x: t.logcumsumexp(x, 1),
    "diff": lambda t, x: t.diff(x, dim=0),
    "trapezoid": lambda t, x: t.trapezoid(x, dim=0),
    "sort": lambda t, x: x.sort(0, descending=True).values,
    "msort": lambda t, x: t.msort(x),
    "topk": lambda t, x: x.topk(3).values,
    "kthvalue": lambda t, x: t.kthvalue(x, 2, 0).values,
    "median": lambda t, x: (x.median(), x.median(1).values, x.nanmedian(0).values),
    "mode": lambda t, x: t.mode(x.round(), 1).values * x.sum(),
    "quantile": lambda t, x: (t.quantile(x, 0.35, 1), t.quantile(x, t.tensor([0.1, 0.6]))),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(GRADIENTS[name], (4, 5))


WRONG = {
    "k too large": lambda t: t.topk(t.ones(2), 5),
    "kth too large": lambda t: t.kthvalue(t.ones(3), 5),
    "cumsum along no dimension": lambda t: t.cumsum(t.ones(2), 2),
    "bincount of floats": lambda t: t.bincount(t.ones(2)),
    "bincount of negatives": lambda t: t.bincount(t.tensor([-1])),
    "searchsorted of other rows": lambda t: t.searchsorted(t.zeros(2, 3), t.zeros(3, 3)),
    "quantile of integers": lambda t: t.quantile(t.arange(3), 0.5),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_error_is_torchs(name: str) -> None:
    mine, theirs = messages(WRONG[name])
    assert mine[:40] == theirs[:40]


def test_results_of_several_tensors_print_as_torchs() -> None:
    for call in (lambda t: t.sort(t.arange(3.0)), lambda t: t.ones(2, 3).max(1), lambda t: t.topk(t.arange(4), 2)):
        assert repr(call(lazytorch)) == repr(call(oracle))


def test_scans_and_sorts_have_the_same_bits_whatever_threads_and_fusion() -> None:
    x = np.random.default_rng(0).standard_normal((37, 300)).astype(np.float32)

    def outcome() -> bytes:
        t = lazytorch.tensor(x)
        parts = [t.cumsum(0), t.cumsum(1), t.cumprod(1), t.sort(1)[1], t.sort(0)[0]]
        return b"".join([part.numpy().tobytes() for part in parts])

    usual = outcome()
    for settings in ({"fuse": False}, {"num_threads": 1}, {"num_threads": 2}, {"target": "x86-64-v3"}, {"interpret": True}):
        with config(**settings):
            assert outcome() == usual, settings


def test_a_running_sum_is_torchs_bit_for_bit() -> None:
    x = np.random.default_rng(1).standard_normal(10_000).astype(np.float32)
    assert lazytorch.tensor(x).cumsum(0).numpy().tobytes() == oracle.tensor(x).cumsum(0).numpy().tobytes()
