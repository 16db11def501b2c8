"""Gamma, Dirichlet, Poisson and binomial variables are torch's, bit for bit, with the state after them; their integrals."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import torch

from lazytorch.ir import implicit_derivatives
from lazytorch.ir import rejection_sampling as sampling
from lazytorch.ir.mersenne_twister import from_seed, to_bytes


def spread(low: float, high: float, dtype: np.dtype, seed: int = 0, count: int = 600) -> np.ndarray:
    """Numbers of all magnitudes between two powers of ten."""
    return (10 ** np.random.default_rng(seed).uniform(low, high, count)).astype(dtype)


def even(low: float, high: float, dtype: np.dtype) -> np.ndarray:
    return np.random.default_rng(1).uniform(low, high, 600).astype(dtype)


CASES: dict[str, tuple[Callable[..., torch.Tensor], Callable[..., sampling.Drawn], Callable[..., list[np.ndarray]]]] = {
    "gamma": (torch._standard_gamma, sampling.gamma, lambda t: [np.append(spread(-2, 3, t), t(0.0))]),
    "dirichlet": (torch._sample_dirichlet, sampling.dirichlet, lambda t: [spread(-2, 2, t).reshape(-1, 2)]),
    "poisson": (torch.poisson, sampling.poisson, lambda t: [np.append(spread(-2, 6, t), t(0.0))]),
    "binomial": (torch.binomial, sampling.binomial, lambda t: [np.floor(spread(-1, 4, t)), even(0, 1, t)]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_variables_and_the_state_after_them_are_torchs(name: str, dtype: type) -> None:
    of_torch, of_ours, make = CASES[name]
    parameters = make(dtype)
    generator = torch.Generator().manual_seed(9)
    want = of_torch(*[torch.tensor(p) for p in parameters], generator=generator)
    got, state = of_ours(from_seed(9), *parameters)
    assert got.dtype == dtype
    assert np.array_equal(got, want.numpy())
    assert np.array_equal(to_bytes(state), generator.get_state().numpy())


def test_a_negative_poisson_rate_is_refused() -> None:
    with pytest.raises(RuntimeError, match="invalid Poisson rate"):
        sampling.poisson(from_seed(0), np.array([1.0, -1.0]))


POINTS = [(0.02, 1e-4), (0.5, 0.1), (3.0, 5.0), (20.5, 19.8), (300.0, 310.0), (5.0, 40.0), (2.0, 1e-3)]


@pytest.mark.parametrize(("a", "x"), POINTS)
def test_incomplete_gamma_functions_and_derivatives_of_gamma_variables_are_exact(a: float, x: float) -> None:
    mpmath.mp.dps = 30
    lower, upper = implicit_derivatives.gamma_tails(np.array(a), np.array(x))
    np.testing.assert_allclose(lower, float(mpmath.gammainc(a, 0, x, regularized=True)), 1e-11)
    np.testing.assert_allclose(upper, float(mpmath.gammainc(a, x, regularized=True)), 1e-11)
    density = mpmath.mpf(x) ** (a - 1) * mpmath.exp(-x) / mpmath.gamma(a)
    slope = -mpmath.diff(lambda b: mpmath.gammainc(b, 0, x, regularized=True), a) / density
    np.testing.assert_allclose(implicit_derivatives.gamma_derivative(np.array(a), np.array(x)), float(slope), 1e-8)


@pytest.mark.parametrize(("x", "a", "b"), [(0.3, 0.5, 2.0), (0.9, 3.0, 0.4), (0.52, 40.0, 37.0), (1e-6, 0.1, 1.0)])
def test_derivatives_of_beta_variables_are_exact(x: float, a: float, b: float) -> None:
    mpmath.mp.dps = 30
    density = mpmath.mpf(x) ** (a - 1) * mpmath.mpf(1 - x) ** (b - 1) / mpmath.beta(a, b)
    slope = -mpmath.diff(lambda c: mpmath.betainc(c, b, 0, x, regularized=True), a) / density / (1 - x)
    got = implicit_derivatives.beta_derivative(np.array(x), np.array(a), np.array(a + b))
    np.testing.assert_allclose(got, float(slope), 1e-8)


def test_ends_of_the_incomplete_gamma_functions() -> None:
    a, x = np.array([1.0, 1.0, 0.0, 1.0]), np.array([0.0, np.inf, 2.0, -1.0])
    lower, upper = implicit_derivatives.gamma_tails(a, x)
    assert lower[:3].tolist() == [0.0, 1.0, 1.0] and upper[:3].tolist() == [1.0, 0.0, 0.0]
    assert np.isnan(lower[3]) and np.isnan(upper[3])
