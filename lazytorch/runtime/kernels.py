"""Compiled kernels by structure: in memory, then in the cache on disk, else compiled."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.launch import Launch
from lazytorch.codegen.llvm import lower
from lazytorch.codegen.math import expand_math
from lazytorch.codegen.target import Target
from lazytorch.config import config
from lazytorch.ir.core import Operation
from lazytorch.ir.verifier import verify
from lazytorch.runtime.engine import LoadedCode, engine
from lazytorch.runtime.kernel_cache import cache_key, generator_digest, kernel_cache
from lazytorch.runtime.runner import runner
from lazytorch.runtime.statistics import STATISTICS

MOST_WORKERS = 8
"""Threads that compile kernels at the same time."""

_loaded: dict[tuple[str, str], tuple[int, LoadedCode]] = {}


def kernel_module(launch: Launch) -> Operation:
    """The launch's loop kernel with math functions expanded, ready to be lowered."""
    assert launch.build is not None, "a host step has no kernel"
    module = launch.build()
    if config.verify:
        verify(module)
    expand_math(module)
    if config.verify:
        verify(module)
    return module


def kernel_text(launch: Launch, target: Target | GpuTarget) -> str:
    """The LLVM text of the launch's kernel."""
    return lower(kernel_module(launch), target)


def kernel_address(launch: Launch, target: Target) -> tuple[int, LoadedCode]:
    """The address of the launch's compiled kernel, and the code that must be kept alive as long as it is used."""
    found = _loaded.get((launch.key, target.fingerprint))
    if found is None:
        code = _stored(launch, target)
        found = _load(launch, target, _compiled(launch, target) if code is None else code)
    return found


def compile_together(launches: Sequence[Launch], target: Target) -> None:
    """Load the kernels of a program; those that no cache has are compiled side by side, one on each processor.

    Python writes the text of one kernel while LLVM works on others: it needs no lock of Python's.
    """
    kernels = {launch.key: launch for launch in launches if launch.host is None}
    missing = []
    for key, launch in kernels.items():
        if (key, target.fingerprint) not in _loaded:
            code = _stored(launch, target)
            if code is None:
                missing.append(launch)
            else:
                _load(launch, target, code)
    workers = min(len(missing), len(os.sched_getaffinity(0)), MOST_WORKERS)
    if workers < 2:
        return  # the kernel that is left, if any, is compiled when its address is asked for
    texts: SimpleQueue[tuple[int, str] | None] = SimpleQueue()
    codes: list[Any] = [None] * len(missing)

    def work() -> None:
        while (job := texts.get()) is not None:
            try:
                codes[job[0]] = engine().compile(job[1], target)
            except Exception as error:  # raised below, in the thread that asked
                codes[job[0]] = error

    threads = [threading.Thread(target=work, name="lazytorch compiler", daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for number, launch in enumerate(missing):
            texts.put((number, kernel_text(launch, target)))
    finally:
        for _ in threads:
            texts.put(None)
        for thread in threads:
            thread.join()
    for launch, code in zip(missing, codes, strict=True):
        if isinstance(code, Exception):
            raise code
        _keep(launch, target, code)
        _load(launch, target, code)


def _name(launch: Launch, target: Target) -> str:
    return cache_key(launch.key, target.fingerprint, generator_digest())


def _stored(launch: Launch, target: Target) -> bytes | None:
    """The kernel's object code in the cache on disk."""
    cache = kernel_cache()
    code = cache.get(_name(launch, target)) if cache is not None else None
    if "cache" in config.log:
        print(f"lazytorch: cache: {launch.symbol} {'missed' if code is None else 'found'}", file=sys.stderr)
    return code


def _compiled(launch: Launch, target: Target) -> bytes:
    code = engine().compile(kernel_text(launch, target), target)
    _keep(launch, target, code)
    return code


def _keep(launch: Launch, target: Target, code: bytes) -> None:
    """Count and store a kernel that was just compiled."""
    if "compile" in config.log:
        print(f"lazytorch: compile: {launch.symbol} for {target.name}", file=sys.stderr)
    STATISTICS.kernels_compiled += 1
    cache = kernel_cache()
    if cache is not None:
        cache.put(_name(launch, target), code)


def _load(launch: Launch, target: Target, code: bytes) -> tuple[int, LoadedCode]:
    runner()
    loaded = engine().load(code, (launch.symbol,))
    found = _loaded[launch.key, target.fingerprint] = (loaded[launch.symbol], loaded)
    return found
