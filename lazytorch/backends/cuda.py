"""`torch.backends.cuda`: CUDA is not used. The switches keep what is assigned to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Matmul:
    """How a CUDA device would multiply matrices."""

    def __init__(self) -> None:
        self.allow_tf32 = False
        self.allow_fp16_reduced_precision_reduction = True
        self.allow_bf16_reduced_precision_reduction = True
        self.fp32_precision = "none"


matmul = _Matmul()


def is_built() -> bool:
    """Whether there is code for CUDA devices."""
    return False


@contextmanager
def sdp_kernel(*arguments: Any, **keywords: Any) -> Iterator[None]:
    """Choose how a CUDA device would compute attention: nothing to choose."""
    yield


def _switch(name: str) -> Any:
    state = [True]

    def enable(enabled: bool) -> None:
        state[0] = bool(enabled)

    def is_enabled() -> bool:
        return state[0]

    enable.__doc__ = f"Set the switch `{name}`."
    is_enabled.__doc__ = f"Read the switch `{name}`."
    return enable, is_enabled


enable_flash_sdp, flash_sdp_enabled = _switch("flash_sdp")
enable_mem_efficient_sdp, mem_efficient_sdp_enabled = _switch("mem_efficient_sdp")
enable_math_sdp, math_sdp_enabled = _switch("math_sdp")
