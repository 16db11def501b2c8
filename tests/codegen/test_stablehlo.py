"""Exported StableHLO: MLIR verifies it, XLA runs it, and the numbers are the reference interpreter's."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from lazytorch.codegen import stablehlo
from lazytorch.codegen.stablehlo.emitter import _RULES
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation
from lazytorch.ir.declaration import Declaration, Trait
from lazytorch.ir.examples import documented_operations, example_module
from lazytorch.ir.interpreter import interpret
from lazytorch.ir.parser import parse_func
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.printer import print_ir
from lazytorch.ir.validation import difference
from lazytorch.tools.translate import to_stablehlo

Xla = Callable[[str, Sequence[np.ndarray]], list[np.ndarray]]
"""Runs a module's text on arrays."""

KERNEL_LEVEL = ("builtin.", "fused.", "loop.", "gpu.")
OPERATIONS = [d for d in documented_operations() if not d.name.startswith(KERNEL_LEVEL)]

NO_FORM = {
    *(
        "linalg.cholesky_ex",
        "linalg.cofactor",
        "linalg.det",
        "linalg.eigh",
        "linalg.inv",
        "linalg.matrix_exp",
        "linalg.pinv",
    ),
    *("linalg.qr", "linalg.slogdet", "linalg.solve", "linalg.svd", "special.dirichlet_grad", "special.igamma"),
    *("special.igammac", "special.standard_gamma_grad", "special.polynomial", "special.zeta", "tensor.transfer"),
    *("linalg.eig", "linalg.lu_factor", "linalg.permutation_matrix", "linalg.reflections"),
}
"""Factorizations and iterations for which StableHLO has no operation, and what is no computation."""


@pytest.fixture(scope="module")
def xla() -> Iterator[Xla]:
    """XLA on the CPU, in a process of its own."""
    worker = Path(__file__).with_name("xla_worker.py")
    with subprocess.Popen([sys.executable, str(worker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def run(text: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            assert process.stdin is not None and process.stdout is not None
            pickle.dump((text, list(arrays)), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
            assert not isinstance(answer, str), f"{answer}\n{text}"
            outcome: list[np.ndarray] = answer
            return outcome

        yield run
        assert process.stdin is not None
        process.stdin.close()


def agrees(xla: Xla, func: Operation, arrays: Sequence[np.ndarray]) -> None:
    """XLA's results are the interpreter's."""
    types = [value.type for value in func.region.block.terminator.operands]
    expected = interpret(func, arrays)
    got = xla(to_stablehlo(func), arrays)
    for type, x, want in zip(types, got, expected, strict=True):
        assert not difference(x.reshape(want.shape), want, type.dtype), type


def values(func: Operation) -> list[np.ndarray]:
    """Numbers between 0.1 and 0.9, which every function takes, and small integers, which are indices everywhere. A row
    ascends, which a table to be searched must, and square matrices are symmetric and positive."""
    random = np.random.default_rng(0)
    arrays = []
    for argument in func.region.block.arguments:
        shape = argument.type.shape
        numbers = random.uniform(0.1, 0.9, shape)
        if len(shape) == 1:
            numbers = np.sort(numbers)
        if len(shape) > 1 and shape[-1] == shape[-2]:
            numbers = np.maximum(numbers, np.swapaxes(numbers, -1, -2)) + shape[-1] * np.eye(shape[-1])
        if argument.type.dtype.kind not in "fc":
            numbers = random.integers(0, 2, argument.type.shape)
        arrays.append(numbers.astype(argument.type.dtype.numpy))
    return arrays


def lacking(func: Operation) -> list[str]:
    """The primitives of a function that have no rule."""
    PassManager("decompose{longest=0},dce").run_on_func(func)
    return sorted({op.name for op in func.region.block if op.declaration not in _RULES and not op.has(Trait.TERMINATOR)})


@pytest.mark.parametrize("declaration", OPERATIONS, ids=lambda d: d.name)
def test_every_operation_computes_in_xla_what_it_means(xla: Xla, declaration: Declaration) -> None:
    text = print_ir(example_module(declaration))
    missing = lacking(parse_func(text))
    if missing:
        assert set(missing) <= NO_FORM
        pytest.skip(f"no StableHLO form: {', '.join(missing)}")
    func = parse_func(text)
    agrees(xla, func, values(func))


def test_every_primitive_has_a_rule_or_is_known_to_have_no_form() -> None:
    expanded = {d for d in OPERATIONS if d.has(Trait.COMPOSITE) or d.has(Trait.TILED)}
    assert {d.name for d in OPERATIONS if d not in _RULES and d not in expanded} == NO_FORM


SPECIAL_ROW = np.array([[3, np.nan, -0.0, 0, -np.inf, 3, np.inf, np.nan], [1, 1, 0, -1, 5, -5, 1, 0]], np.float32)
CASES = {
    "orders of special numbers": (
        """func @f(%x: tensor<2x8xf32>) -> (tensor<2x8xi64>, tensor<2x8xi64>, tensor<2x3xi64>, tensor<2x8xf32>,
            tensor<2x8xf32>) {
          %0 = tensor.argsort %x {descending = false} : tensor<2x8xi64>
          %1 = tensor.argsort %x {descending = true} : tensor<2x8xi64>
          %2 = tensor.argsort %x {descending = true, count = 3} : tensor<2x3xi64>
          %3 = tensor.scan_max %x {dim = 1} : tensor<2x8xf32>
          %4 = tensor.scan_min %x {dim = 0} : tensor<2x8xf32>
          return %0, %1, %2, %3, %4 : tensor<2x8xi64>, tensor<2x8xi64>, tensor<2x3xi64>, tensor<2x8xf32>, tensor<2x8xf32>
        }""",
        [SPECIAL_ROW],
    ),
    "places of special numbers": (
        """func @f(%t: tensor<5xf32>, %x: tensor<2x8xf32>) -> (tensor<2x8xi64>, tensor<2x8xi64>) {
          %0 = tensor.searchsorted %t, %x {right = false} : tensor<2x8xi64>
          %1 = tensor.searchsorted %t, %x {right = true} : tensor<2x8xi64>
          return %0, %1 : tensor<2x8xi64>, tensor<2x8xi64>
        }""",
        [np.array([-np.inf, 0, 1, 3, np.nan], np.float32), SPECIAL_ROW],
    ),
    "places in rows of their own": (
        """func @f(%t: tensor<2x4xf32>, %x: tensor<2x8xf32>) -> tensor<2x8xi64> {
          %0 = tensor.searchsorted %t, %x {right = false} : tensor<2x8xi64>
          return %0 : tensor<2x8xi64>
        }""",
        [np.array([[-5, 0, 0, 4], [1, 1, 2, 3]], np.float32), SPECIAL_ROW],
    ),
    "divisors": (
        """func @f(%x: tensor<6xi64>, %y: tensor<6xi64>) -> (tensor<6xi64>, tensor<6xi64>) {
          %0 = integers.gcd %x, %y : tensor<6xi64>
          %1 = integers.lcm %x, %y : tensor<6xi64>
          return %0, %1 : tensor<6xi64>, tensor<6xi64>
        }""",
        [np.array([12, -18, 0, 0, 7, 1071]), np.array([18, 12, 5, 0, -13, 462])],
    ),
    "transforms of several dimensions": (
        """func @f(%z: tensor<3x4x5xcomplex<f64>>) -> (tensor<3x4x5xcomplex<f64>>, tensor<3x4x5xcomplex<f64>>) {
          %0 = fourier.transform %z {dims = [0, 2], inverse = false} : tensor<3x4x5xcomplex<f64>>
          %1 = fourier.transform %z {dims = [1], inverse = true} : tensor<3x4x5xcomplex<f64>>
          return %0, %1 : tensor<3x4x5xcomplex<f64>>, tensor<3x4x5xcomplex<f64>>
        }""",
        [np.random.default_rng(0).standard_normal((3, 4, 5, 2)).view(np.complex128)[..., 0]],
    ),
    "special numbers": (
        """func @f(%x: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>, tensor<8xi1>, tensor<8xf32>, tensor<8xf32>) {
          %inf = arith.constant -inf : tensor<f32>
          %nan = arith.constant nan : tensor<8xf32>
          %0 = arith.maximum %x, %inf : tensor<8xf32>
          %1 = arith.copysign %nan, %x : tensor<8xf32>
          %2 = arith.compare %x, %x {predicate = "ne"} : tensor<8xi1>
          %3 = arith.trunc %x : tensor<8xf32>
          %4 = arith.sign %x : tensor<8xf32>
          return %0, %1, %2, %3, %4 : tensor<8xf32>, tensor<8xf32>, tensor<8xi1>, tensor<8xf32>, tensor<8xf32>
        }""",
        [np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -1.5, 1e-30], np.float32)],
    ),
    "hypot at the ends": (
        """func @f(%x: tensor<6xf32>, %y: tensor<6xf32>) -> tensor<6xf32> {
          %0 = math.hypot %x, %y : tensor<6xf32>
          return %0 : tensor<6xf32>
        }""",
        [np.array([0, 3e38, np.inf, -3, 1e-30, np.nan], np.float32), np.array([-0.0, 0, np.inf, 4, 1e-30, 1], np.float32)],
    ),
    "integers": (
        """func @f(%x: tensor<4xi64>, %y: tensor<4xi64>, %u: tensor<4xui8>) -> (tensor<4xi64>, tensor<4xi64>, tensor<4xui8>,
            tensor<4xi1>, tensor<4xui8>, tensor<4xf64>) {
          %three = arith.constant 3 : tensor<i64>
          %one = arith.constant 1 : tensor<ui8>
          %0 = arith.div %x, %y : tensor<4xi64>
          %1 = arith.shift_right %x, %three : tensor<4xi64>
          %2 = arith.shift_right %u, %one : tensor<4xui8>
          %3 = arith.cast %x {dtype = i1} : tensor<4xi1>
          %4 = arith.cast %x {dtype = ui8} : tensor<4xui8>
          %5 = arith.cast %x {dtype = f64} : tensor<4xf64>
          return %0, %1, %2, %3, %4, %5
            : tensor<4xi64>, tensor<4xi64>, tensor<4xui8>, tensor<4xi1>, tensor<4xui8>, tensor<4xf64>
        }""",
        [np.array([-7, 7, 0, 300]), np.array([2, -2, 3, 7]), np.array([0, 255, 128, 3], np.uint8)],
    ),
    "argmax of nan and ties": (
        """func @f(%x: tensor<3x4xf32>) -> (tensor<3xi64>, tensor<4xi64>) {
          %0 = tensor.argmax %x {dim = 1} : tensor<3xi64>
          %1 = tensor.argmin %x {dim = 0} : tensor<4xi64>
          return %0, %1 : tensor<3xi64>, tensor<4xi64>
        }""",
        [np.array([[1, 2, 2, 0], [3, np.nan, 9, np.nan], [-np.inf] * 4], np.float32)],
    ),
    "contractions": (
        """func @f(%x: tensor<3x2x4xf64>, %y: tensor<5x3x4x2xf64>) -> (tensor<2x5xf64>, tensor<3x5x2xf64>, tensor<4xf64>) {
          %0 = tensor.contract %x, %y {lhs = "bik", rhs = "jbkz", out = "ij"} : tensor<2x5xf64>
          %1 = tensor.contract %x, %y {lhs = "bik", rhs = "jbkz", out = "bjz"} : tensor<3x5x2xf64>
          %2 = tensor.contract %x, %y {lhs = "bik", rhs = "jbkz", out = "k"} : tensor<4xf64>
          return %0, %1, %2 : tensor<2x5xf64>, tensor<3x5x2xf64>, tensor<4xf64>
        }""",
        [np.random.default_rng(0).standard_normal(s) for s in ((3, 2, 4), (5, 3, 4, 2))],
    ),
    "indices from the end, the last of equal ones wins": (
        """func @f(%x: tensor<5x2xf32>, %i: tensor<2x2xi64>, %v: tensor<2x2x2xf32>) -> (tensor<2x2x2xf32>, tensor<5x2xf32>,
            tensor<5x2xf32>) {
          %0 = tensor.gather %x, %i : tensor<2x2x2xf32>
          %1 = tensor.scatter %x, %i, %v : tensor<5x2xf32>
          %2 = tensor.scatter_add %x, %i, %v : tensor<5x2xf32>
          return %0, %1, %2 : tensor<2x2x2xf32>, tensor<5x2xf32>, tensor<5x2xf32>
        }""",
        [
            np.arange(10, dtype=np.float32).reshape(5, 2),
            np.array([[-1, 0], [0, 4]]),
            np.arange(8, dtype=np.float32).reshape(2, 2, 2) + 100,
        ],
    ),
    "nothing to reduce, nothing to insert": (
        """func @f(%x: tensor<0x3xf32>, %y: tensor<4xf32>, %z: tensor<0xf32>)
            -> (tensor<3xf32>, tensor<4xf32>, tensor<3xf32>) {
          %0 = tensor.reduce_sum %x {dims = [0]} : tensor<3xf32>
          %1 = tensor.insert_slice %y, %z {starts = [2], steps = [1]} : tensor<4xf32>
          %2 = arith.constant 1e-40 : tensor<3xf32>
          return %0, %1, %2 : tensor<3xf32>, tensor<4xf32>, tensor<3xf32>
        }""",
        [np.zeros((0, 3), np.float32), np.ones(4, np.float32), np.zeros(0, np.float32)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_program_computes_the_same_in_xla(xla: Xla, case: str) -> None:
    text, arrays = CASES[case]
    agrees(xla, parse_func(text), arrays)


def test_a_differentiated_network_computes_the_same_in_xla(xla: Xla) -> None:
    func = parse_func("""
        func @f(%x: tensor<6x1x8x8xf32>, %w: tensor<3x1x3x3xf32>, %v: tensor<27x4xf32>, %t: tensor<6xi64>) -> tensor<f32> {
          %0 = tensor.conv %x, %w {strides = [1, 1], padding = [0, 0], dilations = [1, 1], groups = 1} : tensor<6x3x6x6xf32>
          %1 = nn.gelu %0 : tensor<6x3x6x6xf32>
          %2 = nn.max_pool %1 {sizes = [2, 2], strides = [2, 2], padding = [0, 0], dilations = [1, 1], ceil = false}
            : tensor<6x3x3x3xf32>
          %3 = tensor.reshape %2 {shape = [6, 27]} : tensor<6x27xf32>
          %4 = tensor.contract %3, %v {lhs = "mk", rhs = "kn", out = "mn"} : tensor<6x4xf32>
          %5 = nn.cross_entropy %4, %t : tensor<f32>
          return %5 : tensor<f32>
        }""")
    PassManager("differentiate{ones=true inputs=w,v}", verify_each=True).run_on_func(func)
    random = np.random.default_rng(0)
    shapes = [argument.type.shape for argument in func.region.block.arguments[:3]]
    agrees(xla, func, [*[random.standard_normal(s).astype(np.float32) for s in shapes], np.array([0, 1, 2, 3, 0, 1])])


def test_what_has_no_form_is_refused_with_its_line() -> None:
    func = parse_func("""
        func @f(%x: tensor<3xf32>) -> tensor<3xf32> {
          %0 = nn.relu %x : tensor<3xf32>   loc("net.py":4)
          return %0 : tensor<3xf32>
        }""")
    with pytest.raises(CompileError, match=r"nn\.relu has no StableHLO form\s+\[net.py:4\]"):
        stablehlo.translate(func)
