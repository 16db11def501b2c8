"""Every elementwise operation, in every element type, gives on a GPU the CPU's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.core import IRBuilder, Operation, Value, new_func, return_
from lazytorch.ir.declaration import Trait, all_declarations
from lazytorch.ir.dialects import load_all
from lazytorch.ir.types import TensorType
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.cuda.buffer import DeviceBuffer
from lazytorch.runtime.cuda.device import device_named
from lazytorch.runtime.cuda.planner import plan_for_device
from lazytorch.runtime.cuda.staging import Held
from lazytorch.runtime.functions import run_function

load_all()
pytestmark = pytest.mark.usefixtures("cuda")

OPERATIONS = [
    d
    for d in all_declarations()
    if d.has(Trait.ELEMENTWISE) and not d.has(Trait.COMPOSITE) and not d.has(Trait.HOST) and d.name[:5] in ("arith", "math.")
]
TYPES = (
    dtypes.float32,
    dtypes.float64,
    dtypes.bfloat16,
    dtypes.float16,
    dtypes.int64,
    dtypes.int32,
    dtypes.uint8,
    dtypes.bool_,
)
PREDICATES = ("eq", "ne", "lt", "le", "gt", "ge")
PER_FUNCTION = 12
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, -1e-3, 3.7, 1e5, 88.7, -104.0, np.inf, -np.inf, np.nan, 3.0e38, 7e9)
COUNT = 70


def _samples(dtype: DType, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    if dtype.kind == "f":
        values = np.concatenate([random.permutation(SPECIAL), random.normal(0, 3, COUNT - len(SPECIAL))])
        if dtype is dtypes.bfloat16:
            return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        with np.errstate(over="ignore"):
            return values.astype(dtype.numpy)
    if dtype.kind == "b":
        return random.integers(0, 2, COUNT).astype(np.bool_)
    bounds = np.iinfo(dtype.numpy)
    return np.concatenate([[bounds.min, bounds.max, 0, 1], random.integers(bounds.min // 3, 40, COUNT - 4)]).astype(
        dtype.numpy
    )


def _results(dtype: DType) -> list[tuple[str, Any]]:
    """Per operation that takes the type: its name, and what emits it on three operands of the type and a condition."""
    found: list[tuple[str, Any]] = []
    for declaration in OPERATIONS:
        # Math functions are of real numbers; those of halves are computed in f32.
        if declaration.name == "arith.constant" or (declaration.name[:5] == "math." and dtype not in TYPES[:2]):
            continue
        choices: list[dict[str, Any]] = [{}]
        if declaration.name == "arith.compare":
            choices = [{"predicate": predicate} for predicate in PREDICATES]
        elif declaration.name == "arith.cast":
            choices = [{"dtype": other} for other in TYPES]
        elif declaration.name == "arith.bitcast":
            choices = [
                {"dtype": other}
                for other in TYPES
                if other.itemsize == dtype.itemsize and "b" not in other.kind + dtype.kind
            ]
        elif declaration.name == "math.polygamma":
            choices = [{"n": 2}]
        for attributes in choices:
            operator = declaration.operator(**attributes)
            for count in (1, 2, 3):
                chosen = (3, 0, 1) if declaration.name == "arith.select" else tuple(range(count))
                types = [TensorType(dtypes.bool_ if n == 3 else dtype, (COUNT,)) for n in chosen]
                try:
                    operator.infer(*types)
                except (TypeError, RuntimeError):
                    continue
                found.append((f"{declaration.name} {attributes}", (operator, chosen)))
                break
    return found


def _function(chosen: list[tuple[str, Any]], dtype: DType) -> Operation:
    types = [TensorType(dtype, (COUNT,))] * 3 + [TensorType(dtypes.bool_, (COUNT,))]
    func = new_func("f", types, ["a", "b", "c", "condition"])
    block = func.region.block
    builder = IRBuilder(block)
    values: list[Value] = [
        builder.emit(operator, [block.arguments[n] for n in operands]) for _, (operator, operands) in chosen
    ]
    block.append(Operation(return_.operator(), values, ()))
    return func


def run_on_device(func: Operation, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What `run_function` does, on the device."""
    device = device_named("cuda:0")
    arguments = func.region.block.arguments
    types = [value.type for value in func.region.block.terminator.operands]
    program = plan_for_device(func, [Held(argument.type, Buffer(1)) for argument in arguments], device)
    leaves = [Held(argument.type, DeviceBuffer.of(device, array)) for argument, array in zip(arguments, arrays, strict=True)]
    outputs = [Held(type) for type in types]
    program.run(leaves, outputs, (), {})
    return [output.buffer.numpy(type.dtype.numpy, type.shape) for output, type in zip(outputs, types, strict=True)]


def bits(array: np.ndarray, dtype: DType) -> np.ndarray:
    """The bits of an array's elements, every nan the same."""
    pattern = array.view(f"u{array.dtype.itemsize}").copy()
    if dtype is dtypes.bfloat16:
        pattern[(array & 0x7FFF) > 0x7F80] = 0x7FFF
    elif dtype.kind == "f":
        pattern[np.isnan(array)] = 0
    return pattern


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.name)
def test_elementwise_operations_give_the_bits_of_the_cpu(dtype: DType) -> None:
    operations = _results(dtype)
    assert len(operations) >= 10
    arrays = [_samples(dtype, seed) for seed in range(3)] + [_samples(dtypes.bool_, 3)]
    for start in range(0, len(operations), PER_FUNCTION):
        chosen = operations[start : start + PER_FUNCTION]
        expected = run_function(_function(chosen, dtype), arrays)
        func = _function(chosen, dtype)
        types = [value.type.dtype for value in func.region.block.terminator.operands]
        for (name, _), type, want, got in zip(chosen, types, expected, run_on_device(func, arrays), strict=True):
            np.testing.assert_array_equal(bits(got, type), bits(want, type), err_msg=f"{name} of {dtype.name}")
