"""Random numbers of CUDA devices: computed there by counting (ir/dialects/philox.py), with the generator, the launches and
the formulas of torch's CUDA kernels (ATen/native/cuda/DistributionTemplates.h, Dropout.cu; curand's uniform numbers).

What has no such kernel here (permutations, categories, gamma variables and so on) is drawn on the host, by a Mersenne
Twister that the device's generator seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.dialects import arith, philox, tensor
from lazytorch.ir.trace import STATE, Node
from lazytorch.ir.types import TensorType
from lazytorch.ops.generators import DeviceGenerator
from lazytorch.ops.recording import cast, emit, number_leaf, place
from lazytorch.tensor import Tensor, from_array, value, wrap

_MANY_THREADS = 1 << 40
_FOR_PROBABILITIES = 12  # what `bernoulli` of a tensor adds to the offset: 10, in whole counters


def _record(source: DeviceGenerator, declaration: Any, count: int, dtype: DType, vector: int = 1, threads: int = 0) -> Node:
    """Numbers of an operation of ir/dialects/philox.py."""
    per_counter = 2 if dtype.itemsize == 8 else 4
    seed, counter, own_threads = source.take(count, per_counter)
    numbers = [number_leaf(x, dtypes.int64) for x in (seed, counter, threads or own_threads)]
    observer = STATE.trace.observer
    if observer is not None:  # a replay of the call takes the next numbers
        numbers[:2] = [_taken_again(observer, lambda: source.take(count, per_counter)[1], counter)]
        numbers.insert(0, _taken_again(observer, lambda: source.signed_seed(), seed))
    kind = TensorType(dtype, (count,), str(source.device))
    return emit(declaration, *numbers, type=kind, vector=vector)


def _taken_again(observer: Any, again: Callable[[], int], now: int) -> Node:
    """A number as a value in memory, which each replay asks for again."""
    node = from_array(np.asarray(now, np.int64), dtypes.int64)._node
    observer.drew(node, lambda: np.asarray(again(), np.int64))
    return node


def _units(source: DeviceGenerator, count: int, dtype: DType) -> Node:
    """Uniform numbers of (0, 1], of f64 for f64 and of f32 for all other types."""
    if dtype is dtypes.float64:
        return philox.unit_f64(_record(source, philox.bits, count, dtypes.uint64))
    return philox.unit_f32(_record(source, philox.bits, count, dtypes.uint32))


def _computing(dtype: DType) -> DType:
    """The type that numbers of a type are computed in."""
    return dtypes.float64 if dtype is dtypes.float64 else dtypes.float32


def _rounded(x: float, dtype: DType) -> float:
    """A number as an element type has it."""
    if dtype is dtypes.bfloat16:
        bits = int(np.float32(x).view(np.uint32))
        return float(np.uint32((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32))
    return float(dtype.numpy.type(x)) if dtype.kind == "f" else x


def _uniform(source: DeviceGenerator, count: int, dtype: DType, low: float = 0.0, high: float = 1.0) -> Node:
    low, high = _rounded(low, dtype), _rounded(high, dtype)
    wide = _computing(dtype)
    drawn = arith.fma(_units(source, count, dtype), number_leaf(high - low, wide), number_leaf(low, wide))
    drawn = cast(drawn, dtype)
    is_high = arith.compare(drawn, number_leaf(high, dtype), predicate="eq")
    return arith.select(is_high, number_leaf(low, dtype), drawn)


def _standard_normal(source: DeviceGenerator, count: int, dtype: DType, mean: float, std: float) -> Node:
    wide = _computing(dtype)
    return arith.fma(_record(source, philox.normal, count, wide), number_leaf(std, wide), number_leaf(mean, wide))


def _normal(source: DeviceGenerator, count: int, dtype: DType, mean: float = 0.0, std: float = 1.0) -> Node:
    return cast(_standard_normal(source, count, dtype, mean, std), dtype)


def _integers(source: DeviceGenerator, count: int, dtype: DType, low: int, high: int) -> Node:
    kind = dtypes.uint64 if high - low >= 1 << 28 else dtypes.uint32
    wide = cast(_record(source, philox.bits, count, kind), dtypes.uint64)
    rest = arith.remainder(wide, number_leaf(high - low, dtypes.uint64))
    moved = arith.add(rest, number_leaf(low % (1 << 64), dtypes.uint64))
    return cast(arith.bitcast(moved, dtype=dtypes.int64), dtype)


def _full_range(source: DeviceGenerator, count: int, dtype: DType) -> Node:
    """`random_()`: all numbers of an integer type that are not negative, and those up to 2 to the digits of a float type."""
    kind = dtypes.uint64 if dtype in (dtypes.float64, dtypes.int64) else dtypes.uint32
    wide = cast(_record(source, philox.bits, count, kind), dtypes.uint64)
    if dtype is dtypes.bool_:
        span = 2
    elif dtype.kind == "f":
        span = (1 << {2: 11, 4: 24, 8: 53}[dtype.itemsize] - 3 * (dtype is dtypes.bfloat16)) + 1
    else:
        span = int(np.iinfo(dtype.numpy).max) + 1
    rest = wide if span >= 1 << 64 else arith.remainder(wide, number_leaf(span, dtypes.uint64))
    return cast(arith.bitcast(rest, dtype=dtypes.int64), dtype)


def _bernoulli(source: DeviceGenerator, count: int, dtype: DType, probability: float) -> Node:
    drawn = _units(source, count, dtype)
    return cast(arith.compare(drawn, number_leaf(probability, _computing(dtype)), predicate="lt"), dtype)


def _dropout(source: DeviceGenerator, count: int, dtype: DType, p: float) -> Node:
    """Which elements a dropout of elements of a type keeps."""
    vector = max(16 // dtype.itemsize, 1)
    while count % vector:
        vector //= 2
    drawn = philox.unit_f32(_record(source, philox.bits, count, dtypes.uint32, vector))
    wide = _computing(dtype)
    return arith.compare(cast(drawn, wide), number_leaf(1.0 - p, wide), predicate="lt")


def _exponential(source: DeviceGenerator, count: int, dtype: DType, rate: float) -> Node:
    wide = _computing(dtype)
    half = float(np.finfo(wide.numpy).eps) / 2
    unit = wrap(STATE.trace, _units(source, count, dtype))
    logarithm = unit.log().masked_fill(unit >= 1.0 - half, -half)
    return cast(value(logarithm * (-1.0 / rate)), dtype)


def _cauchy(source: DeviceGenerator, count: int, dtype: DType, median: float, sigma: float) -> Node:
    wide = _computing(dtype)
    eps = float(np.finfo(wide.numpy).eps)
    unit = wrap(STATE.trace, _units(source, count, dtype)).clamp(eps, 1.0 - eps)
    return cast(value(((unit - 0.5) * math.pi).tan() * sigma + median), dtype)


def _geometric(source: DeviceGenerator, count: int, dtype: DType, p: float) -> Node:
    unit = wrap(STATE.trace, _units(source, count, dtype))
    return cast(value((unit.log() / math.log1p(-p)).ceil()), dtype)


def _log_normal(source: DeviceGenerator, count: int, dtype: DType, mean: float, std: float) -> Node:
    return cast(value(wrap(STATE.trace, _standard_normal(source, count, dtype, mean, std)).exp()), dtype)


DRAWS: dict[str, Callable[..., Node]] = {
    "uniform": _uniform,
    "normal": _normal,
    "integers": _integers,
    "full_range": _full_range,
    "bernoulli": _bernoulli,
    "dropout": _dropout,
    "exponential": _exponential,
    "cauchy": _cauchy,
    "geometric": _geometric,
    "log_normal": _log_normal,
}
"""Functions of (generator, count, element type, parameters ...)."""


def drawn(source: DeviceGenerator, kind: str, shape: tuple[int, ...], dtype: DType, *parameters: Any) -> Tensor:
    """A tensor on the generator's device with random numbers of a kind."""
    place()
    count = prod(shape)
    if not count:
        return from_array(np.zeros(shape, dtype.numpy), dtype).to(source.device)
    flat = DRAWS[kind](source, count, dtype, *parameters)
    return wrap(STATE.trace, tensor.reshape(flat, shape=shape))


def ones_by_probability(source: DeviceGenerator, probabilities: Tensor, dtype: DType) -> Tensor:
    """Ones with the probabilities in a tensor, else zeros: four elements to a thread, as torch has it."""
    place()
    wide = dtypes.float64 if dtype is dtypes.float64 else dtypes.float32
    shape = tuple(probabilities.shape)
    count = prod(shape)
    if not count:
        return from_array(np.zeros(shape, dtype.numpy), dtype).to(source.device)
    before = source.offset
    bits = _record(source, philox.bits, count, dtypes.uint32, 4, _MANY_THREADS)
    source.offset = before + _FOR_PROBABILITIES
    unit = tensor.reshape(cast(philox.unit_f32(bits), wide), shape=shape)
    kept = arith.compare(unit, cast(value(probabilities.detach()), wide), predicate="le")
    return wrap(STATE.trace, cast(kept, dtype))
