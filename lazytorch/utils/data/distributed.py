"""Shares of a dataset for several processes (torch.utils.data.distributed)."""

from lazytorch.utils.data.sampler import DistributedSampler

__all__ = ["DistributedSampler"]
