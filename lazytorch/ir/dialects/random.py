"""`random`: from the generator's bits to float32 numbers, with the operations of torch's CPU kernels, bit for bit.

Drawing the bits is the generator's work (ir/mersenne_twister.py): it is a recurrence of its own state. What follows has no
state: these operations are pure, and kernels as any others. The logarithm, sine and cosine here are those of the
avx_mathfun.h that torch compiles with fused multiply-adds; they are less exact than `math`'s, and that is the point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.composite import number, reference_of
from lazytorch.ir.types import TensorType

BLOCK = 16
"""Unit numbers of a Box–Muller block: 8 for the radius, 8 for the angle."""


def _infer(name: str) -> Any:
    def infer(attributes: Attributes, bits: TensorType, first: TensorType, second: TensorType) -> TensorType:
        if len(bits.shape) != 1 or bits.dtype is not dtypes.uint32:
            raise RuntimeError(f"{name}: the bits must be a vector of ui32, not {bits}")
        if any(x.shape != () or x.dtype is not dtypes.float32 for x in (first, second)):
            raise RuntimeError(f"{name}: the parameters must be numbers of f32, not {first} and {second}")
        return bits.with_dtype(dtypes.float32)

    return infer


def _infer_normal(attributes: Attributes, bits: TensorType, mean: TensorType, std: TensorType) -> TensorType:
    result: TensorType = _infer("random.normal")(attributes, bits, mean, std)
    if bits.shape[0] % BLOCK:
        raise RuntimeError(f"random.normal: {bits.shape[0]} numbers are no whole blocks of {BLOCK}")
    return result


def _unit(bits: Any) -> Any:
    """[0, 1): the low 24 bits times 2**-24."""
    low = arith.bit_and(bits, number(0xFFFFFF, bits))
    unit = arith.cast(low, dtype=dtypes.float32)
    return arith.mul(unit, number(2.0**-24, unit))


def _uniform(op: Any) -> Any:
    bits, low, high = op.operands
    value = arith.fma(_unit(bits), arith.sub(high, low), low)
    return arith.select(arith.compare(value, high, predicate="eq"), low, value)


def _normal(op: Any) -> Any:
    bits, mean, std = op.operands
    blocks = bits.type.shape[0] // BLOCK
    units = tensor.reshape(_unit(bits), shape=(blocks, 2, BLOCK // 2))
    sizes = (blocks, 1, BLOCK // 2)
    first = tensor.slice_(units, starts=(0, 0, 0), sizes=sizes, steps=(1, 1, 1))
    second = tensor.slice_(units, starts=(0, 1, 0), sizes=sizes, steps=(1, 1, 1))
    logarithm = log_f32(arith.sub(number(1.0, first), first))
    radius = arith.sqrt(arith.mul(logarithm, number(-2.0, logarithm)))
    halves = tensor.reshape(tensor.iota.build(bits.builder, size=2, dtype=dtypes.int32), shape=(2, 1))
    is_cosine = arith.compare(halves, number(0, halves), predicate="eq")
    wave = _wave(arith.mul(second, number(2 * math.pi, second)), is_cosine)
    return tensor.reshape(arith.fma(arith.mul(radius, wave), std, mean), shape=bits.type.shape)


# Polynomials in the order of Horner's rule: the coefficient of the highest power first.
_LOG_COEFFICIENTS = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_COSINE_COEFFICIENTS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SINE_COEFFICIENTS = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_LOG_2_HIGH, _LOG_2_LOW = 0.693359375, -2.12194440e-4
_SQRT_HALF = 0.707106781186547524
_FOUR_OVER_PI = 1.27323954473516
# π/4 in three parts, negated: a multiple of the first two is exact.
_MINUS_QUARTER_PI = (-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)


def log_f32(x: Any) -> Any:
    """float32 natural logarithm of positive normal numbers: avx_mathfun's log256_ps as compiled with fma."""
    bits = arith.bitcast(x, dtype=dtypes.int32)
    biased = arith.shift_right(bits, number(23, bits))
    mantissa_bits = arith.bit_or(arith.bit_and(bits, number(0x007FFFFF, bits)), number(0x3F000000, bits))
    mantissa = arith.bitcast(mantissa_bits, dtype=dtypes.float32)
    exponent = arith.cast(arith.sub(biased, number(127, biased)), dtype=dtypes.float32)
    exponent = arith.add(exponent, number(1.0, exponent))
    is_low = arith.compare(mantissa, number(_SQRT_HALF, mantissa), predicate="lt")
    one, zero = number(1.0, mantissa), number(0.0, mantissa)
    exponent = arith.sub(exponent, arith.select(is_low, one, zero))
    fraction = arith.add(arith.sub(mantissa, one), arith.select(is_low, mantissa, zero))
    square = arith.mul(fraction, fraction)
    polynomial = _horner(fraction, _LOG_COEFFICIENTS)
    low = arith.mul(exponent, number(_LOG_2_LOW, exponent))
    tail = arith.fma(arith.mul(fraction, polynomial), square, low)
    tail = arith.fma(arith.neg(square), number(0.5, square), tail)
    return arith.fma(exponent, number(_LOG_2_HIGH, exponent), arith.add(fraction, tail))


def _wave(x: Any, is_cosine: Any) -> Any:
    """float32 cosine or sine of numbers in [0, 8192): avx_mathfun's sincos256_ps as compiled with fma."""
    scaled = arith.cast(arith.mul(x, number(_FOUR_OVER_PI, x)), dtype=dtypes.int32)
    octant = arith.bit_and(arith.add(scaled, number(1, scaled)), number(~1, scaled))
    count = arith.cast(octant, dtype=dtypes.float32)
    reduced = x
    for part in _MINUS_QUARTER_PI:
        reduced = arith.fma(count, number(part, count), reduced)
    square = arith.mul(reduced, reduced)
    of_cosine = arith.mul(square, _horner(square, _COSINE_COEFFICIENTS))
    half = arith.mul(square, number(0.5, square))
    of_cosine = arith.add(arith.fma(square, of_cosine, arith.neg(half)), number(1.0, square))
    of_sine = arith.mul(square, _horner(square, _SINE_COEFFICIENTS))
    of_sine = arith.fma(reduced, of_sine, reduced)
    is_straight = arith.compare(arith.bit_and(octant, number(2, octant)), number(0, octant), predicate="eq")
    takes_cosine = arith.compare(is_straight, is_cosine, predicate="eq")
    value = arith.select(takes_cosine, of_cosine, of_sine)
    four = number(4, octant)
    sine_sign = arith.bit_and(octant, four)
    cosine_sign = arith.bit_and(arith.bit_not(arith.sub(octant, number(2, octant))), four)
    sign = arith.shift_left(arith.select(is_cosine, cosine_sign, sine_sign), number(29, octant))
    return arith.bitcast(arith.bit_xor(arith.bitcast(value, dtype=dtypes.int32), sign), dtype=dtypes.float32)


def _horner(x: Any, coefficients: Sequence[float]) -> Any:
    """A polynomial by fma, the coefficient of the highest power first."""
    value = number(coefficients[0], x)
    for coefficient in coefficients[1:]:
        value = arith.fma(value, x, number(coefficient, x))
    return value


uniform: Declaration = Declaration(
    "random.uniform",
    _infer("random.uniform"),
    traits=(Trait.PURE, Trait.COMPOSITE),
    reference=reference_of(_uniform),
    decompose=_uniform,
    example=example("tensor<6xui32>", "tensor<f32>", "tensor<f32>"),
    doc="uniform numbers of [low, high) from 32-bit numbers, as `Tensor.uniform_`: fma(u, high - low, low), u the low 24 "
    "bits times 2**-24; what rounded up to high becomes low",
)
normal: Declaration = Declaration(
    "random.normal",
    _infer_normal,
    traits=(Trait.PURE, Trait.COMPOSITE),
    reference=reference_of(_normal),
    decompose=_normal,
    example=example("tensor<32xui32>", "tensor<f32>", "tensor<f32>"),
    doc="normal numbers of a mean and a standard deviation from 32-bit numbers, as `Tensor.normal_`: Box–Muller over blocks "
    "of 16 unit numbers, 8 for the radius sqrt(-2·log(1 - u)) and 8 for the angle 2π·u, first the cosines, then the sines",
)
