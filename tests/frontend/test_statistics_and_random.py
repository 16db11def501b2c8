"""Reductions of several results, sparse products and all forms of random numbers, against torch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch as oracle

import lazytorch

NAN = float("nan")

CALLS = {
    "aminmax": lambda t: (t.aminmax(t.rand(3, 4)), t.rand(3, 4).aminmax(dim=1, keepdim=True)),
    "var_mean": lambda t: (
        t.var_mean(t.rand(3, 4)),
        t.var_mean(t.rand(3, 4), 1, correction=0),
        t.std_mean(t.rand(9), False),
    ),
    "count_nonzero": lambda t: (t.count_nonzero(t.tensor([[0, 1], [2, 0]])), t.tensor([[0.0, 1], [2, 3]]).count_nonzero(0)),
    "nansum": lambda t: (
        t.nansum(t.tensor([1.0, NAN, 2.0])),
        t.tensor([[1.0, NAN], [NAN, NAN]]).nansum(1),
        t.arange(3).nansum(),
    ),
    "nanmean": lambda t: (t.nanmean(t.tensor([1.0, NAN, 2.0])), t.tensor([[1.0, NAN], [NAN, NAN]]).nanmean(1, keepdim=True)),
    "gradient": lambda t: (
        t.gradient(t.rand(4, 5)),
        t.gradient(t.rand(6), spacing=0.5, edge_order=2),
        t.gradient(t.rand(4, 5), spacing=[t.tensor([0.0, 1.0, 3.0, 4.0]), t.arange(0.0, 10.0, 2.0)], edge_order=2),
        t.gradient(t.arange(5) ** 2, dim=0),
    ),
    "sparse products": lambda t: _sparse(t),
    "rand": lambda t: (t.rand(3, 2), t.rand((2,), dtype=t.float64), t.rand_like(t.ones(4)), t.rand(20)),
    "randn": lambda t: (t.randn(3), t.randn(17), t.randn(2, 2, dtype=t.float64), t.randn_like(t.ones(3))),
    "randint": lambda t: (t.randint(5, (4,)), t.randint(-3, 3, (2, 2), dtype=t.int32), t.randint_like(t.ones(3), 9)),
    "randperm": lambda t: (t.randperm(10), t.randperm(4, dtype=t.int32)),
    "normal": lambda t: (
        t.normal(0.0, 2.0, (5,)),
        t.normal(t.arange(3.0), t.ones(3)),
        t.normal(t.arange(20.0), 0.5),
        t.normal(1.0, t.arange(1.0, 4.0)),
        t.normal(0.0, 1.0, (3,), dtype=t.float64),
    ),
    "filling": lambda t: (
        t.empty(5).uniform_(-1, 1),
        t.empty(5).uniform_(to=3),
        t.empty(20).normal_(std=3.0),
        t.empty(3).normal_(mean=2.0),
        t.empty(4).exponential_(2.0),
        t.empty(4).exponential_(lambd=0.5),
        t.empty(4).log_normal_(0.0, 0.5),
        t.empty(4).cauchy_(sigma=2.0),
        t.empty(4).geometric_(0.3),
        t.empty(5).random_(10),
        t.empty(5, dtype=t.int64).random_(2, 9),
    ),
    "bernoulli": lambda t: (
        t.bernoulli(t.full((6,), 0.4)),
        t.empty(6).bernoulli_(0.3),
        t.bernoulli(t.ones(4), 0.5),
        t.empty(4).bernoulli_(t.tensor([0.0, 1.0, 0.5, 0.5])),
    ),
    "multinomial": lambda t: (
        t.multinomial(t.tensor([1.0, 2.0, 3.0]), 5, replacement=True),
        t.multinomial(t.tensor([[1.0, 0.0, 3.0], [1.0, 1.0, 1.0]]), 2),
        t.rand(4, 10).multinomial(1),
        t.multinomial(t.rand(30), num_samples=10),
    ),
    "generators": lambda t: _generators(t),
    "distributions follow the seed": lambda t: (t.manual_seed(5), t.rand(2), t.manual_seed(5), t.rand(2))[1::2],
    "functions that write": lambda t: (
        t.sigmoid_(t.ones(2)),
        t.sin_(t.ones(2)),
        t.relu_(-t.ones(2)),
        t.clamp_(t.ones(2), max=0.5),
    ),
}


def _sparse(t):
    indices, values = t.tensor([[0, 1, 1, 0], [2, 0, 2, 2]]), t.tensor([3.0, 4.0, 5.0, 1.0])
    a, dense = t.sparse_coo_tensor(indices, values, (2, 3)), t.rand(3, 4)
    whole = a.coalesce()
    return (
        t.spmm(a, dense),
        t.sparse.mm(a, dense),
        a @ dense,
        t.mm(whole.to_dense(), dense),
        a.to_dense(),
        whole.indices(),
        whole.values(),
        t.sparse.FloatTensor(indices, values, t.Size([2, 3])).to_dense(),
        a.t().to_dense(),
        t.eye(3).to_sparse().values(),
        t.rand(4, 2) @ a,
        t.mm(a, dense),
        t.ones(2, 3, dtype=t.float64) + a,
        (a + a).to_dense(),
        (2 * a).to_dense(),
        t.spmm(t.eye(3), dense),
        a.shape,
        a.is_sparse,
    )


def _generators(t):
    generator = t.Generator().manual_seed(7)
    state = generator.get_state()
    first = t.rand(3, generator=generator)
    generator.set_state(state)
    return first, t.rand(3, generator=generator), t.randperm(5, generator=generator), generator.initial_seed()


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    # Random numbers are the same bits; only log_normal and cauchy go through the C library.
    same_as_torch(CALLS[name], rtol=1e-6, atol=1e-7)


GRADIENTS = {
    "aminmax": lambda t, x: t.aminmax(x, dim=1),
    "var_mean": lambda t, x: (*t.var_mean(x, 0), *t.std_mean(x)),
    "nansum and nanmean": lambda t, x: (t.nansum(t.where(x > 0, x, NAN), 1), t.nanmean(t.where(x > 0, x, NAN))),
    "prod": lambda t, x: (x.prod(), x.prod(1), (x * t.tensor([1.0, 0.0, 1.0, 1.0, 1.0])).prod(1), (x * 0).prod(0)),
    "prod with a zero": lambda t, x: (x[0] * t.tensor([1.0, 0.0, 1.0, 1.0, 1.0])).prod(),
    "gradient": lambda t, x: t.gradient(x, spacing=0.5, edge_order=2),
    "sparse product": lambda t, x: t.spmm(t.sparse_coo_tensor(t.tensor([[0, 2], [1, 3]]), t.tensor([2.0, 3.0]), (3, 4)), x),
    "normal": lambda t, x: t.normal(0.0, 1.0, (5,)) * x,
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(GRADIENTS[name], (4, 5))


def test_integers_and_bools_have_no_gradient() -> None:
    x = lazytorch.ones(3, requires_grad=True) * 2
    for y in (x.isnan(), x.long(), x > 0, x.argmax(), x.sort().indices, x.round().int()):
        assert not y.requires_grad


def test_values_of_a_sparse_matrix_get_a_gradient() -> None:
    results = []
    for t in (oracle, lazytorch):
        values = t.tensor([1.0, 2.0, 3.0], requires_grad=True)
        a = t.sparse_coo_tensor(t.tensor([[0, 1, 1], [0, 0, 1]]), values, (2, 2))
        t.spmm(a, t.tensor([[1.0, 2.0], [3.0, 4.0]])).square().sum().backward()
        results.append(values.grad.tolist())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)
