"""Utilities (torch.utils)."""

from lazytorch.utils import data

__all__ = ["data"]
