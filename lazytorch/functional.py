"""torch.functional: where some functions of the main namespace come from."""

from __future__ import annotations

from lazytorch.nn import functional as F
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.tensor import Tensor

_NAMES = """
atleast_1d atleast_2d atleast_3d broadcast_shapes broadcast_tensors cartesian_prod block_diag cdist chain_matmul einsum norm
meshgrid split tensordot unique unique_consecutive unravel_index
"""
globals().update({name: FUNCTIONS[name] for name in _NAMES.split()})
__all__ = ["F", "Tensor"]
__all__ += _NAMES.split()
