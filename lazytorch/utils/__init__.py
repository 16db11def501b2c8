"""Utilities (torch.utils); `torch.utils.tensorboard` has to be imported by name, as in torch."""

from lazytorch.utils import _pytree, benchmark, checkpoint, data, dlpack, hooks, model_zoo

__all__ = ["_pytree", "benchmark", "checkpoint", "data", "dlpack", "hooks", "model_zoo"]
