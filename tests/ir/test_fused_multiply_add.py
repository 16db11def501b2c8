"""The emulated fma is compared with exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytorch.ir.fused_multiply_add import fused_multiply_add_f32, fused_multiply_add_f64

floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Hard cases included: few bits, so ties are common, and exponents at both ends of the range.
floats64 = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(lambda mantissa, exponent: mantissa * 2.0**exponent, st.integers(-(2**53), 2**53), st.integers(-60, 60)),
)


def exact_f32(x: float, y: float, z: float) -> float:
    """x·y + z as the nearest float32, ties to even, by rational arithmetic."""
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if not exact:
        return 0.0
    _, exponent = math.frexp(abs(exact))
    spacing = Fraction(2) ** max(exponent - 24, -149)
    rounded = round(exact / spacing) * spacing
    return float(rounded) if abs(rounded) < 2**128 else math.copysign(math.inf, exact)


@settings(max_examples=1500)
@given(floats32, floats32, floats32)
def test_float32_is_rounded_once(x: float, y: float, z: float) -> None:
    result = fused_multiply_add_f32(np.float32([x]), np.float32([y]), np.float32([z]))[0]
    assert result == exact_f32(x, y, z)


@settings(max_examples=1500)
@given(floats64, floats64, floats64)
def test_float64_is_rounded_once(x: float, y: float, z: float) -> None:
    result = fused_multiply_add_f64(np.array([x]), np.array([y]), np.array([z]))[0]
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    try:
        assert result == float(exact)  # Python divides integers with one rounding
    except OverflowError:
        assert result == (math.inf if exact > 0 else -math.inf)


def test_halfway_cases_are_decided_by_the_part_that_double_rounding_loses() -> None:
    x = np.float32([1 + 2**-12])
    for tail in (2.0**-60, -(2.0**-60)):
        result = fused_multiply_add_f32(x, x, np.float32([tail]))[0]
        assert result == exact_f32(float(x[0]), float(x[0]), tail)


def test_infinities_and_nans_pass_through() -> None:
    for compute, dtype, large in ((fused_multiply_add_f32, np.float32, 2e38), (fused_multiply_add_f64, np.float64, 1e308)):
        cases = [
            (np.inf, 1, 1, np.inf),
            (np.inf, 0, 1, np.nan),
            (np.nan, 1, 1, np.nan),
            (1, 1, np.inf, np.inf),
            (large, 2, 0, np.inf),
            (large, 2, -np.inf, -np.inf),
        ]
        x, y, z, want = np.array(cases, dtype).T
        assert np.array_equal(compute(x, y, z), want, equal_nan=True)


def test_a_zero_has_the_sign_of_the_exact_operation() -> None:
    operands = [(-1.0, 0.0, -0.0), (1.0, 0.0, -0.0), (-1.0, 0.0, 0.0), (2.0, 3.0, -6.0), (-0.0, -0.0, -0.0)]
    for compute, dtype in ((fused_multiply_add_f32, np.float32), (fused_multiply_add_f64, np.float64)):
        for x, y, z in operands:
            result = compute(*(np.array([operand], dtype) for operand in (x, y, z)))
            assert np.array_equal(np.signbit(result), np.signbit([x * y + z]))
