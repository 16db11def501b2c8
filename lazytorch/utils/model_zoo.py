"""Weights from the network (torch.utils.model_zoo): nothing is downloaded here."""

from __future__ import annotations

from typing import Any


def load_url(url: str, *args: Any, **kwargs: Any) -> Any:
    """Raises NotImplementedError: download the file yourself and read it with torch.load."""
    raise NotImplementedError(f"lazytorch downloads nothing: fetch {url} yourself and read it with torch.load")
