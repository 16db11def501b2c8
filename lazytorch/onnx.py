"""torch.onnx: models are not exported to ONNX; a function of IR text can be written as StableHLO."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["export", "is_in_onnx_export"]


def is_in_onnx_export() -> bool:
    """Whether an export is under way: never."""
    return False


def export(*arguments: Any, **keywords: Any) -> NoReturn:
    """Raises NotImplementedError, which says what to use."""
    raise NotImplementedError(
        "torch.onnx.export is not supported. To take a model elsewhere, save its state_dict() with torch.save or "
        "safetensors; `python -m lazytorch translate` writes recorded programs as StableHLO"
    )


def __getattr__(name: str) -> Any:
    """Everything else is missing."""
    raise AttributeError(f"module 'torch.onnx' has no attribute {name!r}: lazytorch does not export to ONNX")
