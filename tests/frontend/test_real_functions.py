"""Functions of real numbers as torch has them: function, method, in-place, `out=`, element types, gradients."""

import numpy as np
import pytest
import torch as oracle

import lazytorch

UNARY = "acos acosh asin asinh atan atanh cos cosh digamma erf erfc erfinv exp exp2 expm1 lgamma log log10 log1p log2"
UNARY += " sigmoid sin sinh tan tanh"
ALIASES = "arccos arccosh arcsin arcsinh arctan arctan2 arctanh"
BINARY = "atan2 hypot pow"
TOLERANCE = {"float64": 1e-14, "float32": 4e-7, "float16": 2e-3, "bfloat16": 2e-2}


def operands(t, name: str, dtype: str) -> list:
    rng = np.random.default_rng(3)
    low = {"acosh": 1.1, "log": 0.1, "log2": 0.1, "log10": 0.1, "lgamma": 0.1, "digamma": 0.2, "pow": 0.1}.get(name, -0.9)
    count = 2 if name in BINARY.split() else 1
    arrays = [rng.uniform(low, low + 1.8, 40) for _ in range(count)]
    return [t.tensor(array.tolist(), dtype=getattr(t, dtype)) for array in arrays]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", [*UNARY.split(), *BINARY.split()])
def test_value_and_gradient_are_torchs(name: str, dtype: str) -> None:
    results = []
    for t in (oracle, lazytorch):
        x = [operand.requires_grad_() for operand in operands(t, name, dtype)]
        y = getattr(t, name)(*x)
        y.double().sum().backward()
        assert y.dtype is getattr(t, dtype)
        results.append([tensor.double().numpy() for tensor in (y.detach(), *[operand.grad for operand in x])])
    for got, want in zip(results[1], results[0], strict=True):
        rtol = max(8 * TOLERANCE[dtype], 1e-8 if name == "digamma" else 0)  # torch's trigamma has nine digits
        np.testing.assert_allclose(got, want, rtol=rtol, atol=2 * TOLERANCE[dtype])


@pytest.mark.parametrize("name", [*UNARY.split(), *BINARY.split()])
def test_every_form_gives_the_same(name: str) -> None:
    x, *rest = operands(lazytorch, name, "float32")
    want = getattr(lazytorch, name)(x, *rest).tolist()
    out = lazytorch.empty(0)
    getattr(lazytorch, name)(x, *rest, out=out)
    assert out.tolist() == want
    assert getattr(x, name)(*rest).tolist() == want
    getattr(x, f"{name}_")(*rest)
    assert x.tolist() == want


@pytest.mark.parametrize("alias", ALIASES.split())
def test_aliases_are_the_same_function(alias: str) -> None:
    assert getattr(lazytorch, alias).__wrapped__ is getattr(lazytorch, alias.replace("arc", "a")).__wrapped__


@pytest.mark.parametrize("name", ["atan2", "hypot", "sinh"])
@pytest.mark.parametrize("values", [[1, 2], [True, False]], ids=["integers", "bools"])
def test_integers_are_treated_as_by_torch(name: str, values: list) -> None:
    outcomes = []
    for t in (oracle, lazytorch):
        x = [t.tensor(values)] * (1 if name == "sinh" else 2)
        try:
            y = getattr(t, name)(*x)
            outcomes.append((y.dtype is t.float32, np.float32(y.tolist()).round(5).tolist()))
        except NotImplementedError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_the_angle_of_the_origin_has_no_gradient() -> None:
    gradients = []
    for t in (oracle, lazytorch):
        y, x = t.zeros(2, requires_grad=True), t.tensor([0.0, 1.0], requires_grad=True)
        t.atan2(y, x).sum().backward()
        gradients.append((y.grad.tolist(), x.grad.tolist()))
    assert gradients[0] == gradients[1]


@pytest.mark.parametrize("call", [lambda t: t.atan2(t.ones(1), 2.0), lambda t: t.hypot(2.0, t.ones(1))])
def test_numbers_are_not_tensors(call) -> None:
    messages = []
    for t in (oracle, lazytorch):
        with pytest.raises(TypeError) as error:
            call(t)
        messages.append(str(error.value)[:50])
    assert messages[0] == messages[1]


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_polygamma_and_its_derivative_are_torchs(n: int) -> None:
    results = []
    for t in (oracle, lazytorch):
        x = t.tensor([0.1, 0.7, 1.5, 4.0, 30.0, -0.4, -2.3], dtype=t.float64, requires_grad=True)
        y = t.polygamma(n, x)
        y.sum().backward()
        assert x.detach().polygamma(n).tolist() == y.tolist() == x.detach().clone().polygamma_(n).tolist()
        results.append((y.tolist(), x.grad.tolist()))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-8)  # torch's own trigamma has nine digits


def test_polygamma_of_a_negative_order_is_an_error() -> None:
    for t in (oracle, lazytorch):
        with pytest.raises(RuntimeError, match="does not support negative n"):
            t.polygamma(-1, t.ones(2))
