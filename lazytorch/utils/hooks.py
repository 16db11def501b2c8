"""Handles of hooks (torch.utils.hooks)."""

from __future__ import annotations

from lazytorch.history import RemovableHandle

__all__ = ["RemovableHandle"]
