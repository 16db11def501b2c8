"""Norms, solutions and factorisations against torch: values where they are unique, products where they are not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch as oracle

import lazytorch
from lazytorch.config import config

INF = float("inf")
ORDERS = (None, 1, -1, 2, -2, INF, -INF, "fro", "nuc")


def regular(t, *batch):
    """Well-conditioned matrices."""
    return t.rand(*batch, 4, 4) + 3 * t.eye(4)


def positive(x):
    """Symmetric and positive-definite."""
    return x @ x.transpose(-2, -1) + 0.5 * type(x).new_ones(x, x.shape[-2]).diag()


def uneven(t, x):
    """Square, with well separated eigenvalues."""
    return x[:, :4] * 0.1 + t.diag(t.tensor([1.0, 2.0, 4.0, 7.0]))


CALLS = {
    "vector norms": lambda t: [t.linalg.vector_norm(t.randn(3, 4), p) for p in (0, 0.5, 1, 2, 3.5, INF, -INF)],
    "vector norms over dimensions": lambda t: (
        t.linalg.vector_norm(t.randn(2, 3, 4), 3, dim=(0, 2), keepdim=True),
        t.linalg.norm(t.randn(3, 4), dim=1),
        t.linalg.norm(t.randn(6), 1),
        t.linalg.vector_norm(t.randn(3), dtype=t.float64),
    ),
    "matrix norms": lambda t: [t.linalg.norm(t.randn(3, 5), p) for p in ORDERS],
    "matrix norms of batches": lambda t: [
        t.linalg.matrix_norm(t.randn(2, 3, 5), p, dim=(2, 0), keepdim=keep) for p in ORDERS[1:] for keep in (True, False)
    ],
    "norm": lambda t: (
        t.norm(t.randn(3, 4)),
        t.randn(3, 4).norm(p=1, dim=0),
        t.norm(t.randn(3, 4), "nuc"),
        t.norm(t.randn(2, 3), p="fro", dim=(0, 1), keepdim=True),
        t.randn(5).norm(INF),
    ),
    "distances": lambda t: (
        t.dist(t.rand(3), t.rand(3), 1),
        t.cdist(t.rand(2, 3, 4), t.rand(2, 5, 4)),
        t.cdist(t.rand(3, 2), t.rand(4, 2), p=1.0),
        t.renorm(t.rand(3, 4), 2, 0, 0.8),
    ),
    "inverse": lambda t: (t.linalg.inv(regular(t, 2, 3)), t.inverse(regular(t).double())),
    "determinant": lambda t: (t.det(regular(t, 2)), t.linalg.det(t.zeros(3, 3)), t.logdet(regular(t)), t.det(t.ones(0, 0))),
    "slogdet": lambda t: (t.linalg.slogdet(-regular(t, 2)), t.slogdet(regular(t))),
    "solve": lambda t: (
        t.linalg.solve(regular(t), t.rand(4)),
        t.linalg.solve(regular(t, 3), t.rand(4, 2)),
        t.linalg.solve(regular(t), t.rand(2, 4), left=False),
        t.linalg.solve(regular(t, 2), t.rand(2, 4)),
    ),
    "solve_triangular": lambda t: (
        t.linalg.solve_triangular(regular(t), t.rand(4, 2), upper=True),
        t.linalg.solve_triangular(regular(t), t.rand(2, 4), upper=False, left=False),
        t.linalg.solve_triangular(regular(t), t.rand(4, 2), upper=False, unitriangular=True),
        t.triangular_solve(t.rand(4, 1), regular(t), upper=False, transpose=True),
    ),
    "cholesky": lambda t: (t.linalg.cholesky(positive(t.rand(2, 3, 4))), t.cholesky(positive(t.rand(3, 3)), upper=True)),
    "cholesky_ex": lambda t: (t.linalg.cholesky_ex(positive(t.rand(3, 3))), t.linalg.cholesky_ex(-t.eye(2)).info),
    "cholesky_solve": lambda t: (
        t.cholesky_solve(t.rand(3, 2), t.linalg.cholesky(positive(t.rand(3, 3)))),
        t.cholesky_inverse(t.linalg.cholesky(positive(t.rand(3, 3)))),
    ),
    "qr": lambda t: [
        _product_and_shapes(t, *t.linalg.qr(t.rand(*shape), mode))
        for shape in ((5, 3), (3, 5), (2, 4, 4))
        for mode in ("reduced", "complete")
    ],
    "r of qr": lambda t: t.linalg.qr(t.rand(4, 3), mode="r").R.abs(),
    "svd": lambda t: [
        _singular(t, *t.linalg.svd(t.rand(*shape), full)) for shape in ((5, 3), (3, 5), (2, 4, 4)) for full in (True, False)
    ],
    "old svd and qr": lambda t: (t.svd(t.rand(3, 2)).S, (lambda q, r: q @ r)(*t.qr(t.rand(3, 2)))),
    "eigh": lambda t: (t.linalg.eigh(positive(t.rand(2, 3, 3))).eigenvalues, t.linalg.eigvalsh(t.rand(3, 3), UPLO="U")),
    "eigenvectors": lambda t: (lambda w, v: v @ t.diag(w) @ v.T)(*t.linalg.eigh(positive(t.rand(4, 4)))),
    "svdvals and rank": lambda t: (
        t.linalg.svdvals(t.rand(3, 4)),
        t.linalg.matrix_rank(t.ones(3, 3)),
        t.linalg.matrix_rank(t.diag(t.tensor([1.0, 0.1, 0.01])), atol=0.05),
        t.linalg.matrix_rank(positive(t.rand(3, 2)), hermitian=True),
        t.linalg.cond(regular(t)),
        t.linalg.cond(regular(t), 1),
    ),
    "pinv": lambda t: (t.linalg.pinv(t.rand(2, 5, 3)), t.pinverse(t.ones(2, 3)), t.linalg.pinv(t.rand(3, 3), rtol=0.5)),
    "lstsq": lambda t: (
        t.linalg.lstsq(t.rand(5, 3), t.rand(5, 2)),
        t.linalg.lstsq(t.rand(2, 5, 3), t.rand(2, 5, 1), driver="gels").solution,
        t.linalg.lstsq(t.rand(5, 3), t.rand(5, 2), driver="gelsd"),
    ),
    "matrix_exp": lambda t: (t.matrix_exp(t.rand(2, 3, 3) * 4), t.linalg.matrix_exp(t.zeros(2, 2))),
    "matrix_power": lambda t: [t.linalg.matrix_power(regular(t) / 4, n) for n in (0, 1, 2, 5, -2)],
    "products": lambda t: (
        t.linalg.vecdot(t.rand(3, 4), t.rand(3, 4), dim=0),
        t.linalg.multi_dot([t.rand(4), t.rand(4, 2), t.rand(2)]),
    ),
    "tensorsolve": lambda t: (
        t.linalg.tensorsolve(t.eye(6).reshape(2, 3, 6) * 2, t.rand(2, 3)),
        t.linalg.tensorinv(t.eye(6).reshape(2, 3, 6) * 2),
    ),
    "lu": lambda t: [(t.linalg.lu(t.rand(*s)), t.linalg.lu_factor_ex(t.rand(*s))) for s in ((4, 4), (2, 3, 5), (2, 5, 3))],
    "lu_unpack": lambda t: t.lu_unpack(*t.linalg.lu_factor(t.rand(3, 3))),
    "zero pivots": lambda t: (t.linalg.lu_factor_ex(t.zeros(2, 2)).info, t.linalg.solve_ex(t.ones(2, 2), t.ones(2)).info),
    "lu_solve": lambda t: (
        t.linalg.lu_solve(*t.linalg.lu_factor(regular(t, 2)), t.rand(2, 3, 4), left=False, adjoint=True),
        t.lu_solve(t.rand(4, 2), *t.linalg.lu_factor(regular(t))),
        t.linalg.inv_ex(regular(t)),
        t.linalg.solve_ex(regular(t), t.rand(4)),
    ),
    "reflections": lambda t: (
        t.geqrf(t.rand(2, 5, 3)),
        t.linalg.householder_product(*t.geqrf(t.rand(5, 3))),
        t.ormqr(*t.geqrf(t.rand(5, 3)), t.rand(2, 5), left=False, transpose=True),
    ),
    "eigvals": lambda t: t.view_as_real(t.linalg.eigvals(positive(t.rand(3, 3)))).sort(0)[0],
    "low rank": lambda t: (t.svd_lowrank(t.rand(6, 4), 2)[1], t.pca_lowrank(t.rand(7, 4))[2].abs()),
    "pinv of symmetric matrices": lambda t: (
        t.linalg.pinv(t.rand(3, 3), hermitian=True),
        t.linalg.pinv(t.rand(3, 2), atol=0.3),
    ),
    "norms of nothing": lambda t: [t.linalg.norm(t.zeros(*s), 1) for s in ((5, 0), (0, 5), (0, 0))],
    "linalg.diagonal": lambda t: t.linalg.diagonal(t.rand(2, 3, 4), offset=1),
}


def _product_and_shapes(t, q, r):
    return q @ r, q.transpose(-2, -1) @ q


def _singular(t, u, s, vh):
    k = s.shape[-1]
    return s, (u[..., :k] * s.unsqueeze(-2)) @ vh[..., :k, :], u.transpose(-2, -1) @ u, vh @ vh.transpose(-2, -1)


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(CALLS[name], rtol=1e-4, atol=1e-5)


GRADIENTS = {
    "norms": lambda t, x: (
        [t.linalg.vector_norm(x, p) for p in (0.5, 1, 2, 3.5, INF, -INF)] + [t.linalg.norm(x, p) for p in ORDERS]
    ),
    "norms of zeros": lambda t, x: [t.linalg.vector_norm(x * 0, p, 1) for p in (1, 2, 3)],
    "distances": lambda t, x: (t.dist(x, x.flip(0)), t.cdist(x, x[:2] * 2), t.renorm(x, 2, 1, 0.9)),
    "inverse": lambda t, x: t.linalg.inv(uneven(t, x)),
    "determinant": lambda t, x: (t.det(uneven(t, x)), t.linalg.slogdet(uneven(t, x)).logabsdet, t.logdet(uneven(t, x))),
    "determinant of a singular matrix": lambda t, x: t.det(x[:, :1] @ x[:1, :4] + t.diag(t.tensor([1.0, 1.0, 0.0, 0.0]))),
    "solve": lambda t, x: (t.linalg.solve(uneven(t, x), x), t.linalg.solve(uneven(t, x), x[0, :4])),
    "solve_triangular": lambda t, x: (
        t.linalg.solve_triangular(uneven(t, x), x, upper=True),
        t.linalg.solve_triangular(uneven(t, x), x.t(), upper=False, left=False, unitriangular=True),
    ),
    "cholesky": lambda t, x: (t.linalg.cholesky(positive(x)), t.linalg.cholesky_ex(positive(x)).L),
    "cholesky_solve": lambda t, x: t.cholesky_solve(x, t.linalg.cholesky(positive(x))),
    "qr": lambda t, x: (lambda q, r: (q.abs(), r.abs()))(*t.linalg.qr(x.t())),
    "eigh": lambda t, x: (lambda w, v: (w, v.abs()))(*t.linalg.eigh(positive(x))),
    "eigenvectors of one triangle": lambda t, x: t.linalg.eigh(uneven(t, x), "U").eigenvectors.abs(),
    "qr of wide matrices": lambda t, x: (lambda q, r: (q.abs(), r.abs()))(*t.linalg.qr(x + t.eye(4, 5), "complete")),
    "lu": lambda t, x: (t.linalg.lu(uneven(t, x)), t.linalg.lu(x).U, t.linalg.lu_factor(x.t()).LU),
    "lu_solve": lambda t, x: t.linalg.lu_solve(*t.linalg.lu_factor(uneven(t, x)), x),
    "householder_product": lambda t, x: t.linalg.householder_product(x.t(), x[:, 0]),
    "eigvalsh": lambda t, x: t.linalg.eigvalsh(positive(x)),
    "svd": lambda t, x: (lambda u, s, vh: (u.abs(), s, vh.abs()))(*t.linalg.svd(x, full_matrices=False)),
    "svd with square factors": lambda t, x: (lambda u, s, vh: (u.abs(), s, vh[:4].abs()))(*t.linalg.svd(x)),
    "svdvals": lambda t, x: (t.linalg.svdvals(x), t.linalg.cond(x), t.linalg.svd(x).S),
    "pinv and lstsq": lambda t, x: (t.linalg.pinv(x), t.linalg.lstsq(x.t(), x.t()[:, :1]).solution),
    "matrix_exp": lambda t, x: t.matrix_exp(x[:, :4]),
    "matrix_power": lambda t, x: t.linalg.matrix_power(uneven(t, x) / 4, -3),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(GRADIENTS[name], (4, 5), rtol=2e-4, atol=2e-5)


def test_second_derivatives_of_factorisations() -> None:
    results = []
    for t in (oracle, lazytorch):
        t.manual_seed(0)
        x = t.randn(4, 4, dtype=t.float64, requires_grad=True)
        y = positive(x)
        total = t.linalg.cholesky(y).sum() + t.linalg.inv(y).sin().sum() + t.logdet(y) + t.linalg.eigvalsh(y).square().sum()
        (first,) = t.autograd.grad(total + t.det(y), x, create_graph=True)
        (second,) = t.autograd.grad(first.square().sum(), x)
        results.append(second.numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-7)


WRONG = {
    "inverse of no square": lambda t: t.linalg.inv(t.zeros(2, 3)),
    "inverse of a vector": lambda t: t.linalg.inv(t.zeros(2)),
    "inverse of integers": lambda t: t.linalg.inv(t.zeros(2, 2, dtype=t.int64)),
    "inverse of narrow numbers": lambda t: t.linalg.inv(t.zeros(2, 2).half()),
    "solve of other sizes": lambda t: t.linalg.solve(t.eye(2), t.zeros(3)),
    "svd of a vector": lambda t: t.linalg.svd(t.zeros(2)),
    "pinv of a vector": lambda t: t.linalg.pinv(t.zeros(2)),
    "an unknown qr mode": lambda t: t.linalg.qr(t.eye(2), "full"),
    "norm of integers": lambda t: t.norm(t.arange(3)),
    "cdist of other columns": lambda t: t.cdist(t.ones(2, 3), t.ones(2, 4)),
    "no such driver": lambda t: t.linalg.lstsq(t.eye(2), t.eye(2), driver="best"),
}
SINGULAR = {
    "inverse": lambda t: t.linalg.inv(t.zeros(2, 2)).sum().item(),
    "solve": lambda t: t.linalg.solve(t.zeros(2, 2), t.ones(2)).sum().item(),
    "cholesky": lambda t: t.linalg.cholesky(t.diag(t.tensor([1.0, -1.0]))).sum().item(),
    "cholesky of a batch": lambda t: t.linalg.cholesky(t.stack([t.eye(2), -t.eye(2)])).sum().item(),
}


@pytest.mark.parametrize("name", [*WRONG, *SINGULAR])
def test_the_error_is_torchs(name: str) -> None:
    call = {**WRONG, **SINGULAR}[name]
    with pytest.raises(Exception) as want:
        call(oracle)
    kind = lazytorch.linalg.LinAlgError if isinstance(want.value, oracle.linalg.LinAlgError) else type(want.value)
    with pytest.raises(kind) as got:
        call(lazytorch)
    assert str(got.value)[:60] == str(want.value)[:60]


def test_values_of_a_factorisation_may_be_looked_at_before_the_backward() -> None:
    results = []
    for t in (oracle, lazytorch):
        t.manual_seed(0)
        x = t.randn(4, 3, requires_grad=True)
        u, s, _ = t.linalg.svd(x)
        q, r = t.linalg.qr(x, mode="complete")
        shown = abs(u @ u.t() - t.eye(4)).max().item(), abs((q @ r)[:, :3] - x).max().item(), s.tolist()
        assert max(shown[:2]) < 1e-5
        s.square().sum().backward()
        results.append(x.grad.numpy())
        with pytest.raises(RuntimeError):
            t.linalg.qr(x, mode="complete").Q.sum().backward()
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5)


def test_a_program_goes_on_after_a_factorisation_failed() -> None:
    x = lazytorch.zeros(3, 3)
    failing = lazytorch.linalg.inv(x)
    with pytest.raises(lazytorch.linalg.LinAlgError):
        failing.sum().item()
    del failing
    assert lazytorch.linalg.inv(x + lazytorch.eye(3)).trace().item() == 3


def test_host_operations_run_under_every_setting() -> None:
    x = lazytorch.rand(5, 3)

    def outcome() -> bytes:
        u, s, vh = lazytorch.linalg.svd(x * 2, full_matrices=False)
        return ((u * s) @ vh + 1).numpy().tobytes() + lazytorch.linalg.pinv(x).numpy().tobytes()

    usual = outcome()
    for settings in ({"fuse": False}, {"num_threads": 1}, {"interpret": True}, {"check": True}):
        with config(**settings):
            assert outcome() == usual, settings
    assert "as a step of the program" in lazytorch.dump(lazytorch.linalg.inv(x[:3]), stage="llvm")
