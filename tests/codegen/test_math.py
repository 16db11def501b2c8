"""Our own math against 80-bit and multi-precision references: error in ULP, special values, equal bits on every target."""

import ctypes
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import torch

from lazytorch import dtypes
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.llvm import lower
from lazytorch.codegen.math import expand_math
from lazytorch.codegen.target import Target, host_target, target_named
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation
from lazytorch.ir.declaration import declaration_named
from lazytorch.ir.dialects import arith, loop, math
from lazytorch.ir.loop_interpreter import interpret_kernel
from lazytorch.runtime.engine import engine

LIMIT = 2.0
RANGES = {
    "exp": [(-110, 95), (-750, 712), (-1, 1)],
    "expm1": [(-30, 30), (-1, 1), (-745, 712)],
    "exp2": [(-1080, 1026), (-160, 130), (-1, 1)],
    "log": [(0, 4), (0.9, 1.1)],
    "log1p": [(-1, 3), (-0.1, 0.1)],
    "log2": [(0, 4), (0.9, 1.1)],
    "log10": [(0, 4), (0.9, 1.1)],
    "sin": [(-4, 4), (-1e3, 1e3), (-1e13, 1e13)],
    "cos": [(-4, 4), (-1e3, 1e3), (-1e13, 1e13)],
    "tan": [(-4, 4), (-1e3, 1e3), (-1e13, 1e13)],
    "tanh": [(-1, 1), (-20, 20)],
    "sinh": [(-2, 2), (-90, 90), (-711, 711)],
    "cosh": [(-2, 2), (-90, 90), (-711, 711)],
    "asin": [(-1, 1), (-0.6, 0.6), (0.99, 1)],
    "acos": [(-1, 1), (-0.6, 0.6), (0.99, 1)],
    "atan": [(-1, 1), (-50, 50)],
    "asinh": [(-1, 1), (-1e5, 1e5)],
    "acosh": [(1, 1.01), (1, 3), (1, 1e5)],
    "atanh": [(-0.5, 0.5), (-1, 1)],
    "erf": [(-1, 1), (-7, 7)],
    "erfc": [(-3, 1.3), (1, 28)],
    "erfinv": [(-1, 1), (0.4, 0.6), (0.9999, 1)],
    "lgamma": [(0, 3), (0, 100)],
    "digamma": [(0, 3), (0, 100)],
    "sigmoid": [(-3, 3), (-90, 90), (-750, 40)],
}
BINARY = ("pow", "atan2", "hypot")


def by_element(function: Callable[..., mpmath.mpf]) -> Callable[..., np.ndarray]:
    """A function of mpmath over an array, as long doubles."""

    def one(x: float) -> np.longdouble:
        if x == 0 or not np.isfinite(x):
            return np.longdouble(float(function(float(x))))
        value = function(mpmath.mpf(float(x)))
        high = float(value)
        low = float(value - mpmath.mpf(high)) if np.isfinite(high) else 0.0
        return np.longdouble(high) + np.longdouble(low)

    def over_array(x: np.ndarray) -> np.ndarray:
        with mpmath.workprec(100):
            out = np.array([one(element) for element in x], np.longdouble)
        return np.where(out == 0, np.copysign(out, x), out)

    return over_array


def log_gamma(x: float) -> mpmath.mpf:
    if x == 0 or not mpmath.isfinite(x):
        return mpmath.mpf(abs(x) if x else np.inf)
    return mpmath.log(abs(mpmath.gamma(x))) if abs(x) < 100 else mpmath.loggamma(x).real


def inverse_erf(x: float) -> mpmath.mpf:
    if x == 0 or not abs(x) < 1:
        return mpmath.mpf(x if x == 0 else x * np.inf if abs(x) == 1 else np.nan)
    return mpmath.erfinv(x)


def digamma(x: float) -> mpmath.mpf:
    if x == 0 or not mpmath.isfinite(x):
        return mpmath.mpf(x if x else -np.copysign(np.inf, x))
    return mpmath.digamma(x)


REFERENCE = {
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": by_element(mpmath.erf),
    "erfc": by_element(lambda x: mpmath.erfc(x) if not x > 100 else mpmath.mpf(0)),
    "erfinv": by_element(inverse_erf),
    "lgamma": by_element(log_gamma),
    "digamma": by_element(digamma),
    "pow": np.power,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
SLOW = ("erf", "erfc", "erfinv", "lgamma", "digamma")
"""References that take a tenth of a millisecond for each number."""
OF_POSITIVE = ("lgamma", "digamma")
"""Functions whose error for negative numbers is not relative to the result but to the terms that cancel in it."""
LARGEST = np.finfo(np.float64).max
NEAR_MULTIPLE = 6381956970095103 * 2.0**797  # the float64 that comes nearest to a multiple of pi/2
SPECIALS = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e-45, -1e-45, 1e-310, 5e-324]
SPECIALS += [88.7, -103.9, 709.7, -745.1, 128.0, -149.0, 1024.0, -1074.0, 1e22, -1e22, 3.4e38, 1e300, LARGEST, NEAR_MULTIPLE]


def kernel(name: str, dtype: DType, lanes: int, operands: int, **attributes: int) -> Operation:
    """A kernel @f that applies the function to arrays, expanded."""
    k = KernelBuilder("f")
    sources = [k.buffer(dtype, (1,), f"x{i}") for i in range(operands)]
    out = k.buffer(dtype, (1,), "out")
    count = k.index_argument("count")
    with k.loop(0, count, lanes) as i:
        values = [k.load(source, i, lanes=lanes) for source in sources]
        k.store(declaration_named(f"math.{name}")(*values, **attributes), out, i)
    module = k.finish()
    expand_math(module)
    return module


def compiled(name: str, dtype: DType, target: Target, *inputs: np.ndarray, **attributes: int) -> np.ndarray:
    """The function over arrays, compiled for a target."""
    module = kernel(name, dtype, target.lanes(dtype.itemsize), len(inputs), **attributes)
    code = engine().load(engine().object_code(lower(module, target), target), ("f",))
    padded = [np.resize(x, -(-x.size // 64) * 64) for x in inputs]
    result = np.zeros_like(padded[0])
    arguments = np.array([*[x.ctypes.data for x in padded], result.ctypes.data, result.size], np.int64)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(code["f"])
    function(arguments.ctypes.data, 0, 1)
    return result[: inputs[0].size]


def bit_patterns(dtype: DType, count: int, rng: np.random.Generator) -> np.ndarray:
    """Any numbers of the type, nan and infinity too."""
    integer = np.uint32 if dtype is dtypes.float32 else np.uint64
    return rng.integers(0, np.iinfo(integer).max, count, integer, endpoint=True).view(dtype.numpy)


def inputs(name: str, dtype: DType) -> list[np.ndarray]:
    """Special values, the ranges where the function changes, numbers of every size, random bits."""
    rng = np.random.default_rng(0)
    count = 1_000 if name in SLOW else 20_000
    sizes = np.exp(rng.uniform(-20, 20, (2, count))) * rng.choice([-1, 1], (2, count))
    if name not in BINARY:
        dense = [rng.uniform(low, high, count) for low, high in RANGES[name]]
        chosen = [x.astype(dtype.numpy) for x in (np.array(SPECIALS), *dense, sizes[0])]
        x = np.concatenate([*chosen, bit_patterns(dtype, count, rng)])
        return [np.where(x < 0, -x, x) if name in OF_POSITIVE else x]
    base = np.exp(rng.uniform(-1, 1, count) ** 3)
    grid = np.meshgrid(np.array(SPECIALS), np.array(SPECIALS))
    exponent = rng.uniform(-1, 1, count) * (700 if dtype is dtypes.float64 else 88) / np.log(base)
    signed = -base, np.round(exponent)
    pairs = [np.concatenate(x) for x in zip(np.reshape(grid, (2, -1)), (base, exponent), signed, sizes, strict=True)]
    return [np.concatenate([x.astype(dtype.numpy), bit_patterns(dtype, count, rng)]) for x in pairs]


@pytest.fixture(autouse=True)
def _quiet_numpy():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", [*sorted(RANGES), *BINARY])
def test_the_error_is_at_most_two_units_in_the_last_place(name: str, dtype: DType) -> None:
    x = inputs(name, dtype)
    reference = REFERENCE.get(name, getattr(np, name, None))
    exact = reference(*[operand.astype(np.longdouble) for operand in x])
    want = exact.astype(dtype.numpy)
    got = compiled(name, dtype, host_target(), *x)

    def shown(which: np.ndarray) -> str:
        first = int(np.argmax(which))
        return f"{name}({', '.join(repr(operand[first]) for operand in x)}) is {exact[first]!r}, got {got[first]!r}"

    # Within LIMIT of the largest number either is right.
    overflows = np.isinf(want) != np.isinf(got)
    edge = np.longdouble(np.finfo(dtype.numpy).max) * (1 - np.longdouble(4 * np.finfo(dtype.numpy).eps))
    wrong = (np.isnan(want) != np.isnan(got)) | (overflows & (np.abs(exact) < edge))
    assert not wrong.any(), shown(wrong)
    wrong = (want == got) & (np.signbit(want) != np.signbit(got)) | (np.isinf(want) & np.isinf(got) & (want != got))
    assert not wrong.any(), shown(wrong)
    both = np.isfinite(want) & np.isfinite(got)
    error = np.where(both, np.abs(got - exact) / np.spacing(np.abs(np.where(both, want, 1))), 0)
    assert error.max() <= LIMIT, f"{error.max():.2f} ULP: {shown(error == error.max())}"


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])  # no fused multiply-add instruction; AVX2
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", [*sorted(RANGES), *BINARY])
def test_every_target_gives_the_same_bits(name: str, dtype: DType, target: str) -> None:
    x = inputs(name, dtype)
    here, there = (compiled(name, dtype, t, *x) for t in (host_target(), target_named(target)))
    nan = np.isnan(here)
    assert np.array_equal(np.isnan(there), nan)
    # Which nan an operation on two of them keeps is the CPU's choice.
    assert here[~nan].tobytes() == there[~nan].tobytes()


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", ["tan", "lgamma", "pow"])
def test_the_interpreter_gives_the_compiled_bits(name: str, dtype: DType, lanes: int) -> None:
    x = np.array([0.5, 1e22, -3e30, np.inf, 1e-40, -0.0, 1e5, -2.5], dtype.numpy)
    operands = [x, x[::-1].copy()] if name in BINARY else [x]
    out = np.zeros_like(x)
    interpret_kernel(kernel(name, dtype, lanes, len(operands)), "f", [*operands, out, x.size])
    np.testing.assert_array_equal(out, compiled(name, dtype, host_target(), *operands))


def test_sin_and_cos_of_an_angle_reduce_it_once() -> None:
    k = KernelBuilder("f")
    angles, out, count = (
        k.buffer(dtypes.float32, (1,), "x"),
        k.buffer(dtypes.float32, (1,), "out"),
        k.index_argument("count"),
    )
    with k.loop(0, count, 8) as i:
        x = k.load(angles, i, lanes=8)
        k.store(arith.add(math.sin(x), arith.mul(x, math.cos(x))), out, i)
    module = k.finish()
    expand_math(module)
    assert sum(operation.declaration is loop.if_ for operation in module.walk()) == 1


@pytest.mark.parametrize("name", OF_POSITIVE)
def test_gamma_functions_of_negative_numbers(name: str) -> None:
    x = np.random.default_rng(1).uniform(-30, 0, 2_000)
    exact = REFERENCE[name](x)
    got = compiled(name, dtypes.float64, host_target(), x)
    # What cancels is at most about as large as this.
    scale = np.abs(exact) + np.abs(REFERENCE[name](1 - x)) + 1
    assert (np.abs(got - exact) / scale).max() < 4 * np.finfo(np.float64).eps


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_gamma_functions_have_torchs_poles(name: str) -> None:
    poles = np.array([0.0, -0.0, -1.0, -2.0, -30.0, -np.inf, np.inf, np.nan])
    want = getattr(torch, name)(torch.from_numpy(poles)).numpy()
    assert np.array_equal(compiled(name, dtypes.float64, host_target(), poles), want, equal_nan=True)


@pytest.mark.parametrize("order", [1, 2, 3, 7])
def test_polygamma_is_right_within_a_few_units(order: int) -> None:
    x = np.concatenate([np.random.default_rng(1).uniform(-6, 12, 500), [0.0, 1e-8, 1e9]])
    with mpmath.workprec(100):
        want = np.array([float(mpmath.polygamma(order, number)) if number else np.inf * (-1) ** (order + 1) for number in x])
    got = compiled("polygamma", dtypes.float64, host_target(), x, n=order)
    np.testing.assert_allclose(got, want, rtol=5e-16 * (order + 5))
