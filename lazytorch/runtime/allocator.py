"""Host memory for tensors: freed blocks are kept by size and handed out again.

The C library gives large blocks back to the system at once, and touching fresh pages costs several times what
computing on them does; so nothing is given back until `empty_cache()`, or until more than a quarter of the machine's
memory lies idle.

Sizes are rounded up to one of eight steps between powers of two (at most an eighth is wasted), so that blocks fit later
requests. Every block starts at a multiple of 64 bytes, one of 2 MiB or more at a huge page.
"""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass

from lazytorch.errors import OutOfMemoryError

ALIGNMENT = 64
"""Every block's address is a multiple of this: a cache line, and the widest vector."""

_SMALLEST_SHIFT = 6  # sizes are multiples of 1 << 6 = ALIGNMENT
_PAGE = 4096
LARGE = 16 * _PAGE
"""Bytes from which blocks are counted one by one, begin at a page, and may go back to the system."""
_MOST_REQUESTS = 4096
_HUGE_PAGE = 2 * 1024 * 1024
_MADV_HUGEPAGE = 14


@dataclass(frozen=True)
class AllocatorStatistics:
    """Bytes in use, bytes held (in use or idle), the most that was held, and how many blocks came from the system."""

    allocated_bytes: int
    reserved_bytes: int
    peak_reserved_bytes: int
    misses: int


class Allocator:
    """Blocks of memory by address. Any thread may call it: each step on shared state is one the GIL keeps whole."""

    __slots__ = (
        "_aligned_alloc",
        "_free",
        "_free_lists",
        "_idle_large",
        "_idle_limit",
        "_madvise",
        "_misses",
        "_peak",
        "_reserved",
        "small",
    )

    def __init__(self, idle_limit: int) -> None:
        """`idle_limit`: bytes of freed blocks to keep at most."""
        library = ctypes.CDLL(None)
        self._aligned_alloc = library.aligned_alloc
        self._aligned_alloc.restype = ctypes.c_void_p
        self._aligned_alloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
        self._free = library.free
        self._free.restype = None
        self._free.argtypes = (ctypes.c_void_p,)
        self._madvise = library.madvise
        self._madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        self._free_lists: dict[int, list[int]] = {}
        self.small: dict[int, list[int]] = {}
        """Idle blocks by requested size, for sizes below LARGE: who finds one here may take it (runtime.Buffer does, many
        times per step), and must bring it back here or to `release`."""
        self._idle_limit = idle_limit
        self._reserved = self._idle_large = self._peak = self._misses = 0

    def allocate(self, nbytes: int) -> int:
        """The address of a block of at least `nbytes` bytes, whose contents are undefined.

        Raises OutOfMemoryError, with torch's message, when the system has no memory for it.
        """
        size = block_size(nbytes)
        free = self._list(size, nbytes)
        try:
            address = free.pop()
        except IndexError:
            return self._reserve(size, nbytes)
        if size >= LARGE:
            self._idle_large -= size
        return address

    def release(self, address: int, nbytes: int) -> None:
        """Take back the block that `allocate(nbytes)` returned."""
        size = block_size(nbytes)
        if size < LARGE:
            self._list(size, nbytes).append(address)
        elif self._idle_large + size > self._idle_limit:
            self._reserved -= size
            self._free(address)
        else:
            self._idle_large += size
            self._list(size, nbytes).append(address)

    def empty_cache(self) -> None:
        """Give all idle blocks back to the system."""
        for size, addresses in list(self._free_lists.items()):
            while addresses:
                try:
                    address = addresses.pop()
                except IndexError:  # another thread took the last one
                    break
                self._reserved -= size
                if size >= LARGE:
                    self._idle_large -= size
                self._free(address)

    def statistics(self) -> AllocatorStatistics:
        """The counts up to now."""
        idle = sum(size * len(addresses) for size, addresses in list(self._free_lists.items()))
        return AllocatorStatistics(self._reserved - idle, self._reserved, self._peak, self._misses)

    def reset_peak(self) -> None:
        """Count `peak_reserved_bytes` from what is held now."""
        self._peak = self._reserved

    def _list(self, size: int, nbytes: int) -> list[int]:
        """The idle blocks of a size, remembered by request where it is small: programs ask for the same sizes again."""
        free = self._free_lists.setdefault(size, [])
        if size < LARGE:
            if len(self.small) >= _MOST_REQUESTS:
                self.small.clear()
            self.small[nbytes] = free
        return free

    def _reserve(self, size: int, nbytes: int) -> int:
        """A block of `size` bytes from the system; `nbytes`, what was asked for, is for the message."""
        if size >= _HUGE_PAGE:
            alignment = _HUGE_PAGE
        elif size >= LARGE:
            alignment = _PAGE
        else:
            alignment = ALIGNMENT
        address: int | None = self._system_block(alignment, size)
        if address is None:
            self.empty_cache()
            address = self._system_block(alignment, size)
        if address is None:
            raise OutOfMemoryError(
                f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {nbytes} bytes. "
                f"Error code {errno.ENOMEM} ({os.strerror(errno.ENOMEM)})"
            ) from None
        if alignment == _HUGE_PAGE:
            self._madvise(address, size, _MADV_HUGEPAGE)  # advice: nothing is lost where the system does not take it
        self._misses += 1
        self._reserved += size
        self._peak = max(self._peak, self._reserved)
        return address

    def _system_block(self, alignment: int, size: int) -> int | None:
        address: int | None = self._aligned_alloc(alignment, size) if size <= _LARGEST else None
        return address


_LARGEST = 2**63 - 1


def block_size(nbytes: int) -> int:
    """The bytes that a request for `nbytes` takes, as `Allocator.allocate` rounds it.

    >>> block_size(1), block_size(65), block_size(1000), block_size(9000)
    (64, 128, 1024, 9216)
    """
    if nbytes <= 0:
        return ALIGNMENT
    shift = max(_SMALLEST_SHIFT, (nbytes - 1).bit_length() - 4)
    return ((nbytes - 1 >> shift) + 1) << shift


def _quarter_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


ALLOCATOR = Allocator(_quarter_of_memory())
"""The process's allocator of host memory."""
