"""A module over a batch split among GPUs; without any, the module itself, as in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch.nn.modules.module import Module
from lazytorch.runtime.device import Device


class DataParallel(Module):
    """Calls its module. Raises the device's error when GPUs are asked for."""

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        if device_ids:
            Device("cuda").check_usable()
        self.module = module
        self.device_ids: list[Any] = []
        self.dim = dim

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        return self.module(*inputs, **keywords)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """One call of a `DataParallel` module."""
    if device_ids:
        Device("cuda").check_usable()
    given = inputs if isinstance(inputs, tuple) else (inputs,) if inputs is not None else ()
    return module(*given, **(module_kwargs or {}))
