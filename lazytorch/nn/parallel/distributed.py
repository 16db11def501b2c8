"""A module trained by several processes: not supported, and says so."""

from __future__ import annotations

from typing import Any

from lazytorch.nn.modules.module import Module


class DistributedDataParallel(Module):
    """Raises NotImplementedError, which says what to do."""

    def __init__(self, module: Module, *arguments: Any, **options: Any) -> None:
        raise NotImplementedError(
            "DistributedDataParallel is not supported: lazytorch runs in one process, on all its threads; use the module "
            "itself"
        )
