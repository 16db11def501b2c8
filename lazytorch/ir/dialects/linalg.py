"""`linalg`: factorisations and solvers of (batches of) matrices: host operations, done by LAPACK through NumPy.

A factorisation is a chain of small dependent steps that no schedule of ours would run faster than LAPACK does; what
surrounds it (the derivative rules here included) is ordinary tensor code. Only f32 and f64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.errors import LinAlgError
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example, leading
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.types import TensorType

HOST = (Trait.PURE, Trait.HOST, Trait.EXPENSIVE)


def check_matrix(name: str, x: TensorType, square: bool = False) -> TensorType:
    """Refuse, with torch's words, what is no batch of (square) matrices of f32 or f64."""
    if x.rank < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"{name}: A must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices"
        )
    if x.dtype.kind != "f":
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype.title}")
    if x.dtype.itemsize == 2:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {x.dtype.title}")
    return x


# -- small matrix algebra on values: batches lead, the last two dimensions are the matrix


def product(a: Any, b: Any) -> Any:
    """a @ b for equal leading dimensions."""
    batch = "abcdefghij"[: len(a.type.shape) - 2]
    return tensor.contract(a, b, lhs=f"{batch}mk", rhs=f"{batch}kn", out=f"{batch}mn")


def transposed(x: Any) -> Any:
    """The matrices turned over."""
    rank = len(x.type.shape)
    return tensor.permute(x, order=(*range(rank - 2), rank - 1, rank - 2))


def _columns(x: Any) -> Any:
    """A vector per matrix, [..., n], as factors of its columns: [..., 1, n]."""
    return tensor.reshape(x, shape=(*x.type.shape[:-1], 1, x.type.shape[-1]))


def _rows(x: Any) -> Any:
    """A vector per matrix, [..., n], as factors of its rows: [..., n, 1]."""
    return tensor.reshape(x, shape=(*x.type.shape, 1))


def _scalar(x: Any) -> Any:
    """A number per matrix, broadcastable to it."""
    return tensor.reshape(x, shape=(*x.type.shape, 1, 1))


def _positions(x: Any) -> tuple[Any, Any]:
    """Row and column numbers, broadcastable to the matrices of x."""
    rows, columns = x.type.shape[-2:]
    row = positions(x, rows, dtypes.int64)
    return tensor.reshape(row, shape=(rows, 1)), positions(x, columns, dtypes.int64)


def masked(x: Any, predicate: str, other: Any = None) -> Any:
    """x where the column number fulfils the predicate against the row number, else `other` (0)."""
    row, column = _positions(x)
    keep = arith.compare(column, row, predicate=predicate)
    return arith.select(keep, x, x.builder.constant(0.0, x) if other is None else other)


def _diagonal_matrix(x: Any) -> Any:
    """A vector per matrix on the diagonal."""
    shape = (*x.type.shape, x.type.shape[-1])
    return masked(tensor.expand(_columns(x), shape=shape), "eq")


def _identity_minus(x: Any) -> Any:
    row, column = _positions(x)
    one = arith.cast(arith.compare(row, column, predicate="eq"), dtype=x.type.dtype)
    return arith.sub(one, x)


def _halved_diagonal(x: Any) -> Any:
    """The lower triangle with half of the diagonal."""
    return arith.add(masked(x, "lt"), arith.mul(masked(x, "eq"), 0.5))


# -- inverse, solutions, determinants


def _square(name: str) -> Callable[..., TensorType]:
    return lambda attributes, x: check_matrix(name, x, square=True)


def _singular(a: np.ndarray) -> int | None:
    """The number (from 1) of the first zero pivot of the first singular matrix, None when all are regular."""
    for matrix in a.reshape(-1, *a.shape[-2:]):
        work = matrix.astype(np.float64)
        for i in range(len(work)):
            pivot = i + int(np.abs(work[i:, i]).argmax())
            if work[pivot, i] == 0:
                return i + 1
            work[[i, pivot]] = work[[pivot, i]]
            work[i + 1 :] -= np.outer(work[i + 1 :, i] / work[i, i], work[i])
    return None


def _reference_inv(attributes: Attributes, a: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        raise LinAlgError(
            f"linalg.inv: The diagonal element {_singular(a) or 1} is zero, the inversion could not be completed because "
            "the input matrix is singular."
        ) from None


def _inv_vjp(op: Any, g: Any) -> Any:
    turned = transposed(op.result)
    return arith.neg(product(product(turned, g), turned))


inv: Declaration = Declaration(
    "linalg.inv",
    _square("linalg.inv"),
    traits=HOST,
    batch=leading(),
    vjp=(_inv_vjp,),
    reference=_reference_inv,
    gradient_name="LinalgInvEx",
    doc="the inverse of square matrices; raises LinAlgError for a singular one",
)


def _infer_solve(attributes: Attributes, a: TensorType, b: TensorType) -> TensorType:
    check_matrix("linalg.solve", a, square=True)
    if b.rank != a.rank or b.shape[:-1] != a.shape[:-1]:
        raise RuntimeError(f"linalg.solve: Incompatible shapes of A and B for the equation AX = B: {a.shape} and {b.shape}")
    return b


def _reference_solve(attributes: Attributes, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        raise LinAlgError("torch.linalg.solve: The solver failed because the input matrix is singular.") from None


def _solve_vjp(op: Any, g: Any) -> tuple[Any, Any]:
    right = solve(transposed(op.operands[0]), g)
    return arith.neg(product(right, transposed(op.result))), right


solve: Declaration = Declaration(
    "linalg.solve",
    _infer_solve,
    traits=HOST,
    batch=leading(),
    vjp=_solve_vjp,
    reference=_reference_solve,
    gradient_name="LinalgSolveEx",
    doc="X of A X = B; A square, B of as many rows and the same leading dimensions",
)


def _reference_triangular(attributes: Attributes, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Substitution, row by row."""
    x = np.zeros_like(b)
    count = a.shape[-1]
    for i in reversed(range(count)) if attributes.upper else range(count):
        known = slice(i + 1, count) if attributes.upper else slice(0, i)
        rest = b[..., i, :] - np.einsum("...k,...kn->...n", a[..., i, known], x[..., known, :])
        x[..., i, :] = rest if attributes.unit else rest / a[..., i, i, None]
    return x


def _triangular_vjp(op: Any, g: Any) -> tuple[Any, Any]:
    a = op.attributes
    right = solve_triangular(transposed(op.operands[0]), g, upper=not a.upper, unit=a.unit)
    left = arith.neg(product(right, transposed(op.result)))
    predicate = ("gt" if a.upper else "lt") if a.unit else ("ge" if a.upper else "le")
    return masked(left, predicate), right


solve_triangular: Declaration = Declaration(
    "linalg.solve_triangular",
    _infer_solve,
    attributes=("upper", "unit"),
    traits=HOST,
    batch=leading(),
    vjp=_triangular_vjp,
    reference=_reference_triangular,
    gradient_name="LinalgSolveTriangular",
    example=example("tensor<3x3xf32>", "tensor<3x2xf32>", upper=True, unit=False),
    doc="X of A X = B for a triangular A (only that triangle is read; with `unit` its diagonal counts as ones)",
)


def _infer_per_matrix(name: str) -> Callable[..., TensorType]:
    return lambda attributes, x: TensorType(x.dtype, check_matrix(name, x, square=True).shape[:-2])


def _reference_cofactor(attributes: Attributes, a: np.ndarray) -> np.ndarray:
    """U diag(product of the other singular values) V^T times det(U) det(V): right for singular matrices too."""
    u, s, vh = np.linalg.svd(a)
    count = s.shape[-1]
    others = np.stack([np.prod(np.delete(s, i, -1), -1) for i in range(count)], -1) if count else s
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return np.asarray((u * others[..., None, :]) @ vh * sign[..., None, None], a.dtype)


def _cofactor_vjp(op: Any, g: Any) -> Any:
    turned = transposed(inv(op.operands[0]))
    rank = len(g.type.shape)
    total = _scalar(tensor.reduce_sum(arith.mul(g, op.result), dims=(rank - 2, rank - 1)))
    return arith.sub(arith.mul(total, turned), product(product(turned, transposed(g)), op.result))


cofactor: Declaration = Declaration(
    "linalg.cofactor",
    _square("linalg.det"),
    traits=HOST,
    batch=leading(),
    vjp=(_cofactor_vjp,),
    reference=_reference_cofactor,
    doc="the matrix of cofactors, the derivative of the determinant",
)
det: Declaration = Declaration(
    "linalg.det",
    _infer_per_matrix("linalg.det"),
    traits=HOST,
    batch=leading(),
    vjp=(lambda op, g: arith.mul(_scalar(g), cofactor(op.operands[0])),),
    reference=lambda attributes, a: np.asarray(np.linalg.det(a), a.dtype),
    gradient_name="LinalgDet",
    doc="the determinant of square matrices",
)


def _infer_slogdet(attributes: Attributes, x: TensorType) -> tuple[TensorType, TensorType]:
    type = _infer_per_matrix("linalg.slogdet")(attributes, x)
    return type, type


slogdet: Declaration = Declaration(
    "linalg.slogdet",
    _infer_slogdet,
    traits=HOST,
    batch=leading(),
    vjp=lambda op, g: (None if g[1] is None else arith.mul(_scalar(g[1]), transposed(inv(op.operands[0]))),),
    reference=lambda attributes, a: tuple([np.asarray(x, a.dtype) for x in np.linalg.slogdet(a)]),
    gradient_name="LinalgSlogdet",
    doc="sign and logarithm of the absolute value of the determinant",
)

# -- factorisations


def _reference_cholesky(attributes: Attributes, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    factor, info = np.zeros_like(a), np.zeros(a.shape[:-2], np.int32)
    for index in np.ndindex(*a.shape[:-2]):
        try:
            factor[index] = np.linalg.cholesky(a[index])
        except np.linalg.LinAlgError:
            info[index] = _not_positive(a[index])
    return factor, info


def _not_positive(a: np.ndarray) -> int:
    """The order of the first leading minor that is not positive-definite."""
    for order in range(1, len(a) + 1):
        try:
            np.linalg.cholesky(a[:order, :order])
        except np.linalg.LinAlgError:
            return order
    return len(a)


def _checked_cholesky(attributes: Attributes, a: np.ndarray) -> np.ndarray:
    factor, info = _reference_cholesky(attributes, a)
    if info.any():
        where = np.argwhere(info)[0]
        batch = f"(Batch element {where[-1]}): " if len(where) else ""
        raise LinAlgError(
            f"linalg.cholesky: {batch}The factorization could not be completed because the input is not positive-definite "
            f"(the leading minor of order {info[tuple(where)]} is not positive-definite)."
        )
    return factor


def _cholesky_gradient(lower: Any, g: Any) -> Any:
    """L^-T phi(L^T g) L^-1, made symmetric; phi: the lower triangle with half of the diagonal."""
    turned = transposed(lower)
    inner = _halved_diagonal(product(turned, g))
    left = solve_triangular(turned, inner, upper=True, unit=False)
    both = transposed(solve_triangular(turned, transposed(left), upper=True, unit=False))
    return arith.mul(arith.add(both, transposed(both)), 0.5)


cholesky: Declaration = Declaration(
    "linalg.cholesky",
    _square("linalg.cholesky"),
    traits=HOST,
    batch=leading(),
    vjp=(lambda op, g: _cholesky_gradient(op.result, g),),
    reference=_checked_cholesky,
    gradient_name="LinalgCholeskyEx",
    doc="the lower triangular L of L L^T = A; raises LinAlgError where A is not positive-definite",
)
cholesky_ex: Declaration = Declaration(
    "linalg.cholesky_ex",
    lambda attributes, x: (check_matrix("linalg.cholesky_ex", x, square=True), TensorType(dtypes.int32, x.shape[:-2])),
    traits=HOST,
    batch=leading(),
    vjp=lambda op, g: (None if g[0] is None else _cholesky_gradient(cholesky(op.operands[0]), g[0]),),
    reference=_reference_cholesky,
    gradient_name="LinalgCholeskyEx",
    doc="as cholesky, with the order of the first minor that is not positive-definite (0: none) instead of an error",
)


def results_of(op: Any, again: Declaration) -> tuple[Any, ...]:
    """The results of an operation of several, in a rule: a recorded node has none at hand, so the operation is repeated
    (cse merges the two)."""
    made: tuple[Any, ...] = again(*op.operands, **op.attributes.as_dict())
    return made


def _infer_qr(attributes: Attributes, x: TensorType) -> tuple[TensorType, TensorType]:
    m, n = check_matrix("linalg.qr", x).shape[-2:]
    k = m if attributes.complete else min(m, n)
    return x.with_shape((*x.shape[:-2], m, k)), x.with_shape((*x.shape[:-2], k, n))


def _qr_vjp(op: Any, g: Any) -> tuple[Any]:
    """(gQ + Q copyltu(M)) R^-T with M = R gR^T - gQ^T Q, for matrices with at least as many rows as columns.

    Of a wider matrix [X, Y] = Q [U, V], X = Q U is such a matrix and Y = Q V adds Y gV^T to gQ.
    """
    a = op.operands[0]
    m, n = a.type.shape[-2:]
    if op.attributes.complete and m > n:
        raise NotImplementedError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    q, r = results_of(op, qr)
    if m >= n:
        return (_tall_qr_gradient(q, r, g),)
    parts: list[Any] = [g[0], None]
    right = None
    if g[1] is not None:
        parts[1], wide = first_block(g[1], m, m), _last(g[1], n - m)
        cross = product(_last(a, n - m), transposed(wide))
        parts[0] = cross if g[0] is None else arith.add(g[0], cross)
        right = product(q, wide)
    left = _tall_qr_gradient(q, first_block(r, m, m), parts)
    right = arith.mul(_last(a, n - m), 0.0) if right is None else right
    return (tensor.concat(left, right, dim=len(a.type.shape) - 1),)


def _tall_qr_gradient(q: Any, r: Any, g: Any) -> Any:
    total = None
    if g[1] is not None:
        total = product(r, transposed(g[1]))
    if g[0] is not None:
        part = product(transposed(g[0]), q)
        total = arith.neg(part) if total is None else arith.sub(total, part)
    symmetric = arith.add(masked(total, "le"), transposed(masked(total, "lt")))
    left = product(q, symmetric)
    left = left if g[0] is None else arith.add(g[0], left)
    return transposed(solve_triangular(r, transposed(left), upper=True, unit=False))


qr: Declaration = Declaration(
    "linalg.qr",
    _infer_qr,
    attributes=("complete",),
    traits=HOST,
    batch=leading(),
    vjp=_qr_vjp,
    reference=lambda attributes, a: tuple(np.linalg.qr(a, "complete" if attributes.complete else "reduced")),
    gradient_name="LinalgQr",
    example=example("tensor<3x2xf32>", complete=False),
    doc="orthonormal Q and upper triangular R of Q R = A (`complete`: Q square)",
)


def _infer_eigh(attributes: Attributes, x: TensorType) -> tuple[TensorType, TensorType]:
    check_matrix("linalg.eigh", x, square=True)
    return x.with_shape(x.shape[:-1]), x


def _eigh_vjp(op: Any, g: Any) -> tuple[Any]:
    """V (diag(gw) + (V^T gV) / (w_j - w_i)) V^T, of which the symmetric part counts."""
    w, v = results_of(op, eigh)
    turned = transposed(v)
    inner = None if g[0] is None else _diagonal_matrix(g[0])
    if g[1] is not None:
        gaps = arith.sub(_columns(w), _rows(w))
        gaps = masked(gaps, "ne", gaps.builder.constant(math.inf, gaps))
        part = arith.div(product(turned, g[1]), gaps)
        inner = part if inner is None else arith.add(inner, part)
    total = product(product(v, inner), turned)
    return (total if g[1] is None else arith.mul(arith.add(total, transposed(total)), 0.5),)


eigh: Declaration = Declaration(
    "linalg.eigh",
    _infer_eigh,
    attributes=("upper",),
    traits=HOST,
    batch=leading(),
    vjp=_eigh_vjp,
    reference=lambda attributes, a: tuple(np.linalg.eigh(a, "U" if attributes.upper else "L")),
    gradient_name="LinalgEigh",
    example=example("tensor<3x3xf32>", upper=False),
    doc="ascending eigenvalues and orthonormal eigenvectors of symmetric matrices, of which one triangle is read",
)


def _infer_svd(attributes: Attributes, x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
    m, n = check_matrix("linalg.svd", x).shape[-2:]
    batch, k = x.shape[:-2], min(m, n)
    rows, columns = (m, n) if attributes.full else (k, k)
    return x.with_shape((*batch, m, rows)), x.with_shape((*batch, k)), x.with_shape((*batch, columns, n))


def first_block(x: Any, rows: int, columns: int) -> Any:
    """The upper left part of matrices."""
    rank = len(x.type.shape)
    sizes = (*x.type.shape[:-2], rows, columns)
    return tensor.slice_(x, starts=(0,) * rank, sizes=sizes, steps=(1,) * rank)


def _last(x: Any, columns: int) -> Any:
    """The last columns of matrices."""
    shape = x.type.shape
    starts = (*[0] * (len(shape) - 1), shape[-1] - columns)
    return tensor.slice_(x, starts=starts, sizes=(*shape[:-1], columns), steps=(1,) * len(shape))


def _svd_vjp(op: Any, g: Any) -> tuple[Any]:
    """U [(skew(U^T gU) / E) S + S (skew(V^T gV) / E) + diag(gS)] V^T, with E_ij = s_j^2 - s_i^2, and what gU and gV have
    outside of the spaces that U and V span."""
    u, s, vh = svd(op.operands[0], full=False)
    v = transposed(vh)
    gu, gs, gvh = g
    k = s.type.shape[-1]
    # Of square factors (`full`), only the vectors that belong to singular values have a derivative, as in torch.
    gu = None if gu is None else first_block(gu, gu.type.shape[-2], k)
    gvh = None if gvh is None else first_block(gvh, k, gvh.type.shape[-1])
    gaps = arith.mul(arith.sub(_columns(s), _rows(s)), arith.add(_columns(s), _rows(s)))
    gaps = masked(gaps, "ne", gaps.builder.constant(math.inf, gaps))
    inner = None if gs is None else _diagonal_matrix(gs)
    outside = None
    if gu is not None:
        skew = product(transposed(u), gu)
        part = arith.mul(arith.div(arith.sub(skew, transposed(skew)), gaps), _columns(s))
        inner = part if inner is None else arith.add(inner, part)
        rest = arith.sub(gu, product(u, product(transposed(u), gu)))
        outside = product(arith.div(rest, _columns(s)), vh)
    if gvh is not None:
        gv = transposed(gvh)
        skew = product(vh, gv)
        part = arith.mul(_rows(s), arith.div(arith.sub(skew, transposed(skew)), gaps))
        inner = part if inner is None else arith.add(inner, part)
        rest = arith.sub(gv, product(v, product(vh, gv)))
        part = product(arith.div(u, _columns(s)), transposed(rest))
        outside = part if outside is None else arith.add(outside, part)
    total = product(product(u, inner), vh)
    return (total if outside is None else arith.add(total, outside),)


svd: Declaration = Declaration(
    "linalg.svd",
    _infer_svd,
    attributes=("full",),
    traits=HOST,
    batch=leading(),
    vjp=_svd_vjp,
    reference=lambda attributes, a: tuple(np.linalg.svd(a, attributes.full)),
    gradient_name="LinalgSvd",
    example=example("tensor<3x2xf32>", full=False),
    doc="U, descending singular values and Vh of U diag(S) Vh = A (`full`: U and Vh square)",
)


def _pinv_vjp(op: Any, g: Any) -> Any:
    """-P^T g P^T + (I - A P) g^T P P^T + P^T P g^T (I - P A)"""
    a, p = op.operands[0], op.result
    pt, gt = transposed(p), transposed(g)
    first = arith.neg(product(product(pt, g), pt))
    second = product(product(_identity_minus(product(a, p)), gt), product(p, pt))
    third = product(product(product(pt, p), gt), _identity_minus(product(p, a)))
    return arith.add(arith.add(first, second), third)


def _reference_pinv(attributes: Attributes, a: np.ndarray) -> np.ndarray:
    """Through singular values, or eigenvalues."""
    if attributes.symmetric:
        s, u = np.linalg.eigh(a)
        vh, size = np.swapaxes(u, -1, -2), np.abs(s)
    else:
        u, s, vh = np.linalg.svd(a, full_matrices=False)
        size = s
    limit = np.maximum(attributes.rtol * size.max(-1, keepdims=True, initial=0.0), attributes.atol)
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=size > limit)
    return np.asarray(np.swapaxes(vh, -1, -2) * inverse[..., None, :] @ np.swapaxes(u, -1, -2), a.dtype)


pinv: Declaration = Declaration(
    "linalg.pinv",
    lambda attributes, x: x.with_shape((*check_matrix("linalg.pinv", x).shape[:-2], x.shape[-1], x.shape[-2])),
    attributes=("rtol", "atol", "symmetric"),
    defaults={"atol": 0.0, "symmetric": False},
    traits=HOST,
    batch=leading(),
    vjp=(_pinv_vjp,),
    reference=_reference_pinv,
    gradient_name="LinalgPinv",
    example=example("tensor<2x3xf32>", rtol=1e-6),
    doc="the Moore-Penrose inverse; singular values up to max(atol, rtol times the largest) count as 0; of `symmetric` "
    "matrices the lower triangle is read",
)

_TAYLOR = 18


def _reference_exp(attributes: Attributes, a: np.ndarray) -> np.ndarray:
    """Scaling and squaring: the Taylor polynomial of degree 18 of A / 2^s, squared s times, in f64."""
    x = a.astype(np.float64)
    size = np.abs(x).sum(-2).max(initial=0.0)
    squarings = max(0, math.ceil(math.log2(size))) if size > 0 and math.isfinite(size) else 0
    x = x / 2.0**squarings
    term = out = np.broadcast_to(np.eye(a.shape[-1]), x.shape)
    for k in range(1, _TAYLOR + 1):
        term = term @ x / k
        out = out + term
    for _ in range(squarings):
        out = out @ out
    return out.astype(a.dtype)


def _exp_vjp(op: Any, g: Any) -> Any:
    """The upper right block of exp([[A^T, g], [0, A^T]])"""
    turned = transposed(op.operands[0])
    rank, n = len(turned.type.shape), turned.type.shape[-1]
    zero = arith.constant.build(g.builder, value=0.0, type=turned.type)
    top = tensor.concat(turned, g, dim=rank - 1)
    bottom = tensor.concat(zero, turned, dim=rank - 1)
    whole = exp(tensor.concat(top, bottom, dim=rank - 2))
    starts = (0,) * (rank - 1) + (n,)
    return tensor.slice_(whole, starts=starts, sizes=turned.type.shape, steps=(1,) * rank)


exp: Declaration = Declaration(
    "linalg.matrix_exp",
    _square("linalg.matrix_exp"),
    traits=HOST,
    batch=leading(),
    vjp=(_exp_vjp,),
    reference=_reference_exp,
    gradient_name="LinalgMatrixExp",
    doc="the matrix exponential",
)
