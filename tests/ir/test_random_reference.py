"""Every random number is compared with torch's, bit for bit, and so is the generator's state after it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir import random_reference as reference
from lazytorch.ir.mersenne_twister import Mt19937State, draw32, draw64, from_bytes, from_seed, temper, to_bytes

FLOATING = [dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64]
INTEGRAL = [dtypes.bool_, dtypes.uint8, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64]
SIZES = [*range(41), 1000, 1009, 100003]
SEEDS = [0, 1, 42, 2**32 - 1, -1, 2**40 + 7]


def torch_dtype(dtype: DType) -> torch.dtype:
    found = getattr(torch, dtype.torch_name)
    assert isinstance(found, torch.dtype)
    return found


def stored(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's elements as an array in its type's NumPy storage."""
    return (tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).numpy()


def assert_same_bits(tensor: torch.Tensor, values: np.ndarray) -> None:
    expected = stored(tensor)
    assert values.dtype == expected.dtype
    assert values.shape == expected.shape
    patterns = np.dtype(f"u{expected.itemsize}")
    different = np.flatnonzero(values.reshape(-1).view(patterns) != expected.reshape(-1).view(patterns))
    assert not different.size, (different[:5], expected.reshape(-1)[different[:5]], values.reshape(-1)[different[:5]])


def check(
    seed: int,
    of_torch: Callable[[torch.Generator], torch.Tensor],
    of_reference: Callable[[Mt19937State], reference.Drawn],
) -> None:
    """Both sides from one seed: the same values, then the same state."""
    generator = torch.Generator().manual_seed(seed)
    tensor = of_torch(generator)
    values, state = of_reference(from_seed(seed))
    assert_same_bits(tensor, values)
    assert np.array_equal(to_bytes(state), generator.get_state().numpy())


def empty(count: int, dtype: DType) -> torch.Tensor:
    return torch.empty(count, dtype=torch_dtype(dtype))


@pytest.mark.parametrize("seed", [*SEEDS, 2**63, 2**64 - 1, -(2**63), 12345678901234567])
def test_a_seed_makes_torchs_state(seed: int) -> None:
    state = from_seed(seed)
    expected = torch.Generator().manual_seed(seed).get_state().numpy()
    assert np.array_equal(to_bytes(state), expected)
    assert to_bytes(from_bytes(expected)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_a_seed_beyond_64_bits_raises_as_in_torch(seed: int) -> None:
    with pytest.raises(ValueError) as expected:
        torch.manual_seed(seed)
    with pytest.raises(ValueError) as raised:
        from_seed(seed)
    assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize(
    "data",
    [torch.zeros(5056, dtype=torch.uint8), torch.zeros(10, dtype=torch.uint8), torch.zeros(5056)],
    ids=["zeros", "short", "floats"],
)
def test_an_invalid_state_raises_as_in_torch(data: torch.Tensor) -> None:
    with pytest.raises((RuntimeError, TypeError)) as expected:
        torch.Generator().set_state(data)
    with pytest.raises((RuntimeError, TypeError)) as raised:
        from_bytes(data.numpy())
    # torch lets Generator.set_state see other types of tensors than set_rng_state does, with another wording.
    if data.dtype is torch.uint8:
        assert type(raised.value) is type(expected.value)
        assert str(raised.value) == str(expected.value)


def test_numbers_come_alike_however_the_draws_are_split() -> None:
    whole, end = draw32(from_seed(5), 3000)
    state = from_seed(5)
    pieces = []
    for count in (0, 1, 623, 0, 624, 1, 1251, 500):
        piece, state = draw32(state, count)
        pieces.append(piece)
    assert np.array_equal(np.concatenate(pieces), whole)
    assert np.array_equal(to_bytes(state), to_bytes(end))


def test_a_64_bit_number_has_the_first_draw_on_top() -> None:
    halves, _ = draw32(from_seed(5), 2000)
    numbers, _ = draw64(from_seed(5), 1000)
    assert np.array_equal(numbers, halves[0::2].astype(np.uint64) * 2**32 + halves[1::2])


def test_drawing_leaves_the_state_it_started_from_alone() -> None:
    state = from_seed(9)
    before = to_bytes(state)
    first, _ = reference.normal(state, 700)
    second, _ = reference.normal(state, 700)
    assert np.array_equal(first, second)
    assert np.array_equal(to_bytes(state), before)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("count", SIZES)
def test_continuous_distributions_have_torchs_bits_at_every_size(dtype: DType, count: int) -> None:
    for seed in SEEDS[:2] if count > 2000 else SEEDS:
        check(
            seed,
            lambda g: torch.rand(count, dtype=torch_dtype(dtype), generator=g),
            lambda s: reference.uniform(s, count, dtype),
        )
        check(
            seed,
            lambda g: torch.randn(count, dtype=torch_dtype(dtype), generator=g),
            lambda s: reference.normal(s, count, dtype),
        )
        check(
            seed,
            lambda g: empty(count, dtype).exponential_(1.7, generator=g),
            lambda s: reference.exponential(s, count, dtype, 1.7),
        )
        check(
            seed,
            lambda g: empty(count, dtype).cauchy_(1.7, 0.3, generator=g),
            lambda s: reference.cauchy(s, count, dtype, 1.7, 0.3),
        )
        check(
            seed,
            lambda g: empty(count, dtype).log_normal_(0.3, 0.7, generator=g),
            lambda s: reference.log_normal(s, count, dtype, 0.3, 0.7),
        )


parameters = st.floats(-1e3, 1e3, allow_subnormal=False)


@settings(max_examples=300)
@given(st.sampled_from(FLOATING), st.integers(0, 70), st.integers(-(2**63), 2**64 - 1), parameters, parameters)
def test_bounds_mean_and_deviation_round_as_in_torch(
    dtype: DType, count: int, seed: int, first: float, second: float
) -> None:
    low, high = sorted((first, second))
    check(
        seed,
        lambda g: empty(count, dtype).uniform_(low, high, generator=g),
        lambda s: reference.uniform(s, count, dtype, low, high),
    )
    check(
        seed,
        lambda g: empty(count, dtype).normal_(first, abs(second), generator=g),
        lambda s: reference.normal(s, count, dtype, first, abs(second)),
    )


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16], ids=str)
def test_a_uniform_number_that_rounds_up_to_the_bound_becomes_the_lower_bound(dtype: DType) -> None:
    check(
        0,
        lambda g: empty(5000, dtype).uniform_(0.0, 1.0, generator=g),
        lambda s: reference.uniform(s, 5000, dtype, 0.0, 1.0),
    )


def state_that_gives(numbers: np.ndarray) -> Mt19937State:
    """A generator whose next 608 32-bit numbers are these."""
    words = numbers ^ (numbers >> np.uint32(18))
    words = words ^ ((words << np.uint32(15)) & np.uint32(0xEFC60000))
    undone = words
    for _ in range(4):
        undone = words ^ ((undone << np.uint32(7)) & np.uint32(0x9D2C5680))
    words = undone
    for _ in range(2):
        undone = words ^ (undone >> np.uint32(11))
    assert np.array_equal(temper(undone), numbers)
    return Mt19937State(np.concatenate([np.zeros(1, np.uint32), undone, np.zeros(15, np.uint32)]), 1, 0)


def test_normal_numbers_have_torchs_bits_at_the_ends_of_both_unit_intervals() -> None:
    ends = np.array([0, 1, 2, 2**24 - 1, 2**24 - 2, 2**23, 2**23 - 1, 2**21, 2**21 + 1, 2**22, 3 * 2**21], np.uint32)
    radii, angles = np.meshgrid(ends, np.concatenate([ends, np.arange(7, dtype=np.uint32) * 2**21 + 5]))
    pairs = np.resize(np.stack([radii.ravel(), angles.ravel()], axis=1), (608 // 2, 2))
    numbers = pairs.reshape(-1, 8, 2).transpose(0, 2, 1).ravel().astype(np.uint32)
    state = state_that_gives(numbers)
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(to_bytes(state)))
    values, _ = reference.normal(state, 608)
    assert_same_bits(torch.empty(608).normal_(generator=generator), values)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_tensors_that_are_not_contiguous_take_normals_in_pairs(dtype: DType) -> None:
    check(
        3,
        lambda g: torch.empty(6, 20, dtype=torch_dtype(dtype))[:, ::2].normal_(1, 2, generator=g).reshape(-1),
        lambda s: reference.normal(s, 60, dtype, 1.0, 2.0, is_contiguous=False),
    )


def test_complex_normals_are_pairs_of_half_the_variance() -> None:
    check(
        3,
        lambda g: torch.view_as_real(torch.randn(25, dtype=torch.complex64, generator=g)).reshape(-1),
        lambda s: reference.normal(s, 50, dtypes.float32, 0.0, 1 / 2**0.5),
    )


RANGES = [
    (0, 1), (0, 2), (-5, 100), (0, 256), (3, 1000), (0, 2**28 - 1), (0, 2**28), (0, 2**31), (-(2**31), 2**31),
    (0, 2**32), (5, 2**40), (-(2**63), 2**63 - 1), (2040, 2055), (0, 65504), (250, 260), (0, 2**24 + 3),
    (2**24 + 1, 2**24 + 100), (-(2**24) - 7, 5), (2**53 + 1, 2**53 + 77), (0, None), (-3, None), (100, None),
    (-(2**63), None),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [*INTEGRAL, dtypes.uint32, dtypes.uint64, *FLOATING], ids=str)
def test_integers_of_every_range_that_a_type_holds_have_torchs_bits(dtype: DType) -> None:
    compared = 0
    for low, high in RANGES:
        try:
            with warnings.catch_warnings():
                # torch warns where a floating type cannot hold every integer of the range.
                warnings.simplefilter("ignore")
                empty(1, dtype).random_(low, high)
        except (RuntimeError, NotImplementedError):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(
                7,
                lambda g, low=low, high=high: empty(300, dtype).random_(low, high, generator=g),
                lambda s, low=low, high=high: reference.random_integers(s, 300, low, high, dtype),
            )
        compared += 1
    assert compared >= 2


def test_an_empty_range_of_integers_raises_as_in_torch() -> None:
    with pytest.raises(RuntimeError) as expected:
        torch.empty(3).random_(5, 5)
    with pytest.raises(RuntimeError) as raised:
        reference.random_integers(from_seed(0), 3, 5, 5, dtypes.float32)
    assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("dtype", [*INTEGRAL, *FLOATING], ids=str)
@pytest.mark.parametrize("count", [0, 1, 17, 3000])
def test_integers_without_bounds_have_torchs_bits(dtype: DType, count: int) -> None:
    check(11, lambda g: empty(count, dtype).random_(generator=g), lambda s: reference.random_full(s, count, dtype))


@pytest.mark.parametrize("count", SIZES)
def test_permutations_are_torchs(count: int) -> None:
    for seed in SEEDS:
        check(seed, lambda g: torch.randperm(count, generator=g), lambda s: reference.permutation(s, count))


@pytest.mark.parametrize("probability", [0.0, 1.0, 0.5, 0.3, 0.1234567])
@pytest.mark.parametrize("count", [1, 5, 1000, 32768])
def test_bernoulli_choices_are_torchs(probability: float, count: int) -> None:
    check(
        2,
        lambda g: empty(count, dtypes.bool_).bernoulli_(probability, generator=g),
        lambda s: reference.bernoulli(s, count, probability),
    )


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_bernoulli_choices_by_tensor_are_torchs(dtype: DType) -> None:
    probabilities = torch.rand(9, 70, dtype=torch_dtype(dtype))
    check(
        4,
        lambda g: torch.bernoulli(probabilities, generator=g).bool(),
        lambda s: reference.bernoulli_of_tensor(s, stored(probabilities), dtype),
    )


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_dropout_keeps_the_elements_that_torch_keeps(p: float, requires_grad: bool) -> None:
    torch.manual_seed(6)
    kept = torch.nn.functional.dropout(torch.ones(777, requires_grad=requires_grad), p) != 0
    mask, state = reference.dropout_mask(from_seed(6), 777, p)
    assert_same_bits(kept, mask)
    assert np.array_equal(to_bytes(state), torch.get_rng_state().numpy())


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("p", [0.03, 0.5, 0.97])
def test_geometric_counts_are_torchs(dtype: DType, p: float) -> None:
    check(
        8,
        lambda g: empty(1000, dtype).geometric_(p, generator=g),
        lambda s: reference.geometric(s, 1000, dtype, p),
    )


def is_comparable_multinomial(shape: tuple[int, ...], samples: int, replacement: bool, dtype: DType) -> bool:
    """torch draws at most every category once without replacement; 16-bit quotients tie, in an order that is topk's."""
    return samples == 1 or replacement or (samples <= shape[-1] and dtype.itemsize > 2)


MULTINOMIALS = [
    case
    for case in itertools.product([(1,), (2,), (7,), (3, 7), (2, 100), (50, 1000)], [1, 2, 5, 9], [False, True], FLOATING)
    if is_comparable_multinomial(*case)
]


@pytest.mark.parametrize(("shape", "samples", "replacement", "dtype"), MULTINOMIALS, ids=str)
def test_multinomial_choices_are_torchs(shape: tuple[int, ...], samples: int, replacement: bool, dtype: DType) -> None:
    weights = torch.rand(shape, dtype=torch_dtype(dtype), generator=torch.Generator().manual_seed(1))
    for seed in range(5):
        check(
            seed,
            lambda g: torch.multinomial(weights, samples, replacement, generator=g),
            lambda s: reference.multinomial(s, stored(weights), samples, replacement, dtype),
        )


# name: the operation in torch, the same in the reference; both take the count and one option.
OPERATIONS = {
    "rand": (lambda g, n, dtype: torch.rand(n, dtype=torch_dtype(dtype), generator=g), reference.uniform),
    "randn": (lambda g, n, dtype: torch.randn(n, dtype=torch_dtype(dtype), generator=g), reference.normal),
    "log_normal": (lambda g, n, dtype: empty(n, dtype).log_normal_(generator=g), reference.log_normal),
    "randint": (
        lambda g, n, high: torch.randint(0, high, (n,), generator=g),
        lambda s, n, high: reference.random_integers(s, n, 0, high),
    ),
    "randperm": (lambda g, n, _: torch.randperm(n, generator=g), lambda s, n, _: reference.permutation(s, n)),
    "bernoulli": (lambda g, n, p: empty(n, dtypes.bool_).bernoulli_(p, generator=g), reference.bernoulli),
}
CALLS = st.one_of(
    st.tuples(st.sampled_from(["rand", "randn", "log_normal"]), st.integers(0, 40), st.sampled_from(FLOATING)),
    st.tuples(st.just("randint"), st.integers(0, 400), st.integers(1, 2**40)),
    st.tuples(st.just("randperm"), st.integers(0, 40), st.none()),
    st.tuples(st.just("bernoulli"), st.integers(0, 400), st.floats(0, 1)),
)


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1), st.lists(CALLS, max_size=12))
def test_sequences_of_calls_carry_the_state_on_as_in_torch(seed: int, calls: list[tuple[str, int, Any]]) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = from_seed(seed)
    for name, count, option in calls:
        of_torch, of_reference = OPERATIONS[name]
        values, state = of_reference(state, count, option)
        assert_same_bits(of_torch(generator, count, option), values)
        saved = generator.get_state().numpy()
        assert np.array_equal(to_bytes(state), saved)
        state = from_bytes(saved)


def test_torchs_numbers_are_the_same_for_avx2_and_the_widest_vectors() -> None:
    if "AVX" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("this machine has no AVX2")
    program = (
        "import torch; torch.manual_seed(3);"
        "print(*[torch.randn(n, dtype=d).view(torch.uint8).tolist() for n in (5, 16, 1009)"
        " for d in (torch.float16, torch.bfloat16, torch.float32, torch.float64)])"
    )
    texts = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout
        for environment in (dict(os.environ), {**os.environ, "ATEN_CPU_CAPABILITY": "avx2"})
    ]
    assert texts[0] == texts[1]
