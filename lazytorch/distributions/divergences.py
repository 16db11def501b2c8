"""Kullback-Leibler divergences of two distributions of one family, and of those that wrap others."""

from __future__ import annotations

import math
from typing import Any

import lazytorch as torch
from lazytorch.distributions.bernoulli import Bernoulli
from lazytorch.distributions.beta import Beta
from lazytorch.distributions.binomial import Binomial
from lazytorch.distributions.categorical import Categorical
from lazytorch.distributions.cauchy import Cauchy
from lazytorch.distributions.continuous_bernoulli import ContinuousBernoulli
from lazytorch.distributions.dirichlet import Dirichlet
from lazytorch.distributions.exp_family import ExponentialFamily
from lazytorch.distributions.exponential import Exponential
from lazytorch.distributions.gamma import Gamma
from lazytorch.distributions.geometric import Geometric
from lazytorch.distributions.gumbel import Gumbel
from lazytorch.distributions.half_normal import HalfNormal
from lazytorch.distributions.independent import Independent
from lazytorch.distributions.kl import kl_divergence, register_kl
from lazytorch.distributions.laplace import Laplace
from lazytorch.distributions.lowrank_multivariate_normal import (
    LowRankMultivariateNormal,
    low_rank_log_determinant,
    low_rank_mahalanobis,
)
from lazytorch.distributions.multivariate_normal import MultivariateNormal, mahalanobis
from lazytorch.distributions.normal import Normal
from lazytorch.distributions.one_hot_categorical import OneHotCategorical
from lazytorch.distributions.pareto import Pareto
from lazytorch.distributions.poisson import Poisson
from lazytorch.distributions.transformed_distribution import TransformedDistribution
from lazytorch.distributions.uniform import Uniform
from lazytorch.distributions.utils import euler_constant, log_determinant, sum_rightmost
from lazytorch.nn.functional import softplus
from lazytorch.tensor import Tensor


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Any, q: Any) -> Tensor:
    ones = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    ones = ones.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0)
    zeros = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    return ones + zeros.masked_fill(q.probs == 1, math.inf).masked_fill(p.probs == 1, 0)


@register_kl(Beta, Beta)
def _beta(p: Any, q: Any) -> Tensor:
    total_p, total_q = p.concentration1 + p.concentration0, q.concentration1 + q.concentration0
    of_q = q.concentration1.lgamma() + q.concentration0.lgamma() + total_p.lgamma()
    of_p = p.concentration1.lgamma() + p.concentration0.lgamma() + total_q.lgamma()
    slopes = (p.concentration1 - q.concentration1) * torch.digamma(p.concentration1)
    slopes = slopes + (p.concentration0 - q.concentration0) * torch.digamma(p.concentration0)
    return of_q - of_p + slopes + (total_q - total_p) * torch.digamma(total_p)


@register_kl(Binomial, Binomial)
def _binomial(p: Any, q: Any) -> Tensor:
    if (p.total_count < q.total_count).any():
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    per_trial = p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    return (p.total_count * per_trial).masked_fill(p.total_count > q.total_count, math.inf)


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Tensor:
    t = p.probs * (p.logits - q.logits)
    return t.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0).sum(-1)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p: Any, q: Any) -> Tensor:
    of_p = p._cont_bern_log_norm() + torch.log1p(-p.probs)
    of_q = q._cont_bern_log_norm() + torch.log1p(-q.probs)
    return p.mean * (p.logits - q.logits) + of_p - of_q


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Any, q: Any) -> Tensor:
    total_p, total_q = p.concentration.sum(-1), q.concentration.sum(-1)
    normalizers = total_p.lgamma() - total_q.lgamma() - (p.concentration.lgamma() - q.concentration.lgamma()).sum(-1)
    slopes = p.concentration.digamma() - total_p.digamma().unsqueeze(-1)
    return normalizers + ((p.concentration - q.concentration) * slopes).sum(-1)


@register_kl(Exponential, Exponential)
def _exponential(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(ExponentialFamily, ExponentialFamily)
def _exponential_family(p: Any, q: Any) -> Tensor:
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families cannot be computed using Bregman divergences"
        )
    parameters, normalizer, gradients = p._bregman()
    result = q._log_normalizer(*q._natural_params) - normalizer
    for own, other, slope in zip(parameters, q._natural_params, gradients, strict=True):
        result = result - sum_rightmost((other - own) * slope, len(q.event_shape))
    return result


@register_kl(Gamma, Gamma)
def _gamma(p: Any, q: Any) -> Tensor:
    normalizers = torch.lgamma(q.concentration) - torch.lgamma(p.concentration)
    slopes = (p.concentration - q.concentration) * torch.digamma(p.concentration)
    rates = q.concentration * (p.rate / q.rate).log() + (q.rate - p.rate) * (p.concentration / p.rate)
    return rates + normalizers + slopes


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Any, q: Any) -> Tensor:
    ratio, of_q, of_p = p.scale / q.scale, q.loc / q.scale, p.loc / q.scale
    exponential = torch.exp(of_q + (1 + ratio).lgamma() - of_p)
    return -ratio.log() - of_q + of_p + ratio * euler_constant + exponential - (1 + euler_constant)


@register_kl(Geometric, Geometric)
def _geometric(p: Any, q: Any) -> Tensor:
    return -p.entropy() - torch.log1p(-q.probs) / p.probs - q.logits


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: Any, q: Any) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _laplace(p: Any, q: Any) -> Tensor:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * torch.exp(-distance / p.scale) - 1


# -- multivariate normal distributions, of which either may have a covariance of low rank


def _log_determinant(p: Any) -> Tensor:
    if isinstance(p, LowRankMultivariateNormal):
        return low_rank_log_determinant(p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag, p._capacitance_tril)
    return 2 * log_determinant(p._unbroadcasted_scale_tril)


def _squared_distance(p: Any, q: Any) -> Tensor:
    """Of the means, by the covariance of q."""
    difference = q.loc - p.loc
    if isinstance(q, LowRankMultivariateNormal):
        factor, diagonal = q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag
        return low_rank_mahalanobis(factor, diagonal, difference, q._capacitance_tril)
    return mahalanobis(q._unbroadcasted_scale_tril, difference)


def _roots(p: Any) -> list[Tensor]:
    """Matrices whose squares A A' add to the covariance."""
    if isinstance(p, LowRankMultivariateNormal):
        return [p._unbroadcasted_cov_factor, torch.diag_embed(p._unbroadcasted_cov_diag.sqrt())]
    return [p._unbroadcasted_scale_tril]


def _trace(p: Any, q: Any) -> Tensor:
    """Of the inverse of q's covariance times p's: the sum of the squares of the solved roots."""

    def squares(matrix: Tensor) -> Tensor:
        return matrix.pow(2).sum((-2, -1))

    total: Any = 0
    for root in _roots(p):
        if not isinstance(q, LowRankMultivariateNormal):
            shape = torch.broadcast_shapes(q._unbroadcasted_scale_tril.shape[:-2], root.shape[:-2])
            triangular = q._unbroadcasted_scale_tril.expand((*shape, -1, -1))
            columns = root.expand((*shape, -1, -1))
            total = total + squares(torch.linalg.solve_triangular(triangular, columns, upper=False))
            continue
        diagonal = q._unbroadcasted_cov_diag
        projection = q._unbroadcasted_cov_factor.mT / diagonal.unsqueeze(-2)
        solved = torch.linalg.solve_triangular(q._capacitance_tril, projection, upper=False)
        total = total + squares(root * diagonal.rsqrt().unsqueeze(-1)) - squares(solved.matmul(root))
    return total


def _multivariate_normal(p: Any, q: Any) -> Tensor:
    if p.event_shape != q.event_shape:
        low_p, low_q = (isinstance(x, LowRankMultivariateNormal) for x in (p, q))
        kind = "Low Rank " if low_p and low_q else "(Low Rank) " if low_p or low_q else ""
        gap = " " * 25
        raise ValueError(
            f"KL-divergence between two {kind}Multivariate Normals with{gap}different event shapes cannot be computed"
        )
    return 0.5 * (_log_determinant(q) - _log_determinant(p) + _trace(p, q) + _squared_distance(p, q) - p.event_shape[0])


for _p in (MultivariateNormal, LowRankMultivariateNormal):
    for _q in (MultivariateNormal, LowRankMultivariateNormal):
        register_kl(_p, _q)(_multivariate_normal)


@register_kl(Normal, Normal)
def _normal(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot_categorical(p: Any, q: Any) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(Pareto, Pareto)
def _pareto(p: Any, q: Any) -> Tensor:
    ratio = q.alpha / p.alpha
    result = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return result.masked_fill(p.scale < q.scale, math.inf)


@register_kl(Poisson, Poisson)
def _poisson(p: Any, q: Any) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: Any, q: Any) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Uniform, Uniform)
def _uniform(p: Any, q: Any) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return result.masked_fill((q.low > p.low) | (q.high < p.high), math.inf)


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Any, q: Any) -> Tensor:
    spread = (p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)
    return spread.log() - (4 * p.scale * q.scale).log()
