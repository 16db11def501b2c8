"""Rearranging, joining, diagonals, products of vectors and matrices, and writing by index, against torch."""

from collections.abc import Callable

import pytest
import torch as oracle

import lazytorch
from tests.frontend.error_oracle import messages

CALLS = {
    "stacking": lambda t: (
        t.hstack([t.rand(3), t.rand(2)]),
        t.hstack((t.rand(2, 1), t.rand(2, 2))),
        t.vstack([t.rand(3), t.rand(2, 3)]),
        t.dstack([t.rand(2, 3), t.rand(2, 3)]),
        t.column_stack([t.rand(3), t.rand(3, 2)]),
    ),
    "atleast": lambda t: (t.atleast_1d(t.tensor(1.0)), t.atleast_2d(t.ones(2), t.tensor(3)), t.atleast_3d(t.ones(2, 3))),
    "tensor_split": lambda t: (t.tensor_split(t.arange(7), 3), t.arange(12).reshape(2, 6).tensor_split([1, 4, 9], 1)),
    "split along": lambda t: (t.hsplit(t.arange(6), 3), t.vsplit(t.ones(4, 2), [1]), t.dsplit(t.ones(1, 2, 4), 2)),
    "split_with_sizes": lambda t: t.arange(5).split_with_sizes([2, 3]),
    "tile": lambda t: (t.tile(t.arange(3), (2, 2)), t.ones(2, 1).tile(3)),
    "meshgrid": lambda t: (
        t.meshgrid(t.arange(3), t.arange(2), indexing="ij"),
        t.meshgrid([t.arange(3.0), t.arange(2.0)], indexing="xy"),
    ),
    "broadcasting": lambda t: (t.broadcast_tensors(t.ones(2, 1), t.ones(3)), t.broadcast_shapes((2, 1), (3,), 1)),
    "repeat_interleave": lambda t: (
        t.repeat_interleave(t.tensor([[1, 2], [3, 4]]), 2),
        t.rand(2, 3).repeat_interleave(t.tensor([1, 0, 2]), dim=1),
        t.repeat_interleave(t.tensor([2, 0, 3])),
        t.rand(2, 2).repeat_interleave(3, 0),
    ),
    "turning": lambda t: [t.rot90(t.arange(6).reshape(2, 3), k) for k in (0, 1, 2, 3, -1)],
    "flips": lambda t: (t.fliplr(t.arange(4).reshape(2, 2)), t.flipud(t.arange(4).reshape(2, 2))),
    "unfold": lambda t: (t.arange(8).unfold(0, 3, 2), t.rand(2, 7, 3).unfold(1, 2, 1), t.rand(4, 5).t().unfold(0, 5, 1)),
    "as_strided": lambda t: (t.arange(12.0).as_strided((2, 3), (4, 1), 1), t.rand(3, 4)[1:].as_strided((2, 2), (1, 2))),
    "combinations": lambda t: (t.combinations(t.arange(4)), t.combinations(t.tensor([1.0, 2.0]), with_replacement=True)),
    "cartesian_prod": lambda t: t.cartesian_prod(t.arange(2), t.arange(3)),
    "unravel_index": lambda t: t.unravel_index(t.tensor([5, 11]), (3, 4)),
    "argwhere": lambda t: t.argwhere(t.tensor([[0, 1], [2, 0]])),
    "diagonal": lambda t: [t.diagonal(t.rand(4, 6), offset) for offset in (0, 2, -3, 9)],
    "diagonal of any two dimensions": lambda t: (t.rand(2, 3, 4).diagonal(1, 2, 0), t.rand(3, 5).t().diagonal(-1) + 1),
    "diag": lambda t: (t.diag(t.rand(3)), t.diag(t.rand(3, 4), 1), t.rand(2).diag(-2), t.diagflat(t.arange(4))),
    "diag_embed": lambda t: (t.diag_embed(t.rand(2, 3)), t.rand(2, 3).diag_embed(1, 0, 2)),
    "trace": lambda t: (t.trace(t.rand(3, 4)), t.arange(4).reshape(2, 2).trace()),
    "triangle indices": lambda t: (t.tril_indices(3, 4, 1), t.triu_indices(4, 3, -1), t.tril_indices(2, 2, dtype=t.int32)),
    "block_diag": lambda t: t.block_diag(t.rand(2, 2), t.rand(3), t.rand(1, 2)),
    "kron": lambda t: (t.kron(t.rand(2, 3), t.rand(2, 2)), t.kron(t.rand(2), t.rand(2, 2))),
    "tensordot": lambda t: (
        t.tensordot(t.rand(2, 3, 4), t.rand(3, 4, 5)),
        t.tensordot(t.rand(2, 3), t.rand(4, 2), dims=([0], [1])),
        t.tensordot(t.rand(2), t.rand(3), dims=0),
    ),
    "inner products": lambda t: (
        t.inner(t.rand(2, 3), t.rand(4, 3)),
        t.vdot(t.rand(3), t.rand(3)),
        t.outer(t.rand(2), t.rand(3)),
    ),
    "cross": lambda t: (t.cross(t.rand(2, 3), t.rand(2, 3), dim=1), t.linalg.cross(t.rand(4, 3), t.rand(1, 3))),
    "added products": lambda t: (
        t.addmv(t.rand(2), t.rand(2, 3), t.rand(3), beta=2),
        t.addr(t.rand(2, 3), t.rand(2), t.rand(3), alpha=3),
        t.addbmm(t.rand(2, 4), t.rand(3, 2, 5), t.rand(3, 5, 4)),
    ),
    "covariance": lambda t: (
        t.cov(t.rand(3, 5)),
        t.cov(t.rand(3, 5), correction=0, fweights=t.tensor([1, 2, 1, 1, 3])),
        t.cov(t.rand(3, 5), aweights=t.rand(5)),
        t.corrcoef(t.rand(3, 6)),
        t.cov(t.rand(4)),
    ),
    "vander": lambda t: (t.vander(t.tensor([1.0, 2.0, 3.0])), t.vander(t.tensor([1, 2]), N=3, increasing=True)),
    "chain_matmul": lambda t: t.linalg.multi_dot([t.rand(2, 5), t.rand(5, 3), t.rand(3, 4)]),
    "index_fill": lambda t: (
        t.zeros(3, 4).index_fill_(1, t.tensor([0, 2]), 7),
        t.rand(3).index_fill(0, t.tensor([1]), t.tensor(2.0)),
    ),
    "index_copy": lambda t: t.zeros(4, 2).index_copy_(0, t.tensor([3, 0]), t.rand(2, 2)),
    "index_put": lambda t: (
        t.zeros(3, 3).index_put_((t.tensor([0, 1, 0]), t.tensor([1, 2, 1])), t.tensor([1.0, 2.0, 3.0]), accumulate=True),
        t.zeros(3).index_put((t.tensor([0, 2]),), t.tensor(5.0)),
        t.ones(4).index_put_((t.tensor([True, False, True, False]),), t.tensor([3.0, 4.0]), accumulate=True),
    ),
    "masked_scatter": lambda t: (
        t.zeros(2, 3).masked_scatter_(t.tensor([[True, False, True], [False, True, True]]), t.arange(6.0)),
        t.zeros(2, 2).masked_scatter(t.tensor([True, False]), t.arange(4.0)),
    ),
    "take and put": lambda t: (
        t.take(t.arange(6).reshape(2, 3), t.tensor([[0, 5], [-1, 2]])),
        t.zeros(2, 2).put_(t.tensor([3, 0]), t.tensor([1.0, 2.0])),
        t.ones(3).put(t.tensor([1, 1]), t.tensor([1.0, 2.0]), accumulate=True),
    ),
    "take_along_dim": lambda t: (
        t.take_along_dim(t.arange(6).reshape(2, 3), t.tensor([[2], [0]]), 1),
        t.take_along_dim(t.arange(4), t.tensor([3, 1])),
    ),
    "scatter_reduce": lambda t: [
        t.full((4,), 2.0).scatter_reduce(
            0, t.tensor([0, 1, 1, 3, 3]), t.tensor([3.0, 0.5, -4.0, 2.0, 2.0]), how, include_self=own
        )
        for how in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
    ],
    "scatter_reduce of integers": lambda t: [
        t.tensor([5, 6, 7]).scatter_reduce(0, t.tensor([0, 0, 2]), t.tensor([-3, 8, 2]), how, include_self=own)
        for how in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
    ],
    "scatter_reduce along a column": lambda t: t.ones(3, 2).scatter_reduce(
        0, t.tensor([[0, 2], [0, 1]]), t.rand(3, 3), "amax"
    ),
    "index_reduce": lambda t: [
        t.ones(3, 2).index_reduce_(0, t.tensor([2, 0, 2]), t.rand(3, 2), how, include_self=own)
        for how in ("prod", "mean", "amax", "amin")
        for own in (True, False)
    ],
    "scatters of views": lambda t: (
        t.select_scatter(t.zeros(2, 3), t.ones(2), 1, 2),
        t.slice_scatter(t.zeros(4, 2), t.ones(2, 2), 0, 1, 4, 2),
        t.diagonal_scatter(t.zeros(3, 3), t.ones(2), 1),
        t.zeros(6).as_strided_scatter(t.ones(2, 2), (2, 2), (3, 1)),
    ),
    "fill_diagonal": lambda t: (
        t.zeros(3, 4).fill_diagonal_(2),
        t.zeros(7, 3).fill_diagonal_(1, wrap=True),
        t.zeros(2, 2, 2).fill_diagonal_(5),
    ),
    "in-place shapes": lambda t: (
        t.rand(2, 3).t_(),
        t.rand(2, 3, 4).transpose_(0, 2),
        t.rand(3).unsqueeze_(1),
        t.rand(1, 3, 1).squeeze_(),
        t.rand(1, 3).squeeze_(0) * 2,
        t.rand(2, 3)[:, 1:].t_(),
    ),
    "shapes changed in place share storage": lambda t: _changed(t),
    "writing through views": lambda t: _through_views(t),
    "sum_to_size": lambda t: t.rand(4, 2, 3).sum_to_size(2, 1),
}


def _changed(t):
    x = t.zeros(2, 3)
    row, whole = x[0], x.view(-1)
    x.t_()
    x[2] = 5
    row.add_(1)
    y = t.ones(3)
    y.unsqueeze_(0).mul_(2)
    whole[3] = 9
    return x, row, whole, y


def _through_views(t):
    x = t.zeros(3, 4)
    x.diagonal().fill_(1)
    x.t().diagonal(1).add_(t.arange(2.0))
    y = t.zeros(2, 3, 3)
    y.diagonal(0, 1, 2).copy_(t.rand(2, 3))
    z = t.arange(6.0)
    z.as_strided((2, 2), (3, 1), 1).mul_(10)
    return x, y, z


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(CALLS[name])


GRADIENTS = {
    "stacking": lambda t, x: (t.hstack([x, x * 2]), t.vstack([x[0], x]), t.dstack([x, x]), t.column_stack([x, x[:, 0]])),
    "tile and repeat": lambda t, x: (
        x.tile(2, 3),
        x.repeat_interleave(2, 1),
        x.repeat_interleave(t.tensor([1, 0, 3, 1]), 0),
    ),
    "meshgrid": lambda t, x: t.meshgrid(x[0], x[:, 0], indexing="ij"),
    "unfold": lambda t, x: (x.unfold(0, 2, 1), x.unfold(1, 4, 1)),
    "as_strided": lambda t, x: (x * 1).as_strided((3, 3), (2, 3), 1),
    "diagonals": lambda t, x: (x.diagonal(1), x.diagonal(-2), t.diag(x[0], 1), t.diag_embed(x), x.trace()),
    "products": lambda t, x: (t.kron(x, x[:2]), t.tensordot(x, x, ([0], [0])), t.inner(x, x), t.outer(x[0], x[1])),
    "cross": lambda t, x: t.cross(x[:, :3], x[:, 2:], dim=1),
    "covariance": lambda t, x: (t.cov(x), t.corrcoef(x)),
    "index_fill and index_copy": lambda t, x: (
        x.index_fill(0, t.tensor([1]), 3.0),
        t.zeros(5, 5).index_copy(0, t.tensor([4, 1, 0, 2]), x),
    ),
    "index_put": lambda t, x: (
        x.index_put((t.tensor([0, 1]),), x[2] * 2),
        x.index_put((t.tensor([0, 0]), t.tensor([1, 1])), x[2, :2], accumulate=True),
    ),
    "masked_scatter": lambda t, x: x.masked_scatter(x > 0, x.t() * 2),
    "take and put": lambda t, x: (
        t.take(x, t.tensor([0, 3, 3])),
        x.put(t.tensor([2, 1]), x[0, :2]),
        t.take_along_dim(x, t.argsort(x, 1), 1),
    ),
    "scatter_reduce": lambda t, x: [
        x.scatter_reduce(1, t.tensor([[0, 0, 4], [1, 2, 2], [3, 3, 3]]), x[:3, :3] * 2, how, include_self=own)
        for how in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
    ],
    "scatter_reduce with zeros": lambda t, x: (x * t.tensor([1.0, 0.0, 0.0, 1.0, 1.0])).scatter_reduce(
        1, t.tensor([[0, 1, 1], [2, 2, 3], [4, 4, 1]]), x[:3, :3] * t.tensor([1.0, 0.0, 1.0]), "prod"
    ),
    "scatters of views": lambda t, x: (
        x.select_scatter(x[:, 0] * 2, 1, 3),
        t.diagonal_scatter(x, x[:, 1] * 3),
        t.slice_scatter(x, x[:2] * 2, 0, 1, 3),
    ),
    "writing through a diagonal": lambda t, x: _diagonal_written(x),
    "shapes changed in place": lambda t, x: (x * 2).t_().mul_(x.t()),
    "pieces": lambda t, x: (*x.tensor_split(3), *x.tensor_split([1, 2], 1), x.rot90(), x.sum_to_size(1, 5)),
}


def _diagonal_written(x):
    y = x * 1
    y.diagonal().copy_(x[0, :4] * 2)
    return y


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(GRADIENTS[name], (4, 5))


WRONG = {
    "equal diagonal dimensions": lambda t: t.ones(2, 2).diagonal(0, 1, 1),
    "trace of a vector": lambda t: t.trace(t.ones(3)),
    "diag of three dimensions": lambda t: t.diag(t.ones(2, 2, 2)),
    "inner of other sizes": lambda t: t.inner(t.ones(2), t.ones(3)),
    "tensordot of other sizes": lambda t: t.tensordot(t.ones(2, 3), t.ones(4, 5), 1),
    "cross without 3": lambda t: t.cross(t.ones(2), t.ones(2)),
    "unfold too large": lambda t: t.ones(3).unfold(0, 4, 1),
    "as_strided out of bounds": lambda t: t.ones(3).as_strided((2, 2), (2, 1)),
    "repeats of another length": lambda t: t.ones(3).repeat_interleave(t.tensor([1, 2])),
    "hsplit into unequal pieces": lambda t: t.hsplit(t.ones(5), 2),
    "index_fill with a vector": lambda t: t.ones(3).index_fill(0, t.tensor([0]), t.ones(2)),
    "an unknown reduction": lambda t: t.ones(2).scatter_reduce(0, t.tensor([0]), t.ones(1), "median"),
    "a transposed leaf": lambda t: t.ones(2, 2, requires_grad=True).t_(),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_error_is_torchs(name: str) -> None:
    mine, theirs = messages(WRONG[name])
    assert mine[:40] == theirs[:40]


def test_the_strides_of_views_are_torchs() -> None:
    for call in (
        lambda t: t.ones(4, 5).diagonal(1),
        lambda t: t.ones(4, 5).t().diagonal(-1),
        lambda t: t.ones(4, 6).unfold(1, 3, 2),
        lambda t: t.ones(20).as_strided((2, 3), (5, 1), 3),
        lambda t: t.meshgrid(t.ones(2), t.ones(3), indexing="xy")[0],
    ):
        want, got = call(oracle), call(lazytorch)
        assert (got.stride(), got.storage_offset()) == (want.stride(), want.storage_offset())


def test_a_write_through_overlapping_windows_is_refused() -> None:
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        lazytorch.ones(5).as_strided((2, 3), (1, 1)).add_(1)
