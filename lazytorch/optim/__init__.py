"""Optimizers: each step is one recorded operation over all parameters (torch.optim)."""

from lazytorch.optim.optimizer import SGD, Adam, AdamW, Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
