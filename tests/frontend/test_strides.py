"""Strides of elementwise results: in memory their elements lie in the order of the operands' elements, as in torch."""

import itertools

import pytest
import torch as oracle

import lazytorch


def operands(t):
    x = t.arange(24.0).reshape(2, 3, 4)
    return {
        "in order": x,
        "permuted": x.permute(2, 1, 0),
        "half permuted": x.permute(1, 2, 0),
        "sliced": x[:, :, ::2],
        "sliced and permuted": x[:, :, ::2].permute(2, 0, 1),
        "expanded": t.ones(1, 3, 4).expand(2, 3, 4),
        "expanded and permuted": t.ones(4, 3, 1).expand(4, 3, 2),
        "matrix": t.arange(12.0).reshape(4, 3).t(),
        "scalar": t.tensor(2.0),
        "row": t.arange(4.0),
        "permuted integers": x.permute(2, 1, 0).int(),
        "first two exchanged": x.transpose(0, 1),
    }


def written(t, a):
    b = a + 1
    b[0] = 5.0
    return b.mul_(2)


FUNCTIONS = {
    "neg": lambda t, a: -a,
    "relu": lambda t, a: t.relu(a),
    "double": lambda t, a: a.double(),
    "compare": lambda t, a: a > 1,
    "number minus": lambda t, a: 1 - a,
    "chain": lambda t, a: ((a + 1) * a) / 2,
    "clone": lambda t, a: a.clone(),
    "contiguous": lambda t, a: a.contiguous(),
    "zeros_like": lambda t, a: t.zeros_like(a),
    "clamp": lambda t, a: a.clamp(0, 1),
    "where": lambda t, a: t.where(a > 1, a, a * 2),
    "masked_fill": lambda t, a: a.masked_fill(a > 1, 0),
    "remainder": lambda t, a: a % 2,
    "floor division": lambda t, a: a // 2,
    "sum": lambda t, a: (a + 1).sum(),
    "reshape": lambda t, a: (a + 1).reshape(-1),
    "written": lambda t, a: written(t, a) if a.ndim else a,
}


def shown(x):
    return tuple(x.stride()), x.is_contiguous(), x.tolist()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_one_tensor(name: str) -> None:
    for kind, x in operands(oracle).items():
        assert shown(FUNCTIONS[name](lazytorch, operands(lazytorch)[kind])) == shown(FUNCTIONS[name](oracle, x)), kind


def test_sums_of_two_tensors_or_torchs_error() -> None:
    def run(a, b):
        try:
            return shown(a + b)
        except RuntimeError as error:
            return str(error)

    ours, theirs = operands(lazytorch), operands(oracle)
    for a, b in itertools.product(ours, ours):
        assert run(ours[a], ours[b]) == run(theirs[a], theirs[b]), (a, b)


def test_the_memory_itself_and_gradients() -> None:
    def run(t):
        x = t.arange(6.0).reshape(2, 3).requires_grad_()
        y = (x.t() * 2).exp()
        y.sum().backward()
        with pytest.raises(RuntimeError, match="view size is not compatible"):
            y.view(6)
        return y.detach().numpy().strides, y.grad_fn.name(), [round(g) for g in x.grad.reshape(-1).tolist()]

    assert run(lazytorch) == run(oracle)
