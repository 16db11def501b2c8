"""Kullback-Leibler divergences of distributions of two families: minus the entropy of p, minus E_p[log q]."""

from __future__ import annotations

import math
from typing import Any

import lazytorch as torch
from lazytorch.distributions.bernoulli import Bernoulli
from lazytorch.distributions.beta import Beta
from lazytorch.distributions.binomial import Binomial
from lazytorch.distributions.continuous_bernoulli import ContinuousBernoulli
from lazytorch.distributions.distribution import Distribution
from lazytorch.distributions.exponential import Exponential
from lazytorch.distributions.gamma import Gamma
from lazytorch.distributions.gumbel import Gumbel
from lazytorch.distributions.kl import register_kl
from lazytorch.distributions.laplace import Laplace
from lazytorch.distributions.normal import Normal
from lazytorch.distributions.pareto import Pareto
from lazytorch.distributions.poisson import Poisson
from lazytorch.distributions.uniform import Uniform
from lazytorch.distributions.utils import euler_constant
from lazytorch.tensor import Tensor

_OUTSIDE: dict[type[Distribution], tuple[str, tuple[type[Distribution], ...]]] = {
    Beta: ("concentration1", (Pareto,)),
    ContinuousBernoulli: ("probs", (Pareto,)),
    Exponential: ("rate", (Beta, ContinuousBernoulli, Pareto, Uniform)),
    Gamma: ("concentration", (Beta, ContinuousBernoulli, Pareto, Uniform)),
    Gumbel: ("loc", (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    Laplace: ("loc", (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    Normal: ("loc", (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    Pareto: ("scale", (Beta, ContinuousBernoulli, Uniform)),
    Poisson: ("rate", (Bernoulli, Binomial)),
}
"""Distributions that reach beyond the support of others, so that the divergence is infinite: a parameter, the others."""


def _infinite(parameter: str) -> Any:
    return lambda p, q: torch.full_like(getattr(p, parameter), math.inf)


for _p, (_parameter, _others) in _OUTSIDE.items():
    for _q in _others:
        register_kl(_p, _q)(_infinite(_parameter))


def _normal_loss(mean: Any, second_moment: Any, q: Any) -> Any:
    """-E_p[log q] for a normal distribution q, from the first two moments of p."""
    variance = q.scale.pow(2)
    squares = 0.5 * second_moment - q.loc * mean + 0.5 * q.loc.pow(2)
    return 0.5 * torch.log(2 * math.pi * variance) + squares / variance


def _gamma_loss(mean: Any, mean_log: Any, q: Any) -> Any:
    """-E_p[log q] for a gamma distribution q, from E_p[x] and E_p[log x]."""
    normalizer = q.concentration.lgamma() - q.concentration * q.rate.log()
    return normalizer + (1 - q.concentration) * mean_log + q.rate * mean


def _gumbel_loss(mean: Any, mean_exponential: Any, q: Any) -> Any:
    """-E_p[log q] for a Gumbel distribution q, from E_p[x] and E_p[exp(-x / scale)]."""
    return q.scale.log() + (mean - q.loc) / q.scale + torch.exp(q.loc / q.scale) * mean_exponential


def _continuous_bernoulli_loss(p: Any, q: Any) -> Any:
    return -p.mean * q.logits - torch.log1p(-q.probs) - q._cont_bern_log_norm()


def _mean_log_uniform(p: Any) -> Any:
    """E_p[log x] of a uniform distribution."""
    return (torch.xlogy(p.high, p.high) - torch.xlogy(p.low, p.low)) / (p.high - p.low) - 1


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Any, q: Any) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


# -- of numbers of [0, 1]


@register_kl(Beta, ContinuousBernoulli)
def _beta_continuous_bernoulli(p: Any, q: Any) -> Tensor:
    return -p.entropy() + _continuous_bernoulli_loss(p, q)


@register_kl(Beta, Exponential)
@register_kl(ContinuousBernoulli, Exponential)
def _unit_exponential(p: Any, q: Any) -> Tensor:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(Beta, Gamma)
def _beta_gamma(p: Any, q: Any) -> Tensor:
    mean_log = p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    return -p.entropy() + _gamma_loss(p.mean, mean_log, q)


@register_kl(Beta, Normal)
@register_kl(ContinuousBernoulli, Normal)
def _unit_normal(p: Any, q: Any) -> Tensor:
    return -p.entropy() + _normal_loss(p.mean, p.variance + p.mean.pow(2), q)


@register_kl(Beta, Uniform)
def _beta_uniform(p: Any, q: Any) -> Tensor:
    result = -p.entropy() + (q.high - q.low).log()
    return result.masked_fill((q.low > 0) | (q.high < 1), math.inf)


@register_kl(ContinuousBernoulli, Uniform)
def _continuous_bernoulli_uniform(p: Any, q: Any) -> Tensor:
    """Infinite, as torch's, also for a uniform distribution that ends where p does."""
    result = -p.entropy() + (q.high - q.low).log()
    return result.masked_fill((q.low >= 0) | (q.high <= 1), math.inf)


# -- of positive numbers


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    gamma = q.concentration.lgamma() + q.concentration * euler_constant
    return -q.concentration * torch.log(ratio) + ratio + gamma - (1 + euler_constant)


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Any, q: Any) -> Tensor:
    product = p.rate * q.scale
    return -p.entropy() + _gumbel_loss(p.mean, product / (product + 1), q)


@register_kl(Exponential, Normal)
def _exponential_normal(p: Any, q: Any) -> Tensor:
    return -p.entropy() + _normal_loss(p.mean, 2 / p.rate.pow(2), q)


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Any, q: Any) -> Tensor:
    return -p.entropy() - q.rate.log() + q.rate * p.concentration / p.rate


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Any, q: Any) -> Tensor:
    powers = (1 + (p.rate * q.scale).reciprocal()).pow(-p.concentration)
    return -p.entropy() + _gumbel_loss(p.mean, powers, q)


@register_kl(Gamma, Normal)
def _gamma_normal(p: Any, q: Any) -> Tensor:
    return -p.entropy() + _normal_loss(p.mean, p.variance + p.mean.pow(2), q)


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Any, q: Any) -> Tensor:
    result = -p.entropy() - q.rate.log() + q.rate * p.alpha * p.scale / (p.alpha - 1)
    return result.masked_fill(p.alpha <= 1, math.inf)


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Any, q: Any) -> Tensor:
    mean_log = p.scale.log() + p.alpha.reciprocal()
    result = -p.entropy() + _gamma_loss(p.alpha * p.scale / (p.alpha - 1), mean_log, q)
    return result.masked_fill(p.alpha <= 1, math.inf)


@register_kl(Pareto, Normal)
def _pareto_normal(p: Any, q: Any) -> Tensor:
    mean = p.alpha * p.scale / (p.alpha - 1)
    second = p.alpha * p.scale.pow(2) / (p.alpha - 2)
    return (-p.entropy() + _normal_loss(mean, second, q)).masked_fill(p.alpha <= 2, math.inf)


# -- of real numbers


@register_kl(Gumbel, Normal)
def _gumbel_normal(p: Any, q: Any) -> Tensor:
    return -p.entropy() + _normal_loss(p.mean, p.variance + p.mean.pow(2), q)


@register_kl(Laplace, Normal)
def _laplace_normal(p: Any, q: Any) -> Tensor:
    return -p.entropy() + _normal_loss(p.mean, p.variance + p.mean.pow(2), q)


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Any, q: Any) -> Tensor:
    exponential = torch.exp(-p.loc / q.scale + 0.5 * (p.scale / q.scale).pow(2))
    return -p.entropy() + _gumbel_loss(p.loc, exponential, q)


@register_kl(Normal, Laplace)
def _normal_laplace(p: Any, q: Any) -> Tensor:
    difference = p.loc - q.loc
    by_scale = difference / p.scale
    folded = math.sqrt(2 / math.pi) * p.scale * torch.exp(-0.5 * by_scale.pow(2))
    distance = folded + difference * torch.erf(math.sqrt(0.5) * by_scale)
    return -p.entropy() + torch.log(2 * q.scale) + distance / q.scale


# -- of a uniform distribution


@register_kl(Uniform, Beta)
def _uniform_beta(p: Any, q: Any) -> Tensor:
    mirrored = Uniform(1 - p.high, 1 - p.low, validate_args=False)
    normalizer = q.concentration1.lgamma() + q.concentration0.lgamma() - (q.concentration1 + q.concentration0).lgamma()
    logs = (q.concentration1 - 1) * _mean_log_uniform(p) + (q.concentration0 - 1) * _mean_log_uniform(mirrored)
    return (-p.entropy() + normalizer - logs).masked_fill((p.high > 1) | (p.low < 0), math.inf)


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous_bernoulli(p: Any, q: Any) -> Tensor:
    """Infinite, as torch's, also for a uniform distribution that ends where q does."""
    result = -p.entropy() + _continuous_bernoulli_loss(p, q)
    return result.masked_fill((p.high >= 1) | (p.low <= 0), math.inf)


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Any, q: Any) -> Tensor:
    return (-p.entropy() - q.rate.log() + q.rate * p.mean).masked_fill(p.low < 0, math.inf)


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Any, q: Any) -> Tensor:
    return (-p.entropy() + _gamma_loss(p.mean, _mean_log_uniform(p), q)).masked_fill(p.low < 0, math.inf)


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Any, q: Any) -> Tensor:
    width = (p.high - p.low) / q.scale
    exponential = (torch.exp(-p.low / q.scale) - torch.exp(-p.high / q.scale)) / width
    return -p.entropy() + _gumbel_loss(p.mean, exponential, q)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Any, q: Any) -> Tensor:
    return -p.entropy() + _normal_loss(p.mean, p.variance + p.mean.pow(2), q)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Any, q: Any) -> Tensor:
    loss = (q.alpha + 1) * _mean_log_uniform(p) - q.alpha.log() - q.alpha * q.scale.log()
    return (-p.entropy() + loss).masked_fill(p.low < q.scale, math.inf)
