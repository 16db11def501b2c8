"""The registry of expansions, and the step that replaces math operations in kernels by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.errors import CompileError
from lazytorch.ir.core import IRBuilder, Operation, Value, inserting
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith

Expansion = Callable[..., Value]
_EXPANSIONS: dict[tuple[Declaration, DType], Expansion] = {}


def expansion(declaration: Declaration, *types: DType) -> Callable[[Expansion], Expansion]:
    """Decorator: how the function is computed in these element types, on scalars and vectors alike."""

    def register(function: Expansion) -> Expansion:
        for dtype in types:
            _EXPANSIONS[declaration, dtype] = function
        return function

    return register


def expand(declaration: Declaration, *operands: Value) -> Value:
    """The function of kernel values; a type without its own expansion computes in the next wider one."""
    dtype = operands[0].type.dtype
    found = _EXPANSIONS.get((declaration, dtype))
    if found is not None:
        return found(*operands)
    wider = dtypes.float32 if dtype.itemsize < 4 else dtypes.float64
    if dtype.kind != "f" or dtype is dtypes.float64:
        raise CompileError(f"{declaration.name} of {dtype} has no expansion", stage="math")
    result: Value = arith.cast(expand(declaration, *[arith.cast(x, dtype=wider) for x in operands]), dtype=dtype)
    return result


def expand_math(module: Operation) -> None:
    """Replace every math operation in the kernels of a module by its expansion."""
    for operation in list(module.walk()):
        if operation.name.startswith("math."):
            assert operation.parent is not None
            builder = IRBuilder(operation.parent, operation, operation.location)
            with inserting(builder):
                value = expand(operation.declaration, *operation.operands)
            operation.replace_with([value])


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's scheme with fused steps, highest power first."""
    total = like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = arith.fma(total, x, like(x, coefficient))
    return total


def like(x: Value, number: float) -> Value:
    """A constant of x's type."""
    value: Value = x.builder.constant(number, x)
    return value


def power_of_two(n: Value) -> Value:
    """2**n of a whole float n with a normal result, from its exponent bits."""
    if n.type.dtype is dtypes.float32:
        bits = arith.shift_left(arith.add(arith.cast(n, dtype=dtypes.int32), 127), 23)
        value: Value = arith.bitcast(bits, dtype=dtypes.float32)
        return value
    bits = arith.shift_left(arith.add(arith.cast(n, dtype=dtypes.int64), 1023), 52)
    value = arith.bitcast(bits, dtype=dtypes.float64)
    return value


def scaled(p: Value, n: Value) -> Value:
    """p * 2**n in two steps, so that subnormal results and overflow come out right."""
    half = arith.floor(arith.mul(n, 0.5))
    value: Value = arith.mul(arith.mul(p, power_of_two(half)), power_of_two(arith.sub(n, half)))
    return value
