"""What the machine can do at most, measured when asked for: fused multiply-adds per second, and bytes per second.

The kernels are ours, as simple as they can be: so many independent chains of multiply-adds that the units never wait, and
plain loads or copies of memory of a given size.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from lazytorch import dtypes
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.launch import Launch
from lazytorch.codegen.target import current_target
from lazytorch.ir.core import Operation
from lazytorch.ir.dialects import arith
from lazytorch.runtime.kernels import kernel_address

CHAINS = 12
"""Independent chains of multiply-adds: more than the latency times the units of any CPU, and they fit in 16 registers."""
STEPS = 1 << 18
REPEATS = 9
VECTORS = 8
"""Vectors that are read or copied per iteration."""
SMALLEST = 1 << 20
LARGEST = 1 << 28


@cache
def fma_peak(threads: int) -> float:
    """f32 operations per second (a multiply-add is two) of so many threads."""
    lanes = current_target().lanes(4)
    out = np.zeros(lanes * CHAINS * threads, np.float32)
    kernel = _compiled("roofline_fma", _multiply_adds)
    seconds = _best(kernel, [(out.ctypes.data + 4 * lanes * CHAINS * t, STEPS) for t in range(threads)])
    return 2.0 * lanes * CHAINS * STEPS * threads / seconds


@cache
def bandwidth(nbytes: int, threads: int, writing: bool = False) -> float:
    """Bytes per second of memory that holds `nbytes` altogether: read, or (`writing`) half read and half written."""
    count = _power_of_two(nbytes) // 4 // threads
    lanes = current_target().lanes(4)
    memory = np.ones(count * threads + 16, np.float32)
    base = memory.ctypes.data + (-memory.ctypes.data) % 64
    kernel = _compiled("roofline_copy", _copy) if writing else _compiled("roofline_read", _read)
    half = count // 2
    out = np.zeros(lanes * threads + 16, np.float32)
    arguments = [
        (base + 4 * count * t, base + 4 * (count * t + half), half)
        if writing
        else (base + 4 * count * t, out.ctypes.data + 4 * lanes * t, count)
        for t in range(threads)
    ]
    return 4.0 * count * threads / _best(kernel, arguments)


def _power_of_two(nbytes: int) -> int:
    """The size that stands for it: what is in the same cache has the same bandwidth."""
    return min(max(1 << (nbytes - 1).bit_length(), SMALLEST), LARGEST)


def _best(kernel: Callable[[tuple[int, ...]], None], arguments: Sequence[tuple[int, ...]]) -> float:
    """Seconds of the fastest of several runs, of which every one takes some milliseconds at least."""
    with ThreadPoolExecutor(len(arguments)) as pool:

        def run() -> None:
            if len(arguments) == 1:
                kernel(arguments[0])
            else:
                list(pool.map(kernel, arguments))

        clock = time.thread_time if len(arguments) == 1 else time.perf_counter
        run()
        start = clock()
        run()
        count = max(1, int(0.004 / max(clock() - start, 1e-7)))
        found = float("inf")
        for _ in range(REPEATS):
            start = clock()
            for _ in range(count):
                run()
            found = min(found, (clock() - start) / count)
    return found


@cache
def _compiled(name: str, build: Callable[[KernelBuilder, int], None]) -> Callable[[tuple[int, ...]], None]:
    target = current_target()

    def module() -> Operation:
        k = KernelBuilder(name)
        build(k, target.lanes(4))
        return k.finish()

    address, code = kernel_address(Launch(name, name, module, []), target)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)

    def call(arguments: tuple[int, ...], code: object = code) -> None:
        function((ctypes.c_int64 * len(arguments))(*arguments), 0, 1)

    return call


def _multiply_adds(k: KernelBuilder, lanes: int) -> None:
    out, steps = k.buffer(dtypes.float32, (1,), "out"), k.index_argument("steps")
    factor = k.load(out, 0, lanes=lanes)
    with k.carry(0, steps, 1, [factor] * CHAINS) as state:
        state.next(*[arith.fma(value, factor, factor) for value in state.carried])
    for i, value in enumerate(state.results):
        k.store(value, out, i * lanes)


def _read(k: KernelBuilder, lanes: int) -> None:
    source, out = k.buffer(dtypes.float32, (1,), "source"), k.buffer(dtypes.float32, (1,), "out")
    count = k.index_argument("count")
    zero = k.splat(0.0, dtypes.float32, lanes)
    with k.carry(0, count, VECTORS * lanes, [zero] * VECTORS) as state:
        loaded = [k.load(source, k.add(state.index, v * lanes), lanes=lanes, aligned=True) for v in range(VECTORS)]
        state.next(*[arith.add(a, b) for a, b in zip(state.carried, loaded, strict=True)])
    total = state.results[0]
    for value in state.results[1:]:
        total = arith.add(total, value)
    k.store(total, out, 0)


def _copy(k: KernelBuilder, lanes: int) -> None:
    source, out = k.buffer(dtypes.float32, (1,), "source"), k.buffer(dtypes.float32, (1,), "out")
    count = k.index_argument("count")
    with k.loop(0, count, VECTORS * lanes) as at:
        for v in range(VECTORS):
            place = k.add(at, v * lanes)
            k.store(k.load(source, place, lanes=lanes, aligned=True), out, place, aligned=True)
