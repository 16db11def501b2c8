"""Optimizers: each step is one recorded operation over all parameters (torch.optim)."""

from lazytorch.optim import lr_scheduler, swa_utils
from lazytorch.optim.adam import Adam, AdamW
from lazytorch.optim.adaptive import ASGD, Adadelta, Adagrad, Adamax, NAdam, RAdam, RMSprop, Rprop
from lazytorch.optim.lbfgs import LBFGS
from lazytorch.optim.optimizer import SGD, Optimizer
from lazytorch.optim.per_parameter import Adafactor, Muon, SparseAdam

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
    "lr_scheduler",
    "swa_utils",
]
