"""torch.special against torch, and against SciPy's numbers where torch's own are known to be less exact."""

import numpy as np
import pytest
import torch

import lazytorch

RANGES = {
    "airy_ai": (-2, 30),
    "erfcx": (-5, 60),
    "i0": (-40, 40),
    "i0e": (-40, 40),
    "i1": (-40, 40),
    "i1e": (-40, 40),
    "log_ndtr": (-60, 10),
    "modified_bessel_i0": (-20, 20),
    "modified_bessel_i1": (-20, 20),
    "modified_bessel_k0": (-1, 40),
    "modified_bessel_k1": (-1, 40),
    "scaled_modified_bessel_k0": (-1, 40),
    "scaled_modified_bessel_k1": (-1, 40),
    "ndtri": (-0.1, 1.1),
    "spherical_bessel_j0": (-20, 20),
}
EDGES = [0.0, 1.0, -1.0, np.inf, 1e-9]
POLYNOMIALS = [name for name in dir(torch.special) if "polynomial" in name]


@pytest.mark.parametrize("name", RANGES)
def test_a_function_of_one_number(name):
    points = np.concatenate([np.linspace(*RANGES[name], 501), EDGES])
    x, y = (library.tensor(points).requires_grad_() for library in (torch, lazytorch))
    want, found = getattr(torch.special, name)(x), getattr(lazytorch.special, name)(y)
    np.testing.assert_allclose(found.detach().numpy(), want.detach().numpy(), rtol=1e-11, atol=1e-14)
    if want.requires_grad:
        (slope,), (own,) = torch.autograd.grad(want.sum(), x), lazytorch.autograd.grad(found.sum(), [y])
        np.testing.assert_allclose(own.numpy(), slope.numpy(), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "point", "value"),
    [
        ("bessel_j0", 5.0036, -0.1764167627544521),
        ("bessel_j1", -5.0036, 0.3279804456114057),
        ("bessel_y0", 5.0036, -0.30904774116466666),
        ("bessel_y1", 4.5, 0.300997323069655),
        ("airy_ai", -3.12, -0.4080265933918776),
    ],
)
def test_bessel_functions_have_the_term_that_torch_leaves_out(name, point, value):
    found = getattr(lazytorch.special, name)(lazytorch.tensor(point, dtype=lazytorch.float64)).item()
    assert abs(found - value) < 1e-10
    assert abs(getattr(torch.special, name)(torch.tensor(point, dtype=torch.float64)).item() - value) < 1e-5


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_an_orthogonal_polynomial(name):
    x, degrees = np.linspace(-1.5, 2.5, 38), np.array([[-1.0], [0], [1], [2], [5], [9], [2.7]])
    want = getattr(torch.special, name)(torch.tensor(x), torch.tensor(degrees))
    found = getattr(lazytorch.special, name)(lazytorch.tensor(x), lazytorch.tensor(degrees))
    np.testing.assert_allclose(found.numpy(), want.numpy(), rtol=1e-10, atol=1e-10)
    whole = getattr(lazytorch.special, name)(lazytorch.tensor([2, 3]), 3)
    assert whole.dtype is lazytorch.float32
    assert whole.tolist() == getattr(torch.special, name)(torch.tensor([2, 3]), 3).tolist()


def test_zeta_and_its_derivative():
    s, q = np.array([[1.0], [1.5], [2], [3], [8], [0.5]]), np.array([0.2, 1, 5, 30, -1.5, -2, 0])
    want = torch.special.zeta(torch.tensor(s), torch.tensor(q))
    np.testing.assert_allclose(lazytorch.special.zeta(lazytorch.tensor(s), lazytorch.tensor(q)).numpy(), want.numpy(), 1e-11)
    x, y = (library.tensor([0.5, 2.0]).requires_grad_() for library in (torch, lazytorch))
    torch.special.zeta(3.0, x).sum().backward()
    lazytorch.special.zeta(3.0, y).sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), rtol=1e-5)


def test_i0_is_a_method_and_writes_in_place():
    x = lazytorch.tensor([1.0, 2.0])
    assert x.i0().tolist() == lazytorch.i0(x).tolist() == x.i0_().tolist() == x.tolist()
