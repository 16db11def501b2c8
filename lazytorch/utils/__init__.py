"""Utilities (torch.utils)."""

from lazytorch.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
