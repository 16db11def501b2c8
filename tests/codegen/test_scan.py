"""The scan schedule: an element's chain is the same in squares of rows, in strips and alone, whatever is around it."""

import numpy as np
import pytest

import lazytorch as torch
from lazytorch.config import config

SHAPES = {
    "squares with what is left": ((19, 37), 1),
    "whole squares": ((16, 64), 1),
    "few rows": ((2, 100), 1),
    "short rows": ((100, 5), 1),
    "along columns": ((37, 70), 0),
    "wide strips": ((5, 3000), 0),
    "in the middle": ((3, 40, 7), 1),
    "one long row": ((5000,), 0),
}
SETTINGS = ({}, {"num_threads": 1}, {"num_threads": 3}, {"fuse": False}, {"target": "x86-64-v3"})


def data(shape, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    x.reshape(-1)[:3] = -0.0, np.inf, -0.0
    return x


@pytest.mark.parametrize(("shape", "dim"), SHAPES.values(), ids=list(SHAPES))
def test_running_numbers_have_the_bits_of_numpy(shape, dim):
    x, odd = data(shape), data(shape)
    odd.reshape(-1)[::23] = np.nan
    whole = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    for settings in SETTINGS:
        with config(**settings):
            a = torch.tensor(x)
            with np.errstate(all="ignore"):
                want = np.cumsum((x * 2).astype(np.float64), dim).astype(np.float32) + np.float32(1)
                exact = np.cumprod(x.astype(np.float64), dim)
            assert ((a * 2).cumsum(dim) + 1).numpy().tobytes() == want.tobytes()
            np.testing.assert_array_equal(a.double().cumprod(dim).numpy(), exact)
            np.testing.assert_array_equal(torch.tensor(odd).cummax(dim)[0].numpy(), np.maximum.accumulate(odd, dim))
            np.testing.assert_array_equal(torch.tensor(whole).cummin(dim)[0].numpy(), np.minimum.accumulate(whole, dim))


@pytest.mark.parametrize(("shape", "dim"), [((19, 37), 1), ((37, 19), 0), ((400,), 0)])
def test_a_scan_reads_through_views_and_is_read_by_several(shape, dim):
    x = data(shape)
    with np.errstate(all="ignore"):
        want = np.cumsum(np.flip(x, dim).astype(np.float64), dim).astype(np.float32)
    for settings in SETTINGS:
        with config(**settings):
            running = torch.tensor(x).flip(dim).cumsum(dim)
            both = running * 2, running.abs()
            np.testing.assert_array_equal(both[0].numpy(), want * 2)
            np.testing.assert_array_equal(both[1].numpy(), np.abs(want))
