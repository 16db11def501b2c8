"""`torch.backends.cuda`: whether products of float32 may be less precise on GPUs. The other switches keep what is
assigned to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lazytorch.config import config


class _Matmul:
    """How CUDA devices multiply matrices."""

    def __init__(self) -> None:
        self.allow_fp16_reduced_precision_reduction = True
        self.allow_bf16_reduced_precision_reduction = True

    @property
    def allow_tf32(self) -> bool:
        """Whether products of float32 may take the upper 10 bits of the fractions, as matrix instructions do."""
        return config.tf32

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        config.tf32 = bool(allowed)

    @property
    def fp32_precision(self) -> str:
        """The same as a word: `tf32`, `ieee`, or `none` (the default)."""
        return "tf32" if config.tf32 else "none"

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        if precision not in ("tf32", "ieee", "none"):
            raise RuntimeError(f"Invalid precision: {precision}")
        config.tf32 = precision == "tf32"


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
