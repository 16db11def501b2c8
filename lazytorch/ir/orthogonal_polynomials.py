"""Orthogonal polynomials and the Hurwitz zeta function in NumPy: sums as long as each element asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Family:
    """P0 = 1, P1 = start(x), P(k + 1) = step(k, x, P(k), P(k - 1)); `shifted`: of 2 x - 1 instead of x.

    limits: by element size, the degree above which torch gives nan.
    """

    start: Callable[[Array], Array]
    step: Callable[[int, Array, Array, Array], Array]
    shifted: bool = False
    limits: tuple[int, int] | None = None


def _chebyshev(k: int, x: Array, p: Array, q: Array) -> Array:
    return np.asarray(2 * x * p - q)


_STARTS: dict[str, Callable[[Array], Array]] = {
    "t": lambda x: x,
    "u": lambda x: 2 * x,
    "v": lambda x: 2 * x - 1,
    "w": lambda x: 2 * x + 1,
}
FAMILIES = {
    **{f"chebyshev_polynomial_{kind}": Family(start, _chebyshev) for kind, start in _STARTS.items()},
    **{f"shifted_chebyshev_polynomial_{kind}": Family(start, _chebyshev, True) for kind, start in _STARTS.items()},
    "hermite_polynomial_h": Family(lambda x: 2 * x, lambda k, x, p, q: 2 * x * p - 2 * k * q, limits=(128, 512)),
    "hermite_polynomial_he": Family(lambda x: x, lambda k, x, p, q: x * p - k * q, limits=(128, 512)),
    "laguerre_polynomial_l": Family(lambda x: 1 - x, lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)),
    "legendre_polynomial_p": Family(lambda x: x, lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)),
}


def polynomial(kind: str, x: Array, degree: Array) -> Array:
    """The polynomial of every element's degree, a fraction of which is cut off; 0 for negative degrees."""
    family = FAMILIES[kind]
    x, degree = np.broadcast_arrays(x, np.trunc(degree))
    x = 2 * x - 1 if family.shifted else x
    with np.errstate(all="ignore"):
        before, last = np.ones_like(x), np.asarray(family.start(x))
        found = np.where(degree == 0, before, np.where(degree == 1, last, 0))
        limit = family.limits[x.dtype.itemsize // 8] if family.limits else None
        most = int(np.max(degree, initial=0, where=np.isfinite(degree)))
        for k in range(1, most if limit is None else min(most, limit)):
            before, last = last, np.asarray(family.step(k, x, last, before))
            found = np.where(degree == k + 1, last, found)
    found = found if limit is None else np.where(degree > limit, np.nan, found)
    return np.asarray(found, x.dtype)


_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)


def hurwitz_zeta(s: Array, q: Array) -> Array:
    """The sum of (k + q)^-s over k = 0, 1, ...: terms until k + q is 10, and Euler and Maclaurin's sum of the rest."""
    kind = s.dtype
    s, q = np.broadcast_arrays(s.astype(np.float64), q.astype(np.float64))
    with np.errstate(all="ignore"):
        total, base = np.zeros(s.shape), q.copy()
        known = (s > 1) & ((q > 0) | ((q != np.floor(q)) & (s == np.floor(s))))
        while (left := known & (base < 10)).any():
            total = np.where(left, total + base**-s, total)
            base = np.where(left, base + 1, base)
        total = total + base ** (1 - s) / (s - 1) + base**-s / 2
        factor, power = s / 2, base ** (-s - 1)
        for k, number in enumerate(_BERNOULLI, 1):
            total = total + number * factor * power
            factor = factor * (s + 2 * k - 1) * (s + 2 * k) / ((2 * k + 1) * (2 * k + 2))
            power = power / base**2
    total = np.where(known, total, np.where((s > 1) & (q == np.floor(q)), np.inf, np.nan))
    return np.asarray(np.where(s == 1, np.inf, total), kind)
