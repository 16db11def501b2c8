"""Signal processing (torch.signal): window functions."""

from lazytorch.signal import windows

__all__ = ["windows"]
