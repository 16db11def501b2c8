"""How losses are put together: the `reduction` argument and the two old ones it replaced."""

from __future__ import annotations

from typing import Any

from lazytorch.tensor import Tensor


def reduction_of(size_average: Any, reduce: Any, reduction: str) -> str:
    """The reduction that the three arguments ask for. Raises ValueError for an unknown one."""
    if size_average is None and reduce is None:
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"{reduction} is not a valid value for reduction")
        return reduction
    return "none" if reduce is False else "sum" if size_average is False else "mean"


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The losses themselves, their sum or their mean."""
    out: Tensor = losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()
    return out
