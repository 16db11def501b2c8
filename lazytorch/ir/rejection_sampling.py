"""Random numbers that take as many draws as it needs: gamma, Poisson, binomial. torch CPU's, as pure functions.

Like random_reference.py: a generator state goes in, values and the next state come out. Elements are drawn one after
the other, since each begins where the last one's rejections ended. Sources: Marsaglia and Tsang, A simple method for
generating gamma variables (2000); Hörmann, The transformed rejection method for generating Poisson random variables
(1993) and The generation of binomial random variates (1993). torch computes them in float64 but for what is said below.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lazytorch.ir.mersenne_twister import Mt19937State, draw32
from lazytorch.ir.random_reference import Drawn, unit_f64

_BLOCK = 256
_LEAST = {np.dtype(kind): float(np.finfo(kind).tiny) for kind in (np.float32, np.float64)}


class _Source:
    """float64 numbers of [0, 1) one at a time, drawn from a state in blocks, and normals in pairs."""

    def __init__(self, state: Mt19937State) -> None:
        self.start = state
        self.ahead = state
        self.block: list[float] = []
        self.used = 0
        self.waiting = state.cached_normal

    def unit(self) -> float:
        """The next number."""
        place = self.used % _BLOCK
        if place == 0:
            units, self.ahead = unit_f64(self.ahead, _BLOCK)
            self.block = units.tolist()
        self.used += 1
        return self.block[place]

    def normal(self) -> float:
        """The next standard normal: Box-Muller's second value waits for the next call."""
        if self.waiting is not None:
            value, self.waiting = self.waiting, None
            return value
        u1, u2 = self.unit(), self.unit()
        radius, angle = math.sqrt(-2.0 * math.log1p(-u2)), 2.0 * math.pi * u1
        self.waiting = radius * math.sin(angle)
        return radius * math.cos(angle)

    def state(self) -> Mt19937State:
        """The state after what was used."""
        return draw32(self.start, 2 * self.used)[1].with_cached_normal(self.waiting)


def _logarithm(x: float) -> float:
    return math.log(x) if x else -math.inf


def _one_gamma(source: _Source, alpha: np.floating) -> float:
    """One gamma variable in float64. `alpha` is shifted in its own type, as torch does."""
    one = alpha.dtype.type(1)
    scale = 1.0
    if alpha < 1:
        if alpha == 0:
            return 0.0
        scale = (1.0 - source.unit()) ** float(one / alpha)
        alpha = alpha + one
    d = float(alpha - alpha.dtype.type(np.float32(1) / np.float32(3)))
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        y = 0.0
        while y <= 0:
            x = source.normal()
            y = 1.0 + c * x
        v = y * y * y
        u = 1.0 - source.unit()
        square = x * x
        if u < 1.0 - float(np.float32(0.0331)) * square * square:
            return scale * d * v
        if math.log(u) < 0.5 * square + d * (1.0 - v + math.log(v)):
            return scale * d * v


def gamma(state: Mt19937State, concentrations: np.ndarray) -> Drawn:
    """`torch._standard_gamma(concentrations)` in their type, float32 or float64; at least its smallest normal number."""
    source, kind = _Source(state), concentrations.dtype
    least = _LEAST[kind]
    values = [max(least, kind.type(_one_gamma(source, alpha))) for alpha in concentrations.reshape(-1)]
    return np.array(values, kind).reshape(concentrations.shape), source.state()


def dirichlet(state: Mt19937State, concentrations: np.ndarray) -> Drawn:
    """`torch._sample_dirichlet(concentrations)`: gammas in float64 by their sum, inside of (0, 1).

    A sum of more than two float64 numbers may differ from torch's in the last bit, which float32 results seldom show.
    """
    gammas, state = gamma(state, concentrations.astype(np.float64))
    kind = concentrations.dtype
    shares = (gammas / gammas.sum(-1, keepdims=True)).astype(kind)
    return np.clip(shares, np.finfo(kind).tiny, np.nextafter(kind.type(1), kind.type(0))), state


def _one_poisson(source: _Source, rate: float) -> float:
    if rate == 0:
        return 0.0
    if rate < 10:
        limit, product, count = math.exp(-rate), source.unit(), 0
        while product > limit:
            product *= source.unit()
            count += 1
        return float(count)
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    accepted = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = source.unit() - 0.5
        v = source.unit()
        us = 0.5 - abs(u)
        k = float(math.floor((2 * a / us + b) * u + rate + 0.43)) if us else -1.0
        if us >= 0.07 and v <= accepted:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        ratio = _logarithm(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b)
        if ratio <= -rate + k * math.log(rate) - math.lgamma(k + 1):
            return k


def poisson(state: Mt19937State, rates: np.ndarray) -> Drawn:
    """`torch.poisson(rates)` in their type. Raises RuntimeError for a negative rate."""
    if not (rates >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    source = _Source(state)
    values = [_one_poisson(source, float(rate)) for rate in rates.reshape(-1)]
    return np.array(values, rates.dtype).reshape(rates.shape), source.state()


_STIRLING_TAILS = [math.lgamma(k + 1) - (k + 0.5) * math.log(k + 1) + (k + 1) - math.log(2 * math.pi) / 2 for k in range(10)]


def _stirling_tail(k: float) -> float:
    """What Stirling's formula misses of log k!."""
    if k <= 9:
        return _STIRLING_TAILS[int(k)]
    square = (k + 1) * (k + 1)
    return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / (k + 1)


def _by_waiting_times(source: _Source, count: np.floating, p: np.floating) -> float:
    """How many geometric waiting times fit: for few successes."""
    log_failure = float(np.log1p(-p))
    total, successes = 0.0, 0
    while True:
        total += math.ceil(_logarithm(source.unit()) / log_failure)
        if total > count:
            return float(successes)
        successes += 1


def _by_rejection(source: _Source, count: np.floating, p: np.floating) -> float:
    """Hörmann's BTRS: for many successes. Products of `count` and `p` are formed in their own type, as torch does."""
    one = p.dtype.type(1)
    n, mean = float(count), float(count * p)
    deviation = float(np.sqrt(count * p * (one - p)))
    ratio = float(p / (one - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * float(p)
    center = mean + 0.5
    accepted = 0.92 - 4.2 / b
    alpha = (2.83 + 5.1 / b) * deviation
    m = float(np.floor((count + one) * p))
    while True:
        u = source.unit() - 0.5
        v = source.unit()
        us = 0.5 - abs(u)
        k = float(math.floor((2 * a / us + b) * u + center)) if us else -1.0
        if k < 0 or k > n:
            continue
        if us >= 0.07 and v <= accepted:
            return k
        bound = (
            (m + 0.5) * math.log((m + 1) / (ratio * (n - m + 1)))
            + (n + 1) * math.log((n - m + 1) / (n - k + 1))
            + (k + 0.5) * math.log(ratio * (n - k + 1) / (k + 1))
            + _stirling_tail(m)
            + _stirling_tail(n - m)
            - _stirling_tail(k)
            - _stirling_tail(n - k)
        )
        if _logarithm(v * alpha / (a / (us * us) + b)) <= bound:
            return k


def _one_binomial(source: _Source, count: np.floating, p: np.floating) -> float:
    if count <= 0 or p <= 0:
        return 0.0
    if p >= 1:
        return float(count)
    if p > 0.5:
        failure = p.dtype.type(1.0 - float(p))
        return float(count) - _successes(source, count, failure)
    return _successes(source, count, p) if p <= 0.5 else math.nan


def _successes(source: _Source, count: np.floating, p: np.floating) -> float:
    method: Callable[..., float] = _by_rejection if count * p >= 10 else _by_waiting_times
    return method(source, count, p)


def binomial(state: Mt19937State, counts: np.ndarray, probabilities: np.ndarray) -> Drawn:
    """`torch.binomial(counts, probabilities)`, both of one shape and one floating type."""
    source = _Source(state)
    pairs = zip(counts.reshape(-1), probabilities.reshape(-1), strict=True)
    values = [_one_binomial(source, count, p) for count, p in pairs]
    return np.array(values, counts.dtype).reshape(counts.shape), source.state()
