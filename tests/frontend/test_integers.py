"""Integers: shifts by any amount, divisions with every sign; floats divided by 0."""

import operator

import pytest
import torch as oracle

import lazytorch

AMOUNTS = [0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 65, -1, 100]
NUMBERS = [5, 100, -3, 7, -128, 127, -1, 0, 9, 1, -7, 3, 2]
OPERATIONS = {
    "<<": (operator.lshift, AMOUNTS),
    ">>": (operator.rshift, AMOUNTS),
    "//": (operator.floordiv, [3, -3, 1, -1, 7, -7, 2, 5, 4, -4, 100, -100, 6]),
    "%": (operator.mod, [3, -3, 1, -1, 7, -7, 2, 5, 4, -4, 100, -100, 6]),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operators_of_integers(name: str, dtype: str) -> None:
    function, others = OPERATIONS[name]

    def run(t):
        a, b = t.tensor(NUMBERS).to(getattr(t, dtype)), t.tensor(others).to(getattr(t, dtype))
        outcomes = [function(a, b), function(a[:, None], b), function(a, 3), function(5, b), function(a, t.tensor(2))]
        return [(str(x.dtype), x.tolist()) for x in outcomes]

    assert run(lazytorch) == run(oracle)


def test_shifts_in_place_and_as_functions() -> None:
    def run(t):
        x = t.tensor([5, -7, 3])
        x <<= 2
        x >>= t.tensor([1, 0, 70])
        x.bitwise_left_shift_(1)
        return x.tolist(), t.bitwise_right_shift(x, 1).tolist(), (t.tensor([True]) << 1).tolist()

    assert run(lazytorch) == run(oracle)


def test_floats_divided_by_zero() -> None:
    def run(t):
        x = t.tensor([5.0, -7.0, 0.0, 3.0])
        return [str(y.tolist()) for y in (x // 0, x % 0, 1 // x, x // t.tensor([2.0, 0.0, 0.0, -2.0]))]

    assert run(lazytorch) == run(oracle)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_and_numbers(dtype: str) -> None:
    def run(t):
        x = t.tensor([3.0, 1.0, -2.5]).to(getattr(t, dtype))
        return [
            (str(y.dtype), y.tolist()) for y in (x + 2, 2 * x, x - 1.5, x / 2, x % 2, x.clamp(0, 1), t.where(x > 0, x, 0))
        ]

    assert run(lazytorch) == run(oracle)


def test_whole_powers_are_exact() -> None:
    def run(t):
        x = t.tensor([3, -1, 2, 7, 0])
        powers = [x**13, x ** t.tensor([39, 5, -1, 22, 0]), 3 ** t.tensor([0, 5, 40]), x.byte() ** 5]
        return [(str(y.dtype), y.tolist()) for y in powers]

    assert run(lazytorch) == run(oracle)
