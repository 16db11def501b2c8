"""Reductions: the defined order, whatever the layout, threads and batch; right at special values."""

import numpy as np
import pytest

import lazytorch as torch
from lazytorch.config import config
from lazytorch.ir.accumulation import reduce_in_order


@pytest.mark.parametrize("count", [1, 5, 63, 64, 65, 1000, 4096, 4097, 20_000, 300_001])
def test_a_row_alone_has_the_bits_of_the_row_in_a_batch(count: int) -> None:
    rng = np.random.default_rng(count)
    x = rng.standard_normal((3, count)).astype(np.float32)
    rows = torch.tensor(x).sum(1).numpy()
    alone = np.array([torch.tensor(row).sum().item() for row in x], np.float32)
    with config(num_threads=1, target="x86-64-v3"):
        narrow = torch.tensor(x).sum(1).numpy()
    assert rows.tobytes() == alone.tobytes() == narrow.tobytes()
    exact = x.astype(np.float64).sum(1)
    assert np.abs(rows - exact).max() <= 1e-6 * np.abs(x).sum(1).max()


@pytest.mark.parametrize("shape", [(7, 5), (100, 33), (5000, 3), (2, 300, 17)])
def test_columns_are_summed_whatever_the_strides(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    t = torch.tensor(x)
    np.testing.assert_allclose(t.sum(0).numpy(), x.astype(np.float64).sum(0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(t.transpose(0, 1).sum(0).numpy(), x.astype(np.float64).sum(1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 40), (65, 1030), (9000, 3), (300_000, 2), (2, 4100, 17)])
def test_columns_have_the_bits_of_the_defined_order(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    dim = len(shape) - 2
    want = reduce_in_order(x, (dim,), np.add, 0.0)
    for settings in ({"num_threads": 1}, {"num_threads": 3}, {"target": "x86-64-v3"}):
        with config(**settings):
            assert torch.tensor(x).sum(dim).numpy().tobytes() == want.tobytes()


def test_extremes_keep_nan_and_find_the_first() -> None:
    x = torch.tensor([[1.0, float("nan"), 3.0], [2.0, 2.0, float("-inf")]])
    assert np.isnan(x.max().item())
    assert x.argmax(1).tolist() == [1, 0]
    assert x.argmin(1).tolist() == [1, 2]
    assert (x > 1).any(1).tolist() == [True, True]
    assert torch.ones(0, 3).sum(0).tolist() == [0.0, 0.0, 0.0]


def test_a_value_that_reads_its_sibling_through_views_is_not_computed_with_it() -> None:
    x = torch.arange(16.0).reshape(4, 4)
    a = x.t() + 1
    b = a.reshape(-1).flip(0).reshape(4, 4).t() * 2
    both = a.tolist(), b.tolist()
    want = np.arange(16.0).reshape(4, 4).T + 1
    assert both[0] == want.tolist()
    assert both[1] == (want.reshape(-1)[::-1].reshape(4, 4).T * 2).tolist()


def test_dimensions_of_size_one_may_lie_anywhere_among_the_reduced_ones() -> None:
    x = np.arange(120.0, dtype=np.float32).reshape(1, 4, 5, 6)
    assert torch.tensor(x).sum((0, 2, 3)).tolist() == x.sum((0, 2, 3)).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8])
@pytest.mark.parametrize("shape", [(1,), (17,), (3, 100), (100, 3), (2, 33, 5)])
def test_the_first_extreme_is_found_in_whatever_lane_it_is(shape: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, shape).astype(dtype)
    odd = x.copy()
    if odd.dtype.kind == "f":
        odd[rng.random(shape) < 0.1] = np.nan
    for array in (x, odd, np.full_like(x, -3)):
        t = torch.tensor(array)
        for settings in ({}, {"target": "x86-64-v3", "num_threads": 1}):
            with config(**settings):
                for dim in range(len(shape)):
                    assert t.argmax(dim).tolist() == array.argmax(dim).tolist()
                    assert t.argmin(dim).tolist() == array.argmin(dim).tolist()


def test_the_order_of_halves_is_that_of_the_interpreter() -> None:
    x = (np.random.default_rng(3).standard_normal((5, 40)) * 3).astype(np.float16)
    for dim in (0, 1):
        with config(interpret=True):
            expected = torch.tensor(x).sum(dim).tolist()
        assert torch.tensor(x).sum(dim).tolist() == expected
