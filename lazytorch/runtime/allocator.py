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
_PAGE_ALIGNED_FROM = 16 * _PAGE
_MOST_REQUESTS = 4096
_HUGE_PAGE = 2 * 1024 * 1024
_MADV_HUGEPAGE = 14


@dataclass(frozen=True)
class AllocatorStatistics:
    """Bytes in use, bytes held (in use or idle), the most that was in use, and how requests were served."""

    allocated_bytes: int
    reserved_bytes: int
    peak_allocated_bytes: int
    hits: int
    misses: int

    @property
    def requests(self) -> int:
        """All allocations so far."""
        return self.hits + self.misses


class Allocator:
    """Blocks of memory by address. Any thread may call it: each step on shared state is one the GIL keeps whole."""

    __slots__ = (
        "_aligned_alloc",
        "_allocated",
        "_free",
        "_free_lists",
        "_hits",
        "_idle_limit",
        "_madvise",
        "_misses",
        "_peak",
        "_requests",
        "_reserved",
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
        self._requests: dict[int, tuple[int, list[int]]] = {}
        self._idle_limit = idle_limit
        self._allocated = self._reserved = self._peak = self._hits = self._misses = 0

    def allocate(self, nbytes: int) -> int:
        """The address of a block of at least `nbytes` bytes, whose contents are undefined.

        Raises OutOfMemoryError, with torch's message, when the system has no memory for it.
        """
        try:
            size, free = self._requests[nbytes]
        except KeyError:
            size, free = self._request(nbytes)
        try:
            address = free.pop()
            self._hits += 1
        except IndexError:
            address = self._reserve(size, nbytes)
        self._allocated += size
        if self._allocated > self._peak:
            self._peak = self._allocated
        return address

    def release(self, address: int, nbytes: int) -> None:
        """Take back the block that `allocate(nbytes)` returned."""
        try:
            size, free = self._requests[nbytes]
        except KeyError:
            size, free = self._request(nbytes)
        self._allocated -= size
        if size >= _PAGE_ALIGNED_FROM and self._reserved - self._allocated > self._idle_limit:
            self._reserved -= size
            self._free(address)
        else:
            free.append(address)

    def empty_cache(self) -> None:
        """Give all idle blocks back to the system."""
        for size, addresses in list(self._free_lists.items()):
            while addresses:
                try:
                    address = addresses.pop()
                except IndexError:  # another thread took the last one
                    break
                self._reserved -= size
                self._free(address)

    def statistics(self) -> AllocatorStatistics:
        """The counts up to now."""
        return AllocatorStatistics(self._allocated, self._reserved, self._peak, self._hits, self._misses)

    def reset_peak(self) -> None:
        """Count `peak_allocated_bytes` from what is in use now."""
        self._peak = self._allocated

    def _request(self, nbytes: int) -> tuple[int, list[int]]:
        """The block size for a request and that size's free list, remembered: programs ask for the same sizes again."""
        if len(self._requests) >= _MOST_REQUESTS:
            self._requests.clear()
        size = block_size(nbytes)
        request = self._requests[nbytes] = (size, self._free_lists.setdefault(size, []))
        return request

    def _reserve(self, size: int, nbytes: int) -> int:
        """A block of `size` bytes from the system; `nbytes`, what was asked for, is for the message."""
        if size >= _HUGE_PAGE:
            alignment = _HUGE_PAGE
        elif size >= _PAGE_ALIGNED_FROM:
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
