"""What a call did, in torch and in lazytorch, and whether that is the same."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import lazytorch
from tests.conformance.conversion import DTYPES, leaves

TOLERANCES = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 2e-5, torch.float64: 1e-9}
"""Relative, and absolute beside the largest element: what the order of a few hundred additions may change."""


class Different(Exception):
    """The two libraries disagree; says in what."""


@dataclass
class Outcome:
    """A call's value, or what it raised."""

    value: Any = None
    error: Exception | None = None


def outcome_of(call: Callable[[], Any]) -> Outcome:
    """Run a call to its end: values of lazytorch are computed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = call()
            for x in leaves(value):
                if isinstance(x, lazytorch.Tensor):
                    x.detach().numpy() if x.dtype is not lazytorch.bfloat16 else x.detach().float().numpy()
        except Exception as error:  # whatever it is, it is compared
            return Outcome(error=error)
    return Outcome(value)


def compare(mine: Outcome, theirs: Outcome, numbers: bool = True, tolerance: float = 1.0) -> None:
    """Raises Different unless both raised the same type, or gave the same structure, types, shapes and numbers."""
    if theirs.error is not None:
        compare_errors(mine, theirs.error)
    elif mine.error is not None:
        raise Different(f"{type(mine.error).__name__}: {str(mine.error).splitlines()[0][:200] if str(mine.error) else ''}")
    else:
        compare_values(mine.value, theirs.value, numbers, tolerance)


def compare_errors(mine: Outcome, error: Exception) -> None:
    """The same exception type, or one that a handler for torch's catches."""
    said = f"torch raises {type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
    if mine.error is None:
        raise Different(f"no error; {said}")
    kind = getattr(lazytorch.linalg, type(error).__name__, type(error))
    if not isinstance(mine.error, kind):
        raise Different(f"{type(mine.error).__name__}: {str(mine.error)[:120]}; {said}")


def compare_values(mine: Any, theirs: Any, numbers: bool = True, tolerance: float = 1.0) -> None:
    """Raises Different unless the structure, types, shapes and numbers are the same."""
    if isinstance(theirs, tuple | list) and not isinstance(theirs, torch.Size):
        if not isinstance(mine, tuple | list) or len(mine) != len(theirs):
            raise Different(f"{_kind(mine)} for {_kind(theirs)}")
        for x, y in zip(mine, theirs, strict=True):
            compare_values(x, y, numbers, tolerance)
    elif isinstance(theirs, torch.Tensor):
        _compare_tensors(mine, theirs, numbers, tolerance)
    elif isinstance(theirs, float):
        if not (mine == theirs or (math.isnan(mine) and math.isnan(theirs)) or math.isclose(mine, theirs, rel_tol=1e-5)):
            raise Different(f"{mine} for {theirs}")
    elif isinstance(theirs, torch.dtype):
        if mine is not DTYPES[theirs]:
            raise Different(f"{mine} for {theirs}")
    elif isinstance(theirs, torch.Size | tuple | str | int | None) and mine != theirs:
        raise Different(f"{mine!r} for {theirs!r}")


def _kind(x: Any) -> str:
    return f"{type(x).__name__} of {len(x)}" if isinstance(x, tuple | list) else type(x).__name__


def _compare_tensors(mine: Any, theirs: torch.Tensor, numbers: bool, tolerance: float) -> None:
    if not isinstance(mine, lazytorch.Tensor):
        raise Different(f"{type(mine).__name__} for a tensor")
    if tuple(mine.shape) != tuple(theirs.shape):
        raise Different(f"shape {tuple(mine.shape)} for {tuple(theirs.shape)}")
    if mine.dtype is not DTYPES[theirs.dtype]:
        raise Different(f"{mine.dtype} for {theirs.dtype}")
    if mine.requires_grad != theirs.requires_grad:
        raise Different(f"requires_grad {mine.requires_grad} for {theirs.requires_grad}")
    if not numbers:
        return
    half = theirs.dtype is torch.bfloat16
    x = np.asarray((mine.detach().float() if half else mine.detach()).numpy())
    y = (theirs.detach().float() if half else theirs.detach()).numpy(force=True)
    if theirs.dtype not in TOLERANCES:
        if not np.array_equal(x, y):
            raise Different(f"{np.count_nonzero(x != y)} of {x.size} elements differ, such as {_example(x, y, x != y)}")
        return
    limit = TOLERANCES[theirs.dtype] * tolerance
    finite = np.abs(y[np.isfinite(y)])
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    with np.errstate(invalid="ignore"):
        wrong = ~np.isclose(x, y, rtol=limit, atol=limit * min(scale, 1e3), equal_nan=True)
    if wrong.any():
        raise Different(f"{np.count_nonzero(wrong)} of {x.size} numbers differ, such as {_example(x, y, wrong)}")


def _example(x: np.ndarray, y: np.ndarray, wrong: np.ndarray) -> str:
    return f"{x[wrong].reshape(-1)[0]} for {y[wrong].reshape(-1)[0]}"
