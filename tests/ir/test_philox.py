"""Philox4x32-10 against the known answers of Random123, and the order in which threads of a GPU take its numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lazytorch import dtypes
from lazytorch.ir.dialects import philox
from lazytorch.ir.interpreter import interpret
from lazytorch.ir.parser import parse_func

WORD = 0xFFFFFFFF


def philox4x32(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """With Python's integers, as the paper has it."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second >> 32) ^ b ^ k, second & WORD, (first >> 32) ^ d ^ m, first & WORD
        k, m = (k + 0x9E3779B9) & WORD, (m + 0xBB67AE85) & WORD
    return a, b, c, d


KNOWN = [  # kat_vectors of Random123: counter, key, result
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((WORD,) * 4, (WORD,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, answer", KNOWN)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]) -> None:
    assert philox4x32(counter, key) == answer


def draw(
    seed: int, counter: int, threads: int, size: int, vector: int = 1, kind: str = "ui32", name: str = ""
) -> np.ndarray:
    text = f"""
func @f(%s: tensor<i64>, %c: tensor<i64>, %t: tensor<i64>) -> tensor<{size}x{kind}> {{
  %0 = random.{name or "philox"} %s, %c, %t {{type = type(tensor<{size}x{kind}>), vector = {vector}}} : tensor<{size}x{kind}>
  return %0 : tensor<{size}x{kind}>
}}"""
    (out,) = interpret(parse_func(text), [np.int64(x) for x in (seed, counter, threads)])
    return out


def expected(seed: int, counter: int, threads: int, size: int, vector: int = 1) -> list[int]:
    """Every thread's own generator, asked by torch's loops."""
    out = [0] * size
    key = (seed & WORD, seed >> 32 & WORD)
    for thread in range(threads):

        def four(n: int, t: int = thread) -> tuple[int, ...]:
            return philox4x32(((counter + n) & WORD, counter + n >> 32 & WORD, t, 0), key)

        calls = 0
        start = thread * vector
        while start < size:
            if vector == 1:
                places = [start + threads * lane for lane in range(4)]
                words = four(calls)
                calls += 1
                start += 4 * threads
            else:
                places = [start + lane for lane in range(vector)]
                words = tuple(w for n in range(max(1, vector // 4)) for w in four(calls + n))
                calls += max(1, vector // 4)
                start += vector * threads
            for place, word in zip(places, words, strict=False):
                if place < size:
                    out[place] = word
    return out


@pytest.mark.parametrize("vector", [1, 2, 4, 8])
def test_threads_take_their_numbers_as_in_torchs_loops(vector: int) -> None:
    for seed, counter, threads, size in (
        (0, 0, 8, 5),
        (42, 7, 4, 64),
        (-3, (1 << 40) + 1, 3, 50),
        (67280421310721, 0, 8, 8),
    ):
        assert draw(seed, counter, threads, size, vector).tolist() == expected(seed, counter, threads, size, vector)


def test_pairs_of_words_are_taken_two_by_two() -> None:
    wide = draw(5, 1, 2, 6, kind="ui64")
    words = [philox4x32((1 + n, 0, t, 0), (5, 0)) for n, t in ((0, 0), (0, 1), (1, 0), (1, 1))]
    pairs = [(w[2 * lane] << 32) | w[2 * lane + 1] for w in words for lane in (0, 1)]
    assert wide.tolist() == [pairs[0], pairs[2], pairs[1], pairs[3], pairs[4], pairs[6]]


@pytest.mark.parametrize("kind, tolerance", [("f32", 1e-5), ("f64", 1e-14)])
def test_normal_numbers_are_box_mullers(kind: str, tolerance: float) -> None:
    found = draw(9, 2, 4096, 4096, kind=kind, name="philox_normal")
    words = np.array([philox4x32((2, 0, t, 0), (9, 0)) for t in range(4096)], np.float64)
    if kind == "f32":
        radius, angle = words[:, 0] * 2.0**-32 + 2.0**-33, words[:, 1] * 2.0**-32 + 2.0**-33
    else:
        whole = words.astype(np.uint64)
        pairs = [whole[:, 2 * i] ^ (whole[:, 2 * i + 1] << np.uint64(21)) for i in (0, 1)]
        radius, angle = (p.astype(np.float64) * 2.0**-53 + 2.0**-54 for p in pairs)
    want = np.sqrt(-2 * np.log(radius)) * np.sin(2 * np.pi * angle)
    np.testing.assert_allclose(found, want, rtol=1e-4 if kind == "f32" else 1e-9, atol=tolerance)
    assert abs(found.mean()) < 0.05 and abs(found.std() - 1) < 0.05


def test_units_are_in_the_half_open_interval_that_cuda_has() -> None:
    from lazytorch.ir.dialects.composite import ArrayValue

    words = ArrayValue(np.array([0, 1, WORD], np.uint32))
    assert philox.unit_f32(words).array.tolist() == [2.0**-33, 2.0**-32 + 2.0**-33, 1.0]
    assert philox.unit_f32(words).array.dtype == dtypes.float32.numpy
