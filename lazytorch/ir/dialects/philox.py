"""`random.philox`: random numbers by counting (Philox4x32-10; Salmon, Moraes, Dror, Shaw 2011), as CUDA generators do.

Number i of a draw is a function of the generator's seed, its offset and i alone, so a kernel computes it where it is needed.
Which of the counters belongs to i follows the threads of torch's CUDA kernels (ATen/native/cuda/DistributionTemplates.h,
Dropout.cu): thread t has the counters (n, t), n from offset / 4 on, and takes the four words of one after the other.
"""

from __future__ import annotations

import math
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects import math as functions
from lazytorch.ir.dialects.composite import number, reference_of
from lazytorch.ir.types import TensorType

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORDS = 4
_LOW = 0xFFFFFFFF


def _infer(name: str, allowed: tuple[DType, ...]) -> Any:
    def infer(attributes: Attributes, seed: TensorType, counter: TensorType, threads: TensorType) -> TensorType:
        if any(x.shape != () or x.dtype is not dtypes.int64 for x in (seed, counter, threads)):
            raise RuntimeError(f"{name}: seed, counter and threads must be numbers of i64, not {seed}, {counter}, {threads}")
        result = attributes.type
        if not isinstance(result, TensorType) or len(result.shape) != 1 or result.dtype not in allowed:
            raise RuntimeError(f"{name}: the type must be a vector of {' or '.join(map(str, allowed))}, not {result}")
        if attributes.vector not in (1, 2, 4, 8):
            raise RuntimeError(f"{name}: vectors of {attributes.vector} elements; there are 1, 2, 4 and 8")
        return result

    return infer


def _word(x: Any) -> Any:
    """The low 32 bits of 64."""
    return arith.cast(x, dtype=dtypes.uint32)


def _high_word(x: Any) -> Any:
    return _word(arith.shift_right(x, number(32, x)))


def _halves(x: Any) -> tuple[Any, Any]:
    """The low and the high word of 64 bits."""
    wide = arith.bitcast(x, dtype=dtypes.uint64)
    return _word(wide), _high_word(wide)


def _product(multiplier: int, x: Any) -> tuple[Any, Any]:
    """The high and the low word of a product of words."""
    wide = arith.cast(x, dtype=dtypes.uint64)
    product = arith.mul(wide, number(multiplier, wide))
    return _high_word(product), _word(product)


def philox4x32(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Four random words of four counting ones and a key of two: ten rounds of multiplying and exchanging halves."""
    a, b, c, d = counter
    first, second = key
    for turn in range(_ROUNDS):
        if turn:
            first, second = (arith.add(k, number(step, k)) for k, step in zip((first, second), _KEY_STEPS, strict=True))
        high_a, low_a = _product(_MULTIPLIERS[0], a)
        high_c, low_c = _product(_MULTIPLIERS[1], c)
        a, b = arith.bit_xor(arith.bit_xor(high_c, b), first), low_c
        c, d = arith.bit_xor(arith.bit_xor(high_a, d), second), low_a
    return a, b, c, d


def _drawn(op: Any, per_counter: int) -> tuple[tuple[Any, Any, Any, Any], Any]:
    """The words of every element's counter, and which of the counter's elements it is.

    With vector 1, `threads` elements in a row belong to as many threads, and the thread's next element is `threads` further
    on. Else a thread has `vector` elements in a row. A counter serves `per_counter` elements.
    """
    seed, counter, threads = op.operands
    threads = arith.maximum(threads, number(1, threads))
    vector = op.attributes.vector
    element = tensor.iota.build(seed.builder, size=op.attributes.type.shape[0], dtype=dtypes.int64)
    if vector == 1:
        turn = arith.div(element, arith.mul(threads, number(per_counter, threads)))
        within = arith.remainder(element, arith.mul(threads, number(per_counter, threads)))
        lane, thread = arith.div(within, threads), arith.remainder(within, threads)
    else:
        several = number(vector, element)
        place, lane = arith.div(element, several), arith.remainder(element, several)
        turn, thread = arith.div(place, threads), arith.remainder(place, threads)
        if vector > per_counter:
            draws = number(vector // per_counter, element)
            turn = arith.add(arith.mul(turn, draws), arith.div(lane, number(per_counter, lane)))
            lane = arith.remainder(lane, number(per_counter, lane))
    counting = (*_halves(arith.add(turn, counter)), *_halves(thread))
    return philox4x32(counting, _halves(seed)), lane


def _pick(lane: Any, choices: Any) -> Any:
    """The choice of a number."""
    *rest, chosen = choices
    for position in reversed(range(len(rest))):
        chosen = arith.select(arith.compare(lane, number(position, lane), predicate="eq"), rest[position], chosen)
    return chosen


def _joined(high: Any, low: Any) -> Any:
    """64 bits of two words."""
    wide = arith.cast(high, dtype=dtypes.uint64)
    return arith.bit_or(arith.shift_left(wide, number(32, wide)), arith.cast(low, dtype=dtypes.uint64))


def _bits(op: Any) -> Any:
    if op.attributes.type.dtype is dtypes.uint32:
        words, lane = _drawn(op, _WORDS)
        return _pick(lane, words)
    words, lane = _drawn(op, 2)
    return _pick(lane, [_joined(words[0], words[1]), _joined(words[2], words[3])])


def unit_f32(word: Any) -> Any:
    """(0, 1]: curand_uniform."""
    x = arith.cast(word, dtype=dtypes.float32)
    return arith.fma(x, number(2.0**-32, x), number(2.0**-33, x))


def unit_f64(bits: Any) -> Any:
    """(0, 1] with 53 bits of a pair of words, of which the first is the upper one: curand_uniform2_double."""
    first, second = arith.shift_right(bits, number(32, bits)), arith.bit_and(bits, number(_LOW, bits))
    x = arith.cast(arith.bit_xor(first, arith.shift_left(second, number(21, second))), dtype=dtypes.float64)
    return arith.fma(x, number(2.0**-53, x), number(2.0**-54, x))


def _normal(op: Any) -> Any:
    """Box–Muller: pairs of uniform numbers give a sine and a cosine times one radius."""
    if op.attributes.type.dtype is dtypes.float32:
        words, lane = _drawn(op, _WORDS)
        is_first = arith.compare(lane, number(2, lane), predicate="lt")
        radius = unit_f32(arith.select(is_first, words[0], words[2]))
        turns = arith.cast(arith.select(is_first, words[1], words[3]), dtype=dtypes.float32)
        unit = 2 * math.pi * 2.0**-32
    else:
        words, lane = _drawn(op, 2)
        radius = unit_f64(_joined(words[0], words[1]))
        turns = unit_f64(_joined(words[2], words[3]))
        unit = 2 * math.pi
    angle = arith.mul(turns, number(unit, turns))
    if op.attributes.type.dtype is dtypes.float32:
        angle = arith.fma(turns, number(unit, turns), number(unit / 2, turns))
    logarithm = functions.log(radius)
    size = arith.sqrt(arith.mul(logarithm, number(-2.0, logarithm)))
    odd = arith.compare(arith.bit_and(lane, number(1, lane)), number(1, lane), predicate="eq")
    return arith.mul(size, arith.select(odd, functions.cos(angle), functions.sin(angle)))


bits: Declaration = Declaration(
    "random.philox",
    _infer("random.philox", (dtypes.uint32, dtypes.uint64)),
    attributes=("type", "vector"),
    traits=(Trait.PURE, Trait.COMPOSITE),
    reference=reference_of(_bits),
    decompose=_bits,
    example=example("tensor<i64>", "tensor<i64>", "tensor<i64>", type=TensorType(dtypes.uint32, (6,)), vector=1),
    doc="random bits of a seed, from a counter on, for so many threads (Philox4x32-10): words, or pairs of them",
)
normal: Declaration = Declaration(
    "random.philox_normal",
    _infer("random.philox_normal", (dtypes.float32, dtypes.float64)),
    attributes=("type", "vector"),
    traits=(Trait.PURE, Trait.COMPOSITE),
    reference=reference_of(_normal),
    decompose=_normal,
    example=example("tensor<i64>", "tensor<i64>", "tensor<i64>", type=TensorType(dtypes.float32, (6,)), vector=1),
    doc="normal numbers of `random.philox`'s words: the sines and cosines of Box and Muller",
)
