"""Modules on several devices (torch.nn.parallel); the only device is the CPU, where a module runs as it is."""

from lazytorch.nn.parallel.data_parallel import DataParallel, data_parallel
from lazytorch.nn.parallel.distributed import DistributedDataParallel

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]
