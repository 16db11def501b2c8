"""Mixed precision (torch.amp): `autocast`, and the gradient scaler.

Without a CUDA device, `autocast("cuda")` and `GradScaler("cuda")` warn and do nothing, as in torch.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.trace import STATE
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.runtime.device import Device
from lazytorch.tensor import Tensor


class autocast:
    """A block (or function) in which products are computed in a narrower type, where the device does that."""

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        self.device = Device(device_type).type
        self.fast_dtype = dtype or (dtypes.bfloat16 if self.device == "cpu" else dtypes.float16)
        if enabled and self.device == "cuda" and not _cuda_is_there():
            warnings.warn("CUDA is not available. Disabling autocast.", UserWarning, stacklevel=2)
            enabled = False
        if enabled and self.device == "cpu" and self.fast_dtype not in (dtypes.bfloat16, dtypes.float16):
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\nCPU Autocast only supports "
                "dtype of torch.bfloat16, torch.float16 currently.",
                UserWarning,
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._outer: list[dict[str, DType] | None] = []

    def __enter__(self) -> Self:
        trace = STATE.trace
        self._outer.append(trace.autocast)
        types = {kind: dtype for kind, dtype in (trace.autocast or {}).items() if kind != self.device}
        if self._enabled:
            types[self.device] = self.fast_dtype
        trace.autocast = types or None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        STATE.trace.autocast = self._outer.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            with self:
                return function(*arguments, **keywords)

        return call


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` does something on a kind of device."""
    return device_type == "cpu" or (device_type == "cuda" and _cuda_is_there())


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether an `autocast` block that does something is open; of CUDA unless the device is named."""
    return (device_type or "cuda") in (STATE.trace.autocast or {})


def get_autocast_dtype(device_type: str) -> DType:
    """The narrow type of the open `autocast` block for a kind of device, else its default one."""
    default = dtypes.float16 if device_type == "cuda" else dtypes.bfloat16
    return (STATE.trace.autocast or {}).get(device_type, default)


def _cuda_is_there() -> bool:
    from lazytorch.runtime.cuda.device import devices  # what belongs to GPUs is loaded when one is asked for

    return bool(devices())


class GradScaler:
    """Multiplies losses by a large number, so that narrow gradients do not vanish, and divides it out again.

    A step whose gradients hold an inf or nan is left out, and the scale is reduced; after `growth_interval` good steps
    it grows. Disabled (as it is for CUDA without a device) it passes everything through.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if enabled and Device(device).type == "cuda" and not _cuda_is_there():
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", UserWarning, stacklevel=2
            )
            enabled = False
        self._enabled = enabled
        self._scale = float(init_scale)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._unscaled: dict[int, bool] = {}  # per optimizer: whether its gradients held an inf or nan

    def is_enabled(self) -> bool:
        """Whether it scales."""
        return self._enabled

    def get_scale(self) -> float:
        """The present factor."""
        return self._scale if self._enabled else 1.0

    def scale(self, outputs: Any) -> Any:
        """The losses (a tensor or nested sequences of them) times the factor."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        return type(outputs)([self.scale(output) for output in outputs])

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the factor, to clip them, say."""
        if not self._enabled:
            return
        if id(optimizer) in self._unscaled:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        for grad in grads:
            grad.mul_(1.0 / self._scale)
        finite = [FUNCTIONS["isfinite"](grad).all() for grad in grads]
        self._unscaled[id(optimizer)] = not all(bool(flag) for flag in finite)

    def step(self, optimizer: Any, *arguments: Any, **keywords: Any) -> Any:
        """`optimizer.step()`, unless the gradients held an inf or nan."""
        if not self._enabled:
            return optimizer.step(*arguments, **keywords)
        if id(optimizer) not in self._unscaled:
            self.unscale_(optimizer)
        return None if self._unscaled[id(optimizer)] else optimizer.step(*arguments, **keywords)

    def update(self, new_scale: Any = None) -> None:
        """Adjust the factor after a step."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif any(self._unscaled.values()):
            self._scale *= self._backoff_factor
            self._growth_tracker = 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                self._scale *= self._growth_factor
                self._growth_tracker = 0
        self._unscaled = {}

    def state_dict(self) -> dict[str, Any]:
        """The factor and how it changes; empty when disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._scale, self._growth_factor = state_dict["scale"], state_dict["growth_factor"]
        self._backoff_factor, self._growth_interval = state_dict["backoff_factor"], state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]
