"""What programs ask of the recorded graph (torch.autograd.graph)."""

from __future__ import annotations

from typing import Any, Self


class save_on_cpu:
    """Keep values for the backward in the CPU's memory within a block: they are there already."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        self.pin_memory = pin_memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *arguments: Any) -> None:
        pass


__all__ = ["save_on_cpu"]
