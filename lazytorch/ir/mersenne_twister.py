"""The MT19937 engine of torch's CPU generator as pure functions: a state goes in, numbers and the next state come out.

Equal bit for bit to torch.Generator on the CPU: `from_seed` is `manual_seed`, `to_bytes` is `get_state`.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from dataclasses import dataclass, replace

import numpy as np

WORDS = 624

# torch's layout of a generator state, which is older than its engine: every word takes 64 bits. In order: seed, left,
# seeded, next | the words | three doubles (the second is the cached normal), its valid flag, padding | a cached float
# normal and its flag, which no CPU kernel uses, padding.
_HEAD = struct.Struct("<QiiQ")
_TAIL = struct.Struct("<dddiifB3x")
STATE_BYTES = _HEAD.size + 8 * WORDS + _TAIL.size


@dataclass(frozen=True, slots=True)
class Mt19937State:
    """A generator's state; never changed in place.

    words: the 624 uint32 of the twister. position: how many of them were given out; 0 only in a freshly seeded state,
    whose words are the seed's expansion and must be twisted before the first draw. seed: what it was seeded with, as
    an unsigned 64-bit number. cached_normal: the second value of a Box–Muller pair of which the first was used.
    """

    words: np.ndarray
    position: int
    seed: int
    cached_normal: float | None = None

    def with_cached_normal(self, value: float | None) -> Mt19937State:
        """The same state with another cached normal."""
        return replace(self, cached_normal=value)


def from_seed(seed: int) -> Mt19937State:
    """The state after `torch.manual_seed(seed)`.

    Only the low 32 bits of a seed make a difference to the numbers. A negative seed counts as seed + 2**64.
    Raises ValueError for a seed outside [-2**63, 2**64 - 1], as torch.
    """
    if not -(2**63) <= seed < 2**64:
        raise ValueError("Overflow when unpacking long long")
    seed %= 2**64
    words = [seed & 0xFFFFFFFF]
    for index in range(1, WORDS):
        previous = words[-1]
        words.append((1812433253 * (previous ^ (previous >> 30)) + index) & 0xFFFFFFFF)
    return Mt19937State(np.array(words, dtype=np.uint32), 0, seed)


def temper(words: np.ndarray) -> np.ndarray:
    """The numbers given out for state words."""
    numbers = words ^ (words >> np.uint32(11))
    numbers = numbers ^ ((numbers << np.uint32(7)) & np.uint32(0x9D2C5680))
    numbers = numbers ^ ((numbers << np.uint32(15)) & np.uint32(0xEFC60000))
    tempered: np.ndarray = numbers ^ (numbers >> np.uint32(18))
    return tempered


def draw32(state: Mt19937State, count: int) -> tuple[np.ndarray, Mt19937State]:
    """The next `count` 32-bit numbers (uint32) and the state after them."""
    if count == 0:
        return np.empty(0, np.uint32), state
    if 0 < state.position <= WORDS - count:
        end = state.position + count
        return temper(state.words[state.position : end]), replace(state, position=end)
    numbers, state = _draw(state, count)
    return numbers.astype(np.uint32), state


def draw64(state: Mt19937State, count: int) -> tuple[np.ndarray, Mt19937State]:
    """The next `count` 64-bit numbers (uint64): two draws each, the first one is the high half."""
    if count == 0:
        return np.empty(0, np.uint64), state
    halves, state = _draw(state, 2 * count)
    wide = halves[0::2] << np.uint64(32)
    wide |= halves[1::2]
    return wide, state


def _draw(state: Mt19937State, count: int) -> tuple[np.ndarray, Mt19937State]:
    """32-bit numbers in uint64 from NumPy's engine, which twists as torch's does."""
    with _lock:
        _engine_state[:WORDS] = state.words
        # A fresh state has nothing to give out although its position is 0.
        _engine_state[WORDS] = state.position or WORDS
        numbers = _engine.random_raw(count)
        words, position = _engine_state[:WORDS].copy(), int(_engine_state[WORDS])
    return numbers, replace(state, words=words, position=position)


_engine = np.random.MT19937(0)
"""Holds a state for the time of one draw only."""
_engine_state = np.ctypeslib.as_array((ctypes.c_uint32 * (WORDS + 1)).from_address(_engine.ctypes.state_address))
"""The engine's memory: its words, then its position. Its `state` property converts word by word, which takes 100 us."""
_lock = threading.Lock()


def to_bytes(state: Mt19937State) -> np.ndarray:
    """The 5056 bytes (uint8) of `torch.Generator.get_state()` for this state."""
    left = 1 if state.position == 0 else WORDS + 1 - state.position
    head = _HEAD.pack(state.seed, left, 1, state.position)
    is_cached = state.cached_normal is not None
    tail = _TAIL.pack(0.0, state.cached_normal if is_cached else 0.0, 0.0, is_cached, 0, 0.0, 0)
    return np.frombuffer(head + state.words.astype("<u8").tobytes() + tail, dtype=np.uint8).copy()


def from_bytes(data: np.ndarray) -> Mt19937State:
    """The state that `torch.Generator.set_state(data)` makes. `data`: the uint8 vector of a generator's `get_state()`.

    Raises TypeError where `data` is not a uint8 vector, RuntimeError where it is not a valid state, as torch.
    """
    if data.dtype != np.uint8 or data.ndim != 1:
        raise TypeError("RNG state must be a torch.ByteTensor")
    if data.size != STATE_BYTES:
        expected_size = f"Expected a CPUGeneratorImplState of size {STATE_BYTES}"
        raise RuntimeError(f"{expected_size} but found the input RNG state size to be {data.size}")
    raw = data.tobytes()
    seed, left, seeded, position = _HEAD.unpack_from(raw)
    words = np.frombuffer(raw, dtype="<u8", count=WORDS, offset=_HEAD.size).astype(np.uint32)
    expected = 1 if position == 0 else WORDS + 1 - position
    if seeded != 1 or position > WORDS or left != expected:
        raise RuntimeError("Invalid mt19937 state")
    _, cached, _, is_cached, _, _, _ = _TAIL.unpack_from(raw, _HEAD.size + 8 * WORDS)
    return Mt19937State(words, position, seed, cached if is_cached else None)
