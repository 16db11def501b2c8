"""Utilities (torch.utils); `torch.utils.tensorboard` has to be imported by name, as in torch."""

from lazytorch.utils import benchmark, checkpoint, data

__all__ = ["benchmark", "checkpoint", "data"]
