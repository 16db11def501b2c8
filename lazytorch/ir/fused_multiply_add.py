"""x·y + z with one rounding, in NumPy: the reference for the fma instruction.

NumPy has no fma. Both functions compute the exact sum as a pair of numbers and round it to odd in a wider format first;
a number rounded to odd with two spare bits rounds to the same result as the exact one.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

Operand = np.ndarray | np.float32 | np.float64

_SPLITTER = np.float64(2.0**27 + 1.0)
_LARGE, _SMALL = 2.0**990, 2.0**-900


def fused_multiply_add_f32(x: Operand, y: Operand, z: Operand) -> np.ndarray:
    """float32 x·y + z, rounded once. Exact for all inputs, subnormal results included. Operands broadcast."""
    with np.errstate(over="ignore", invalid="ignore"):
        # A product of two 24-bit numbers fits the 53 bits of a double.
        product = np.multiply(x, y, dtype=np.float64)
        return _sum_rounded_to_odd(product, np.asarray(z, np.float64)).astype(np.float32)


def fused_multiply_add_f64(x: Operand, y: Operand, z: Operand) -> np.ndarray:
    """float64 x·y + z, rounded once. Exact for all inputs. Operands broadcast.

    The algorithm of Boldo and Melquiond (Emulation of FMA and correctly rounded sums, 2008), which is right while neither
    the product's error nor a partial result leaves the normal range; where they may, rational arithmetic.
    """
    with np.errstate(all="ignore"):
        x, y, z = np.broadcast_arrays(*[np.asarray(operand, np.float64) for operand in (x, y, z)])
        product = x * y
        high, low = _exact_product(x, y)
        tail_high, tail_low = _exact_sum(z, low)
        sum_high, sum_low = _exact_sum(high, tail_high)
        result = sum_high + _sum_rounded_to_odd(tail_low, sum_low)
        # Adding the parts loses the sign of a zero; where the result is zero, the two-step one is exact and has it.
        result = np.where(result == 0, product + z, result)
        finite = np.isfinite(x) & np.isfinite(y)
        result = np.where(finite & np.isfinite(z), result, np.where(finite, z, product + z))
        large = np.maximum(np.maximum(abs(x), abs(y)), np.maximum(abs(product), abs(z))) > _LARGE
        extreme = large | ((abs(product) < _SMALL) & (x != 0) & (y != 0))
        for index in np.argwhere(extreme & finite & np.isfinite(z)):
            place = tuple(index)
            result[place] = _exactly(float(x[place]), float(y[place]), float(z[place]))
    return result


def _exactly(x: float, y: float, z: float) -> float:
    """Finite x·y + z by rational arithmetic."""
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if exact == 0:
        return x * y + z
    try:
        return float(exact)  # Python divides integers with one rounding
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _exact_sum(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x + y as the rounded sum and its error (Knuth's TwoSum)."""
    total = x + y
    of_y = total - x
    return total, (x - (total - of_y)) + (y - of_y)


def _exact_product(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x·y as the rounded product and its error (Dekker's product of Veltkamp halves)."""
    product = x * y
    x_scaled, y_scaled = _SPLITTER * x, _SPLITTER * y
    x_high, y_high = x_scaled - (x_scaled - x), y_scaled - (y_scaled - y)
    x_low, y_low = x - x_high, y - y_high
    error = x_low * y_low - (((product - x_high * y_high) - x_low * y_high) - x_high * y_low)
    return product, error


def _sum_rounded_to_odd(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float64 x + y, where an inexact sum goes to the neighbour whose last mantissa bit is 1."""
    total, error = _exact_sum(x, y)
    bits = np.asarray(total).view(np.int64)
    must_move = np.isfinite(total) & (error != 0) & ((bits & 1) == 0)
    away_from_zero = (error > 0) == (total > 0)
    moved: np.ndarray = np.where(must_move, bits + np.where(away_from_zero, 1, -1), bits)
    return moved.view(np.float64)
