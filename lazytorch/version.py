"""Versions (torch.version): the package's own, and what it is built for."""

from __future__ import annotations

__version__ = "0.1.0"
cuda: str | None = None
hip: str | None = None
debug = False
