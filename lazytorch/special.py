"""Special functions (torch.special): torch's other names for functions of its main namespace."""

from __future__ import annotations

from typing import Any

from lazytorch.ops.recording import FUNCTIONS

_NAMES = """
digamma erf erfc erfinv exp2 expm1 log1p log_softmax logit logsumexp polygamma round sinc softmax xlogy
expit=sigmoid gammaln=lgamma psi=digamma multigammaln=mvlgamma gammainc=igamma gammaincc=igammac
"""
__all__: list[str] = []


def _fill(namespace: dict[str, Any]) -> None:
    for name in _NAMES.split():
        here, _, there = name.partition("=")
        namespace[here] = FUNCTIONS[there or here]
        __all__.append(here)


_fill(globals())
