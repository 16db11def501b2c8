"""Printed text is compared with torch's own, character for character."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytorch import printing

DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
)  # fmt: skip
SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 0.5, 1e-4, 1e8, 1000.0, 99999.5])


def numbers(generator: np.random.Generator, count: int) -> np.ndarray:
    """float64 numbers of one of several characters: whole, near 1, of any magnitude, with special values mixed in."""
    kind = generator.integers(6)
    if kind == 0:
        values = generator.integers(-20, 20, count).astype(np.float64)
    elif kind == 1:
        values = generator.standard_normal(count)
    elif kind == 2:
        values = np.round(generator.standard_normal(count) * 1000) / 8
    elif kind == 3:
        values = np.trunc(generator.standard_normal(count) * 10.0 ** generator.uniform(0, 12))
    elif kind == 4:
        values = generator.standard_normal(count) * 10.0 ** generator.uniform(-9, 9)
    else:
        values = generator.standard_normal(count) * 10.0 ** generator.uniform(-45, 39, count)
    if generator.random() < 0.3:
        replaced = generator.random(count) < generator.random()
        values = np.where(replaced, generator.choice(SPECIAL, count), values)
    return values


def array_and_tensor(dtype: str, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, torch.Tensor]:
    """The same random values as the array that lazytorch prints and as a torch tensor."""
    generator = np.random.default_rng(seed)
    count = int(np.prod(shape))
    with np.errstate(all="ignore"):
        if dtype == "bool":
            array = generator.integers(0, 2, count).astype(bool)
        elif dtype.startswith("complex"):
            array = np.empty(count, dtype)
            array.real, array.imag = numbers(generator, count), numbers(generator, count)
        elif "int" in dtype:
            limits = np.iinfo(dtype)
            shift = np.array(generator.integers(0, limits.bits), dtype)
            array = generator.integers(limits.min, limits.max, count, dtype=dtype, endpoint=True) >> shift
        else:
            array = numbers(generator, count).astype("float32" if dtype == "bfloat16" else dtype)
    array = array.reshape(shape)
    tensor = torch.from_numpy(array.copy())
    if dtype == "bfloat16":
        tensor = tensor.bfloat16()
        array = tensor.float().numpy()
    return array, tensor


@contextlib.contextmanager
def same_options(**options: object) -> Iterator[None]:
    """Print options in force on both sides for a block."""
    with torch._tensor_str.printoptions(**options), printing.printoptions(**options):
        yield


shapes = st.lists(st.integers(0, 9), max_size=5).filter(lambda shape: np.prod(shape) < 400).map(tuple)
options = st.fixed_dictionaries(
    {},
    optional={
        "precision": st.integers(0, 12),
        "threshold": st.sampled_from([0, 1, 5, 20, 100, float("inf")]),
        "edgeitems": st.integers(0, 5),
        "linewidth": st.sampled_from([1, 10, 20, 40, 80, 120, 1000]),
        "profile": st.sampled_from(["default", "short", "full"]),
        "sci_mode": st.sampled_from([None, True, False]),
    },
)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=1200)
@given(st.sampled_from(DTYPES), shapes, options, seeds)
def test_any_tensor_prints_as_in_torch(dtype: str, shape: tuple[int, ...], chosen: dict[str, object], seed: int) -> None:
    array, tensor = array_and_tensor(dtype, shape, seed)
    with same_options(**chosen):
        assert printing.format_tensor(array, dtype_name=dtype) == str(tensor)


@settings(max_examples=600)
@given(st.sampled_from(DTYPES[8:]), st.integers(1, 12), seeds)
def test_rows_of_floating_numbers_print_as_in_torch(dtype: str, count: int, seed: int) -> None:
    array, tensor = array_and_tensor(dtype, (count,), seed)
    assert printing.format_tensor(array, dtype_name=dtype) == str(tensor)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scalars_print_as_in_torch(dtype: str) -> None:
    for seed in range(40):
        array, tensor = array_and_tensor(dtype, (), seed)
        assert printing.format_tensor(array, dtype_name=dtype) == str(tensor)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(1001,), (1000,), (40, 30), (7, 20, 9), (6, 200), (2, 3, 4, 5, 10), (500, 3)])
def test_large_tensors_are_summarised_as_in_torch(dtype: str, shape: tuple[int, ...]) -> None:
    for seed in range(3):
        array, tensor = array_and_tensor(dtype, shape, seed)
        assert printing.format_tensor(array, dtype_name=dtype) == str(tensor)


@settings(max_examples=300)
@given(st.sampled_from(["float32", "float64", "complex128"]), shapes, options, seeds, st.booleans())
def test_autograd_suffixes_print_as_in_torch(
    dtype: str, shape: tuple[int, ...], chosen: dict[str, object], seed: int, is_leaf: bool
) -> None:
    array, tensor = array_and_tensor(dtype, shape, seed)
    tensor.requires_grad_()
    tensor = tensor if is_leaf else tensor.clone()
    name = None if is_leaf else "CloneBackward0"
    with same_options(**chosen):
        text = printing.format_tensor(array, dtype_name=dtype, requires_grad=True, grad_fn_name=name)
        assert text == str(tensor)


@pytest.mark.parametrize("default", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 2), (0,), (0, 3)])
def test_the_default_dtype_decides_which_types_are_named(default: str, shape: tuple[int, ...]) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, default))
    try:
        for dtype in DTYPES:
            array, tensor = array_and_tensor(dtype, shape, 3)
            text = printing.format_tensor(array, dtype_name=dtype, default_dtype_name=default)
            assert text == str(tensor)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (40, 40)])
def test_parameters_print_as_in_torch(shape: tuple[int, ...]) -> None:
    array, tensor = array_and_tensor("float32", shape, 5)
    assert printing.format_parameter(array) == repr(torch.nn.Parameter(tensor))
    frozen = torch.nn.Parameter(tensor, requires_grad=False)
    assert printing.format_parameter(array, requires_grad=False) == repr(frozen)


def test_subclass_names_set_the_indentation() -> None:
    class Annotated(torch.Tensor):
        pass

    array, tensor = array_and_tensor("float32", (3, 12), 1)
    assert printing.format_tensor(array, class_name="Annotated") == repr(tensor.as_subclass(Annotated))


def test_a_device_is_the_first_suffix() -> None:
    text = printing.format_tensor(np.zeros((0, 2)), device="cuda:0")
    assert text == "tensor([], device='cuda:0', size=(0, 2), dtype=torch.float64)"


def test_bfloat16_bit_patterns_print_like_their_values() -> None:
    _, tensor = array_and_tensor("bfloat16", (4, 5), 8)
    patterns = tensor.view(torch.uint16).numpy()
    assert printing.format_tensor(patterns, dtype_name="bfloat16") == str(tensor)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 4, 1)])
def test_sizes_print_as_in_torch(shape: tuple[int, ...]) -> None:
    assert printing.format_size(shape) == str(torch.Size(shape))


def test_options_change_as_in_torch() -> None:
    changes: list[dict[str, object]] = [
        {"precision": 2},
        {"sci_mode": True},
        {"edgeitems": 1},
        {"profile": "short"},
        {"threshold": 7, "linewidth": 33},
        {"profile": "full", "precision": 9, "sci_mode": False},
        {"profile": "unheard of"},
        {"profile": "default"},
    ]
    try:
        for change in changes:
            torch.set_printoptions(**change)
            printing.set_printoptions(**change)
            assert printing.get_printoptions() == torch._tensor_str.get_printoptions()
    finally:
        torch.set_printoptions(profile="default")
        printing.set_printoptions(profile="default")


def test_options_of_a_block_end_with_it_also_when_it_fails() -> None:
    before = printing.get_printoptions()
    with pytest.raises(KeyError), printing.printoptions(precision=1, sci_mode=True):
        assert printing.get_printoptions()["sci_mode"] is True
        raise KeyError
    assert printing.get_printoptions() == before


def test_options_can_be_given_to_one_call() -> None:
    text = printing.format_tensor(np.float32([1.25, 2]), options=printing.PrintOptions(precision=1, sci_mode=True))
    with torch._tensor_str.printoptions(precision=1, sci_mode=True):
        assert text == str(torch.tensor([1.25, 2]))
