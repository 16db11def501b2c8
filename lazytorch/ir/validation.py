"""Translation validation: a transformed function must compute what it computed before, on real inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.errors import CompileError
from lazytorch.ir.bfloat16 import widen
from lazytorch.ir.core import Operation
from lazytorch.ir.interpreter import interpret


class Validation:
    """What a function computes on some arrays by the reference interpreter, to compare with after every change.

    `expected`, if given, is what it must compute; CompileError if it does not.
    """

    def __init__(self, func: Operation, arrays: Sequence[np.ndarray], expected: Sequence[np.ndarray] | None = None) -> None:
        self._arrays = list(arrays)
        self._expected = interpret(func, self._arrays) if expected is None else list(expected)
        if expected is not None:
            self.check(func)

    def check(self, func: Operation) -> None:
        """Raise CompileError (stage `check`) if the function now computes something else."""
        results = interpret(func, self._arrays)
        if len(results) != len(self._expected):
            raise CompileError(f"there are {len(results)} results, not {len(self._expected)}", stage="check")
        for number, (got, want) in enumerate(zip(results, self._expected, strict=True)):
            operand = func.region.block.terminator.operands[number]
            wrong = difference(got, want, operand.type.dtype)
            if wrong:
                definition = operand.defining_op()
                location = definition.location if definition is not None else None
                raise CompileError(f"result {number} {wrong}", stage="check", location=location)


def precision(dtype: DType) -> float:
    """The unit in the last place of 1; 0 for what is exact."""
    if dtype is dtypes.bfloat16:
        return 2.0**-7
    return float(np.finfo(dtype.numpy).eps) if dtype.kind in "fc" else 0.0


def difference(got: np.ndarray, want: np.ndarray, dtype: DType, terms: float = 2.0**-4, unit: float = 0.0) -> str:
    """How a result differs from the reference's, or nothing where it is as near as rounding allows.

    Floats may differ by 64 units in the last place of the largest element: the interpreter's functions are NumPy's,
    and a sum of terms that cancel is as exact as its terms, which are taken to be of the order of `terms` at least. `unit`
    is the precision of what the result was computed from, if that is coarser than its own.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"is {got.dtype}{list(got.shape)} where the reference gives {want.dtype}{list(want.shape)}"
    if dtype is dtypes.bfloat16:
        got, want = widen(got), widen(want)
    if want.dtype.kind not in "fc":
        wrong = got != want
    else:
        limit = 64 * max(unit, precision(dtype))
        scale = float(np.abs(want[np.isfinite(want)]).max(initial=terms))
        with np.errstate(invalid="ignore", over="ignore"):
            wrong = ~np.isclose(got, want, rtol=limit, atol=limit * scale, equal_nan=True)
    if not wrong.any():
        return ""
    place = tuple([int(i) for i in np.argwhere(wrong)[0]])
    share = f"{int(wrong.sum())} of {wrong.size} elements"
    return f"differs from the reference in {share}: at {list(place)} it is {got[place]} and not {want[place]}"
