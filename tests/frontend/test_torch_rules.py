"""Rules of torch that are easily missed: gradients of second operands, `out=`, factors of 0, types that may not be mixed."""

import importlib

import pytest
import torch as oracle

import lazytorch
from tests.frontend.error_oracle import messages

GRADIENTS = {
    "bounds of clamp": lambda t, x: t.clamp(x, x.flip(0) - 0.2, x.roll(1) + 0.1),
    "the bound of clamp_max": lambda t, x: t.clamp_max(x.detach(), x * 0.5),
    "the divisor of remainder": lambda t, x: t.remainder(t.linspace(-5, 5, x.numel()).reshape(x.shape), x),
    "the divisor of fmod": lambda t, x: t.fmod(t.linspace(-5, 5, x.numel()).reshape(x.shape), x),
    "an empty vector in cat": lambda t, x: t.cat([x.reshape(-1)[:0], x]) if x.dim() == 1 else t.cat([x, x]),
    "cosine similarity of shapes that broadcast": lambda t, x: t.cosine_similarity(x[None], x[:, None] + 1, dim=-2),
    "numbers drawn with probabilities": lambda t, x: t.bernoulli(x.sigmoid()) + x,
    "a slice that replaces everything": lambda t, x: t.slice_scatter(x * 2, x * 3, 0),
    "rows by frequency": lambda t, x: t.nn.functional.embedding(t.tensor([0, 1, 0]), x, scale_grad_by_freq=True),
    "a view by strides of a detached leaf": lambda t, x: t.as_strided(x, (2, 2), (1, 2)),
    "nothing added by addmm": lambda t, x: t.addmm(x * float("nan"), x, t.ones(x.shape[1], x.shape[1]), beta=0),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_torchs(name, same_as_torch) -> None:
    same_as_torch(GRADIENTS[name], (3, 4))


def _out(t, function, *shapes, **options):
    out = t.empty(*shapes, **options)
    given = function(out)
    return given, given is out


VALUES = {
    "reflected subtraction of tensors": lambda t: t.tensor([1.0]).__rsub__(t.tensor([5.0])),
    "scatter with a sum": lambda t: t.ones(3).scatter(0, t.tensor([0, 0, 2]), t.tensor([1.0, 2.0, 3.0]), reduce="add"),
    "scatter with a product": lambda t: t.ones(3).scatter(0, t.tensor([0, 0, 2]), 5.0, reduce="multiply"),
    "negative indices along a dimension": lambda t: t.take_along_dim(t.arange(6).reshape(2, 3), t.tensor([[-1], [-3]]), 1),
    "gather without indices": lambda t: t.gather(t.rand(3), 0, t.zeros(2, 0, dtype=t.int64)),
    "a mask that broadcasts": lambda t: t.masked_select(t.arange(3), t.ones(2, 3) > 0),
    "a range of whole numbers from fractions": lambda t: t.arange(0.0, 3.1, dtype=t.int64),
    "whole numbers between fractions": lambda t: t.linspace(4.3, 1, 50, dtype=t.int64),
    "kl_div of negative targets": lambda t: t.nn.functional.kl_div(t.zeros(2), t.tensor([-1.0, 0.0]), reduction="none"),
    "repeated edges of what is cut": lambda t: t.nn.functional.pad(t.arange(4.0)[None, None], (-3, 5), "replicate"),
    "groups of no samples": lambda t: t.nn.functional.group_norm(t.ones(0, 4), 2).shape,
    "a dtype after the dimension": lambda t: t.softmax(t.arange(3), 0, t.float64),
    "three types in one product": lambda t: t.addcmul(t.ones(2), t.ones(2, dtype=t.int64), t.ones(2, dtype=t.float64)),
    "the bound's type": lambda t: t.clamp(t.ones(2), t.zeros(2, dtype=t.float64)),
    "powers as columns": lambda t: t.linalg.vander(t.tensor([2.0, 3.0]), N=3),
    "out of a wider type": lambda t: _out(t, lambda out: t.add(t.ones(1), 1, out=out), 1, dtype=t.float64),
    "out of a function that makes": lambda t: _out(t, lambda out: t.zeros(2, out=out), 5, dtype=t.int64),
    "out of several": lambda t: t.sort(t.tensor([2.0, 1.0]), out=(t.empty(0), t.empty(0, dtype=t.int64))),
    "out of a factorisation": lambda t: _out(t, lambda out: t.linalg.inv(t.eye(2) * 2, out=out), 0),
    "x log(1 + y)": lambda t: t.special.xlog1py(t.tensor([0.0, 0.0, 2.0]), t.tensor([-1.0, float("nan"), 1.0])),
    "entropy": lambda t: t.special.entr(t.tensor([0.5, 0.0, -1.0, float("nan")])),
}


@pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter")
@pytest.mark.parametrize("name", VALUES)
def test_values_are_torchs(name, same_as_torch) -> None:
    same_as_torch(VALUES[name])


WRONG = {
    "lerp between types": lambda t: t.lerp(t.ones(2), t.ones(2, dtype=t.float64), 0.5),
    "closeness of types": lambda t: t.isclose(t.ones(2), t.ones(2, dtype=t.float64)),
    "distances of types": lambda t: t.cdist(t.ones(2, 2), t.ones(2, 2, dtype=t.float64)),
    "normalisation of bools": lambda t: t.nn.functional.batch_norm(t.ones(2, 2) > 0, None, None, training=True),
    "values of another type at indices": lambda t: t.ones(2).index_put((t.tensor([0]),), t.ones(1, dtype=t.float64)),
    "a sum of another type at indices": lambda t: t.ones(2).scatter_add(0, t.tensor([0]), t.ones(1, dtype=t.float64)),
    "an unknown reduction": lambda t: t.ones(2).scatter(0, t.tensor([0]), t.ones(1), reduce="mean"),
    "a number compared with a tensor": lambda t: t.gt(2, t.ones(2)),
    "logic of numbers": lambda t: t.logical_and(t.ones(2), 1),
    "no samples": lambda t: t.multinomial(t.zeros(3), 2),
    "out of another type": lambda t: t.mm(t.ones(2, 2), t.ones(2, 2), out=t.empty(2, 2, dtype=t.float64)),
    "out of a lower category": lambda t: t.add(t.ones(2), 1, out=t.empty(2, dtype=t.int64)),
    "out that loses a gradient": lambda t: t.exp(t.ones(2, requires_grad=True), out=t.empty(2)),
    "out of another type than asked for": lambda t: t.zeros(2, dtype=t.float32, out=t.empty(2, dtype=t.float64)),
    "a repeated dimension": lambda t: t.movedim(t.ones(2, 3, 4), (0, 0), (1, 2)),
    "a start beyond the end": lambda t: t.narrow(t.ones(3), 0, 5, 0),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_error_is_torchs(name: str) -> None:
    mine, theirs = messages(WRONG[name])
    assert mine.split("\n")[0][:30] == theirs.split("\n")[0][:30]


def test_a_failed_program_leaves_gradients_enabled() -> None:
    lost = lazytorch.ones(4)[lazytorch.tensor([9])]
    with pytest.raises(IndexError):
        lazytorch.nn.BatchNorm1d(1)(lost.expand(4, 1).contiguous()).tolist()
    assert lazytorch.is_grad_enabled()
    assert oracle.is_grad_enabled()


@pytest.mark.parametrize("t", [lazytorch, oracle])
def test_numpy_is_allowed_of_what_requires_grad_where_gradients_are_off(t):
    x = t.ones(2, requires_grad=True)
    with t.no_grad():
        assert (x * 2).numpy().tolist() == [2.0, 2.0]
        assert x.numpy().tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="Can't call numpy"):
        x.numpy()


COPIES = {
    "copy_ to data": lambda old, new, i: old.data.copy_(new.data),
    "data is assigned": lambda old, new, i: setattr(old, "data", new.data.clone()),
    "lerp_": lambda old, new, i: old.data.lerp_(new.data, 0.5),
    "mul_ and add_": lambda old, new, i: old.data.mul_(0.9).add_(new.data * 0.1) if i > 2 else old.data.copy_(new.data),
    "once": lambda old, new, i: old.data.copy_(new.data) if not i else None,
}


def followed(t, copy, asked):
    """The parameters of a model that follows another one while that is trained."""
    start = t.tensor([[0.5, -1.0], [2.0, 0.25]])
    model, average = t.nn.Linear(2, 2), t.nn.Linear(2, 2)
    with t.no_grad():
        for p in (*model.parameters(), *average.parameters()):
            p.copy_(start[: p.shape[0]] if p.ndim == 2 else start[0])
    average.requires_grad_(False)
    optimizer = t.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for i in range(7):
        optimizer.zero_grad()
        loss = model(t.ones(1, 2)).pow(2).sum()
        loss.backward()
        optimizer.step()
        for new, old in zip(model.parameters(), average.parameters(), strict=True):
            copy(old, new, i)
        if asked and i % 2:
            loss.item()
    return [p.tolist() for p in (*average.parameters(), *model.parameters())]


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("copy", COPIES)
def test_a_model_follows_another_whose_memory_is_written_over(copy, asked):
    found, expected = (followed(t, COPIES[copy], asked) for t in (lazytorch, oracle))
    for one, other in zip(found, expected, strict=True):
        assert oracle.allclose(oracle.tensor(one), oracle.tensor(other), rtol=1e-5)


@pytest.mark.parametrize("t", [lazytorch, oracle])
def test_an_optimizer_may_require_an_option(t):
    required = importlib.import_module(f"{t.__name__}.optim.optimizer").required
    assert repr(required) == "<required parameter>"
    x = t.ones(1)
    assert t.optim.Optimizer([{"params": [x], "lr": 1}], {"lr": required}).param_groups[0]["lr"] == 1
    with pytest.raises(ValueError, match="didn't specify a value of required optimization parameter lr"):
        t.optim.Optimizer([x], {"lr": required})
