"""From launches to PTX, with the cache on disk."""

from __future__ import annotations

import sys

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.launch import Launch
from lazytorch.config import config
from lazytorch.runtime.engine import engine
from lazytorch.runtime.kernel_cache import cache_key, generator_digest, kernel_cache
from lazytorch.runtime.kernels import kernel_text
from lazytorch.runtime.statistics import STATISTICS


def kernel_ptx(launch: Launch, target: GpuTarget) -> str:
    """The PTX module of a launch's kernel: from the cache, else compiled."""
    cache = kernel_cache()
    name = cache_key("ptx", launch.key, target.fingerprint, generator_digest())
    code = cache.get(name) if cache is not None else None
    if code is not None:
        return code.decode()
    ptx = engine().ptx(kernel_text(launch, target), target)
    if "compile" in config.log:
        print(f"lazytorch: compile: {launch.symbol} for {target.name}", file=sys.stderr)
    STATISTICS.kernels_compiled += 1
    if cache is not None:
        cache.put(name, ptx.encode())
    return ptx
