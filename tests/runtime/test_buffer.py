"""Buffers own memory or lend a NumPy array's; the allocator hands freed blocks out again."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytorch.errors import OutOfMemoryError
from lazytorch.runtime.allocator import ALIGNMENT, ALLOCATOR, Allocator, block_size
from lazytorch.runtime.buffer import Buffer

MIB = 1024 * 1024


@given(st.integers(0, 2**50))
def test_a_block_holds_the_request_and_wastes_little(nbytes: int) -> None:
    size = block_size(nbytes)
    assert size >= max(nbytes, 1)
    assert size % ALIGNMENT == 0
    assert size - nbytes <= max(ALIGNMENT, nbytes // 8)
    assert block_size(size) == size


@pytest.mark.parametrize("nbytes", [0, 1, 64, 100, 70_000, 3 * MIB])
def test_blocks_are_aligned_and_writable(nbytes: int) -> None:
    buffer = Buffer(nbytes)
    assert buffer.ptr % ALIGNMENT == 0
    assert nbytes < 64 * 1024 or buffer.ptr % 4096 == 0
    assert nbytes < 2 * MIB or buffer.ptr % (2 * MIB) == 0
    bytes_ = buffer.numpy(np.uint8, (nbytes,))
    bytes_[...] = 7
    assert int(bytes_.sum()) == 7 * nbytes


def test_a_freed_block_serves_the_next_request_of_its_size() -> None:
    allocator = Allocator(idle_limit=MIB)
    first = allocator.allocate(1000)
    allocator.release(first, 1000)
    assert allocator.allocate(1020) == first
    assert allocator.allocate(1020) != first
    assert allocator.statistics().misses == 2


def test_bytes_are_counted() -> None:
    allocator = Allocator(idle_limit=MIB)
    blocks = [allocator.allocate(1024) for _ in range(3)]
    for block in blocks[:2]:
        allocator.release(block, 1024)
    statistics = allocator.statistics()
    assert statistics.allocated_bytes == 1024
    assert statistics.reserved_bytes == statistics.peak_reserved_bytes == 3072
    allocator.reset_peak()
    allocator.empty_cache()
    allocator.reset_peak()
    assert allocator.statistics().peak_reserved_bytes == 1024
    assert allocator.statistics().reserved_bytes == 1024
    allocator.release(blocks[2], 1024)
    assert allocator.statistics().allocated_bytes == 0


def test_idle_memory_beyond_the_limit_goes_back_to_the_system() -> None:
    allocator = Allocator(idle_limit=MIB)
    blocks = [allocator.allocate(MIB) for _ in range(3)]
    for block in blocks:
        allocator.release(block, MIB)
    assert allocator.statistics().reserved_bytes == MIB


def test_many_different_sizes_are_served() -> None:
    allocator = Allocator(idle_limit=64 * MIB)
    for nbytes in range(1, 10_000):
        allocator.release(allocator.allocate(nbytes), nbytes)
    assert allocator.statistics().allocated_bytes == 0
    assert allocator.statistics().misses == len({block_size(nbytes) for nbytes in range(1, 10_000)})


@pytest.mark.parametrize("nbytes", [2**60, 2**63, 2**70])
def test_too_large_a_request_is_refused_in_torchs_words(nbytes: int) -> None:
    gc.collect()
    before = ALLOCATOR.statistics().allocated_bytes
    with pytest.raises(OutOfMemoryError, match=f"can't allocate memory: you tried to allocate {nbytes} bytes"):
        Buffer(nbytes)
    gc.collect()
    assert ALLOCATOR.statistics().allocated_bytes == before


def test_memory_is_given_back_when_the_last_reference_goes() -> None:
    before = ALLOCATOR.statistics().allocated_bytes
    buffer = Buffer(5 * MIB)
    array = buffer.numpy(np.float32, (10, 100))[2:, ::2]
    gone = weakref.ref(buffer)
    del buffer
    array[...] = 1
    assert gone() is not None, "the array keeps the buffer"
    assert ALLOCATOR.statistics().allocated_bytes >= before + 5 * MIB
    del array
    assert gone() is None
    assert ALLOCATOR.statistics().allocated_bytes == before


def test_a_numpy_arrays_memory_is_shared_and_kept_alive() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    buffer = Buffer.from_numpy(array)
    assert (buffer.shared, buffer.nbytes, buffer.ptr) == (True, 48, array.ctypes.data)
    gone = weakref.ref(array)
    view = buffer.numpy(np.float32, (3, 4))
    view[1, 1] = 100
    assert array[1, 1] == 100
    del array, buffer
    assert gone() is not None
    del view
    assert gone() is None


def test_a_strided_array_spans_its_first_to_its_last_element() -> None:
    base = np.arange(24, dtype=np.int32).reshape(4, 6)
    part = base[1:, 1::2].T
    buffer = Buffer.from_numpy(part)
    assert buffer.nbytes == 2 * 24 + 2 * 8 + 4
    assert buffer.numpy(np.int32, part.shape, part.strides).tolist() == part.tolist()
    assert Buffer.from_numpy(base[:0]).nbytes == 0
    assert Buffer.from_numpy(np.array(3.0)).numpy(np.float64, ()).tolist() == 3.0


def test_arrays_torch_refuses_are_refused() -> None:
    with pytest.raises(ValueError, match="negative strides are not"):
        Buffer.from_numpy(np.arange(4)[::-1])
    fields = np.zeros(3, np.dtype([("a", "u1"), ("b", "<f4"), ("c", "u1", (2,))]))["b"]
    with pytest.raises(ValueError, match="not a multiple of the element byte size"):
        Buffer.from_numpy(fields)


def test_an_array_outside_of_the_buffer_is_refused() -> None:
    buffer = Buffer(64)
    assert buffer.numpy(np.float32, (4, 2), (4, 32), offset=4).shape == (4, 2)
    for shape, strides, offset in [((17,), None, 0), ((16,), None, 4), ((2,), (64,), 0), ((2,), None, -4), ((-1,), None, 0)]:
        with pytest.raises(ValueError, match="does not fit"):
            buffer.numpy(np.float32, shape, strides, offset)
    with pytest.raises(ValueError, match="strides"):
        buffer.numpy(np.float32, (2, 2), (4,))


def test_a_copy_has_the_same_bytes_in_other_memory() -> None:
    buffer = Buffer.from_numpy(np.arange(100))
    copy = buffer.copy()
    assert copy.ptr != buffer.ptr
    assert not copy.shared
    assert copy.numpy(np.int64, (100,)).tolist() == list(range(100))


def test_a_buffer_knows_whether_an_array_on_its_memory_is_alive() -> None:
    holder = [Buffer(8)]

    def held() -> bool:
        buffer = holder[0]
        return buffer.is_held_outside()

    assert not held()
    array = holder[0].numpy(np.int8, (8,))
    assert held()
    del array
    assert not held()
    for part in (slice(None), slice(1, None)):
        array = np.ones(4)
        holder[0] = Buffer.from_numpy(array[part])
        assert held()
        del array
        assert not held()
    holder[0] = Buffer.from_numpy(np.frombuffer(bytearray(8), np.uint8))
    assert held(), "memory of something else than NumPy's: who knows"
