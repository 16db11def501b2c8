"""Modules on several devices (torch.nn.parallel); the only device is the CPU, where a module runs as it is."""

from lazytorch.nn.parallel.data_parallel import DataParallel, data_parallel

__all__ = ["DataParallel", "data_parallel"]
