"""`torch.autograd.Variable`, the older name of a tensor that gradients may flow to."""

from __future__ import annotations

import warnings
from typing import Any

from lazytorch.tensor import Tensor


class _VariableMeta(type):
    """Every tensor is a Variable, and making one gives a tensor."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)

    def __call__(cls, data: Any = None, requires_grad: bool = False, volatile: bool | None = None) -> Tensor:
        if volatile is not None:
            warnings.warn(
                "volatile was removed and now has no effect. Use `with torch.no_grad():` instead.", UserWarning, stacklevel=2
            )
        if data is None:
            return Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        out = data.detach()
        return out.requires_grad_() if requires_grad else out


class Variable(metaclass=_VariableMeta):
    """`Variable(data, requires_grad=False)`: a tensor on the storage of `data`, without its history."""
