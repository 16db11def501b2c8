"""Event files for TensorBoard (torch.utils.tensorboard)."""

from lazytorch.utils.tensorboard.writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "SummaryWriter"]
