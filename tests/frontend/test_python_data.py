"""Tensors out of Python's sequences: shapes, inferred element types and refusals, compared with torch."""

import array
import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import lazytorch

f32, f64, i32 = np.float32, np.float64, np.int32
DATA: dict[str, Callable[[Any], Any]] = {
    "a deque": lambda t: collections.deque([1.0, 2.0]),
    "an array": lambda t: array.array("i", [1, 2]),
    "a range": lambda t: range(3),
    "a list of the user's": lambda t: collections.UserList([1, 2]),
    "bytes that change": lambda t: bytearray(b"ab"),
    "a deque within": lambda t: [collections.deque([1]), (2,)],
    "empty": lambda t: [[], []],
    "numbers of NumPy": lambda t: [f64(1), f32(3)],
    "a number of NumPy beside a float": lambda t: [[f64(3), 2.0]],
    "an integer of NumPy": lambda t: [i32(3)],
    "an integer of NumPy beside a float": lambda t: [i32(3), 2.0],
    "a bool of NumPy": lambda t: [np.bool_(True)],
    "arrays": lambda t: [np.zeros(2), np.ones(2, f32)],
    "an array beside a list": lambda t: [np.zeros(2, f32), [1, 2]],
    "tensors of one element": lambda t: [t.tensor(1.0, dtype=t.float64), t.tensor([2.0])],
    "a tensor beside a number": lambda t: [t.tensor(1), 2.5],
    "tensors": lambda t: [t.ones(2), t.ones(2)],
    "bytes": lambda t: b"ab",
    "a string": lambda t: "a",
    "strings": lambda t: ["a"],
    "a set": lambda t: {1, 2},
    "a dictionary": lambda t: {0: 3.0},
    "a generator": lambda t: (x for x in [1]),
    "nothing": lambda t: None,
    "nothing within": lambda t: [None],
    "ragged": lambda t: [[1, 2], [3]],
    "a list beside a number": lambda t: [1, [2]],
    "a number beside a list": lambda t: [[2], 1],
    "too large": lambda t: [2**70],
    "negative": lambda t: [-1, 3],
    "cut": lambda t: [1.9, -1.9],
    "infinite": lambda t: [float("inf")],
    "complex": lambda t: [1 + 2j, 3],
}
MAKERS: dict[str, Callable[[Any, Any], Any]] = {
    "tensor": lambda t, data: t.tensor(data),
    "as_tensor": lambda t, data: t.as_tensor(data),
    "tensor of float32": lambda t, data: t.tensor(data, dtype=t.float32),
    "tensor of uint8": lambda t, data: t.tensor(data, dtype=t.uint8),
    "FloatTensor": lambda t, data: t.FloatTensor(data),
    "LongTensor": lambda t, data: t.LongTensor(data),
}


def outcome(t: Any, make: str, data: str) -> Any:
    try:
        made = MAKERS[make](t, DATA[data](t))
    except (TypeError, ValueError, RuntimeError) as error:
        return type(error), str(error)[:40]
    return str(made.dtype).rpartition(".")[2], tuple(made.shape), made.tolist()


@pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy")
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("data", DATA)
def test_data_is_taken_as_torch_takes_it(make: str, data: str) -> None:
    assert outcome(lazytorch, make, data) == outcome(torch, make, data)
