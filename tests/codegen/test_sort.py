"""The sort schedule: by bytes, by counting, by insertion; stable in both directions, nan the largest, -0.0 equal to 0.0."""

import numpy as np
import pytest
import torch as reference

import lazytorch as torch
from lazytorch.config import config
from lazytorch.ir.dialects import tensor_sort
from lazytorch.ops.recording import emit, result
from lazytorch.tensor import value

DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
LENGTHS = {"counted": 17, "whole vectors": 64, "by bytes": 200, "many": 3000}


def data(shape, dtype):
    rng = np.random.default_rng(0)
    x = reference.from_numpy(rng.standard_normal(shape).astype(np.float32) * 3)
    if dtype in ("int64", "int32", "int16"):
        return (x * 1000).to(getattr(reference, dtype))
    if dtype in ("int8", "uint8", "bool"):
        return x.to(reference.int8).to(getattr(reference, dtype))
    x = (x * 8).round() / 8  # many are equal
    x.view(-1)[::11], x.view(-1)[5::13], x.view(-1)[::17] = -0.0, 0.0, float("nan")
    x.view(-1)[3], x.view(-1)[7] = float("inf"), -float("inf")
    return x.to(getattr(reference, dtype))


def ours(x):
    return (
        torch.tensor(x.float().numpy()).to(getattr(torch, str(x.dtype)[6:]))
        if x.is_floating_point()
        else torch.tensor(x.numpy())
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", LENGTHS.values(), ids=list(LENGTHS))
def test_rows_are_sorted_as_torch_does(count, dtype):
    x = data((5, count), dtype)
    for settings in ({}, {"target": "x86-64-v3", "num_threads": 3}):
        with config(**settings):
            for descending in (False, True):
                want = reference.sort(x, dim=1, descending=descending, stable=True)
                got = torch.sort(ours(x), 1, descending, stable=True)
                assert got.indices.tolist() == want.indices.tolist()


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize(("count", "kept"), [(100, 1), (100, 7), (3000, 64), (3000, 65), (17, 2)])
def test_the_first_few_are_those_of_the_sorted_row(count, kept, dtype):
    x = data((4, count), dtype)
    for largest in (True, False):
        values, indices = torch.topk(ours(x), kept, 1, largest)
        want = reference.sort(x, dim=1, descending=largest, stable=True)
        assert indices.tolist() == want.indices[:, :kept].tolist()
        np.testing.assert_array_equal(values.float().numpy(), want.values[:, :kept].float().numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_sorted_as_they_are(dtype):
    x = data((3, 70), dtype)
    found = result(emit(tensor_sort.argsort, value(ours(x)), descending=False, count=-1))
    assert found.tolist() == reference.sort(x, dim=1, stable=True).indices.tolist()


def test_large_doubles_and_integers_differ_in_their_last_byte():
    x = np.array([2**62 + 1, 2**62, -(2**63), 2**63 - 1, -1, 0, 1] * 20)
    assert torch.tensor(x).argsort(stable=True).tolist() == np.argsort(x, kind="stable").tolist()
    y = np.nextafter(np.full(70, 1e300), np.inf) - np.arange(70) % 3 * 1e284
    assert torch.tensor(y).argsort(stable=True).tolist() == np.argsort(y, kind="stable").tolist()
