"""Jacobians, Hessians and gradient checks against torch."""

import numpy as np
import pytest
import torch as oracle

import lazytorch
from tests.frontend.error_oracle import messages

VALUES = {
    "vjp": lambda t, f, x, v: f.vjp(lambda a: (a**3).sum(1), x, v[0, :2]),
    "vjp of one element": lambda t, f, x, v: f.vjp(lambda a: a.sin().sum(), x),
    "vjp of several": lambda t, f, x, v: f.vjp(lambda a, b: (a * b, a.sum()), (x, v), (v, t.tensor(2.0))),
    "jvp": lambda t, f, x, v: f.jvp(lambda a: a.exp() * a.sum(), x, v),
    "jacobian": lambda t, f, x, v: f.jacobian(lambda a: a.sin().sum(0) * a[0], x),
    "jacobian of several": lambda t, f, x, v: f.jacobian(lambda a, b: (a @ b.t(), b.sum()), (x, v)),
    "jacobian without influence": lambda t, f, x, v: f.jacobian(lambda a, b: a * 2, (x, v)),
    "hessian": lambda t, f, x, v: f.hessian(lambda a: (a**3).sum() + a[0, 0] * a[1, 1], x),
    "hessian of several": lambda t, f, x, v: f.hessian(lambda a, b: (a * b * b).sum(), (x, v)),
    "vhp": lambda t, f, x, v: f.vhp(lambda a: (a**3).sum(), x, v),
    "hvp": lambda t, f, x, v: f.hvp(lambda a: (a.sin() * a.sum()).sum(), x, v),
}


def _arrays(outcome):
    if isinstance(outcome, tuple):
        return [array for item in outcome for array in _arrays(item)]
    assert not outcome.requires_grad
    return [outcome.numpy()]


@pytest.mark.parametrize("name", VALUES)
def test_the_products_are_torchs(name: str) -> None:
    results = []
    for t in (oracle, lazytorch):
        t.manual_seed(1)
        x, v = t.randn(2, 3), t.randn(2, 3)
        results.append(_arrays(VALUES[name](t, t.autograd.functional, x, v)))
    assert len(results[0]) == len(results[1])
    for want, got in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_jacobian_can_be_differentiated() -> None:
    results = []
    for t in (oracle, lazytorch):
        x = t.tensor([1.0, 2.0, 3.0], requires_grad=True)
        t.autograd.functional.jacobian(lambda a: a**3, x, create_graph=True).sum().backward()
        results.append(x.grad.tolist())
    assert results[0] == results[1]


def test_gradcheck_accepts_right_and_refuses_wrong_derivatives() -> None:
    for t in (oracle, lazytorch):

        class Wrong(t.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            @t.autograd.function.once_differentiable
            def backward(ctx, g):
                (x,) = ctx.saved_tensors
                return g * x

        x = t.rand(2, 3, dtype=t.float64, requires_grad=True)
        assert t.autograd.gradcheck(lambda a: (a.sin(), a.exp().sum()), (x,))
        assert t.autograd.gradcheck(
            lambda a: (a.softmax(1), a.prod()),
            (x,),
            check_forward_ad=True,
            check_batched_grad=True,
            check_batched_forward_grad=True,
        )
        assert t.autograd.gradgradcheck(lambda a: a**3, (x,))
        assert not t.autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)
        with pytest.raises(RuntimeError, match="Jacobian mismatch for output 0 with respect to input 0"):
            t.autograd.gradcheck(Wrong.apply, (x,))
        with pytest.raises(RuntimeError, match="Jacobian computed with forward mode mismatch for output 0"):
            t.autograd.gradcheck(wrong_forward(t).apply, (x,), check_forward_ad=True)
        with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
            t.autograd.gradcheck(lambda a: a, (t.ones(1, dtype=t.float64),))


def wrong_forward(t):
    class WrongForward(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * x * 2

        @staticmethod
        def jvp(ctx, tangent):
            (x,) = ctx.saved_tensors
            return tangent * x * 3

    return WrongForward


WRONG = {
    "v of another size": lambda t: t.autograd.functional.vjp(lambda a: a, t.ones(2), t.ones(3)),
    "no v": lambda t: t.autograd.functional.vjp(lambda a: a, t.ones(2)),
    "hessian of a vector": lambda t: t.autograd.functional.hessian(lambda a: a, t.ones(2)),
    "no tensor": lambda t: t.autograd.functional.jacobian(lambda a: a, 3.0),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_error_is_torchs(name: str) -> None:
    mine, theirs = messages(WRONG[name])
    assert mine[:30] == theirs[:30]


def test_gradients_for_a_batch_of_cotangents() -> None:
    results = []
    for t in (oracle, lazytorch):
        x = t.tensor([1.0, 2.0, 3.0], requires_grad=True)
        unused = t.ones(2, requires_grad=True)
        found = t.autograd.grad(
            x.sin() * x[0], (x, unused), t.eye(3), is_grads_batched=True, allow_unused=True, create_graph=True
        )
        assert found[1] is None
        found[0].square().sum().backward()
        results.append((found[0].tolist(), x.grad.tolist()))
    np.testing.assert_allclose(results[1][0], results[0][0], 1e-5)
    np.testing.assert_allclose(results[1][1], results[0][1], 1e-5)
