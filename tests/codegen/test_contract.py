"""Contractions: one hash for every layout, target and number of threads; right against float64."""

import numpy as np
import pytest
import torch as oracle

import lazytorch as torch
from lazytorch.config import config

SIZES = [
    (1, 1, 1),
    (1, 100, 784),
    (5, 7, 3),
    (13, 32, 256),
    (64, 64, 64),
    (65, 33, 300),
    (200, 40, 513),
    (8, 257, 17),
    (3, 1, 600),
]


def products(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """The same product from operands that are stored in different ways."""
    x, y = torch.tensor(a), torch.tensor(b)
    x_columns, y_columns = torch.tensor(a.T.copy()).t(), torch.tensor(b.T.copy()).t()
    x_gaps = torch.tensor(np.repeat(a, 2, 1))[:, ::2]
    results = [x @ y, x @ y_columns, x_columns @ y, x_columns @ y_columns, x_gaps @ y, (y.t() @ x.t()).t()]
    results.append(torch.stack([x, x]).matmul(y)[1])
    return [np.ascontiguousarray(r.numpy()) for r in results]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m, n, k", SIZES)
def test_every_layout_target_and_thread_count_gives_the_same_bits(m: int, n: int, k: int, dtype: type) -> None:
    rng = np.random.default_rng(m + n + k)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    everything = products(a, b)
    with config(target="x86-64-v3"):
        everything += products(a, b)
    with config(num_threads=1):
        everything += products(a, b)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    bound = np.abs(a).astype(np.float64) @ np.abs(b) * np.finfo(dtype).eps * (k + 8)
    assert (np.abs(everything[0] - exact) <= bound).all()
    assert {r.tobytes() for r in everything} == {everything[0].tobytes()}


@pytest.mark.parametrize("k", [300, 784])
def test_a_row_has_the_same_bits_alone_and_among_others(k: int) -> None:
    """One row has a schedule of its own, and so have few rows; so have few columns, which are rows of the turned product."""
    torch.manual_seed(0)
    a, b = torch.randn(70, k), torch.randn(k, 90)
    turned = b.t().contiguous()
    whole = (a @ b).numpy()
    for rows in (1, 2, 3, 8, 13):
        for other in (b, turned.t()):
            assert (a[:rows] @ other).numpy().tobytes() == whole[:rows].tobytes()
            assert (a @ other[:, :rows]).numpy().tobytes() == np.ascontiguousarray(whole[:, :rows]).tobytes()


@pytest.mark.parametrize("m, n, k", [(1, 1, 70_000), (3, 20, 5000), (13, 32, 20_000)])
def test_a_long_sum_is_divided_among_threads_without_changing_it(m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(0)
    a, b, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((k, m), (n, k), (n,)))
    results = []
    for threads in (1, 2, 7):
        with config(num_threads=threads):
            y = torch.relu(torch.tensor(a).t() @ torch.tensor(b).t() + torch.tensor(bias))
            assert torch.dump(y, stage="fused").count("fused.kernel") == 1
            results.append(y.numpy())
    exact = np.maximum(a.T.astype(np.float64) @ b.T.astype(np.float64) + bias, 0)
    bound = np.abs(a.T) @ np.abs(b.T) * np.finfo(np.float32).eps * 300
    assert (np.abs(results[0] - exact) <= bound + 1e-6).all()
    assert {y.tobytes() for y in results} == {results[0].tobytes()}


@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8", "uint8", "int16"])
@pytest.mark.parametrize("shape", [(3, 70, 600), (40, 20, 300)])
def test_short_types_accumulate_in_32_bits(name: str, shape: tuple[int, int, int]) -> None:
    """Floats are rounded once at the end, as torch does; integers wrap around as if they always had."""
    m, n, k = shape
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-20, 20, size) for size in ((m, k), (k, n)))
    ours = torch.tensor(a).to(getattr(torch, name)) @ torch.tensor(b).to(getattr(torch, name))
    theirs = oracle.tensor(a).to(getattr(oracle, name)) @ oracle.tensor(b).to(getattr(oracle, name))
    assert ours.dtype is getattr(torch, name)
    assert ours.double().tolist() == theirs.double().tolist()
    doubled = (ours * 2).double()  # an epilogue computes on rounded numbers
    assert doubled.tolist() == (theirs * 2).double().tolist()


def test_the_epilogue_has_the_bits_of_the_separate_operations() -> None:
    torch.manual_seed(0)
    a, b, bias, other = torch.randn(65, 300), torch.randn(300, 77), torch.randn(77), torch.randn(65, 77)
    fused = torch.relu(a @ b + bias) * other
    with config(fuse=False):
        product = (a @ b).realize()
        separate = (torch.relu((product + bias).realize()).realize() * other).realize()
    assert fused.numpy().tobytes() == separate.numpy().tobytes()


def test_integers_are_exact_and_empty_sums_are_zero() -> None:
    a, b = torch.arange(12).reshape(3, 4), torch.arange(20).reshape(4, 5)
    assert (a @ b).tolist() == (np.arange(12).reshape(3, 4) @ np.arange(20).reshape(4, 5)).tolist()
    assert (torch.ones(2, 0) @ torch.ones(0, 3)).tolist() == [[0.0] * 3] * 2
    assert (torch.ones(0, 2) @ torch.ones(2, 3)).shape == (0, 3)
    apart = torch.ones(1, 0, 2, 2)  # summed dimensions without a common stride
    assert torch.einsum("abcd,abcd->c", apart, apart).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("equation", ["aibk,bakj->abij", "iakb,ajkb->abij", "abk,kc->cab", "ab,cd->dbca", "abc,cb->a"])
def test_every_order_of_letters_gives_einsums_result(equation: str) -> None:
    sizes = dict(zip("abcdijk", (2, 3, 4, 5, 6, 7, 8), strict=True))
    rng = np.random.default_rng(0)
    operands = [rng.standard_normal([sizes[x] for x in term]) for term in equation.split("->")[0].split(",")]
    got = torch.einsum(equation, *[torch.tensor(x) for x in operands])
    np.testing.assert_allclose(got.numpy(), np.einsum(equation, *operands), rtol=1e-12, atol=1e-12)


def test_a_result_that_the_epilogue_reads_turned_over_is_no_epilogue() -> None:
    a, b = torch.rand(16, 16), torch.rand(16, 16)
    doubled = a @ b * 2
    turned = doubled.t() + 1
    assert np.array_equal(turned.numpy(), doubled.numpy().T + 1)
    np.testing.assert_allclose(doubled.numpy(), 2 * (a.numpy() @ b.numpy()), rtol=1e-5)
