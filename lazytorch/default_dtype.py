"""The element type of new floating tensors."""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.dtypes import DType

_default = [dtypes.float32]


def default_dtype() -> DType:
    """The dtype of new floating tensors (torch.get_default_dtype)."""
    return _default[0]


def set_default_dtype(dtype: DType) -> None:
    """Change the dtype of new floating tensors."""
    if not dtype.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    _default[0] = dtype
