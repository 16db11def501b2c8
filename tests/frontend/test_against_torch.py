"""The same call on torch and on lazytorch: values, element types, shapes, printed text, gradients."""

import numpy as np
import pytest
import torch as oracle

import lazytorch

CALLS = {
    "add with promotion": lambda t: t.arange(6).reshape(2, 3) + t.rand(3),
    "scalars keep the type": lambda t: t.arange(4, dtype=t.int32) * 2 + 1,
    "a float makes integers floating": lambda t: t.arange(4) * 0.5,
    "multiples of bools": lambda t: (
        t.tensor([1.5, 2.0]).add(t.tensor([True, False]), alpha=2) + t.arange(2).add(t.arange(2) > 0, alpha=3)
    ),
    "true division": lambda t: t.arange(5) / 2,
    "floor division": lambda t: t.tensor([7, -7, 5]) // t.tensor([2, 2, -3]),
    "remainder": lambda t: t.tensor([7.5, -7.5, 5.0]) % 2.0,
    "powers": lambda t: t.rand(5) ** 2 + t.rand(5) ** 3 - t.rand(5) ** 0.5,
    "comparison": lambda t: (t.rand(3, 4) > 0.5) & (t.rand(3, 4) < 0.9),
    "where": lambda t: t.where(t.rand(4) > 0.5, t.ones(4), t.zeros(4)),
    "clamp": lambda t: t.randn(20).clamp(-0.5, 0.7),
    "functions": lambda t: t.exp(t.randn(9)) + t.log(t.rand(9) + 1) * t.tanh(t.randn(9)) - t.erf(t.randn(9)),
    "trigonometry": lambda t: t.sin(t.randn(9) * 10) + t.cos(t.randn(9) * 10),
    "rounding": lambda t: t.stack([t.floor(t.randn(5) * 3), t.ceil(t.randn(5) * 3), t.round(t.randn(5) * 3)]),
    "sums": lambda t: t.rand(3, 4, 5).sum((0, 2)),
    "sum of bools": lambda t: (t.rand(50) > 0.5).sum(),
    "mean keepdim": lambda t: t.rand(3, 4).mean(1, keepdim=True),
    "std and var": lambda t: t.stack([t.rand(30).std(), t.rand(30).var(unbiased=False)]),
    "max along a dimension": lambda t: t.rand(3, 7).max(1).values,
    "indices of the max": lambda t: t.rand(3, 7).max(1).indices,
    "argmin": lambda t: t.rand(3, 7).argmin(),
    "softmax": lambda t: t.softmax(t.randn(3, 9), dim=-1),
    "log_softmax": lambda t: t.log_softmax(t.randn(3, 9), dim=0),
    "logsumexp": lambda t: t.logsumexp(t.randn(3, 9), 1),
    "norm": lambda t: t.randn(3, 9).norm(dim=1),
    "matmul": lambda t: t.rand(3, 4) @ t.rand(4, 5),
    "batched matmul": lambda t: t.rand(2, 3, 4) @ t.rand(4, 5),
    "broadcast matmul": lambda t: t.matmul(t.rand(2, 1, 3, 4), t.rand(5, 4, 2)),
    "vector products": lambda t: t.stack([t.dot(t.arange(3.0), t.ones(3)), (t.rand(2, 3) @ t.ones(3)).sum()]),
    "einsum": lambda t: t.einsum("bij,bjk->bik", t.rand(2, 3, 4), t.rand(2, 4, 5)),
    "views": lambda t: t.rand(4, 6).t().reshape(2, 12)[1:, ::3].unsqueeze(0),
    "permute": lambda t: t.rand(2, 3, 4).permute(2, 0, 1).contiguous().view(-1),
    "cat": lambda t: t.cat([t.rand(2, 3), t.zeros(1, 3)], 0),
    "stack and split": lambda t: t.stack(t.rand(6, 2).split(2), 1),
    "flip and roll": lambda t: t.flip(t.arange(6).reshape(2, 3), (1,)) + t.roll(t.arange(6).reshape(2, 3), 1, 1),
    "repeat": lambda t: t.arange(3).repeat(2, 2),
    "triangles": lambda t: t.tril(t.rand(4, 4)) + t.triu(t.rand(4, 4), 1),
    "integer index": lambda t: t.rand(4, 5)[-1, 2],
    "index tensors": lambda t: t.rand(4, 5)[t.tensor([0, 2, -1]), t.tensor([1, 1, 4])],
    "mask": lambda t: t.arange(10)[t.arange(10) % 3 == 0],
    "index set": lambda t: _written(t),
    "gather": lambda t: t.gather(t.rand(3, 4), 1, t.tensor([[0, 3], [1, 1], [2, 0]])),
    "scatter_add": lambda t: t.zeros(5).scatter_add(0, t.tensor([0, 1, 1, 4]), t.ones(4)),
    "in place": lambda t: _in_place(t),
    "arange and linspace": lambda t: t.cat([t.arange(0, 1, 0.3), t.linspace(-1, 1, 7)]),
    "eye": lambda t: t.eye(3, 4),
    "random": lambda t: t.cat([t.rand(5), t.randn(40), t.randint(0, 9, (5,)).float(), t.randperm(6).float()]),
    "conversions": lambda t: t.tensor([1.9, -1.9, 0.0]).long() + t.tensor([True, False, True]).int(),
    "embedding": lambda t: t.nn.functional.embedding(t.tensor([[1, 2], [0, 1]]), t.rand(3, 4)),
    "conv2d": lambda t: t.nn.functional.conv2d(t.rand(2, 3, 8, 9), t.rand(4, 3, 3, 2), t.rand(4), stride=2, padding=1),
    "grouped conv": lambda t: t.nn.functional.conv2d(t.rand(2, 4, 6, 6), t.rand(6, 2, 3, 3), groups=2, dilation=2),
    "max_pool2d": lambda t: t.nn.functional.max_pool2d(t.rand(2, 3, 8, 8), 3, stride=2, padding=1),
    "attention": lambda t: t.nn.functional.scaled_dot_product_attention(
        t.rand(2, 2, 5, 4), t.rand(2, 2, 5, 4), t.rand(2, 2, 5, 4), is_causal=True
    ),
}


def _written(t):
    x = t.zeros(4, 4)
    x[1] = 1
    x[:, 2] += t.arange(4)
    x[t.tensor([0, 3]), t.tensor([3, 0])] = 7
    x[x > 6] = -1
    y = x[2:]
    y[0, 0] = 5
    return x


def _in_place(t):
    x = t.rand(3, 4)
    before = x + 10
    x.mul_(2).add_(1)
    x.t()[0].zero_()
    return t.stack([x, before])


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_torchs(name: str) -> None:
    results = []
    for t in (oracle, lazytorch):
        t.manual_seed(3)
        results.append(CALLS[name](t))
    want, got = results
    assert tuple(got.shape) == tuple(want.shape)
    assert got.dtype.torch_name == str(want.dtype).removeprefix("torch.")
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=2e-5, atol=2e-6)


GRADIENTS = {
    "elementwise": lambda t, x: (x.tanh() * x.exp() / (x * x + 1)).sum(),
    "broadcast": lambda t, x: (x * x[0] + x[:, :1]).mean(),
    "matmul": lambda t, x: (x @ x.t()).sin().sum(),
    "reductions": lambda t, x: x.max() + x.std() + x.softmax(1).square().sum() + x.norm(),
    "views": lambda t, x: (x.t().reshape(-1)[::2] * 3).sum() + x[1:3].sum() + t.cat([x, x * 2]).mean(),
    "indexing": lambda t, x: x[t.tensor([0, 0, 2])].square().sum() + x[x > 0].sum(),
    "where and clamp": lambda t, x: t.where(x > 0, x * 2, x).sum() + x.clamp(-0.5, 0.5).sum() + x.abs().sum(),
    "losses": lambda t, x: t.nn.functional.cross_entropy(x, t.tensor([1, 0, 2, 3])),
    "layer norm and gelu": lambda t, x: t.nn.functional.gelu(t.nn.functional.layer_norm(x, (5,))).square().sum(),
    "conv": lambda t, x: t.nn.functional.conv2d(x.reshape(1, 1, 4, 5), x[:2, :2].reshape(1, 1, 2, 2)).square().sum(),
    "pooling": lambda t, x: t.nn.functional.max_pool2d(x.reshape(1, 1, 4, 5), 2).square().sum(),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_is_torchs(name: str) -> None:
    gradients = []
    for t in (oracle, lazytorch):
        t.manual_seed(5)
        x = t.randn(4, 5).requires_grad_()
        GRADIENTS[name](t, x).backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_second_derivatives_and_grad() -> None:
    results = []
    for t in (oracle, lazytorch):
        x = t.tensor([1.0, 2.0, 3.0], requires_grad=True)
        (first,) = t.autograd.grad((x**3).sum(), x, create_graph=True)
        (second,) = t.autograd.grad((first * first).sum(), x)
        results.append((first.detach().numpy(), second.numpy()))
    np.testing.assert_allclose(results[1], results[0])


def test_hooks_custom_functions_and_retained_gradients() -> None:
    results = []
    for t in (oracle, lazytorch):

        class Double(t.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * 2

            @staticmethod
            def backward(ctx, g):
                (x,) = ctx.saved_tensors
                return g * 2 + x * 0

        seen = []
        x = t.tensor([1.0, -2.0], requires_grad=True)
        y = Double.apply(x)
        y.retain_grad()
        y.register_hook(lambda g, seen=seen: seen.append(g.tolist()))
        (y * y).sum().backward()
        results.append((x.grad.tolist(), y.grad.tolist(), seen))
    assert results[0] == results[1]


PRINTED = {
    "grad_fn": lambda t: t.ones(2, requires_grad=True) * 2,
    "leaf": lambda t: t.ones(2, requires_grad=True),
    "long": lambda t: t.arange(3),
    "summary": lambda t: t.arange(2000.0),
    "view": lambda t: t.ones(2, 3, requires_grad=True).t(),
    "sum": lambda t: t.ones(2, 3, requires_grad=True).sum(),
    "mean": lambda t: t.ones(2, 3, requires_grad=True).mean(),
    "parameter": lambda t: t.nn.Parameter(t.ones(2)),
    "size": lambda t: t.ones(2, 3).shape,
    "dtype": lambda t: t.ones(1, dtype=t.float64),
}


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_text_is_torchs(name: str) -> None:
    assert repr(PRINTED[name](lazytorch)) == repr(PRINTED[name](oracle))


def test_a_reader_recorded_before_a_write_sees_the_old_value() -> None:
    x = lazytorch.zeros(3)
    r = x + 10
    x[:1] = 9
    assert r.tolist() == [10, 10, 10]
    assert x.tolist() == [9, 0, 0]


def _read(t, a, array):
    b, c = a + 1, (a * 2).sum()
    array[0] = 5.0
    return b, c, a


def _read_a_slice(t, a, array):
    b = a[1:3].exp()
    array[1] = 5.0
    return (b,)


def _added_in_place(t, a, array):
    b = t.ones(4)
    b += a
    array[0] = 5.0
    return (b,)


def _handed_out(t, a, array):
    x = t.ones(3)
    array = x.numpy()
    y = x + 1
    array[0] = 7.0
    return x, y


def _an_update(t, a, array):
    x = t.zeros(4).requires_grad_()
    x.grad = a
    t.optim.SGD([x], lr=1.0).step()
    array[0] = 5.0
    return (x,)


@pytest.mark.parametrize("program", [_read, _read_a_slice, _added_in_place, _handed_out, _an_update])
def test_what_was_computed_from_memory_that_numpy_shares_keeps_its_value(program):
    """`b = from_numpy(a) + 1; a[0] = 5` leaves b as it was."""
    found = []
    for t in (oracle, lazytorch):
        array = np.arange(4, dtype=np.float32)
        found.append([x.tolist() for x in program(t, t.from_numpy(array), array)])
    assert found[0] == found[1]


def test_numpy_shares_memory_in_both_directions() -> None:
    array = np.ones(3, np.float32)
    x = lazytorch.from_numpy(array)
    x.add_(1)
    assert array.tolist() == [2, 2, 2]
    y = lazytorch.ones(3)
    view = y.numpy()
    y.mul_(3)
    assert view.tolist() == [3, 3, 3]


def test_a_write_through_detach_keeps_the_history_of_its_storage() -> None:
    results = []
    for t in (oracle, lazytorch):
        w = t.ones(3, requires_grad=True)
        a = w * 2
        a.detach().zero_()
        assert a.requires_grad
        (a + w).sum().backward()
        results.append((a.tolist(), w.grad.tolist()))
    assert results[0] == results[1]


def test_angles_of_any_size_are_reduced_exactly() -> None:
    angles = [1e6, -1e6, 1e20, 5.29e34]
    want = np.sin(np.array(angles, np.float32).astype(np.longdouble))
    np.testing.assert_allclose(lazytorch.tensor(angles).sin().numpy(), want, rtol=2e-7)
