"""Versions (torch.version): of the API that programs find here, of the package itself, and what it is built for."""

from __future__ import annotations

package = "0.1.0"
"""The version of lazytorch."""
__version__ = f"2.13.0+lazytorch.{package}"
"""The version of PyTorch that is followed, which programs compare with the one they need."""
cuda: str | None = None
hip: str | None = None
debug = False
