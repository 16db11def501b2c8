"""Diagonals, triangles and products of vectors and matrices that are no plain matrix product."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.default_dtype import default_dtype
from lazytorch.dtypes import DType
from lazytorch.ir.dialects import tensor, tensor_strided
from lazytorch.ir.trace import Node
from lazytorch.ops.products import combined, matmul, require_one_type
from lazytorch.ops.recording import (
    FUNCTIONS,
    dimension,
    emit,
    place,
    result,
    same_type,
    torch_function,
    view,
)
from lazytorch.tensor import Tensor, from_array, value


@torch_function("diagonal", out=False)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dimensions as a view; it becomes the last dimension."""
    rank = len(input.shape)
    first, second = dimension(dim1, rank), dimension(dim2, rank)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rest = [d for d in range(rank) if d not in (first, second)]
    moved = FUNCTIONS["permute"](input, [*rest, first, second])
    return view(moved, tensor_strided.diagonal.operator(offset=int(offset)))


@torch_function("diag_embed", out=False)
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with the last dimension on a diagonal and zeros elsewhere."""
    rank = len(input.shape) + 1
    first, second = dimension(dim1, rank), dimension(dim2, rank)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    place()
    size = input.shape[-1] + abs(offset)
    node = tensor_strided.embed_diagonal(value(input), size, size, offset)
    rest = iter(range(rank - 2))
    order = tuple([rank - 2 if d == first else rank - 1 if d == second else next(rest) for d in range(rank)])
    return result(emit(tensor.permute, node, label="DiagEmbed", order=order))


@torch_function("diag", out="same")
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix with a vector on its diagonal, or a copy of a matrix's diagonal."""
    if len(input.shape) == 1:
        return diag_embed(input, diagonal)
    if len(input.shape) != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {len(input.shape)}D")
    return FUNCTIONS["clone"](_diagonal(input, diagonal))


_diagonal = diagonal


@torch_function("diagflat", out=False)
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements on a diagonal."""
    return diag_embed(input.reshape(-1), offset)


@torch_function("trace", out=False)
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if len(input.shape) != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {len(input.shape)}")
    return _diagonal(input).sum()


def _triangle_indices(name: str, function: Any) -> None:
    def indices(row: int, col: int, offset: int = 0, *, dtype: DType | None = None, device: Any = None, **_: Any) -> Tensor:
        found = np.stack(function(row, offset, col)).astype(np.int64)
        return from_array(found, dtypes.int64).to(dtype or dtypes.int64)

    indices.__name__ = name
    indices.__doc__ = f"[2, n]: rows and columns of the elements that `{name[:4]}` keeps."
    torch_function(name, method=False, out=False)(indices)


_triangle_indices("tril_indices", np.tril_indices)
_triangle_indices("triu_indices", np.triu_indices)


@torch_function("block_diag", method=False, out=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given matrices (vectors count as rows) along its diagonal."""
    blocks = [FUNCTIONS["atleast_2d"](x) for x in tensors]
    columns = sum(block.shape[1] for block in blocks)
    rows, at = [], 0
    for block in blocks:
        left, right = (
            FUNCTIONS["zeros"]((block.shape[0], n), dtype=block.dtype, device=block.device)
            for n in (at, columns - at - block.shape[1])
        )
        rows.append(FUNCTIONS["cat"]([left, block, right], 1))
        at += block.shape[1]
    return FUNCTIONS["cat"](rows, 0)


# -- products


@torch_function("kron")
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: blocks of `other`, scaled by the elements of `input`."""
    rank = max(len(input.shape), len(other.shape))
    a = (*(1,) * (rank - len(input.shape)), *input.shape)
    b = (*(1,) * (rank - len(other.shape)), *other.shape)
    left = input.reshape([n for size in a for n in (size, 1)])
    right = other.reshape([n for size in b for n in (1, size)])
    return (left * right).reshape([m * n for m, n in zip(a, b, strict=True)])


def _contracted(a: Node, b: Node, first: Sequence[int], second: Sequence[int], label: str) -> Node:
    """Contract dimensions `first` of a with `second` of b; the rest of a, then the rest of b remain."""
    letters = iter(string.ascii_letters)
    lhs = [next(letters) for _ in a.type.shape]
    rhs = [next(letters) for _ in b.type.shape]
    for d, e in zip(first, second, strict=True):
        rhs[e] = lhs[d]
    out = [x for d, x in enumerate(lhs) if d not in first] + [x for e, x in enumerate(rhs) if e not in second]
    return emit(tensor.contract, a, b, label=label, lhs="".join(lhs), rhs="".join(rhs), out="".join(out))


@torch_function("tensordot", method=False, out="same")
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The product summed over the last `dims` of a and the first of b, or over two lists of dimensions."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        dims = (list(range(len(a.shape) - dims, len(a.shape))), list(range(dims)))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    first = [dimension(d, len(a.shape)) for d in first]
    second = [dimension(d, len(b.shape)) for d in second]
    if len(first) != len(second):
        raise RuntimeError("both dimension lists should have same length")
    for d, e in zip(first, second, strict=True):
        m, n = a.shape[d], b.shape[e]
        if m == 1 != n:
            b = b.sum(e, keepdim=True)
        elif n == 1 != m:
            a = a.sum(d, keepdim=True)
        elif m != n:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {m} in dim {d} and second has size {n} in dim {e}"
            )
    place()
    return result(_contracted(value(a), value(b), first, second, "Mm"))


@torch_function("inner", out="same")
def inner(input: Tensor, other: Tensor) -> Tensor:
    """The product summed over both last dimensions."""
    if not input.shape or not other.shape:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(input.shape)} and "
            f"{list(other.shape)}"
        )
    return tensordot(input, other, ([-1], [-1]))


@torch_function("vdot", out="same")
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The dot product of two vectors of real numbers."""
    return FUNCTIONS["dot"](input, other)


def cross_product(input: Tensor, other: Tensor, dim: int) -> Tensor:
    """The cross product along a dimension of size 3."""
    if len(input.shape) != len(other.shape):
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    shape = np.broadcast_shapes(tuple(input.shape), tuple(other.shape))
    d = dimension(dim, len(shape))
    if shape[d] != 3 or input.shape[dim if dim < 0 else d - len(shape)] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[dim]} and {other.shape[dim]}"
        )
    a, b = (FUNCTIONS["broadcast_to"](x, shape).unbind(d) for x in (input, other))
    parts = [a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3] for i in range(3)]
    return FUNCTIONS["stack"](parts, d)


@torch_function("cross", out="same")
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product along a dimension of size 3 (the first one if none is named)."""
    if dim is None:
        dim = next((d for d, size in enumerate(input.shape) if size == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    if input.dtype is dtypes.bool_:
        raise NotImplementedError("\"cross\" not implemented for 'Bool'")
    same_type(input, other)
    return cross_product(input, other, dim)


@torch_function("addmv", inplace=True, out="same")
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat @ vec"""
    return FUNCTIONS["addmm"](input, mat, vec, beta=beta, alpha=alpha)


@torch_function("addr", inplace=True)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)"""
    return combined(input, FUNCTIONS["outer"](vec1, vec2), beta, alpha, "Addr")


@torch_function("addbmm", inplace=True, out="same")
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * the sum of the batch's products"""
    if len(batch1.shape) != 3 or len(batch2.shape) != 3:
        raise RuntimeError(f"batch{1 if len(batch1.shape) != 3 else 2} must be a 3D tensor")
    require_one_type(input, batch2)
    return combined(input, tensordot(batch1, batch2, ([0, 2], [0, 1])), beta, alpha, "Addbmm")


@torch_function("chain_matmul", method=False)
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices, in the cheapest order."""
    return matrix_chain(list(matrices))


def matrix_chain(matrices: Sequence[Tensor]) -> Tensor:
    """The product of matrices, multiplied in the order that needs the fewest operations."""
    count = len(matrices)
    sizes = [x.shape[0] for x in matrices] + [matrices[-1].shape[1]]
    cost = np.zeros((count, count))
    cut = np.zeros((count, count), int)
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            options = [cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)]
            best = int(np.argmin(options))
            cost[i, j], cut[i, j] = options[best], i + best
    made: dict[tuple[int, int], Tensor] = {(i, i): x for i, x in enumerate(matrices)}
    stack = [(0, count - 1)]
    while stack:
        i, j = stack[-1]
        parts = (i, cut[i, j]), (cut[i, j] + 1, j)
        waiting = [part for part in parts if part not in made and i != j]
        if waiting:
            stack += waiting
            continue
        if (i, j) not in made:
            made[i, j] = matmul(made[parts[0]], made[parts[1]])
        stack.pop()
    return made[0, count - 1]


# -- statistics of matrices


@torch_function("cov", out=False)
def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Tensor:
    """The covariance matrix of the rows of [variables, observations]."""
    x = input if len(input.shape) == 2 else input.reshape(1, -1)
    x = x if x.dtype.kind == "f" else x.to(default_dtype())
    weights = fweights if aweights is None else aweights if fweights is None else fweights * aweights
    if weights is None:
        centred = x - x.mean(1, keepdim=True)
        return (matmul(centred, centred.transpose(0, 1)) / max(x.shape[1] - correction, 0)).squeeze()
    total = weights.sum()
    centred = x - (x * weights).sum(1, keepdim=True) / total
    lost = correction if aweights is None or not correction else correction * (weights * aweights).sum() / total
    return (matmul(centred * weights, centred.transpose(0, 1)) / (total - lost).clamp(min=0)).squeeze()


@torch_function("corrcoef", out=False)
def corrcoef(input: Tensor) -> Tensor:
    """The correlation coefficients of the rows of [variables, observations]."""
    c = cov(input)
    if not c.shape:
        return c / c
    scale = _diagonal(c).sqrt()
    return (c / scale.unsqueeze(1) / scale).clamp(-1, 1)


@torch_function("vander", method=False, out=False)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of a vector as columns."""
    count = x.shape[0] if N is None else N
    powers = FUNCTIONS["arange"](count, device=x.device)
    powers = powers if increasing else FUNCTIONS["flip"](powers, (0,))
    return x.unsqueeze(-1) ** powers.to(x.dtype if x.dtype.kind == "f" else dtypes.int64)
