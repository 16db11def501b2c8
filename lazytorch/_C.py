"""The few names of torch._C that programs use."""

from __future__ import annotations

from lazytorch.autograd.modes import is_grad_enabled, set_grad_enabled
from lazytorch.errors import LinAlgError as _LinAlgError
from lazytorch.ops.sampling import Generator

__all__ = ["Generator", "_LinAlgError", "is_grad_enabled", "set_grad_enabled"]
