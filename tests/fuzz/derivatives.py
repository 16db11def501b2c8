"""Random programs of tensor operations: the derivatives that passes make, against differences in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lazytorch.ir.core import Operation, Value, new_func, return_
from lazytorch.ir.interpreter import interpret
from lazytorch.ir.pass_manager import PassManager
from tests.fuzz.tensor_programs import TensorProgram

BY_DEFINITION = {
    "arith.clamped", "nn.scaled_gradient", "special.dirichlet_variable", "special.gamma_variable", "tensor.overwrite",
    "tensor.forget", "tensor.detach", "tensor.scatter",
}  # fmt: skip
"""Operations whose derivative is another than that of their value; of two writes to one place a scatter has, as in torch,
that of both."""
WITHOUT = ("optim.", "special.igamma", "special.zeta", "special.dirichlet_grad", "special.standard_gamma_grad")
"""Operations whose derivative refuses, or that have none."""


def function_of(program: TensorProgram) -> Operation:
    """The program as a function of its inputs that returns its outputs."""
    names = [f"x{number}" for number in range(len(program.inputs))]
    func = new_func("f", [argument.type for argument in program.inputs], names)
    block = func.region.block
    values: list[Value] = list(block.arguments)
    for step in program.steps:
        made = block.append(Operation(step.operator, [values[number] for number in step.operands]))
        values.append(made.results[step.result])
    block.append(Operation(return_.operator(), [values[number] for number in program.outputs], ()))
    return func


def check(program: TensorProgram) -> None:
    """Raises AssertionError where the derivative in a random direction, forward or reverse, is not that of differences."""
    if any(step.name in BY_DEFINITION or step.name.startswith(WITHOUT) for step in program.steps):
        return
    random = np.random.default_rng(0)
    arrays = [random.uniform(0.1, 0.9, argument.shape) for argument in program.inputs]
    tangents = [random.standard_normal(argument.shape) for argument in program.inputs]
    func = function_of(program)
    (value,) = interpret(func, arrays)
    cotangent = random.standard_normal(value.shape)
    expected = _differences(func, arrays, tangents, cotangent)
    if expected is None:
        return
    inputs = ",".join(str(number) for number in range(len(arrays)))
    forward, reverse = function_of(program), function_of(program)
    PassManager(f"jvp{{inputs={inputs}}},canonicalize,cse,dce", verify_each=True).run_on_func(forward)
    pushed = float(np.sum(cotangent * interpret(forward, [*arrays, *tangents])[1]))
    PassManager(f"differentiate{{inputs={inputs}}},canonicalize,cse,dce", verify_each=True).run_on_func(reverse)
    pulled = sum(float(np.sum(a * b)) for a, b in zip(interpret(reverse, [*arrays, cotangent])[1:], tangents, strict=True))
    want, tolerance = expected
    assert abs(pushed - want) <= tolerance, f"the forward derivative is {pushed}, differences say {want} ± {tolerance}"
    assert abs(pulled - want) <= tolerance, f"the reverse derivative is {pulled}, differences say {want} ± {tolerance}"


def _differences(
    func: Operation, arrays: Sequence[np.ndarray], tangents: Sequence[np.ndarray], cotangent: np.ndarray
) -> tuple[float, float] | None:
    """The derivative and how far to trust it; None where it is not smooth (both sides and two steps must agree)."""

    def at(step: float) -> float:
        moved = [x + step * tangent for x, tangent in zip(arrays, tangents, strict=True)]
        (value,) = interpret(func, moved)
        with np.errstate(all="ignore"):
            return float(np.sum(cotangent * value))

    step = 1e-5
    middle, high, low, near, far = at(0), at(step), at(-step), at(step / 2), at(-step / 2)
    if not np.isfinite([middle, high, low, near, far]).all():
        return None
    coarse, fine = (high - low) / (2 * step), (near - far) / step
    right, left = (high - middle) / step, (middle - low) / step
    size = max(abs(coarse), abs(middle), 1.0)
    if abs(coarse - fine) > 1e-5 * size or abs(right - left) > 1e-2 * size:
        return None
    return fine, 1e-4 * size
