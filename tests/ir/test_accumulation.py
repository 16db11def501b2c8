"""The order of accumulation, against the same definition written as plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lazytorch.ir.accumulation import contract, contract_in_order, reduce_in_order
from lazytorch.ir.fused_multiply_add import fused_multiply_add_f32


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def _row_sum(row: np.ndarray) -> np.float32:
    """The definition over trailing dimensions, word for word."""

    def fold(lanes: list[np.float32]) -> np.float32:
        for distance in (32, 16, 8, 4, 2, 1):
            for i in range(distance):
                lanes[i] = lanes[i] + lanes[i + distance]
        return lanes[0]

    blocks = []
    for start in range(0, max(len(row), 1), 4096):
        lanes = [np.float32(0)] * 64
        for position, element in enumerate(row[start : start + 4096]):
            lanes[position % 64] = lanes[position % 64] + element
        blocks.append(fold(lanes))
    if len(blocks) == 1:
        return blocks[0]
    second = [np.float32(0)] * 64
    for number, result in enumerate(blocks):
        second[number % 64] = second[number % 64] + result
    return fold(second)


def _column_sum(column: np.ndarray) -> np.float32:
    """The definition over dimensions that a kept one follows, word for word."""

    def in_turn(numbers: list[np.float32]) -> np.float32:
        total = np.float32(0)
        for number in numbers:
            total = total + number
        return total

    def runs(numbers: list[np.float32]) -> list[np.float32]:
        return [in_turn(numbers[start : start + 64]) for start in range(0, len(numbers), 64)]

    return in_turn(runs(runs(list(column))))


@pytest.mark.parametrize("count", [0, 1, 5, 64, 100, 4096, 4097, 9000])
def test_sums_over_trailing_dimensions_follow_the_definition(count: int) -> None:
    x = _random(2, count)
    assert reduce_in_order(x, (1,), np.add, 0.0).tolist() == [_row_sum(row) for row in x]


def test_more_than_64_blocks_wrap_around_the_second_level() -> None:
    x = _random(1, 4096 * 66 + 3)
    assert reduce_in_order(x, (1,), np.add, 0.0)[0] == _row_sum(x[0])


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 4096, 4200, 8200])
def test_sums_over_leading_dimensions_follow_the_definition(count: int) -> None:
    x = _random(count, 3)
    assert reduce_in_order(x, (0,), np.add, 0.0).tolist() == [_column_sum(column) for column in x.T]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 1), (1, 1, 1, 1), (2, 3, 0, 5), (70, 1, 70, 2)])
def test_every_choice_of_dimensions_reduces_the_right_elements(shape: tuple[int, ...]) -> None:
    x = _random(*shape)
    for count in range(len(shape) + 1):
        for dims in itertools.combinations(range(len(shape)), count):
            total = reduce_in_order(x, dims, np.add, 0.0)
            np.testing.assert_allclose(total, x.sum(dims, dtype=np.float64), rtol=1e-5, atol=1e-5)
            assert total.dtype == np.float32 and total.shape == x.sum(dims).shape


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    x = _random(7, 5000)
    alone = [reduce_in_order(x[i : i + 1], (1,), np.add, 0.0)[0] for i in range(7)]
    assert reduce_in_order(x, (1,), np.add, 0.0).tolist() == alone


def test_shape_and_dimensions_of_size_1_do_not_change_the_order() -> None:
    x = _random(6, 1000)
    expected = reduce_in_order(x, (1,), np.add, 0.0)
    for shape, dims in (
        ((6, 10, 100), (1, 2)),
        ((6, 1, 1000, 1), (2,)),
        ((1, 6, 1000), (0, 2)),
        ((6, 10, 1, 100), (1, 3)),
    ):
        assert reduce_in_order(x.reshape(shape), dims, np.add, 0.0).reshape(6).tolist() == expected.tolist()


def test_products_and_special_numbers() -> None:
    assert reduce_in_order(_random(0), (0,), np.multiply, 1.0) == 1
    assert np.isnan(reduce_in_order(np.array([1, np.nan], np.float32), (0,), np.add, 0.0))
    assert reduce_in_order(np.array([np.inf, 1], np.float32), (0,), np.add, 0.0) == np.inf


def test_a_contraction_accumulates_with_fma_in_blocks() -> None:
    a, b = _random(1, 2, 600), _random(1, 600, 3)
    expected = np.zeros((2, 3), np.float32)
    for start in (0, 256, 512):
        total = np.zeros((2, 3), np.float32)
        for k in range(start, min(start + 256, 600)):
            for m, n in itertools.product(range(2), range(3)):
                total[m, n] = fused_multiply_add_f32(a[0, m, k], b[0, k, n], total[m, n])
        expected = total if start == 0 else expected + total
    assert contract_in_order(a, b)[0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("left", "right", "out"),
    [
        ("mk", "kn", "mn"),
        ("km", "nk", "nm"),
        ("bmk", "bkn", "bmn"),
        ("bmk", "kn", "mbn"),
        ("abk", "bkn", "nab"),
        ("m", "n", "mn"),
        ("k", "k", ""),
        ("mkl", "lkn", "mn"),
        ("mj", "kn", "mn"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_every_form_of_contraction_is_an_einsum(left: str, right: str, out: str, dtype: type) -> None:
    sizes = {"m": 2, "n": 3, "k": 4, "b": 5, "a": 6, "l": 2, "j": 3}
    a = (_random(*[sizes[x] for x in left]) * 8).astype(dtype)
    b = (_random(*[sizes[x] for x in right]) * 8).astype(dtype)
    result = contract(a, b, (left, right, out))
    expected = np.einsum(f"{left},{right}->{out}", a, b)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)
    assert result.dtype == dtype and result.shape == expected.shape
