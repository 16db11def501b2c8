"""Neural networks: modules, parameters, functions (torch.nn)."""

from lazytorch.nn import functional, init, modules, parallel, parameter, utils
from lazytorch.nn.modules import *  # noqa: F403  # its __all__ is the list of modules
from lazytorch.nn.parallel import DataParallel
from lazytorch.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "functional",
    "init",
    "modules",
    "parallel",
    "parameter",
    "utils",
]
__all__ += modules.__all__
