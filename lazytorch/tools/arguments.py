"""The values that tools give to functions and kernels: read from the command line, or random."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.bfloat16 import narrow, widen
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.loop_interpreter import Slot
from lazytorch.ir.types import BufferType, TensorType

_GENERATED = re.compile(r"(random|zeros|ones|iota)(?:\(([0-9]+(?:x[0-9]+)*)\))?\Z")

SYNTAX = (
    "the next argument: FILE.npy, a JSON list or number, random, zeros, ones or iota; for a buffer with its shape: "
    "random(4x8). Arguments that are not given are random"
)


class ArgumentError(ValueError):
    """A value that cannot be read or does not fit its argument."""


def function_arguments(func: Operation, given: Sequence[str], seed: int) -> list[np.ndarray]:
    """Arrays for the arguments of a function of tensors, in storage types. Raises ArgumentError."""
    arguments = func.region.block.arguments
    _check_count(func, len(given), len(arguments))
    random = np.random.default_rng(seed)
    words = [*given, *["random"] * (len(arguments) - len(given))]
    return [_tensor(argument, word, random) for argument, word in zip(arguments, words, strict=True)]


def kernel_slots(kernel: Operation, given: Sequence[str], seed: int) -> list[Slot]:
    """Slots for the arguments of a kernel: per buffer its array and the strides of C order that are not fixed, per
    number the number. Raises ArgumentError, also where a number or the shape of a buffer is missing."""
    arguments = kernel.region.block.arguments
    _check_count(kernel, len(given), len(arguments))
    random = np.random.default_rng(seed)
    slots: list[Slot] = []
    for argument, word in zip(arguments, given, strict=False):
        type = argument.type
        if isinstance(type, BufferType):
            array = _buffer(argument, word, random)
            strides = [step // array.itemsize for step in array.strides]
            slots.append(array)
            slots += [stride for stride, fixed in zip(strides, type.strides, strict=True) if fixed is None]
        else:
            slots.append(_storage(argument, _json(argument, word), type.dtype).item())
    if len(given) < len(arguments):
        raise ArgumentError(f"@{kernel.attributes.name} needs an --input for {arguments[len(given)]} and what follows")
    return slots


def array_text(array: np.ndarray, dtype: DType) -> str:
    """The numbers of an array, each to its last digit."""
    numbers = widen(array) if dtype is dtypes.bfloat16 else array
    return np.array2string(numbers, separator=", ", threshold=1000, floatmode="unique")


def _check_count(body: Operation, given: int, arguments: int) -> None:
    if given > arguments:
        raise ArgumentError(f"@{body.attributes.name} takes {arguments} arguments but is given {given}")


def _tensor(argument: Value, word: str, random: np.random.Generator) -> np.ndarray:
    type = argument.type
    if not isinstance(type, TensorType):
        raise ArgumentError(f"{argument} is no tensor")
    generated = _GENERATED.match(word)
    if generated is not None and generated[2] is None:
        return _generate(generated[1], type.shape, type.dtype, random)
    array = _load(argument, word, type.dtype)
    if array.shape != type.shape:
        raise ArgumentError(f"{argument} is given an array of shape {list(array.shape)}")
    return array


def _buffer(argument: Value, word: str, random: np.random.Generator) -> np.ndarray:
    type = argument.type
    assert isinstance(type, BufferType)
    generated = _GENERATED.match(word)
    if generated is None:
        array = _load(argument, word, type.dtype)
    elif generated[2] is None:
        raise ArgumentError(f"{argument} needs a shape: {word}(4x8)")
    else:
        array = _generate(generated[1], tuple(map(int, generated[2].split("x"))), type.dtype, random)
    if array.ndim != len(type.strides):
        raise ArgumentError(f"{argument} is given an array of {array.ndim} dimensions")
    return array


def _load(argument: Value, word: str, dtype: DType) -> np.ndarray:
    if not word.endswith(".npy"):
        return _storage(argument, _json(argument, word), dtype)
    try:
        array = np.load(Path(word), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{argument}: {error}") from None
    if array.dtype != dtype.numpy:
        raise ArgumentError(f"{argument} is given an array of {array.dtype}")
    return np.array(array, order="C")


def _json(argument: Value, word: str) -> object:
    try:
        return json.loads(word.replace("nan", "NaN").replace("inf", "Infinity"))
    except ValueError:
        raise ArgumentError(
            f"{argument}: {word!r} is neither a .npy file, nor JSON, nor random, zeros, ones, iota"
        ) from None


def _storage(argument: Value, value: object, dtype: DType) -> np.ndarray:
    """Numbers as JSON has them, in the storage type."""
    try:
        if dtype is dtypes.bfloat16:
            return narrow(np.asarray(value, np.float32))
        array = np.asarray(value)
        if (
            array.dtype.kind not in {"b": "b", "u": "iu", "i": "i", "x": "i", "f": "iuf"}.get(dtype.kind, "iufc")
            and array.size
        ):
            raise ValueError(f"numbers of {array.dtype} are not {dtype.name}")
        return np.ascontiguousarray(array.astype(dtype.numpy)).reshape(array.shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise ArgumentError(f"{argument}: {error}") from None


def _generate(word: str, shape: tuple[int, ...], dtype: DType, random: np.random.Generator) -> np.ndarray:
    count = math.prod(shape)
    numbers: np.ndarray
    if word == "iota":
        numbers = np.arange(count)
    elif word != "random":
        numbers = np.full(count, int(word == "ones"))
    elif dtype.kind not in "fc":
        numbers = random.integers(0, 2 if dtype.kind == "b" else 5, count)
    elif dtype.kind == "c":
        numbers = random.standard_normal(count) + 1j * random.standard_normal(count)
    else:
        numbers = random.standard_normal(count)
    if dtype is dtypes.bfloat16:
        return narrow(numbers.astype(np.float32)).reshape(shape)
    return numbers.astype(dtype.numpy).reshape(shape)
