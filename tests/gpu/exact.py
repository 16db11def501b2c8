"""Exact rounding with fractions, to judge the emulator's floating-point arithmetic by."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

# Digits of the significand, exponent of the smallest unit, largest value.
FORMATS = {
    "f16": (11, -24, Fraction(65504)),
    "bf16": (8, -133, Fraction(2) ** 128 - Fraction(2) ** 120),
    "tf32": (11, -136, Fraction(2) ** 128 - Fraction(2) ** 117),
    "f32": (24, -149, Fraction(2) ** 128 - Fraction(2) ** 104),
    "f64": (53, -1074, Fraction(2) ** 1024 - Fraction(2) ** 971),
}


def round_exactly(value: Fraction, name: str, mode: str) -> float:
    """The number of a format that a rounding mode gives; signs of zero are the caller's business."""
    digits, least, most = FORMATS[name]
    if value == 0:
        return 0.0
    exponent = math.floor(math.log2(abs(value.numerator)) - math.log2(value.denominator))
    while Fraction(2) ** exponent > abs(value):
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= abs(value):
        exponent += 1
    unit = Fraction(2) ** max(exponent - digits + 1, least)
    quotient = value / unit
    whole = {
        "rn": lambda: round(quotient),
        "rna": lambda: int(math.copysign(math.floor(abs(quotient) + Fraction(1, 2)), quotient)),
        "rz": lambda: math.trunc(quotient),
        "rm": lambda: math.floor(quotient),
        "rp": lambda: math.ceil(quotient),
    }[mode]()
    result = whole * unit
    if abs(result) > most:
        toward_zero = mode == "rz" or (mode == "rp" and value < 0) or (mode == "rm" and value > 0)
        return (1 if value > 0 else -1) * (float(most) if toward_zero else math.inf)
    return float(result)


def expected(function: Callable[..., Fraction], name: str, mode: str, *operands: np.ndarray) -> np.ndarray:
    """`function` of fractions for every row of finite operands, rounded."""
    rows = zip(*(operand.astype(np.float64).tolist() for operand in operands), strict=True)
    return np.array([round_exactly(function(*(Fraction(value) for value in row)), name, mode) for row in rows])
