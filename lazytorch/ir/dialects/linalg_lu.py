"""`linalg`: triangular factors with row exchanges (LU), reflections (QR in LAPACK's form), eigenvalues of any matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, example, leading
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.linalg import (
    HOST,
    check_matrix,
    first_block,
    masked,
    product,
    results_of,
    solve_triangular,
    transposed,
)
from lazytorch.ir.types import TensorType


def _infer_lu(attributes: Attributes, x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
    check_matrix("linalg.lu_factor", x)
    pivots = TensorType(dtypes.int32, (*x.shape[:-2], min(x.shape[-2:])))
    return x, pivots, TensorType(dtypes.int32, x.shape[:-2])


def _reference_lu(attributes: Attributes, a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elimination column by column, of all matrices at once, as LAPACK's getf2."""
    m, n = a.shape[-2:]
    work = np.array(a.reshape(math.prod(a.shape[:-2]), m, n))
    batch, count = np.arange(len(work)), min(m, n)
    pivots, info = np.zeros((len(work), count), np.int32), np.zeros(len(work), np.int32)
    for i in range(count):
        chosen = i + np.abs(work[:, i:, i]).argmax(-1) if attributes.pivot else np.full(len(work), i)
        pivots[:, i] = chosen + 1
        upper, lower = work[batch, i].copy(), work[batch, chosen].copy()
        work[batch, chosen], work[batch, i] = upper, lower
        pivot = work[:, i, i]
        info[(info == 0) & (pivot == 0)] = i + 1
        with np.errstate(all="ignore"):
            factors = np.where(pivot[:, None] == 0, work[:, i + 1 :, i], work[:, i + 1 :, i] / pivot[:, None])
            work[:, i + 1 :, i] = factors
            work[:, i + 1 :, i + 1 :] -= factors[:, :, None] * work[:, i, None, i + 1 :]
    return work.reshape(a.shape), pivots.reshape(*a.shape[:-2], count), info.reshape(a.shape[:-2])


def _lu_vjp(op: Any, g: Any) -> tuple[Any]:
    """P L^-T (tril(L^T gL, -1) + triu(gU U^T)) U^-T of the square part; what is below or beside it follows from that."""
    if g[0] is None:
        return (None,)
    factors, pivots, _ = results_of(op, lu_factor)
    m, n = factors.type.shape[-2:]
    k = min(m, n)
    lower, upper = first_block(factors, k, k), first_block(factors, k, k)
    gl, gu = masked(first_block(g[0], k, k), "lt"), masked(first_block(g[0], k, k), "ge")
    unit = arith.add(masked(lower, "lt"), _ones_on_diagonal(lower))
    right = masked(upper, "ge")
    below = masked(product(transposed(unit), gl), "lt")
    above = product(gu, transposed(right))
    if m > n:
        rest, grest = _rows_from(factors, k), _rows_from(g[0], k)
        above = arith.sub(above, product(transposed(rest), grest))
    if m < n:
        beside, gbeside = _columns_from(factors, k), _columns_from(g[0], k)
        below = arith.sub(below, masked(product(gbeside, transposed(beside)), "lt"))
    inner = arith.add(below, masked(above, "ge"))
    left = solve_triangular(transposed(unit), inner, upper=True, unit=True)
    made = transposed(solve_triangular(right, transposed(left), upper=True, unit=False))
    rank = len(factors.type.shape)
    if m > n:
        under = transposed(solve_triangular(right, transposed(grest), upper=True, unit=False))
        made = tensor.concat(made, under, dim=rank - 2)
    if m < n:
        made = tensor.concat(made, solve_triangular(transposed(unit), gbeside, upper=True, unit=True), dim=rank - 1)
    return (product(permutation_matrix(pivots, rows=m, dtype=made.type.dtype), made),)


def _ones_on_diagonal(like: Any) -> Any:
    ones = arith.constant.build(like.builder, value=1.0, type=like.type)
    return masked(ones, "eq")


def _rows_from(x: Any, first: int) -> Any:
    shape = x.type.shape
    starts = (*[0] * (len(shape) - 2), first, 0)
    return tensor.slice_(x, starts=starts, sizes=(*shape[:-2], shape[-2] - first, shape[-1]), steps=(1,) * len(shape))


def _columns_from(x: Any, first: int) -> Any:
    return transposed(_rows_from(transposed(x), first))


lu_factor: Declaration = Declaration(
    "linalg.lu_factor",
    _infer_lu,
    attributes=("pivot",),
    defaults={"pivot": True},
    traits=HOST,
    batch=leading(),
    vjp=_lu_vjp,
    reference=_reference_lu,
    gradient_name="LinalgLuFactorEx",
    example=example("tensor<3x3xf32>"),
    doc="L (below the diagonal, ones on it left out) and U of P L U = A in one matrix; the row that each row was exchanged "
    "with, from 1; the number of the first zero pivot (0: none)",
)


def _reference_permutation(attributes: Attributes, pivots: np.ndarray) -> np.ndarray:
    flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    order = np.tile(np.arange(attributes.rows), (len(flat), 1))
    batch = np.arange(len(flat))
    for i in range(flat.shape[-1]):
        other = flat[:, i] - 1
        here, there = order[batch, i].copy(), order[batch, other].copy()
        order[batch, other], order[batch, i] = here, there
    matrix = np.zeros((len(flat), attributes.rows, attributes.rows), attributes.dtype.numpy)
    np.put_along_axis(matrix, order[:, None, :], 1, axis=1)
    return matrix.reshape(*pivots.shape[:-1], attributes.rows, attributes.rows)


permutation_matrix: Declaration = Declaration(
    "linalg.permutation_matrix",
    lambda attributes, x: TensorType(attributes.dtype, (*x.shape[:-1], attributes.rows, attributes.rows)),
    attributes=("rows", "dtype"),
    traits=HOST,
    batch=leading(),
    reference=_reference_permutation,
    example=example("tensor<0xi32>", rows=2, dtype=dtypes.float32),
    doc="P of P L U = A, from the exchanges of rows that `lu_factor` gives",
)


def _infer_reflections(attributes: Attributes, x: TensorType) -> tuple[TensorType, TensorType]:
    check_matrix("geqrf", x)
    return x, x.with_shape((*x.shape[:-2], min(x.shape[-2:])))


def _reference_reflections(attributes: Attributes, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    turned, scales = np.linalg.qr(a, "raw")
    return np.swapaxes(turned, -1, -2).astype(a.dtype), np.asarray(scales, a.dtype)


reflections: Declaration = Declaration(
    "linalg.reflections",
    _infer_reflections,
    traits=HOST,
    batch=leading(),
    reference=_reference_reflections,
    example=example("tensor<3x2xf32>"),
    doc="R and, below it, the vectors of the reflections whose product is Q of Q R = A; their factors (LAPACK's geqrf)",
)


def _infer_eig(attributes: Attributes, x: TensorType) -> tuple[TensorType, TensorType]:
    check_matrix("linalg.eig", x, square=True)
    vectors = x.with_dtype(dtypes.complex128 if x.dtype is dtypes.float64 else dtypes.complex64)
    return vectors.with_shape(x.shape[:-1]), vectors


def _reference_eig(attributes: Attributes, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eig(a)
    kind = np.complex128 if a.dtype == np.float64 else np.complex64
    return values.astype(kind), vectors.astype(kind)


eig: Declaration = Declaration(
    "linalg.eig",
    _infer_eig,
    traits=HOST,
    batch=leading(),
    reference=_reference_eig,
    example=example("tensor<3x3xf32>"),
    doc="complex eigenvalues and eigenvectors of real square matrices; no derivative",
)
