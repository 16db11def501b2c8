"""Every distribution against torch's: samples, densities, moments, entropies, divergences, gradients, errors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import lazytorch as lt
from lazytorch.config import config

MATRIX = [[2.0, 0.5, 0.1], [0.5, 1.5, 0.2], [0.1, 0.2, 1.2]]
TRIANGLE = [[1.2, 0.0, 0.0], [0.3, 0.9, 0.0], [-0.4, 0.2, 1.1]]
SHARES = [[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]
SCORES = [[0.2, -1.5, 0.3], [0.6, 0.3, 2.1]]

PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "Bernoulli": [{"probs": [0.3, 0.5, 0.9]}, {"logits": [0.3, -1.0]}],
    "Beta": [{"concentration1": [0.5, 3.0], "concentration0": [2.0, 40.0]}],
    "Binomial": [{"total_count": 9, "probs": [0.3, 0.8]}, {"total_count": 60, "logits": [0.3, -1.0]}],
    "Categorical": [{"probs": SHARES}, {"logits": SCORES}],
    "Cauchy": [{"loc": [0.0, 1.0], "scale": [0.5, 2.0]}],
    "Chi2": [{"df": [0.5, 3.0]}],
    "ContinuousBernoulli": [{"probs": [0.3, 0.5, 0.9]}, {"logits": [0.3, -1.0]}],
    "Dirichlet": [{"concentration": [[0.5, 2.0, 3.0], [10.0, 9.0, 0.2]]}],
    "Exponential": [{"rate": [0.5, 3.0]}],
    "FisherSnedecor": [{"df1": [3.0, 5.0], "df2": [1.5, 6.0]}],
    "Gamma": [{"concentration": [0.5, 3.0, 40.0], "rate": [2.0, 0.3, 4.0]}],
    "GeneralizedPareto": [{"loc": [0.5, 0.5, 0.5], "scale": [1.0, 2.0, 1.0], "concentration": [0.3, -0.4, 0.0]}],
    "Geometric": [{"probs": [0.3, 0.9]}, {"logits": [0.3, -1.0]}],
    "Gumbel": [{"loc": [0.0, 1.0], "scale": [0.5, 2.0]}],
    "HalfCauchy": [{"scale": [0.5, 2.0]}],
    "HalfNormal": [{"scale": [0.5, 2.0]}],
    "InverseGamma": [{"concentration": [1.5, 3.0], "rate": [2.0, 0.3]}],
    "Kumaraswamy": [{"concentration1": [0.5, 3.0], "concentration0": [2.0, 0.7]}],
    "LKJCholesky": [{"dim": 3, "concentration": [0.7, 2.0]}],
    "Laplace": [{"loc": [0.0, 1.0], "scale": [0.5, 2.0]}],
    "LogNormal": [{"loc": [0.0, 1.0], "scale": [0.5, 0.2]}],
    "LogisticNormal": [{"loc": [0.0, 1.0], "scale": [0.5, 2.0]}],
    "LowRankMultivariateNormal": [
        {"loc": [[0.1, 0.2, 0.3]] * 2, "cov_factor": [[1.0, 0.2], [0.3, 0.5], [0.1, 0.9]], "cov_diag": [0.5, 0.6, 0.9]}
    ],
    "Multinomial": [{"total_count": 5, "probs": SHARES}, {"total_count": 3, "logits": SCORES}],
    "MultivariateNormal": [
        {"loc": [0.1, 0.2, 0.3], "covariance_matrix": MATRIX},
        {"loc": [[0.1, 0.2, 0.3]] * 2, "precision_matrix": MATRIX},
        {"loc": [[0.1, 0.2, 0.3]] * 2, "scale_tril": [TRIANGLE, TRIANGLE]},
    ],
    "NegativeBinomial": [{"total_count": 9, "probs": [0.3, 0.8]}, {"total_count": [2.5, 3.0], "logits": [0.3, -1.0]}],
    "Normal": [{"loc": [0.0, 1.0], "scale": [0.5, 2.0]}, {"loc": 0.5, "scale": [[0.5], [2.0]]}],
    "OneHotCategorical": [{"probs": SHARES}, {"logits": SCORES}],
    "OneHotCategoricalStraightThrough": [{"probs": SHARES}],
    "Pareto": [{"scale": [0.5, 2.0], "alpha": [1.5, 3.0]}],
    "Poisson": [{"rate": [0.5, 30.0]}],
    "RelaxedBernoulli": [{"temperature": 0.7, "probs": [0.3, 0.9]}],
    "RelaxedOneHotCategorical": [{"temperature": 0.7, "probs": SHARES}],
    "StudentT": [{"df": [0.5, 1.5, 5.0], "loc": [0.0, 1.0, 2.0], "scale": [0.5, 2.0, 1.0]}],
    "Uniform": [{"low": [0.0, -1.0], "high": [0.5, 2.0]}],
    "VonMises": [{"loc": [0.0, 1.0], "concentration": [0.5, 8.0]}],
    "Weibull": [{"scale": [0.5, 2.0], "concentration": [1.5, 0.7]}],
    "Wishart": [{"df": [4.0, 5.0], "covariance_matrix": MATRIX}, {"df": 3.5, "scale_tril": TRIANGLE}],
}
WITHOUT_BATCH = ("MultivariateNormal", "LowRankMultivariateNormal")
CASES = [(name, number) for name, all_ in PARAMETERS.items() for number in range(len(all_))]
WHOLE = ("dim", "total_count")


@pytest.fixture(autouse=True)
def interpreted() -> Iterator[None]:
    """Formulas are what is tested here: nothing is compiled, except where the test says so."""
    with config(interpret=True):
        yield


def parameters(library: Any, name: str, number: int, dtype: str, batch: int | None) -> dict[str, Any]:
    """One set of parameters as leaves of a library; `batch`: only as many of those that are vectors."""
    made = {}
    for key, x in PARAMETERS[name][number].items():
        if batch is not None and isinstance(x, list) and name not in WITHOUT_BATCH:
            x = x[:batch]
        plain = (key in WHOLE and isinstance(x, int)) or (isinstance(x, float) and key != "temperature")
        made[key] = x if plain else library.tensor(x, dtype=getattr(library, dtype), requires_grad=True)
    return made


def make(
    library: Any, name: str, number: int = 0, dtype: str = "float32", batch: int | None = None
) -> tuple[Any, list[Any]]:
    """A distribution and the leaves among its parameters."""
    given = parameters(library, name, number, dtype, batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(library.distributions, name)(**given), [x for x in given.values() if hasattr(x, "shape")]


def array(x: Any) -> np.ndarray:
    return x.detach().numpy()


def outcome(compute: Any) -> Any:
    """What a computation gives, or the error it raises."""
    try:
        return compute()
    except (NotImplementedError, ValueError, RuntimeError, AttributeError) as error:
        return type(error), str(error).replace("lazytorch", "torch")[:40]


def assert_same(got: Any, want: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    if isinstance(want, torch.Tensor):
        assert str(got.dtype) == str(want.dtype)
        assert tuple(got.shape) == tuple(want.shape)
        np.testing.assert_allclose(array(got), array(want), rtol, atol)
    else:
        assert got == want


@pytest.mark.parametrize(("name", "number"), CASES)
def test_samples_are_torchs_numbers(name: str, number: int) -> None:
    samples = []
    for library in (lt, torch):
        library.manual_seed(3)
        distribution, _ = make(library, name, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples.append([distribution.sample(), distribution.sample((5, 2)), library.rand(2)])
    for got, want in zip(*samples, strict=True):
        assert_same(got, want)


@pytest.mark.parametrize(("name", "number"), CASES)
def test_densities_moments_and_entropies_are_torchs(name: str, number: int) -> None:
    (ours, _), (theirs, _) = make(lt, name, number), make(torch, name, number)
    assert (ours.batch_shape, ours.event_shape) == (tuple(theirs.batch_shape), tuple(theirs.event_shape))
    assert (ours.has_rsample, ours.has_enumerate_support) == (theirs.has_rsample, theirs.has_enumerate_support)
    assert repr(ours) == repr(theirs)
    assert repr(ours.support) == repr(theirs.support)
    for member in ("mean", "mode", "variance", "stddev"):
        assert_same(outcome(lambda m=member: getattr(ours, m)), outcome(lambda m=member: getattr(theirs, m)), 1e-4)
    for member in ("entropy", "perplexity", "enumerate_support"):
        assert_same(outcome(getattr(ours, member)), outcome(getattr(theirs, member)), 1e-4)
    x = theirs.sample((4,))
    for member in ("log_prob", "cdf"):
        got = outcome(lambda m=member: getattr(ours, m)(lt.tensor(x.numpy())))
        assert_same(got, outcome(lambda m=member: getattr(theirs, m)(x)), 1e-4, 1e-5)
    u = np.linspace(0.1, 0.9, x.numel(), dtype=np.float32).reshape(x.shape)
    assert_same(outcome(lambda: ours.icdf(lt.tensor(u))), outcome(lambda: theirs.icdf(torch.tensor(u))), 1e-4)


@pytest.mark.parametrize(("name", "number"), CASES)
def test_gradients_are_torchs(name: str, number: int) -> None:
    dtype = "float32" if name == "GeneralizedPareto" else "float64"  # torch's own fails in float64
    x = make(torch, name, number, dtype)[0].sample((3,))

    def gradients(library: Any) -> list[Any]:
        distribution, leaves = make(library, name, number, dtype)
        library.manual_seed(0)
        total = distribution.log_prob(library.tensor(x.numpy())).sum()
        if distribution.has_rsample and name != "Wishart":  # whose samples torch cannot differentiate
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                total = total + (distribution.rsample((2,)).clamp(-50, 50) ** 2).sum()
        total.backward()
        return [leaf.grad for leaf in leaves]

    # Gradients of gamma and Dirichlet variables are exact here; torch approximates them to about 1e-3. Those of matrices are
    # compared in the lower triangle: torch gives the other one, which it does not read, a gradient too.
    for got, want in zip(gradients(lt), gradients(torch), strict=True):
        assert (got is None) == (want is None)
        if want is not None:
            pair = [np.tril(x.numpy()) if x.shape[-2:] == (3, 3) else x.numpy() for x in (got, want)]
            np.testing.assert_allclose(*pair, 3e-3, 3e-3)


@pytest.mark.parametrize("name", PARAMETERS)
def test_expanded_distributions_are_torchs(name: str) -> None:
    def expanded(library: Any) -> Any:
        distribution, _ = make(library, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            larger = distribution.expand((3, *distribution.batch_shape))
            library.manual_seed(5)
            return larger, larger.sample((2,))

    (ours, got), (theirs, want) = expanded(lt), expanded(torch)
    assert ours.batch_shape == tuple(theirs.batch_shape)
    assert repr(ours) == repr(theirs)
    assert_same(got, want)
    assert_same(ours.log_prob(got), theirs.log_prob(want), 1e-4, 1e-4)
    assert_same(outcome(lambda: ours.mean), outcome(lambda: theirs.mean), 1e-4)


def registered() -> list[tuple[str, str]]:
    pairs = [(p.__name__, q.__name__) for p, q in torch.distributions.kl._KL_REGISTRY]
    return [(p, q) for p, q in pairs if p in PARAMETERS and q in PARAMETERS]


@pytest.mark.parametrize(("p", "q"), registered())
def test_divergences_are_torchs(p: str, q: str) -> None:
    def divergence(library: Any) -> Any:
        one, leaves = make(library, p, batch=2)
        two, _ = make(library, q, batch=2)
        value = library.distributions.kl_divergence(one, two)
        if value.requires_grad and bool(library.isfinite(value).all()):
            value.sum().backward()
        return value, [leaf.grad for leaf in leaves]

    got, want = outcome(lambda: divergence(lt)), outcome(lambda: divergence(torch))
    if isinstance(want[0], type):
        assert got == want
        return
    assert_same(got[0], want[0], 1e-4, 1e-5)
    for a, b in zip(got[1], want[1], strict=True):
        if b is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-3, 1e-4)


CONSTRAINTS: list[tuple[str, Any]] = [
    ("boolean", [0.0, 1.0, 0.5]),
    ("one_hot", [[0.0, 1.0], [1.0, 1.0]]),
    ("nonnegative_integer", [0.0, -1.0, 2.5, 3.0]),
    ("positive_integer", [0.0, 1.0]),
    ("integer_interval(0, 3)", [0.0, 3.0, 4.0, 1.5]),
    ("real", [0.0, float("nan"), float("inf")]),
    ("real_vector", [[0.0, float("nan")], [1.0, 2.0]]),
    ("positive", [0.0, 1e-9, -1.0]),
    ("nonnegative", [0.0, -1.0]),
    ("greater_than(2.0)", [2.0, 3.0]),
    ("greater_than_eq(2.0)", [2.0, 1.0]),
    ("less_than(2.0)", [2.0, 1.0]),
    ("unit_interval", [0.0, 1.0, 1.1]),
    ("interval(-1, 2)", [-1.0, 2.0, 3.0]),
    ("half_open_interval(-1, 2)", [-1.0, 2.0]),
    ("multinomial(3)", [[1.0, 2.0], [2.0, 2.0], [-1.0, 1.0]]),
    ("simplex", [[0.5, 0.5], [0.5, 0.6], [-0.5, 1.5]]),
    ("lower_triangular", [TRIANGLE, MATRIX]),
    ("lower_cholesky", [TRIANGLE, MATRIX, [[-1.0, 0.0, 0.0]] * 3]),
    ("corr_cholesky", [[[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.6, 0.7]]]),
    ("square", [MATRIX]),
    ("symmetric", [MATRIX, TRIANGLE]),
    ("positive_semidefinite", [MATRIX, [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -1.0]]]),
    ("positive_definite", [MATRIX, [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]),
    ("independent(constraints.positive, 1)", [[1.0, 2.0], [1.0, -2.0]]),
    ("cat([constraints.positive, constraints.real], 0, [2, 1])", [1.0, -1.0, -3.0]),
    ("stack([constraints.positive, constraints.real], 0)", [1.0, -1.0]),
]


@pytest.mark.parametrize(("text", "values"), CONSTRAINTS)
def test_constraints_are_torchs(text: str, values: Any) -> None:
    found = []
    for library in (lt, torch):
        constraint = eval(f"constraints.{text}", {"constraints": library.distributions.constraints})
        shown = outcome(lambda c=constraint: repr(c))
        found.append([constraint.check(library.tensor(values)).tolist(), constraint.event_dim, constraint.is_discrete])
        if not text.startswith(("cat", "stack")):
            found[-1].append(shown)
    assert found[0] == found[1]


VECTOR = [[0.3, -0.7, 0.4], [1.5, 0.2, -0.1]]
TRANSFORMS: list[tuple[str, Any]] = [
    ("ExpTransform()", VECTOR),
    ("ExpTransform().inv", SHARES),
    ("PowerTransform(tensor(2.5))", SHARES),
    ("SigmoidTransform()", VECTOR),
    ("SoftplusTransform()", VECTOR),
    ("TanhTransform(cache_size=1)", VECTOR),
    ("AbsTransform()", VECTOR),
    ("AffineTransform(1.5, tensor([2.0, -1.0, 0.5]))", VECTOR),
    ("AffineTransform(1.5, -2.0, event_dim=1)", VECTOR),
    ("CorrCholeskyTransform()", VECTOR),
    ("SoftmaxTransform()", VECTOR),
    ("StickBreakingTransform()", VECTOR),
    ("LowerCholeskyTransform()", MATRIX),
    ("PositiveDefiniteTransform()", MATRIX),
    ("ReshapeTransform((3,), (3, 1))", VECTOR),
    ("IndependentTransform(ExpTransform(), 1)", VECTOR),
    ("ComposeTransform([AffineTransform(0.5, 2.0), ExpTransform(), IndependentTransform(ExpTransform().inv, 1)])", VECTOR),
    ("ComposeTransform([TanhTransform(), AffineTransform(0.0, 2.0)]).inv", [[0.5, 0.1]]),
    ("CatTransform([ExpTransform(), SigmoidTransform()], dim=-1, lengths=[1, 2])", VECTOR),
    ("StackTransform([ExpTransform(), SigmoidTransform(), TanhTransform()], dim=1)", VECTOR),
    ("CumulativeDistributionTransform(Normal(0.5, 2.0))", VECTOR),
    ("biject_to(constraints.interval(-1.0, 2.0))", VECTOR),
    ("biject_to(constraints.simplex)", VECTOR),
    ("transform_to(constraints.independent(constraints.less_than(3.0), 1))", VECTOR),
    ("transform_to(constraints.lower_cholesky)", MATRIX),
    ("biject_to(constraints.stack([constraints.positive, constraints.real, constraints.unit_interval], -1))", VECTOR),
]


@pytest.mark.parametrize(("text", "values"), TRANSFORMS)
def test_transforms_are_torchs(text: str, values: Any) -> None:
    def applied(library: Any) -> list[Any]:
        names = {**vars(library.distributions), "tensor": library.tensor}
        transform = eval(text, names)
        x = library.tensor(values, requires_grad=True)
        y = transform(x)
        jacobian = outcome(lambda: transform.log_abs_det_jacobian(x, y))
        total = y.sum() * 0.5 if isinstance(jacobian, tuple) else y.sum() * 0.5 + jacobian.sum()
        total.backward()
        back = transform.inv(y)
        facts = [outcome(lambda n=n: getattr(transform, n)) for n in ("bijective", "event_dim")]
        shapes = [tuple(transform.forward_shape(x.shape)), tuple(transform.inverse_shape(y.shape))]
        dims = [transform.domain.event_dim, transform.codomain.event_dim]
        return [y, back, jacobian, x.grad, *facts, *shapes, *dims, repr(transform), transform == transform]

    for got, want in zip(applied(lt), applied(torch), strict=True):
        assert_same(got, want, 1e-4, 1e-5)


ERRORS = [
    "Normal(tensor([0.0]), tensor([-1.0]))",
    "Normal('a', 1.0)",
    "Bernoulli()",
    "Bernoulli(probs=1.5)",
    "Categorical(probs=tensor(0.5))",
    "Categorical(logits=tensor([[0.1, float('nan')]]))",
    "Geometric(probs=0.0)",
    "Normal(0.0, 1.0).log_prob(1.0)",
    "Normal(tensor([0.0, 1.0]), 1.0).log_prob(tensor([1.0, 2.0, 3.0]))",
    "Normal(0.0, 1.0).log_prob(tensor(float('nan')))",
    "Gamma(1.0, 1.0).log_prob(tensor(-1.0))",
    "Dirichlet(tensor([1.0, 1.0])).log_prob(tensor([0.5, 0.2]))",
    "Dirichlet(tensor([1.0, 1.0])).log_prob(tensor([0.5, 0.2, 0.3]))",
    "MultivariateNormal(tensor([0.0, 1.0]), tensor([[1.0, 2.0], [2.0, 1.0]]))",
    "MultivariateNormal(tensor([0.0, 1.0]))",
    "LowRankMultivariateNormal(tensor([0.0, 1.0]), tensor([[1.0]]), tensor([1.0, 1.0]))",
    "Wishart(1.0, covariance_matrix=tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))",
    "Independent(Normal(0.0, 1.0), 1)",
    "TransformedDistribution(Normal(0.0, 1.0), 3)",
    "MixtureSameFamily(Normal(0.0, 1.0), Normal(0.0, 1.0))",
    "MixtureSameFamily(Categorical(tensor([0.5, 0.5])), Normal(tensor([0.0, 1.0, 2.0]), 1.0))",
    "LKJCholesky(1)",
    "Poisson(1.0).entropy()",
    "Normal(0.0, 1.0).enumerate_support()",
    "kl_divergence(Normal(0.0, 1.0), Poisson(1.0))",
    "biject_to(constraints.boolean)",
    "constraints.dependent.check(tensor(1.0))",
    "Gumbel(tensor([0.0]), tensor([-1.0]))",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors_are_torchs(text: str) -> None:
    found = []
    for library in (lt, torch):
        with pytest.raises((ValueError, TypeError, NotImplementedError, RuntimeError)) as caught:
            eval(text, {**vars(library.distributions), "tensor": library.tensor})
        found.append((caught.type, str(caught.value)[:40]))
    assert found[0] == found[1]


COMBINED = [
    "Independent(Normal(tensor([[0.0, 1.0], [2.0, 3.0]]), 1.5), 1)",
    "MixtureSameFamily(Categorical(tensor([0.3, 0.7])), Normal(tensor([0.0, 1.0]), tensor([1.0, 0.5])))",
    "MixtureSameFamily(Categorical(tensor([[0.3, 0.7]] * 3)), Independent(Normal(tensor([[[0.0, 1.0]] * 2] * 3), 1.0), 1))",
    "TransformedDistribution(Normal(tensor([0.0, 1.0]), 1.0), [TanhTransform(cache_size=1), AffineTransform(1.0, 2.0)])",
    "TransformedDistribution(Normal(tensor([0.0, 1.0]), 1.0), StickBreakingTransform())",
]


@pytest.mark.parametrize("text", COMBINED)
def test_combined_distributions_are_torchs(text: str) -> None:
    def applied(library: Any) -> list[Any]:
        library.manual_seed(0)
        distribution = eval(text, {**vars(library.distributions), "tensor": library.tensor})
        x = distribution.sample((3,))
        larger = distribution.expand((2, *distribution.batch_shape))
        facts = [outcome(lambda n=n: getattr(distribution, n)) for n in ("mean", "variance")]
        results = [x, distribution.log_prob(x), larger.log_prob(x[:2]), outcome(distribution.entropy), *facts]
        return [*results, outcome(lambda: distribution.cdf(x)), repr(distribution), tuple(distribution.event_shape)]

    for got, want in zip(applied(lt), applied(torch), strict=True):
        assert_same(got, want, 1e-4, 1e-5)


def test_subclasses_without_their_own_expand_are_refused() -> None:
    class Shifted(lt.distributions.Normal):
        def __init__(self) -> None:
            super().__init__(1.0, 2.0)

    with pytest.raises(NotImplementedError, match="Subclass Shifted of Normal"):
        Shifted().expand((2,))


def test_checks_of_parameters_can_be_left_out() -> None:
    distribution = lt.distributions.Normal(0.0, -1.0, validate_args=False)
    assert bool(distribution.log_prob(lt.tensor(1.0)).isnan())


def test_a_compiled_training_step_is_torchs() -> None:
    """A policy and a latent variable, as reinforcement learning and variational autoencoders draw them."""

    def losses(library: Any) -> list[float]:
        library.manual_seed(0)
        weights = [
            library.zeros(4, 3).requires_grad_(),
            library.zeros(4, 2).requires_grad_(),
            library.ones(2).requires_grad_(),
        ]
        optimizer = library.optim.Adam(weights, lr=0.05)
        found = []
        for _ in range(5):
            x = library.randn(6, 4)
            policy = library.distributions.Categorical(logits=x @ weights[0])
            action = policy.sample()
            latent = library.distributions.Normal(x @ weights[1], weights[2].exp())
            prior = library.distributions.Normal(library.zeros(2), 1.0)
            rate = library.distributions.Gamma(weights[2].exp(), 1.0).rsample()
            loss = -(policy.log_prob(action) * action).mean() - 0.1 * policy.entropy().mean() + rate.sum()
            loss = loss + (latent.rsample() ** 2).mean() + library.distributions.kl_divergence(latent, prior).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    with config(interpret=False):
        np.testing.assert_allclose(losses(lt), losses(torch), 1e-3)
