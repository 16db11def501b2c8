"""Forward derivatives and vectorisation of every operation, from its declaration and example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from lazytorch import dtypes
from lazytorch.errors import PassError
from lazytorch.ir.core import Operation, new_func, return_
from lazytorch.ir.declaration import Declaration, Trait, declaration_named
from lazytorch.ir.dialects import fused
from lazytorch.ir.examples import documented_operations, example_operation
from lazytorch.ir.interpreter import interpret
from lazytorch.ir.parser import parse_func
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.printer import print_ir
from lazytorch.ir.types import TensorType
from tests.ir.test_declarations import SAMPLES

KERNEL_LEVEL = ("builtin.", "fused.", "loop.", "gpu.")
OPERATIONS = [d for d in documented_operations() if not d.name.startswith(KERNEL_LEVEL)]
SIZE = 3

STRAIGHT = {
    "arith.clamped": "its derivative is that of a clamp by definition, not of its value",
    "nn.scaled_gradient": "its derivative is scaled by definition",
    "special.dirichlet_variable": "its derivative is that of the variable by its parameter",
    "special.gamma_variable": "its derivative is that of the variable by its parameter",
    "tensor.overwrite": "its derivative is that of a write by definition, not of its value",
    "tensor.forget": "its derivative is that of a write by definition, not of its value",
}
"""Operations whose derivative is not what differences say, and why."""


def _function(declaration: Declaration, wide: bool = False) -> Operation:
    """The example's operation in a function of its own; `wide`: of f64."""
    operation = example_operation(declaration)
    types = [operand.type for operand in operation.operands]
    if wide:
        types = [type.with_dtype(dtypes.float64) if type.dtype is dtypes.float32 else type for type in types]
    return _alone(declaration, types, operation.attributes.as_dict())


def _alone(declaration: Declaration, types: Sequence[Any], attributes: dict[str, Any]) -> Operation:
    """A function of one operation."""
    func = new_func("f", types, [f"x{number}" for number in range(len(types))])
    block = func.region.block
    made = Operation(declaration.operator(**attributes), block.arguments)
    block.append(made)
    block.append(Operation(return_.operator(), made.results, ()))
    return func


def _array(name: str, type: TensorType, rows: int, random: np.random.Generator) -> np.ndarray:
    """Numbers in the domain of most functions: whole ones are indices into `rows`, square matrices of linalg are regular,
    symmetric and positive."""
    if type.dtype.kind == "b":
        return random.random(type.shape) < 0.5
    if type.dtype.kind == "c":
        return (random.uniform(0.1, 0.9, type.shape) + 1j * random.uniform(0.1, 0.9, type.shape)).astype(type.dtype.numpy)
    if type.dtype.kind != "f":
        if name.startswith("tensor.scatter"):  # of two writes to one place the last wins: no derivative for the first
            return random.permutation(rows)[: type.numel].reshape(type.shape).astype(type.dtype.numpy)
        return random.integers(0, rows, type.shape).astype(type.dtype.numpy)
    values = random.uniform(0.1, 0.9, type.shape)
    if name.startswith("linalg.") and len(type.shape) >= 2 and type.shape[-1] == type.shape[-2]:
        values = values @ np.swapaxes(values, -1, -2) + np.diag(np.arange(1.0, type.shape[-1] + 1))
    return values.astype(type.dtype.numpy)


def _arrays(func: Operation, name: str, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    arguments = func.region.block.arguments
    rows = arguments[0].type.shape[0] if arguments and arguments[0].type.shape else 2
    if name.startswith("nn."):
        rows = min((x.type.shape[-1] for x in arguments if x.type.shape), default=2)
    return [_array(name, argument.type, rows, random) for argument in arguments]


def _batched_choices(count: int) -> list[tuple[int, ...]]:
    """All operands together, and each by itself."""
    alone = [(position,) for position in range(count)]
    return [tuple(range(count)), *(alone if 1 < count <= 4 else ())]


def _check_batches(make: Callable[[], Operation], name: str, count: int) -> None:
    """A function's batches against its examples, whichever of its `count` arguments are batched."""
    for chosen in _batched_choices(count):
        func = make()
        examples = [_arrays(func, name, seed) for seed in range(SIZE)]
        for position in set(range(count)) - set(chosen):
            for example in examples:
                example[position] = examples[0][position]
        want = [interpret(func, example) for example in examples]
        names = ",".join(map(str, chosen))
        PassManager(f"vmap{{size={SIZE} inputs={names}}},canonicalize,cse,dce", verify_each=True).run_on_func(func)
        given = [
            np.stack([example[position] for example in examples]) if position in chosen else examples[0][position]
            for position in range(count)
        ]
        for number, got in enumerate(interpret(func, given)):
            expected = np.stack([result[number] for result in want])
            message = f"{chosen}\n{print_ir(func)}"
            if any(x.dtype.kind == "c" for x in given):  # NumPy's complex functions are not those of the decompositions
                np.testing.assert_allclose(got, expected, 1e-6, err_msg=message)
            else:
                np.testing.assert_array_equal(got, expected, message)


@pytest.mark.parametrize("declaration", [d for d in OPERATIONS if example_operation(d).operands], ids=lambda d: d.name)
def test_a_batch_is_computed_as_its_examples_are_one_by_one(declaration: Declaration) -> None:
    _check_batches(lambda: _function(declaration), declaration.name, len(example_operation(declaration).operands))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_batch_of_other_shapes_is_computed_as_its_examples_are(name: str) -> None:
    """Ranks and sizes that the examples do not have: numbers, empty tensors, several groups of dimensions."""
    declaration = declaration_named(name)
    dtype = dtypes.bool_ if name in ("tensor.reduce_any", "tensor.reduce_all") else dtypes.float64
    for attributes, shapes in SAMPLES[name]:
        if shapes:
            types = [TensorType(dtype, shape) for shape in shapes]
            _check_batches(lambda d=declaration, t=types, a=attributes: _alone(d, t, a), name, len(shapes))


@pytest.mark.parametrize("declaration", OPERATIONS, ids=lambda d: d.name)
def test_every_operation_can_be_vectorised(declaration: Declaration) -> None:
    """By a rule, by broadcasting, or by its decomposition; one without operands is the same for all."""
    operands = example_operation(declaration).operands
    assert (
        declaration.batch is not None
        or declaration.has(Trait.ELEMENTWISE)
        or declaration.decompose is not None
        or not operands
    )


def _differentiable(declaration: Declaration) -> bool:
    operation = example_operation(declaration)
    rules = declaration.vjp
    if declaration.name.startswith("optim."):
        return False  # a step has a rule that refuses
    if rules is None or not any(value.type.dtype.kind == "f" for value in operation.results):
        return False
    kinds = [operand.type.dtype.kind for operand in operation.operands]
    return any(kind == "f" and (callable(rules) or rules[i] is not None) for i, kind in enumerate(kinds))


def _direction(name: str, array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A random tangent; symmetric where the matrix is."""
    out = random.standard_normal(array.shape)
    square = array.ndim >= 2 and array.shape[-1] == array.shape[-2]
    return (out + np.swapaxes(out, -1, -2)) / 2 if name.startswith("linalg.") and square else out


def _is_float(array: np.ndarray) -> bool:
    return array.dtype == np.float64


def _inputs(declaration: Declaration, arrays: list[np.ndarray]) -> list[int]:
    rules = declaration.vjp
    if declaration.name in ("special.igamma", "special.igammac", "special.zeta"):
        return [1]  # the rule of the first operand refuses
    return [i for i, x in enumerate(arrays) if _is_float(x) and (callable(rules) or (rules and rules[i] is not None))]


def _case(declaration: Declaration) -> tuple[Operation, list[np.ndarray], list[int], list[np.ndarray]]:
    func = _function(declaration, wide=True)
    arrays = _arrays(func, declaration.name, 1)
    if declaration.name in ("math.acosh", "special.zeta"):
        arrays = [x + 1 for x in arrays]
    inputs = _inputs(declaration, arrays)
    random = np.random.default_rng(2)
    return func, arrays, inputs, [_direction(declaration.name, arrays[i], random) for i in inputs]


DIFFERENTIABLE = [d for d in OPERATIONS if _differentiable(d)]


@pytest.mark.parametrize("declaration", DIFFERENTIABLE, ids=lambda d: d.name)
def test_forward_and_reverse_derivatives_are_each_others_transpose(declaration: Declaration) -> None:
    func, arrays, inputs, tangents = _case(declaration)
    names = ",".join(map(str, inputs))
    forward, reverse = func, _function(declaration, wide=True)
    count = len(func.region.block.terminator.operands)
    PassManager(f"jvp{{inputs={names}}},canonicalize,cse,dce", verify_each=True).run_on_func(forward)
    PassManager(f"differentiate{{inputs={names}}},canonicalize,cse,dce", verify_each=True).run_on_func(reverse)
    pushed = interpret(forward, [*arrays, *tangents])[count:]
    random = np.random.default_rng(3)
    cotangents = [random.standard_normal(x.shape) for x in pushed]
    pulled = interpret(reverse, [*arrays, *cotangents])[count:]
    left = sum(float(np.sum(a * b)) for a, b in zip(pushed, cotangents, strict=True))
    right = sum(float(np.sum(a * b)) for a, b in zip(tangents, pulled, strict=True))
    assert np.isfinite(left)
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("declaration", DIFFERENTIABLE, ids=lambda d: d.name)
def test_forward_derivatives_are_those_of_differences(declaration: Declaration) -> None:
    if declaration.name in STRAIGHT:
        pytest.skip(STRAIGHT[declaration.name])
    func, arrays, inputs, tangents = _case(declaration)

    def moved(step: float) -> list[np.ndarray]:
        given = list(arrays)
        for i, tangent in zip(inputs, tangents, strict=True):
            given[i] = arrays[i] + step * tangent
        return [x for x in interpret(func, given) if _is_float(x)]

    step = 1e-6
    want = [(high - low) / (2 * step) for high, low in zip(moved(step), moved(-step), strict=True)]
    count = len(func.region.block.terminator.operands)
    PassManager(f"jvp{{inputs={','.join(map(str, inputs))}}}").run_on_func(func)
    got = interpret(func, [*arrays, *tangents])[count:]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


def test_an_index_out_of_range_says_the_same_within_a_batch() -> None:
    text = """
func @f(%x: tensor<5x3xf32>, %i: tensor<4xi64>) -> tensor<4x3xf32> {
  %0 = tensor.gather %x, %i : tensor<4x3xf32>
  return %0 : tensor<4x3xf32>
}"""
    func = parse_func(text)
    PassManager("vmap{size=2}").run_on_func(func)
    x, i = np.zeros((2, 5, 3), np.float32), np.array([[0, 1, 2, 3], [0, -5, 7, 0]])
    with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0 with size 5"):
        interpret(func, [x, i])


def test_a_body_is_not_vectorised() -> None:
    func = parse_func(str(fused.kernel.example))
    with pytest.raises(PassError, match=r"fused\.kernel has a body; vectorise before fusing"):
        PassManager("vmap").run_on_func(func)
