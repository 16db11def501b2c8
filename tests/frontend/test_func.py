"""torch.func: derivatives and vectorisation of functions, nested, against torch."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as oracle
import torch.func

import lazytorch
from tests.frontend.error_oracle import messages

Point = collections.namedtuple("Point", "x y")


def _data(t: Any) -> Any:
    t.manual_seed(0)
    return t.randn(3, 4), t.randn(4), t.randn(5, 3, 4)


def _mlp(t: Any) -> Any:
    t.manual_seed(1)
    return t.nn.Sequential(t.nn.Linear(4, 5), t.nn.Tanh(), t.nn.Linear(5, 3))


def _per_sample(t: Any, f: Any, m: Any, v: Any, b: Any) -> Any:
    net = _mlp(t)
    parameters = {name: x.detach() for name, x in net.named_parameters()}

    def loss(parameters: Any, x: Any, target: Any) -> Any:
        out = f.functional_call(net, parameters, (x.unsqueeze(0),))
        return t.nn.functional.cross_entropy(out, target.unsqueeze(0))

    return f.vmap(f.grad(loss), in_dims=(None, 0, 0))(parameters, m, t.tensor([0, 2, 1]))


def _ensemble(t: Any, f: Any, m: Any, v: Any, b: Any) -> Any:
    nets = [_mlp(t), _mlp(t)]
    parameters, buffers = f.stack_module_state(nets)
    assert all(x.requires_grad and x.is_leaf for x in parameters.values())
    out = f.vmap(lambda p, x: f.functional_call(nets[0], (p, buffers), (x,)), in_dims=(0, None))(parameters, m)
    out.sum().backward()
    return out.detach(), [x.grad for x in parameters.values()]


def _in_place(t: Any) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        out = t.zeros_like(x)
        out[1:] = x[:-1] * 2
        out[0] = x.sum()
        view = out.view(2, -1)
        view[1].mul_(x[:2])
        out.add_(1)
        return out

    return function


def _batch_norm(t: Any, f: Any, m: Any, v: Any, b: Any) -> Any:
    return f.vmap(lambda x: t.nn.functional.batch_norm(x, None, None, training=True))(b)


def _newton(t: Any, f: Any, m: Any, v: Any, b: Any) -> Any:
    def cost(x: Any) -> Any:
        return (x**4).sum() + (x * v).sum() + (x @ m.t()).square().sum()

    x = v
    for _ in range(3):
        x = x - t.linalg.solve(f.hessian(cost)(x), f.grad(cost)(x))
    return x


def _attention(t: Any, f: Any, m: Any, v: Any, b: Any) -> Any:
    def one(q: Any, k: Any) -> Any:
        return t.softmax(q @ k.t() / 2.0, -1) @ k

    return f.vmap(f.jacrev(one), in_dims=(0, None))(b, m)


PROGRAMS: dict[str, Callable[..., Any]] = {
    "grad": lambda t, f, m, v, b: f.grad(lambda x: x.sin().sum())(v),
    "grad of several": lambda t, f, m, v, b: f.grad(lambda x, y: (x @ y).square().sum(), argnums=(0, 1))(m, v),
    "grad by the last": lambda t, f, m, v, b: f.grad(lambda x, y: (x @ y).square().sum(), argnums=-1)(m, v),
    "grad of trees": lambda t, f, m, v, b: f.grad(lambda p: (p["w"] @ p["l"][0]).exp().sum())({"w": m, "l": [v]}),
    "grad of named tuples": lambda t, f, m, v, b: tuple(f.grad(lambda p: (p.x * p.y).sum())(Point(v, v + 1))),
    "grad with aux": lambda t, f, m, v, b: f.grad(lambda x: (x.sum(), {"twice": x * 2}), has_aux=True)(v),
    "grad_and_value": lambda t, f, m, v, b: f.grad_and_value(lambda x: x.square().sum())(v),
    "grad_and_value with aux": lambda t, f, m, v, b: f.grad_and_value(lambda x: (x.sum(), x), has_aux=True)(v),
    "grad with keywords": lambda t, f, m, v, b: f.grad(lambda x, *, y: (x * y).sum())(v, y=v),
    "grad without influence": lambda t, f, m, v, b: f.grad(lambda x: v.sum())(v),
    "grad of grad": lambda t, f, m, v, b: f.grad(lambda x: f.grad(lambda y: (y**3).sum())(x).sum())(v),
    "perturbations are kept apart": lambda t, f, m, v, b: f.grad(lambda x: (x * f.grad(lambda y: (x * y).sum())(x)).sum())(
        v
    ),
    "grad with control flow": lambda t, f, m, v, b: f.grad(lambda x: x.sum() * 3 if x.sum() > 100 else x.prod())(v),
    "grad with item": lambda t, f, m, v, b: f.grad(lambda x: x.sum() * x.sum().item())(v),
    "no_grad inside": lambda t, f, m, v, b: f.grad(lambda x: (x * _constant(t, x)).sum())(v),
    "vjp": lambda t, f, m, v, b: _vjp(f, lambda x, y: (x @ y, {"s": x.sum()}), (m, v), lambda o: (o[0], {"s": o[1]["s"]})),
    "jvp": lambda t, f, m, v, b: f.jvp(lambda x: (x.sin(), x.sum()), (v,), (v + 1,)),
    "jvp of trees": lambda t, f, m, v, b: f.jvp(lambda p, q: {"o": p["a"] @ q}, ({"a": m}, v), ({"a": m * 2}, v + 1)),
    "jvp with aux": lambda t, f, m, v, b: f.jvp(lambda x: (x.exp(), x), (v,), (v,), has_aux=True),
    "jvp without influence": lambda t, f, m, v, b: f.jvp(lambda x: t.ones(2), (v,), (v,)),
    "jvp with item": lambda t, f, m, v, b: f.jvp(lambda x: x * x[0].item() + (x if x[0] > 0 else -x), (v,), (v,)),
    "jvp through detach": lambda t, f, m, v, b: f.jvp(lambda x: x * x.detach(), (v,), (v,)),
    "jvp through no_grad": lambda t, f, m, v, b: f.jvp(lambda x: x * _constant(t, x), (v,), (v,)),
    "jvp of jvp": lambda t, f, m, v, b: f.jvp(lambda x: f.jvp(lambda y: (x * y).sin(), (x,), (v,))[1], (v,), (v,)),
    "jvp in place": lambda t, f, m, v, b: f.jvp(_in_place(t), (v,), (v + 1,)),
    "jacrev": lambda t, f, m, v, b: f.jacrev(lambda x: x.sin().sum(0) * x[0])(m),
    "jacrev in chunks": lambda t, f, m, v, b: f.jacrev(lambda x: m @ x.exp(), chunk_size=2)(v),
    "jacrev of several": lambda t, f, m, v, b: f.jacrev(lambda x, y: (x @ y, x.sum()), argnums=(0, 1))(m, v),
    "jacrev of trees": lambda t, f, m, v, b: f.jacrev(lambda p: {"y": m @ p["x"]})({"x": v}),
    "jacrev with aux": lambda t, f, m, v, b: f.jacrev(lambda x: (x * x, x.sum()), has_aux=True)(v),
    "jacfwd": lambda t, f, m, v, b: f.jacfwd(lambda x: x.sin().sum(0) * x[0])(m),
    "jacfwd of several": lambda t, f, m, v, b: f.jacfwd(lambda x, y: (x @ y, x.sum()), argnums=(0, 1))(m, v),
    "jacfwd of trees": lambda t, f, m, v, b: f.jacfwd(lambda p: {"y": m @ p["x"]})({"x": v}),
    "jacfwd with aux": lambda t, f, m, v, b: f.jacfwd(lambda x: (x * x, x.sum()), has_aux=True)(v)[0],
    "jacfwd of an in-place function": lambda t, f, m, v, b: f.jacfwd(_in_place(t))(v),
    "jacrev of an in-place function": lambda t, f, m, v, b: f.jacrev(_in_place(t))(v),
    "hessian": lambda t, f, m, v, b: f.hessian(lambda x: (x**3).sum() + x[0] * x[1])(v),
    "hessian of several": lambda t, f, m, v, b: f.hessian(lambda x, y: (x @ y).square().sum(), argnums=(0, 1))(m, v),
    "jacrev of jacrev": lambda t, f, m, v, b: f.jacrev(f.jacrev(lambda x: (x**3).sum()))(v),
    "jacfwd of jacfwd": lambda t, f, m, v, b: f.jacfwd(f.jacfwd(lambda x: (x**3).sum()))(v),
    "jacrev of jacfwd": lambda t, f, m, v, b: f.jacrev(f.jacfwd(lambda x: (x**3).sum()))(v),
    "third derivative": lambda t, f, m, v, b: f.jacfwd(f.hessian(lambda x: x.sin().sum() * x.prod()))(v[:2]),
    "hessian of a network": lambda t, f, m, v, b: _of_network(t, f.hessian, v),
    "hessian with item": lambda t, f, m, v, b: f.hessian(lambda x: (x**2).sum() * float(v.sum()))(v),
    "linearize": lambda t, f, m, v, b: _linearized(f, lambda x: (x.sin(), m @ x), v),
    "vmap": lambda t, f, m, v, b: f.vmap(lambda x: x.sin().sum())(m),
    "vmap over the last": lambda t, f, m, v, b: f.vmap(lambda x: x.cumsum(0), in_dims=-1, out_dims=1)(m),
    "vmap with shared": lambda t, f, m, v, b: f.vmap(lambda x, y: (x @ y, y), in_dims=(0, None))(b, v),
    "vmap of a dot product": lambda t, f, m, v, b: f.vmap(t.dot)(m, m + 1),
    "vmap of matrix products": lambda t, f, m, v, b: f.vmap(lambda x: x @ x.t(), in_dims=1, out_dims=2)(b),
    "vmap of trees": lambda t, f, m, v, b: f.vmap(lambda p, y: {"s": p["a"] + y}, in_dims=({"a": 0}, None))({"a": m}, v),
    "vmap with numbers": lambda t, f, m, v, b: f.vmap(lambda x, n: x * n, in_dims=(0, None))(m, 3),
    "vmap with out_dims": lambda t, f, m, v, b: f.vmap(lambda x: (x, x * 2), out_dims=(0, 1))(m),
    "vmap in chunks": lambda t, f, m, v, b: f.vmap(lambda x: (x, x.sum()), chunk_size=2, out_dims=(1, 0))(b),
    "vmap of vmap": lambda t, f, m, v, b: f.vmap(f.vmap(lambda x, y: (x * y).sum(), in_dims=(0, None)), in_dims=(None, 0))(
        m, m
    ),
    "vmap of nothing": lambda t, f, m, v, b: f.vmap(lambda x: x.sin().sum())(t.zeros(0, 4)),
    "vmap in place": lambda t, f, m, v, b: f.vmap(lambda x: x.clone().mul_(2).add_(x))(m),
    "vmap writes its argument": lambda t, f, m, v, b: (f.vmap(lambda x: x.add_(1), in_dims=1)(m), m),
    "vmap of views that are written": lambda t, f, m, v, b: f.vmap(lambda x: _halved(x))(m),
    "vmap of indexing": lambda t, f, m, v, b: f.vmap(lambda x, i: (x[i], x[1:], x[..., None]))(
        m, t.tensor([[0, 3], [1, 1], [-1, 2]])
    ),
    "vmap of gather": lambda t, f, m, v, b: f.vmap(lambda x: x.gather(0, t.tensor([0, 2])))(m),
    "vmap of index_add": lambda t, f, m, v, b: f.vmap(lambda x, i: t.zeros(4).index_add(0, i, x))(
        m, t.tensor([[0, 1, 2, 3], [0, 0, 1, 1], [3, 3, 3, 3]])
    ),
    "vmap of where": lambda t, f, m, v, b: f.vmap(lambda x: t.where(x > 0, x, -x * 2))(m),
    "vmap of sort": lambda t, f, m, v, b: f.vmap(lambda x: x.sort(descending=True)[0])(m),
    "vmap of topk": lambda t, f, m, v, b: f.vmap(lambda x: x.topk(2).values)(m),
    "vmap of max": lambda t, f, m, v, b: f.vmap(lambda x: x.max(0))(b)[0],
    "vmap of einsum": lambda t, f, m, v, b: f.vmap(lambda x: t.einsum("ij,kj->ik", x, m))(b),
    "vmap of solve": lambda t, f, m, v, b: f.vmap(lambda x: t.linalg.solve(x @ x.t() + t.eye(3), t.ones(3)))(b),
    "vmap of det": lambda t, f, m, v, b: f.vmap(lambda x: t.linalg.det(x[:, :3]))(b),
    "vmap of conv2d": lambda t, f, m, v, b: f.vmap(lambda x, w: t.nn.functional.conv2d(x, w, padding=1))(
        t.randn(2, 1, 2, 5, 5), t.randn(2, 3, 2, 3, 3)
    ),
    "vmap of max_pool2d": lambda t, f, m, v, b: f.vmap(lambda x: t.nn.functional.max_pool2d(x, 2))(t.randn(2, 1, 2, 4, 4)),
    "vmap of layer_norm": lambda t, f, m, v, b: f.vmap(lambda x: t.nn.functional.layer_norm(x, (4,)))(b),
    "vmap of batch_norm": _batch_norm,
    "vmap of embedding": lambda t, f, m, v, b: f.vmap(lambda i: t.nn.functional.embedding(i, m))(t.tensor([[0, 1], [2, 2]])),
    "vmap of losses": lambda t, f, m, v, b: f.vmap(lambda x: t.nn.functional.mse_loss(x, v))(m),
    "vmap of dtypes": lambda t, f, m, v, b: f.vmap(lambda x: ((x > 0).sum(), x.to(t.float64), x.argmax()))(m),
    "vmap of stack": lambda t, f, m, v, b: f.vmap(lambda x: t.stack([x, x * 2, v]).flatten())(m),
    "vmap of cat": lambda t, f, m, v, b: f.vmap(lambda x: t.cat([x, v]))(m),
    "vmap of grad": lambda t, f, m, v, b: f.vmap(f.grad(lambda x: (x.sin() * v).sum()))(m),
    "vmap of grad of vmap": lambda t, f, m, v, b: f.vmap(f.grad(lambda x: f.vmap(lambda y: y.norm())(x).sum()))(b),
    "vmap of jacfwd": lambda t, f, m, v, b: f.vmap(f.jacfwd(lambda x: x * x.sum()))(m),
    "vmap of hessian": lambda t, f, m, v, b: f.vmap(f.hessian(lambda x: x.softmax(0)[0]))(m),
    "vmap of vjp": lambda t, f, m, v, b: f.vmap(lambda x, g: f.vjp(lambda y: y.exp(), x)[1](g))(m, m),
    "vmap of jvp": lambda t, f, m, v, b: f.vmap(lambda x, d: f.jvp(lambda y: y.exp(), (x,), (d,)))(m, m),
    "grad of vmap": lambda t, f, m, v, b: f.grad(lambda x: f.vmap(lambda y: (y * x).exp().sum())(m).sum())(v),
    "grad of vmap in place": lambda t, f, m, v, b: f.grad(lambda x: f.vmap(_in_place(t))(x).square().sum())(m),
    "jacrev of vmap": lambda t, f, m, v, b: f.jacrev(f.vmap(lambda x: x.sin().sum()))(m),
    "jvp of vmap": lambda t, f, m, v, b: f.jvp(f.vmap(lambda x: x.softmax(0)), (m,), (m + 1,)),
    "grad of jvp": lambda t, f, m, v, b: f.grad(lambda x: f.jvp(lambda y: (y**3).sum(), (x,), (v,))[1])(v),
    "jvp of grad": lambda t, f, m, v, b: f.jvp(f.grad(lambda x: (x**3).sum()), (v,), (v,)),
    "jvp of grad of logarithms": lambda t, f, m, v, b: f.jvp(f.grad(lambda x: t.logaddexp2(x, x * 2).sum()), (v,), (v,)),
    "per-sample gradients": _per_sample,
    "an ensemble": _ensemble,
    "Newton's method": _newton,
    "Jacobians of attention": _attention,
}


def _constant(t: Any, x: Any) -> Any:
    with t.no_grad():
        return x * 2


def _of_network(t: Any, transformation: Any, x: Any) -> Any:
    net = _mlp(t)
    return transformation(lambda y: net(y).log_softmax(-1)[0])(x).detach()


def _halved(x: Any) -> Any:
    out = x * 1
    out[::2].mul_(0.5)
    out.view(2, 2)[0].add_(x[:2])
    return out


def _vjp(f: Any, function: Any, primals: Any, cotangents: Any) -> Any:
    output, pull = f.vjp(function, *primals)
    return output, pull(cotangents(output))


def _linearized(f: Any, function: Any, x: Any) -> Any:
    output, push = f.linearize(function, x)
    return output, push(x), push(x + 1)


def _flat(outcome: Any, t: Any) -> list[Any]:
    if isinstance(outcome, t.Tensor):
        assert not outcome.requires_grad
        return [outcome]
    values = outcome.values() if isinstance(outcome, dict) else outcome
    return [x for item in values for x in _flat(item, t)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_computes_what_it_does_in_torch(name: str) -> None:
    want = _flat(PROGRAMS[name](oracle, torch.func, *_data(oracle)), oracle)
    got = _flat(PROGRAMS[name](lazytorch, lazytorch.func, *_data(lazytorch)), lazytorch)
    assert len(want) == len(got)
    for a, b in zip(want, got, strict=True):
        assert str(a.dtype) == str(b.dtype) and tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=2e-5, atol=2e-5)


def _gradients_of_transformations(t: Any, f: Any) -> list[Any]:
    m, v, _ = _data(t)
    m.requires_grad_()
    net = _mlp(t)
    loss = f.vmap(lambda x: net(x).square().sum())(m).sum()
    loss = loss + f.grad(lambda x: (net(x) ** 2).sum())(v).sum() + f.jvp(net, (v,), (v,))[1].sum()
    loss = loss + f.jacrev(net)(v).square().sum() + f.jacfwd(lambda x: net(x))(m[0]).sum()
    loss.backward()
    return [m.grad.numpy(), *[p.grad.numpy() for p in net.parameters()]]


def test_derivatives_flow_through_a_transformed_function() -> None:
    outcomes = [_gradients_of_transformations(t, f) for t, f in ((oracle, torch.func), (lazytorch, lazytorch.func))]
    for a, b in zip(*outcomes, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_no_grad_around_a_transformation_only_cuts_what_comes_after() -> None:
    for t, f in ((oracle, torch.func), (lazytorch, lazytorch.func)):
        x = t.ones(3, requires_grad=True)
        with t.no_grad():
            out = f.grad(lambda y: (y**2).sum())(x)
        assert out.tolist() == [2, 2, 2] and not out.requires_grad
        assert f.grad(lambda y: (y**2).sum())(x).requires_grad
        assert f.vmap(lambda y: y * 2)(x).requires_grad


RANDOM = {
    "rand": lambda t, x: t.rand(2),
    "randn_like": lambda t, x: t.randn_like(x),
    "randint": lambda t, x: t.randint(0, 9, (2,)),
    "randperm": lambda t, x: t.randperm(1),
    "normal_": lambda t, x: x.clone().normal_(),
    "bernoulli_": lambda t, x: x.clone().bernoulli_(0.3),
    "random_": lambda t, x: x.clone().random_(7),
    "dropout": lambda t, x: t.nn.functional.dropout(x + 1, 0.5, True),
}


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("randomness", ["same", "different"])
def test_random_numbers_are_the_same_or_different(name: str, randomness: str) -> None:
    outcomes = []
    for t, f in ((oracle, torch.func), (lazytorch, lazytorch.func)):
        t.manual_seed(5)
        outcomes.append(f.vmap(lambda x, t=t: RANDOM[name](t, x), randomness=randomness)(t.zeros(5, 2)).tolist())
    assert outcomes[0] == outcomes[1]
    rows = outcomes[1]
    assert (len({tuple(row) for row in rows}) == 1) == (randomness == "same" or name == "randperm")


def test_chances_may_differ_from_example_to_example() -> None:
    p = lazytorch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert lazytorch.vmap(lambda x: lazytorch.bernoulli(x), randomness="different")(p).tolist() == p.tolist()


def test_a_network_with_dropout_draws_for_every_example() -> None:
    lazytorch.manual_seed(0)
    x = lazytorch.ones(4, 64)
    for layer in (lazytorch.nn.Dropout(), lazytorch.nn.AlphaDropout()):
        out = lazytorch.vmap(layer, randomness="different")(x)
        assert len({tuple(row) for row in out.tolist()}) == 4


def _in(t: Any) -> Any:
    return t.func if t is lazytorch else torch.func


WRONG: dict[str, Callable[[Any], Any]] = {
    "item": lambda t: _in(t).vmap(lambda x: x.item())(t.ones(3)),
    "item of a later value": lambda t: _in(t).vmap(lambda x: (x * 2).sum().item())(t.ones(3, 2)),
    "bool": lambda t: _in(t).vmap(lambda x: x if x > 0 else -x)(t.ones(3)),
    "tolist": lambda t: _in(t).vmap(lambda x: x.tolist())(t.ones(3)),
    "a mask": lambda t: _in(t).vmap(lambda x: x[x > 0])(t.ones(3, 2)),
    "nonzero": lambda t: _in(t).vmap(lambda x: x.nonzero())(t.ones(3, 2)),
    "no tensor": lambda t: _in(t).vmap(lambda x: 3.0)(t.ones(3)),
    "a number to map over": lambda t: _in(t).vmap(lambda x: x)(3),
    "sizes": lambda t: _in(t).vmap(lambda x, y: x + y)(t.ones(3), t.ones(2)),
    "in_dims of another structure": lambda t: _in(t).vmap(lambda x, y: x, in_dims=(0,))(t.ones(3), t.ones(3)),
    "no in_dims": lambda t: _in(t).vmap(lambda x: x, in_dims=(None,))(t.ones(3)),
    "in_dims that are none": lambda t: _in(t).vmap(lambda x: x, in_dims="a")(t.ones(3)),
    "in_dim out of range": lambda t: _in(t).vmap(lambda x: x, in_dims=2)(t.ones(3)),
    "no inputs": lambda t: _in(t).vmap(lambda: t.ones(3))(),
    "out_dims of another structure": lambda t: _in(t).vmap(lambda x: (x, x), out_dims=(0,))(t.ones(3)),
    "out_dim None": lambda t: _in(t).vmap(lambda x: x, out_dims=None)(t.ones(3)),
    "out_dim out of range": lambda t: _in(t).vmap(lambda x: x, out_dims=2)(t.ones(3)),
    "random": lambda t: _in(t).vmap(lambda x: x + t.rand(2))(t.ones(3)),
    "randomness": lambda t: _in(t).vmap(lambda x: x, randomness="some"),
    "chunk_size": lambda t: _in(t).vmap(lambda x: x, chunk_size=0),
    "a vector has no grad": lambda t: _in(t).grad(lambda x: x)(t.ones(3)),
    "grad of a number": lambda t: _in(t).grad(lambda x: 3.0)(t.ones(3)),
    "grad by integers": lambda t: _in(t).grad(lambda x: x.sum())(t.ones(3, dtype=t.int64)),
    "argnums out of range": lambda t: _in(t).grad(lambda x: x.sum(), argnums=1)(t.ones(3)),
    "argnums twice": lambda t: _in(t).grad(lambda x: x.sum(), argnums=(0, 0))(t.ones(3)),
    "no aux": lambda t: _in(t).grad(lambda x: x.sum(), has_aux=True)(t.ones(3)),
    "grad in place": lambda t: _in(t).grad(lambda x: x.mul_(2).sum())(t.ones(3)),
    "vjp of a number": lambda t: _in(t).vjp(lambda x: 3, t.ones(3)),
    "cotangents of another structure": lambda t: _in(t).vjp(lambda x: (x, x), t.ones(3))[1](t.ones(3)),
    "cotangents of another shape": lambda t: _in(t).vjp(lambda x: x, t.ones(3))[1](t.ones(2)),
    "primals no tuple": lambda t: _in(t).jvp(lambda x: x, t.ones(3), t.ones(3)),
    "no primals": lambda t: _in(t).jvp(lambda: t.ones(3), (), ()),
    "tangents of another shape": lambda t: _in(t).jvp(lambda x: x, (t.ones(3),), (t.ones(2),)),
    "tangents of another structure": lambda t: _in(t).jvp(lambda x: x, (t.ones(3),), (t.ones(3), t.ones(3))),
    "jvp of a number": lambda t: _in(t).jvp(lambda x: 3, (t.ones(3),), (t.ones(3),)),
    "functional_call with one name twice": lambda t: _in(t).functional_call(
        t.nn.Linear(2, 2), ({"bias": t.ones(2)}, {"bias": t.ones(2)}), t.ones(2)
    ),
    "functional_call strict": lambda t: _in(t).functional_call(t.nn.Linear(2, 2), {"a": t.ones(2)}, t.ones(2), strict=True),
    "functional_call of no dictionary": lambda t: _in(t).functional_call(t.nn.Linear(2, 2), 3, t.ones(2)),
    "stack_module_state of none": lambda t: _in(t).stack_module_state([]),
    "stack_module_state of classes": lambda t: _in(t).stack_module_state([t.nn.Linear(2, 2), t.nn.ReLU()]),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_error_is_torchs(name: str) -> None:
    mine, theirs = messages(WRONG[name])
    assert mine[:60] == theirs[:60]


def _dual(t: Any, function: Callable[[Any], Any], x: Any, tangent: Any) -> Any:
    with t.autograd.forward_ad.dual_level():
        dual = t.autograd.forward_ad.make_dual(x, tangent)
        primal, pushed = t.autograd.forward_ad.unpack_dual(function(dual))
        again = t.autograd.forward_ad.unpack_dual(primal * 2).tangent
    return primal, t.zeros(1) if pushed is None else pushed, t.ones(1) if again is None else again


DUALS: dict[str, Callable[..., Any]] = {
    "a product": lambda t: _dual(t, lambda x: x * x.sum(), t.tensor([1.0, 2.0]), t.tensor([3.0, 1.0])),
    "a network": lambda t: _dual(t, lambda x: x.tanh().softmax(0), t.tensor([1.0, 2.0]), t.tensor([3.0, 1.0])),
    "in place": lambda t: _dual(t, lambda x: (x * 2).mul_(x), t.tensor([1.0, 2.0]), t.tensor([3.0, 1.0])),
    "no influence": lambda t: _dual(t, lambda x: t.ones(2), t.tensor([1.0, 2.0]), t.tensor([3.0, 1.0])),
    "detached": lambda t: _dual(t, lambda x: x.detach(), t.tensor([1.0, 2.0]), t.tensor([3.0, 1.0])),
    "outside": lambda t: (t.autograd.forward_ad.unpack_dual(t.ones(2)).primal,),
}


@pytest.mark.parametrize("name", DUALS)
def test_dual_tensors_carry_tangents(name: str) -> None:
    want, got = [[x.detach().tolist() for x in DUALS[name](t)] for t in (oracle, lazytorch)]
    np.testing.assert_allclose(np.concatenate([np.ravel(x) for x in got]), np.concatenate([np.ravel(x) for x in want]), 1e-6)


def test_a_tangent_can_be_differentiated() -> None:
    for t in (oracle, lazytorch):
        x = t.tensor([1.0, 2.0], requires_grad=True)
        with t.autograd.forward_ad.dual_level():
            y = t.autograd.forward_ad.make_dual(x, t.ones(2)) ** 3
            t.autograd.forward_ad.unpack_dual(y).tangent.sum().backward()
        assert x.grad.tolist() == [6.0, 12.0]


WRONG_DUALS: dict[str, Callable[[Any], Any]] = {
    "no level": lambda t: t.autograd.forward_ad.make_dual(t.ones(2), t.ones(2)),
    "two levels": lambda t: _nested(t),
    "another shape": lambda t: _dual(t, lambda x: x, t.ones(2), t.ones(3)),
    "integers": lambda t: _dual(t, lambda x: x, t.ones(2, dtype=t.int64), t.ones(2)),
}


def _nested(t: Any) -> None:
    with t.autograd.forward_ad.dual_level(), t.autograd.forward_ad.dual_level():
        pass


@pytest.mark.parametrize("name", WRONG_DUALS)
def test_the_error_about_duals_is_torchs(name: str) -> None:
    mine, theirs = messages(WRONG_DUALS[name])
    assert mine[:60] == theirs[:60]


def _scaled(t: Any, generate: bool, own: bool) -> Any:
    """sin, with a derivative that is twice as large, so that a derivative of something else is seen."""

    class Scaled(t.autograd.Function):
        generate_vmap_rule = generate

        @staticmethod
        def forward(x, factor, count):
            return (x * factor).sin()

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, factor, _ = inputs
            ctx.save_for_backward(x, factor)
            ctx.save_for_forward(x, factor)

        @staticmethod
        def backward(ctx, g):
            x, factor = ctx.saved_tensors
            slope = (x * factor).cos() * 2
            return g * slope * factor, g * slope * x, None

        @staticmethod
        def jvp(ctx, dx, dfactor, _):
            x, factor = ctx.saved_tensors
            return (x * factor).cos() * (dx * factor + dfactor * x) * 2

    if own:

        def rule(info, in_dims, x, factor, count):
            assert info.batch_size == 3 and info.randomness == "error"
            assert in_dims[2] is None
            x = x if in_dims[0] is None else x.movedim(in_dims[0], 0)
            factor = factor if in_dims[1] is None else factor.movedim(in_dims[1], 0)
            return Scaled.apply(x, factor, count), 0

        Scaled.vmap = staticmethod(rule)
    return lambda x, y: Scaled.apply(x, y, 1)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "grad": lambda t, f, g, m: f.grad(lambda x, y: g(x, y).sum(), argnums=(0, 1))(m, m + 1),
    "jvp": lambda t, f, g, m: f.jvp(g, (m, m), (m, m + 1)),
    "vmap": lambda t, f, g, m: f.vmap(g)(m, m + 1),
    "vmap of grad": lambda t, f, g, m: f.vmap(f.grad(lambda x, y: g(x, y).sum()))(m, m + 1),
    "grad of vmap": lambda t, f, g, m: f.grad(lambda x, y: f.vmap(g)(x, y).sum(), argnums=(0, 1))(m, m + 1),
    "jacrev": lambda t, f, g, m: f.jacrev(lambda x: g(x, m[1]))(m[0]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("generate", [True, False], ids=["generated", "own"])
def test_a_function_of_ones_own_is_transformed_by_its_own_rules(name: str, generate: bool) -> None:
    want, got = [
        _flat(FUNCTIONS[name](t, f, _scaled(t, generate, not generate), _data(t)[0]), t)
        for t, f in ((oracle, torch.func), (lazytorch, lazytorch.func))
    ]
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-6)


def _by_shared(t: Any, f: Any) -> Any:
    function, (m, v, _) = _scaled(t, True, False), _data(t)
    return f.grad(lambda x, y: f.vmap(function, in_dims=(0, None))(x, y).sum(), argnums=1)(m, v)


def test_a_shared_argument_of_a_vectorised_function_gets_the_sum_of_its_gradients() -> None:
    want, got = _by_shared(oracle, torch.func), _by_shared(lazytorch, lazytorch.func)
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5)


def test_a_function_without_rules_is_refused_where_it_would_matter() -> None:
    function = _scaled(lazytorch, False, False)
    x = lazytorch.ones(3)
    assert lazytorch.vmap(function)(x, x).shape == (3,)
    with pytest.raises(RuntimeError, match="You tried to vmap over Scaled, but it does not have vmap support"):
        lazytorch.func.grad(lambda y: lazytorch.vmap(function)(y, x).sum())(x)


def test_what_a_vectorised_function_writes_to_must_be_its_own() -> None:
    outside, pending = lazytorch.zeros(2).realize(), lazytorch.ones(2) * 3
    for target in (outside, pending):
        for function in (lambda x, y=target: y.add_(x), lambda x, y=target: (y[0].copy_(x[0]), x)[1]):
            with pytest.raises(RuntimeError, match="vmap: inplace arithmetic"):
                lazytorch.vmap(function)(lazytorch.ones(3, 2))
    assert outside.tolist() == [0, 0] and pending.tolist() == [3, 3]

    def own(x: Any) -> Any:
        out, constant = lazytorch.zeros(2), lazytorch.tensor([1.0, 2.0])
        out[0] = x[1]
        constant.mul_(x)
        return out, lazytorch.nn.functional.relu_(x * 1), constant

    assert [y.tolist() for y in lazytorch.vmap(own)(lazytorch.tensor([[1.0, -2.0]]))] == [[[-2, 0]], [[1, 0]], [[1, -4]]]


def test_a_batched_tensor_is_printed_as_torch_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for t, f in ((oracle, torch.func), (lazytorch, lazytorch.func)):
        f.vmap(lambda x: (print(x * 2), x)[1])(t.ones(2, 3))
        f.vmap(lambda x, f=f: f.vmap(lambda y: (print(y), y)[1])(x))(t.ones(2, 3))
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
