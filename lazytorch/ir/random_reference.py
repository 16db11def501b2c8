"""torch's CPU random numbers, bit for bit, as pure functions: what every random operation must produce.

Each function takes a generator state and returns its values and the state after it. Values come in the element type's
NumPy storage (bfloat16 as uint16 bit patterns), flat or in the given shape, in memory order. The steps are written as
the elementary float and integer operations that kernels perform, fma where torch's machine code has one; only the
float64 logarithm, sine and cosine are the C library's, which torch calls as well.

Followed: torch 2.13's ATen/native/cpu/DistributionTemplates.h, ATen/core/TransformationHelper.h and avx_mathfun.h in
the AVX2 build, which is also the one that AVX-512 machines run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import random
from lazytorch.ir.fused_multiply_add import fused_multiply_add_f64
from lazytorch.ir.mersenne_twister import Mt19937State, draw32, draw64

Drawn = tuple[np.ndarray, Mt19937State]

# The mantissa bits of an element type, the leading one included.
_DIGITS = {dtypes.float16: 11, dtypes.bfloat16: 8, dtypes.float32: 24, dtypes.float64: 53}
_BLOCK = random.BLOCK
# From this range on an integer takes 64 bits, so that the remainder is less skewed.
_WIDE_RANGE = 1 << 28
# From this length on torch shuffles with 64-bit numbers.
_WIDE_PERMUTATION = (2**32 - 1) // 20


def _of_double(values: np.ndarray, dtype: DType) -> np.ndarray:
    """float64 numbers in `dtype`'s storage. torch's 16-bit floats are made from float32, so those round twice."""
    if dtype is dtypes.float64:
        return values
    with np.errstate(over="ignore"):
        narrowed = values.astype(np.float32)
        return _of_float(narrowed, dtype) if dtype.is_floating_point else values.astype(dtype.numpy)


def _of_float(values: np.ndarray, dtype: DType) -> np.ndarray:
    """float32 numbers in `dtype`'s storage, rounded to nearest even."""
    if dtype is dtypes.bfloat16:
        bits = values.view(np.uint32)
        rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        patterns = (rounded >> np.uint32(16)).astype(np.uint16)
        return np.where(np.isnan(values), np.uint16(0x7FC0), patterns)
    with np.errstate(over="ignore"):
        return values.astype(dtype.numpy)


def _to_float(values: np.ndarray, dtype: DType) -> np.ndarray:
    """The float32 numbers that 16-bit or 32-bit floats in `dtype`'s storage stand for."""
    if dtype is dtypes.bfloat16:
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float32)


def _to_double(values: np.ndarray, dtype: DType) -> np.ndarray:
    """The float64 numbers that floats in `dtype`'s storage stand for."""
    return values if dtype is dtypes.float64 else _to_float(values, dtype).astype(np.float64)


def _c_library(function: Callable[[float], float], values: np.ndarray) -> np.ndarray:
    """A float64 function of the C library on every element; NumPy's own versions differ in the last bit."""
    return np.fromiter(map(function, values.tolist()), np.float64, len(values))


def unit_f32(state: Mt19937State, count: int) -> Drawn:
    """float32 in [0, 1): the low 24 bits of a 32-bit number times 2**-24. 1 draw per element."""
    bits, state = draw32(state, count)
    return (bits & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24), state


def unit_f64(state: Mt19937State, count: int) -> Drawn:
    """float64 in [0, 1): the low 53 bits of a 64-bit number times 2**-53. 2 draws per element."""
    bits, state = draw64(state, count)
    return (bits & np.uint64((1 << 53) - 1)).astype(np.float64) * 2.0**-53, state


Compute = Callable[[Declaration, np.ndarray, float, float], np.ndarray]
"""Computes an operation of `random` (the dialect) on bits and two parameters."""


def by_reference(declaration: Declaration, bits: np.ndarray, first: float, second: float) -> np.ndarray:
    """Compute with the operation's reference."""
    assert declaration.reference is not None
    with np.errstate(over="ignore"):
        parameters = np.float32(first), np.float32(second)
    made = declaration.reference(declaration.operator().attributes, bits, *parameters)
    assert isinstance(made, np.ndarray)
    return made


def uniform(
    state: Mt19937State,
    count: int,
    dtype: DType = dtypes.float32,
    low: float = 0.0,
    high: float = 1.0,
    compute: Compute = by_reference,
) -> Drawn:
    """`Tensor.uniform_(low, high)`; `torch.rand` with the default bounds.

    fma(u, high - low, low) in float64 for float64 (2 draws per element), in float32 for the others (1 draw), whose
    result is then rounded to `dtype`; a result that rounded up to `high` becomes `low`.
    """
    if dtype is dtypes.float64:
        unit, state = unit_f64(state, count)
        values = fused_multiply_add_f64(unit, np.float64(high) - np.float64(low), np.float64(low))
    else:
        bits, state = draw32(state, count)
        values = compute(random.uniform, bits, low, high)
        if dtype is dtypes.float32:
            return values, state
        values = _of_float(values, dtype)
    ends = _of_double(np.array([low, high], np.float64), dtype)
    return np.where(_to_double(values, dtype) == _to_double(ends[1:], dtype), ends[0], values), state


def normal(
    state: Mt19937State,
    count: int,
    dtype: DType = dtypes.float32,
    mean: float = 0.0,
    std: float = 1.0,
    is_contiguous: bool = True,
    compute: Compute = by_reference,
) -> Drawn:
    """`Tensor.normal_(mean, std)`; `torch.randn` with the default parameters.

    Fewer than 16 elements, or elements that are not contiguous: `_paired_normal`. Otherwise Box–Muller over blocks of
    16 unit numbers (8 for the radius, 8 for the angle), without a look at the cached normal. Where 16 does not divide
    `count`, the last 16 elements are then drawn anew over what is there. Unit numbers drawn: `count`, plus 16 where 16
    does not divide it; 16-bit types draw only the whole blocks and the last 16. float64 takes 2 draws for a unit
    number, the others 1.
    """
    if count < _BLOCK or not is_contiguous:
        values, state = _paired_normal(state, count, mean, std)
        return _of_double(values, dtype), state
    is_double = dtype is dtypes.float64
    whole = count - count % _BLOCK
    # The 32-bit and 64-bit floats draw for the remainder too, although the last block replaces it.
    drawn = count if dtype in (dtypes.float32, dtypes.float64) else whole
    if is_double:
        units, state = unit_f64(state, drawn)
        last, state = unit_f64(state, _BLOCK if whole < count else 0)
        values = _box_muller_f64(np.concatenate([units[:whole], last]), mean, std)
    else:
        bits, state = draw32(state, drawn)
        rest, state = draw32(state, _BLOCK if whole < count else 0)
        values = compute(random.normal, np.concatenate([bits[:whole], rest]), mean, std)
    if whole < count:
        values = np.concatenate([values[: count - _BLOCK], values[-_BLOCK:]])
    return (values if is_double else _of_float(values, dtype)), state


def _paired_normal(state: Mt19937State, count: int, mean: float, std: float) -> Drawn:
    """float64 normals one pair at a time; the second of a pair waits in the state for the next call.

    radius = sqrt(-2·log1p(-u2)), angle = 2π·u1, both numbers of 53 bits, u1 drawn first: 4 draws per pair. The first
    value is radius·cos(angle), the cached one radius·sin(angle); a value becomes fma(value, std, mean) when it is used.
    """
    standard = []
    cached = state.cached_normal
    if cached is not None and count:
        standard.append(cached)
        cached = None
    pairs = (count - len(standard) + 1) // 2
    units, state = unit_f64(state, 2 * pairs)
    for u1, u2 in zip(units[0::2].tolist(), units[1::2].tolist(), strict=True):
        radius = math.sqrt(-2.0 * math.log1p(-u2))
        angle = 2.0 * math.pi * u1
        standard += [radius * math.cos(angle), radius * math.sin(angle)]
    if len(standard) > count:
        cached = standard.pop()
    values = fused_multiply_add_f64(np.array(standard, np.float64), np.float64(std), np.float64(mean))
    return values, state.with_cached_normal(cached)


def _box_muller_f64(units: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Unit numbers in blocks of 16 to normals, in float64 with the C library's log, cos and sin."""
    blocks = units.reshape(-1, 2, _BLOCK // 2)
    radius = np.sqrt(-2.0 * _c_library(math.log, (1.0 - blocks[:, 0]).ravel()))
    angle = (2.0 * math.pi) * blocks[:, 1].ravel()
    waves = _c_library(math.cos, angle), _c_library(math.sin, angle)
    halves = [fused_multiply_add_f64(radius * wave, np.float64(std), np.float64(mean)) for wave in waves]
    return np.stack([half.reshape(-1, _BLOCK // 2) for half in halves], axis=1).ravel()


def log_normal(state: Mt19937State, count: int, dtype: DType = dtypes.float32, mean: float = 1.0, std: float = 2.0) -> Drawn:
    """`Tensor.log_normal_(mean, std)`: the C library's exp of a `_paired_normal` at every size."""
    values, state = _paired_normal(state, count, mean, std)
    return _of_double(_c_library(math.exp, values), dtype), state


def exponential(state: Mt19937State, count: int, dtype: DType = dtypes.float32, rate: float = 1.0) -> Drawn:
    """`Tensor.exponential_(rate)`: (-1 / rate)·log1p(-u) in float64, rounded to `dtype`. 2 draws per element."""
    unit, state = unit_f64(state, count)
    return _of_double((-1.0 / rate) * _c_library(math.log1p, -unit), dtype), state


def cauchy(state: Mt19937State, count: int, dtype: DType = dtypes.float32, median: float = 0.0, sigma: float = 1.0) -> Drawn:
    """`Tensor.cauchy_(median, sigma)`: fma(sigma, tan(π·(u - ½)), median) in float64. 2 draws per element."""
    unit, state = unit_f64(state, count)
    tangent = _c_library(math.tan, math.pi * (unit - 0.5))
    return _of_double(fused_multiply_add_f64(tangent, np.float64(sigma), np.float64(median)), dtype), state


def random_integers(state: Mt19937State, count: int, low: int, high: int | None, dtype: DType = dtypes.int64) -> Drawn:
    """`Tensor.random_(low, high)`, so `torch.randint`: number % (high - low) + low.

    A range of 2**28 or more takes 64-bit numbers (2 draws per element), a smaller one 32-bit numbers (1 draw). `high`
    None means up to the type's greatest number (for floats 2**digits). Bounds of a floating type are first moved
    inwards to where rounding cannot leave them. The bounds must be in the type's range. Raises RuntimeError for an
    empty range.
    """
    if dtype.is_floating_point:
        low, high = _next_representable(low, dtype), high if high is None else _previous_representable(high, dtype)
    if high is None:
        if low == -(2**63):
            bits, state = draw64(state, count)
            return _of_int64(bits.view(np.int64), dtype), state
        high = _greatest(dtype) + 1
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    span = high - low
    draw = draw64 if span >= _WIDE_RANGE else draw32
    bits, state = draw(state, count)
    wide = bits.astype(np.uint64)
    # A span of 2**64 leaves every number as it is.
    remainder = wide if span >= 2**64 else wide % np.uint64(span)
    return _of_int64(remainder.view(np.int64) + np.int64(low), dtype), state


def random_full(state: Mt19937State, count: int, dtype: DType) -> Drawn:
    """`Tensor.random_()`: number % (greatest + 1), 2**digits + 1 for floats.

    int64 and float64 take 64-bit numbers (2 draws per element), the others 32-bit ones (1 draw).
    """
    draw = draw64 if dtype in (dtypes.int64, dtypes.float64) else draw32
    bits, state = draw(state, count)
    remainder = bits.astype(np.uint64) % np.uint64(_greatest(dtype) + 1)
    return _of_int64(remainder.view(np.int64), dtype), state


def _greatest(dtype: DType) -> int:
    """The greatest number that the integer distributions give for a type."""
    if dtype is dtypes.bool_:
        return 1
    return 1 << _DIGITS[dtype] if dtype.is_floating_point else int(np.iinfo(dtype.numpy).max)


def _of_int64(values: np.ndarray, dtype: DType) -> np.ndarray:
    """int64 numbers in `dtype`'s storage, wrapped or rounded; torch's 16-bit floats are made from float32."""
    if dtype in (dtypes.float16, dtypes.bfloat16):
        return _of_float(values.astype(np.float32), dtype)
    return values.astype(dtype.numpy)


def _rounded_integer(value: int, dtype: DType) -> int:
    """`value` as the nearest number of a floating type, and that as an int64, which is -2**63 where it does not fit."""
    stored = _of_int64(np.array([value], np.int64), dtype)
    nearest = float(_to_double(stored, dtype)[0])
    return int(nearest) if -(2.0**63) <= nearest < 2.0**63 else -(2**63)


def _next_representable(low: int, dtype: DType) -> int:
    """The least number not below `low` whose successors do not round below it (torch's update_from)."""
    after = _rounded_integer(low + 1, dtype)
    if after >= low:
        return low
    return after + (1 << (abs(low + 1).bit_length() - _DIGITS[dtype]))


def _previous_representable(high: int, dtype: DType) -> int:
    """The greatest bound not above `high` that no number below it rounds up to (torch's update_to)."""
    before = _rounded_integer(high - 1, dtype)
    if before < high:
        return high
    return before - (1 << (abs(high - 1).bit_length() - _DIGITS[dtype]))


def permutation(state: Mt19937State, count: int) -> Drawn:
    """`torch.randperm(count)` in int64: swap element i with element i + number % (count - i), i ascending.

    count - 1 draws. From 214,748,364 elements on, an inside-out shuffle with 64-bit numbers: 2·count draws.
    """
    if count >= _WIDE_PERMUTATION:
        return _wide_permutation(state, count)
    bits, state = draw32(state, max(count - 1, 0))
    offsets = bits.astype(np.int64) % np.arange(count, 1, -1)
    order = list(range(count))
    for index, offset in enumerate(offsets.tolist()):
        other = index + offset
        order[index], order[other] = order[other], order[index]
    return np.array(order, np.int64), state


def _wide_permutation(state: Mt19937State, count: int) -> Drawn:
    bits, state = draw64(state, count)
    places = (bits % np.arange(1, count + 1, dtype=np.uint64)).astype(np.int64)
    order = np.arange(count)
    for index, place in enumerate(places):
        order[index] = order[place]
        order[place] = index
    return order, state


def bernoulli(state: Mt19937State, count: int, probability: float) -> Drawn:
    """`Tensor.bernoulli_(probability)` with a number: float64 u < probability, as bool. 2 draws per element."""
    bits, state = draw64(state, count)
    bits &= np.uint64((1 << 53) - 1)
    # u is a whole number times 2**-53, so whole numbers can be compared.
    return bits < np.uint64(math.ceil(probability * 2.0**53)), state


def bernoulli_of_tensor(state: Mt19937State, probabilities: np.ndarray, dtype: DType) -> Drawn:
    """`torch.bernoulli(probabilities)` and `Tensor.bernoulli_(probabilities)`: u < p elementwise, as bool.

    `probabilities` in the storage of `dtype`. float64: 2 draws per element; the others compare in float32: 1 draw.
    """
    if dtype is dtypes.float64:
        unit, state = unit_f64(state, probabilities.size)
        return unit.reshape(probabilities.shape) < probabilities, state
    unit, state = unit_f32(state, probabilities.size)
    return unit.reshape(probabilities.shape) < _to_float(probabilities, dtype), state


def dropout_mask(state: Mt19937State, count: int, p: float) -> Drawn:
    """Which elements `F.dropout(x, p, training=True)` keeps: `bernoulli(1 - p)`.

    torch draws nothing where p is 0 or 1; the kept elements are multiplied by 1 / (1 - p).
    """
    if p in (0.0, 1.0):
        return np.full(count, p == 0.0), state
    return bernoulli(state, count, 1.0 - p)


def geometric(state: Mt19937State, count: int, dtype: DType, p: float) -> Drawn:
    """`Tensor.geometric_(p)`: ceil(log(u) / log1p(-p)) in float64. 2 draws per element."""
    unit, state = unit_f64(state, count)
    # log(0) is -inf in C and an error in Python.
    logarithm = _c_library(lambda u: math.log(u) if u else -math.inf, unit)
    return _of_double(np.ceil(logarithm / math.log1p(-p)), dtype), state


def multinomial(
    state: Mt19937State, weights: np.ndarray, samples: int, replacement: bool, dtype: DType = dtypes.float32
) -> Drawn:
    """`torch.multinomial(weights, samples, replacement)` in int64, for weights [categories] or [rows, categories].

    `weights` in the storage of `dtype`. Without replacement, or for one sample: the greatest weight / exponential
    (`exponential` in `dtype`, 2 draws per weight), first to last; equal quotients, which only 16-bit types make, in
    order of category, where torch's topk leaves the order open. With replacement: for each sample of each row the first
    category whose normalised cumulative weight is not below a float64 u (2 draws per sample).
    """
    rows = weights.reshape(-1, weights.shape[-1])
    if samples == 1 or not replacement:
        noise, state = exponential(state, rows.size, dtype)
        if dtype is dtypes.float64:
            keys = rows / noise.reshape(rows.shape)
        else:
            quotient = _to_float(rows, dtype) / _to_float(noise.reshape(rows.shape), dtype)
            keys = _to_float(_of_float(quotient, dtype), dtype)
        chosen = np.argsort(-keys, axis=-1, kind="stable")[:, :samples]
    else:
        numbers = rows if dtype is dtypes.float64 else _to_float(rows, dtype)
        unit, state = unit_f64(state, len(rows) * samples)
        cumulative = np.cumsum(numbers, axis=-1)
        cumulative = cumulative / cumulative[:, -1:]
        cumulative[:, -1] = 1
        targets = unit.reshape(-1, samples)
        pairs = zip(cumulative.astype(np.float64), targets, strict=True)
        chosen = np.stack([np.searchsorted(sums, row, side="left") for sums, row in pairs])
    return chosen.astype(np.int64).reshape(*weights.shape[:-1], samples), state
