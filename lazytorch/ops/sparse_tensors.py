"""Sparse matrices in coordinate form, as far as products with dense matrices need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ops.creation import tensor_
from lazytorch.ops.recording import FUNCTIONS, attach, torch_function
from lazytorch.runtime.device import Device
from lazytorch.size import Size
from lazytorch.tensor import Tensor, from_array


class SparseTensor:
    """A tensor whose elements are 0 but for listed ones (torch.sparse_coo): no `Tensor`, it only takes part in products.

    indices: [dimensions, n] int64; values: [n]. An element that is listed several times is the sum of its values.
    """

    def __init__(self, indices: Tensor, values: Tensor, shape: Sequence[int], coalesced: bool = False) -> None:
        self._listed, self._numbers = indices, values
        self.shape = Size(shape)
        self._coalesced = coalesced

    is_sparse = True
    is_cuda = False
    requires_grad = property(lambda self: self._numbers.requires_grad)
    dtype = property(lambda self: self._numbers.dtype)
    device = property(lambda self: self._numbers.device)
    ndim = property(lambda self: len(self.shape))

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of a dimension."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def is_coalesced(self) -> bool:
        """Whether no element is listed twice, and all are in order."""
        return self._coalesced

    def coalesce(self) -> SparseTensor:
        """The same with every element listed once, in order; asks for the indices."""
        if self._coalesced:
            return self
        index = self._listed._array("coalesce()")
        flat = np.ravel_multi_index(tuple(index), tuple(self.shape)) if index.size else np.zeros(0, np.int64)
        distinct, place = np.unique(flat, return_inverse=True)
        rows = np.stack(np.unravel_index(distinct, tuple(self.shape))).astype(np.int64)
        zeros = FUNCTIONS["zeros"]((len(distinct),), dtype=self.dtype, device=self.device)
        values = zeros.index_add(0, from_array(place.astype(np.int64), dtypes.int64, zeros), self._numbers)
        return SparseTensor(from_array(rows, dtypes.int64, zeros), values, self.shape, coalesced=True)

    def indices(self) -> Tensor:
        """[dimensions, n] of a coalesced tensor."""
        self._check()
        return self._listed

    def values(self) -> Tensor:
        """[n] of a coalesced tensor."""
        self._check()
        return self._numbers

    def _check(self) -> None:
        if not self._coalesced:
            raise RuntimeError("Cannot get values on an uncoalesced tensor, please call .coalesce() first")

    def _indices(self) -> Tensor:
        return self._listed

    def _values(self) -> Tensor:
        return self._numbers

    def _nnz(self) -> int:
        return int(self._numbers.shape[0])

    def to_dense(self) -> Tensor:
        """The whole tensor."""
        flat = FUNCTIONS["zeros"](self.shape, dtype=self.dtype, device=self.device).reshape(-1)
        position = self._listed[0]
        for d in range(1, len(self.shape)):
            position = position * self.shape[d] + self._listed[d]
        return flat.index_add(0, position, self._numbers).reshape(self.shape)

    def t(self) -> SparseTensor:
        """The matrix transposed."""
        return SparseTensor(FUNCTIONS["flip"](self._listed, (0,)), self._numbers, tuple(reversed(self.shape)))

    def transpose(self, dim0: int, dim1: int) -> SparseTensor:
        """The matrix transposed."""
        if len(self.shape) != 2 or {dim0 % 2, dim1 % 2} != {0, 1}:
            raise NotImplementedError("only sparse matrices can be transposed")
        return self.t()

    def to(self, *arguments: Any, **keywords: Any) -> SparseTensor:
        """In another element type (there is only the CPU)."""
        return SparseTensor(self._listed, self._numbers.to(*arguments, **keywords), self.shape, self._coalesced)

    def float(self) -> SparseTensor:
        """In float32."""
        return self.to(dtypes.float32)

    def cpu(self) -> SparseTensor:
        """On the CPU."""
        return self

    def cuda(self, device: Any = None) -> SparseTensor:
        """Raises AssertionError: there is no CUDA device."""
        Device("cuda").check_usable()
        return self

    def detach(self) -> SparseTensor:
        """Without history."""
        return SparseTensor(self._listed, self._numbers.detach(), self.shape, self._coalesced)

    def mm(self, other: Tensor) -> Tensor:
        """The product with a dense matrix (or vector)."""
        if len(self.shape) != 2 or len(other.shape) not in (1, 2) or self.shape[1] != other.shape[0]:
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, self.shape))} and "
                f"{'x'.join(map(str, other.shape))})"
            )
        rows, columns = self._listed.unbind(0)
        numbers = self._numbers if len(other.shape) == 1 else self._numbers.unsqueeze(1)
        zeros = FUNCTIONS["zeros"]((self.shape[0], *other.shape[1:]), dtype=self.dtype, device=self.device)
        return zeros.index_add(0, rows, numbers * other[columns])

    matmul = mm
    __matmul__ = mm

    def __rmatmul__(self, other: Tensor) -> Tensor:
        """The product of a dense matrix with this one."""
        return self.t().mm(other.t()).t()

    def add(self, other: Any) -> SparseTensor:
        """The sum of two sparse tensors. Raises NotImplementedError for a dense one, as torch does."""
        if not isinstance(other, SparseTensor):
            raise NotImplementedError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        if self.shape != other.shape:
            raise RuntimeError(f"add: expected sizes of 'self' and 'other' to match, but {self.shape} != {other.shape}")
        cat = FUNCTIONS["cat"]
        return SparseTensor(
            cat([self._listed, other._listed], 1), cat([self._numbers, other._numbers]), self.shape
        ).coalesce()

    __add__ = add

    def __radd__(self, other: Tensor) -> Tensor:
        """A dense tensor plus this one: dense."""
        return other + self.to_dense()

    def __mul__(self, other: Any) -> SparseTensor:
        """Every element times a number."""
        if isinstance(other, SparseTensor) or (isinstance(other, Tensor) and other.shape):
            raise NotImplementedError("a sparse tensor is multiplied by numbers only")
        return SparseTensor(self._listed, self._numbers * other, self.shape, self._coalesced)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return (
            f"tensor(indices={self._listed!r},\n       values={self._numbers!r},\n       size={tuple(self.shape)}, "
            f"nnz={self._nnz()}, layout=torch.sparse_coo)"
        )


@torch_function("sparse_coo_tensor", method=False, out=False)
def sparse_coo_tensor(
    indices: Any,
    values: Any,
    size: Sequence[int] | None = None,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
    is_coalesced: bool | None = None,
) -> SparseTensor:
    """A sparse tensor of the values at the indices ([dimensions, n])."""
    listed = indices if isinstance(indices, Tensor) else tensor_(indices, dtype=dtypes.int64)
    numbers = values if isinstance(values, Tensor) else tensor_(values, dtype=dtype)
    numbers = numbers if dtype is None else numbers.to(dtype)
    if device is not None:
        Device(device).check_usable()
    if size is None:
        size = [int(n) + 1 for n in listed.amax(1).tolist()]
    if listed.shape[0] != len(size):
        raise RuntimeError(
            f"number of dimensions must be sparse_dim ({listed.shape[0]}) + dense_dim (0), but got {len(size)}"
        )
    if requires_grad:
        numbers = numbers.detach().requires_grad_()
    return SparseTensor(listed.to(dtypes.int64), numbers, tuple(size), bool(is_coalesced))


def _to_sparse(self: Tensor) -> SparseTensor:
    """The elements that are not 0, in coordinate form; asks for the values."""
    indices = FUNCTIONS["nonzero"](self)
    return SparseTensor(indices.t(), self[tuple(indices.unbind(1))], tuple(self.shape), coalesced=True)


def _to_dense(self: Tensor) -> Tensor:
    return self


attach("to_sparse", _to_sparse)
attach("to_dense", _to_dense)


@torch_function("spmm", method=False, out=False)
def spmm(input: Any, mat2: Tensor) -> Tensor:
    """The product of a sparse (or dense) matrix with a dense one."""
    return input.mm(mat2)
