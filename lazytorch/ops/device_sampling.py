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
from lazytorch.ops.recording import cast, emit, number_leaf, place
from lazytorch.ops.sampling import DEFAULT_SEED, Generator
from lazytorch.runtime.cuda.device import CudaDevice, device_named
from lazytorch.runtime.device import Device
from lazytorch.tensor import Tensor, from_array, value, wrap

_BLOCK = 256
_MANY_THREADS = 1 << 40
_FOR_PROBABILITIES = 12  # what `bernoulli` of a tensor adds to the offset: 10, in whole counters


class DeviceGenerator(Generator):
    """A source of random numbers of a CUDA device: a seed, and how many numbers each thread has taken."""

    def __init__(self, device: Any = "cuda") -> None:
        name = Device(device).place()
        assert name is not None
        self.device = Device(name)
        self.first_seed, self.offset = DEFAULT_SEED, 0

    @property
    def on(self) -> CudaDevice:
        """The device."""
        return device_named(str(self.device))

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence that belongs to the seed."""
        self.first_seed, self.offset = int(seed) % (1 << 64), 0
        return self

    def get_offset(self) -> int:
        """How many numbers each thread has taken."""
        return self.offset

    def set_offset(self, offset: int) -> None:
        """Go to a place in the sequence, a multiple of 4."""
        if offset % 4:
            raise RuntimeError("offset must be a multiple of 4")
        self.offset = offset

    def get_state(self) -> Tensor:
        """Seed and offset as torch's 16 bytes."""
        words = np.array([self.first_seed, self.offset], np.uint64)
        return from_array(words.view(np.uint8), dtypes.uint8)

    def set_state(self, state: Tensor) -> Generator:
        """Continue from a state."""
        words = np.ascontiguousarray(state.numpy())
        if words.nbytes not in (8, 16):
            raise RuntimeError("RNG state is wrong size")
        seed, *offset = words.view(np.uint64).tolist()
        self.first_seed, self.offset = seed, offset[0] if offset else 0
        return self

    def clone_state(self) -> Generator:
        """A generator that goes on from the same state."""
        clone = DeviceGenerator(self.device)
        clone.first_seed, clone.offset = self.first_seed, self.offset
        return clone

    def draw(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> np.ndarray:
        """Draw on the host, from a sequence that the next number of this one begins."""
        seed, counter, threads = self._take(1, 4)
        reference = philox.bits.reference
        assert reference is not None
        operator = philox.bits.operator(type=TensorType(dtypes.uint64, (1,)), vector=1)
        (bits,) = reference(operator.attributes, *[np.int64(x) for x in (seed, counter, threads)])
        return Generator().manual_seed(int(bits)).draw(function, *arguments, **keywords)

    def _threads(self, count: int) -> int:
        """Of torch's launch for so many numbers."""
        driver = self.on.driver
        most = driver.processors * (driver.threads_per_processor // _BLOCK)
        return _BLOCK * min(most, -(-count // _BLOCK))

    def _take(self, count: int, per_counter: int) -> tuple[int, int, int]:
        """Seed, first counter and threads for so many numbers, which are taken."""
        threads = self._threads(count)
        counter = self.offset // 4
        self.offset += 4 * ((count - 1) // (threads * per_counter) + 1)
        seed = self.first_seed
        return seed - (1 << 64) if seed >> 63 else seed, counter, threads

    def record(self, declaration: Any, count: int, dtype: DType, vector: int = 1, threads: int = 0) -> Node:
        """Numbers of an operation of ir/dialects/philox.py."""
        per_counter = 2 if dtype.itemsize == 8 else 4
        seed, counter, own_threads = self._take(count, per_counter)
        numbers = [number_leaf(x, dtypes.int64) for x in (seed, counter, threads or own_threads)]
        kind = TensorType(dtype, (count,), str(self.device))
        return emit(declaration, *numbers, type=kind, vector=vector)

    def units(self, count: int, dtype: DType) -> Node:
        """Uniform numbers of (0, 1], of f64 for f64 and of f32 for all other types."""
        if dtype is dtypes.float64:
            return philox.unit_f64(self.record(philox.bits, count, dtypes.uint64))
        return philox.unit_f32(self.record(philox.bits, count, dtypes.uint32))


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
    drawn = arith.fma(source.units(count, dtype), number_leaf(high - low, wide), number_leaf(low, wide))
    drawn = cast(drawn, dtype)
    is_high = arith.compare(drawn, number_leaf(high, dtype), predicate="eq")
    return arith.select(is_high, number_leaf(low, dtype), drawn)


def _standard_normal(source: DeviceGenerator, count: int, dtype: DType, mean: float, std: float) -> Node:
    wide = _computing(dtype)
    return arith.fma(source.record(philox.normal, count, wide), number_leaf(std, wide), number_leaf(mean, wide))


def _normal(source: DeviceGenerator, count: int, dtype: DType, mean: float = 0.0, std: float = 1.0) -> Node:
    return cast(_standard_normal(source, count, dtype, mean, std), dtype)


def _integers(source: DeviceGenerator, count: int, dtype: DType, low: int, high: int) -> Node:
    kind = dtypes.uint64 if high - low >= 1 << 28 else dtypes.uint32
    wide = cast(source.record(philox.bits, count, kind), dtypes.uint64)
    rest = arith.remainder(wide, number_leaf(high - low, dtypes.uint64))
    moved = arith.add(rest, number_leaf(low % (1 << 64), dtypes.uint64))
    return cast(arith.bitcast(moved, dtype=dtypes.int64), dtype)


def _full_range(source: DeviceGenerator, count: int, dtype: DType) -> Node:
    """`random_()`: all numbers of an integer type that are not negative, and those up to 2 to the digits of a float type."""
    kind = dtypes.uint64 if dtype in (dtypes.float64, dtypes.int64) else dtypes.uint32
    wide = cast(source.record(philox.bits, count, kind), dtypes.uint64)
    if dtype is dtypes.bool_:
        span = 2
    elif dtype.kind == "f":
        span = (1 << {2: 11, 4: 24, 8: 53}[dtype.itemsize] - 3 * (dtype is dtypes.bfloat16)) + 1
    else:
        span = int(np.iinfo(dtype.numpy).max) + 1
    rest = wide if span >= 1 << 64 else arith.remainder(wide, number_leaf(span, dtypes.uint64))
    return cast(arith.bitcast(rest, dtype=dtypes.int64), dtype)


def _bernoulli(source: DeviceGenerator, count: int, dtype: DType, probability: float) -> Node:
    drawn = source.units(count, dtype)
    return cast(arith.compare(drawn, number_leaf(probability, _computing(dtype)), predicate="lt"), dtype)


def _dropout(source: DeviceGenerator, count: int, dtype: DType, p: float) -> Node:
    """Which elements a dropout of elements of a type keeps."""
    vector = max(16 // dtype.itemsize, 1)
    while count % vector:
        vector //= 2
    drawn = philox.unit_f32(source.record(philox.bits, count, dtypes.uint32, vector))
    wide = _computing(dtype)
    return arith.compare(cast(drawn, wide), number_leaf(1.0 - p, wide), predicate="lt")


def _exponential(source: DeviceGenerator, count: int, dtype: DType, rate: float) -> Node:
    wide = _computing(dtype)
    half = float(np.finfo(wide.numpy).eps) / 2
    unit = wrap(STATE.trace, source.units(count, dtype))
    logarithm = unit.log().masked_fill(unit >= 1.0 - half, -half)
    return cast(value(logarithm * (-1.0 / rate)), dtype)


def _cauchy(source: DeviceGenerator, count: int, dtype: DType, median: float, sigma: float) -> Node:
    wide = _computing(dtype)
    eps = float(np.finfo(wide.numpy).eps)
    unit = wrap(STATE.trace, source.units(count, dtype)).clamp(eps, 1.0 - eps)
    return cast(value(((unit - 0.5) * math.pi).tan() * sigma + median), dtype)


def _geometric(source: DeviceGenerator, count: int, dtype: DType, p: float) -> Node:
    unit = wrap(STATE.trace, source.units(count, dtype))
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
    bits = source.record(philox.bits, count, dtypes.uint32, 4, _MANY_THREADS)
    source.offset = before + _FOR_PROBABILITIES
    unit = tensor.reshape(cast(philox.unit_f32(bits), wide), shape=shape)
    kept = arith.compare(unit, cast(value(probabilities.detach()), wide), predicate="le")
    return wrap(STATE.trace, cast(kept, dtype))
