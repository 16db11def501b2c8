"""`torch.backends.mkldnn`: oneDNN is not used."""

from __future__ import annotations


def is_available() -> bool:
    """Whether oneDNN is used."""
    return False


enabled: bool = True
