"""Special functions (torch.special): most are functions of torch itself under their names in SciPy."""

from __future__ import annotations

from math import inf, sqrt

from lazytorch.ops.compositions import xlog1py as xlog1py
from lazytorch.ops.recording import FUNCTIONS, takes_out
from lazytorch.ops.special_functions import SPECIAL
from lazytorch.tensor import Tensor

_SAME = "digamma erf erfc erfinv exp2 expm1 log1p log_softmax logit logsumexp polygamma round sinc softmax xlogy"
_OTHERWISE = {"expit": "sigmoid", "gammaln": "lgamma", "multigammaln": "mvlgamma", "psi": "digamma"}
_OTHERWISE |= {"gammainc": "igamma", "gammaincc": "igammac"}
_NAMES = {**{name: name for name in _SAME.split(" ")}, **_OTHERWISE}

globals().update({name: FUNCTIONS[source] for name, source in _NAMES.items()}, **SPECIAL)


@takes_out
def entr(input: Tensor) -> Tensor:
    """-x log x: 0 at 0, -inf below."""
    inside = FUNCTIONS["where"](input > 0, input, FUNCTIONS["ones_like"](input))
    out = FUNCTIONS["where"](input > 0, -inside * FUNCTIONS["log"](inside), 0.0)
    out = FUNCTIONS["where"](input < 0, -inf, out)
    return FUNCTIONS["where"](FUNCTIONS["isnan"](input), input, out)


@takes_out
def ndtr(input: Tensor) -> Tensor:
    """The distribution function of the standard normal distribution."""
    return FUNCTIONS["erfc"](input * (-1 / sqrt(2.0))) * 0.5


__all__ = sorted([*_NAMES, *SPECIAL, "entr", "ndtr", "xlog1py"])
