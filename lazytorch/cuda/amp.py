"""`torch.cuda.amp`: the older names of `torch.amp` for CUDA devices."""

from __future__ import annotations

from typing import Any

from lazytorch import amp


class GradScaler(amp.GradScaler):
    """`torch.amp.GradScaler("cuda")`: without CUDA it warns and passes everything through, as torch's."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__("cuda", *arguments, **keywords)


class autocast(amp.autocast):
    """`torch.autocast("cuda")`: without CUDA it warns and does nothing, as torch's."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__("cuda", *arguments, **keywords)


__all__ = ["GradScaler", "autocast"]
