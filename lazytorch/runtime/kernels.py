"""Compiled kernels by structure: in memory, then in the cache on disk, else compiled."""

from __future__ import annotations

import sys

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
    key = (launch.key, target.fingerprint)
    found = _loaded.get(key)
    if found is not None:
        return found
    runner()
    cache = kernel_cache()
    name = cache_key(launch.key, target.fingerprint, generator_digest())
    code = cache.get(name) if cache is not None else None
    if "cache" in config.log:
        print(f"lazytorch: cache: {launch.symbol} {'missed' if code is None else 'found'}", file=sys.stderr)
    if code is None:
        code = engine().object_code(kernel_text(launch, target), target)
        if "compile" in config.log:
            print(f"lazytorch: compile: {launch.symbol} for {target.name}", file=sys.stderr)
        STATISTICS.kernels_compiled += 1
        if cache is not None:
            cache.put(name, code)
    loaded = engine().load(code, (launch.symbol,))
    found = _loaded[key] = (loaded[launch.symbol], loaded)
    return found
