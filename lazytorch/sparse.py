"""Sparse matrices (torch.sparse), as far as products with dense matrices need them."""

from __future__ import annotations

from typing import Any

from lazytorch import dtypes
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.ops.sparse_tensors import SparseTensor, sparse_coo_tensor, spmm
from lazytorch.tensor import Tensor

mm = spmm


class FloatTensor:
    """`torch.sparse.FloatTensor(indices, values, size)`: the older name of `torch.sparse_coo_tensor`."""

    def __new__(cls, indices: Tensor, values: Tensor, size: Any = None) -> Any:
        """The sparse tensor, of float32."""
        return sparse_coo_tensor(indices, values, size, dtype=dtypes.float32)


def sum(input: SparseTensor, dim: Any = None) -> Tensor:
    """The sum of all elements, or over dimensions as a dense tensor."""
    return input._values().sum() if dim is None else FUNCTIONS["sum"](input.to_dense(), dim)


__all__ = ["FloatTensor", "mm", "sum"]
