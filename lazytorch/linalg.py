"""Linear algebra (torch.linalg): norms, solutions, factorisations. LAPACK does the factorisations, through NumPy."""

from __future__ import annotations

from functools import partial
from typing import Any

from lazytorch import dtypes
from lazytorch.errors import LinAlgError
from lazytorch.ir.dialects import linalg as ops
from lazytorch.ir.dialects import linalg_lu
from lazytorch.ops import factorizations, norms
from lazytorch.ops import linear_algebra as algebra
from lazytorch.ops.linear_algebra import matrix_exp, several, singular_values
from lazytorch.ops.linear_algebra import solved as _solved
from lazytorch.ops.matrices import cross_product, matrix_chain
from lazytorch.ops.matrices import diagonal as _diagonal
from lazytorch.ops.recording import FUNCTIONS, takes_out
from lazytorch.ops.return_types import structure
from lazytorch.tensor import Tensor

__all__ = [
    "LinAlgError",
    "cholesky",
    "cholesky_ex",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "householder_product",
    "inv",
    "inv_ex",
    "lstsq",
    "lu",
    "lu_factor",
    "lu_factor_ex",
    "lu_solve",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_ex",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensorinv",
    "tensorsolve",
    "vander",
    "vecdot",
    "vector_norm",
]

_takes_out = partial(takes_out, same=True)
det, inv, matrix_power, matmul = (FUNCTIONS[name] for name in ("det", "inverse", "matrix_power", "matmul"))
householder_product = FUNCTIONS["orgqr"]
norm, matrix_norm, vector_norm = map(_takes_out, (norms.linalg_norm, norms.matrix_norm, norms.vector_norm))

_Eigh = structure("linalg_eigh", "eigenvalues", "eigenvectors")
_Svd = structure("linalg_svd", "U", "S", "Vh")
_Lstsq = structure("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
_CholeskyEx = structure("linalg_cholesky_ex", "L", "info")
_Eig = structure("linalg_eig", "eigenvalues", "eigenvectors")
_Lu = structure("linalg_lu", "P", "L", "U")
_LuFactor = structure("linalg_lu_factor", "LU", "pivots")
_LuFactorEx = structure("linalg_lu_factor_ex", "LU", "pivots", "info")
_InvEx = structure("linalg_inv_ex", "inverse", "info")
_SolveEx = structure("linalg_solve_ex", "result", "info")


@_takes_out
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower triangular factor L of L L^T = A (or `upper` its transpose)."""
    return algebra.cholesky(A, upper)


@_takes_out
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info): as `cholesky`, with the order of the first minor that is not positive-definite instead of an error."""
    factor, info = several(ops.cholesky_ex, A)
    if check_errors:
        factor = cholesky(A)
    return _CholeskyEx(factor.transpose(-2, -1) if upper else factor, info)


@_takes_out
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """(P, L, U) of P L U = A: a permutation, a lower triangle with ones on the diagonal, an upper triangle."""
    factors, pivots, _ = factorizations.factored(A, pivot)
    return _Lu(*factorizations.unpacked(factors, pivots))


@_takes_out
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info): L and U in one matrix, exchanges of rows, the number of the first zero pivot (0: none)."""
    found = factorizations.factored(A, pivot)
    if check_errors:
        _refuse_zero_pivots(found[2], "lu_factor_ex")
    return _LuFactorEx(*found)


@_takes_out
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """(LU, pivots): as `lu_factor_ex`. Raises RuntimeError for a zero pivot."""
    factors, pivots, info = factorizations.factored(A, pivot)
    _refuse_zero_pivots(info, "lu_factor")
    return _LuFactor(factors, pivots)


def _refuse_zero_pivots(info: Tensor, name: str) -> None:
    found = info.reshape(-1).tolist()
    for number, pivot in enumerate(found):
        if pivot:
            batch = f"(Batch element {number}): " if info.shape else ""
            raise RuntimeError(
                f"torch.linalg.{name}: {batch}U[{pivot},{pivot}] is zero and using it on lu_solve would result in a "
                "division by zero. If you still want to perform the factorization, consider calling linalg.lu(A, pivot) or "
                "linalg.lu_factor_ex(A, pivot)"
            )


@_takes_out
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X of A X = B (X A = B; with A^T if `adjoint`), given what `lu_factor` gives for A."""
    return factorizations.solved_by_factors(LU, pivots, B, left, adjoint)


@_takes_out
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """(inverse, info): the number of the first zero pivot (0: none) instead of an error."""
    return _InvEx(*factorizations.inverted(A, check_errors))


@_takes_out
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """(result, info): as `solve`, with the number of the first zero pivot (0: none) instead of an error."""
    return _SolveEx(*factorizations.solved_or_not(A, B, left, check_errors))


@_takes_out
def eig(A: Tensor) -> Any:
    """Complex (eigenvalues, eigenvectors) of real square matrices, in LAPACK's order; without derivatives."""
    return _Eig(*several(linalg_lu.eig, A.detach()))


@_takes_out
def eigvals(A: Tensor) -> Tensor:
    """The complex eigenvalues of real square matrices; without derivatives."""
    return several(linalg_lu.eig, A.detach())[0]


@_takes_out
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X of A X = B (or X A = B), for regular A. Raises LinAlgError, when computed, for a singular one."""
    return _solved(A, B, left)


@_takes_out
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """X of A X = B (or X A = B) for a triangular A."""
    return algebra.triangular(A, B, upper, left, unitriangular)


@_takes_out
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """(Q, R) of Q R = A: orthonormal columns, upper triangular."""
    return algebra.orthogonal_triangular("linalg_qr", A, mode)


@_takes_out
def slogdet(A: Tensor) -> Any:
    """(sign, logabsdet): sign and logarithm of the absolute value of the determinant."""
    return algebra.sign_and_log("linalg_slogdet", A)


@_takes_out
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """(eigenvalues, eigenvectors) of symmetric matrices, ascending; one triangle is read."""
    return _Eigh(*several(ops.eigh, A, upper=UPLO.upper() == "U"))


@_takes_out
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices, ascending."""
    return several(ops.eigh, A, upper=UPLO.upper() == "U")[0]


@_takes_out
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """(U, S, Vh) of U diag(S) Vh = A, singular values descending."""
    return _Svd(*several(ops.svd, A, full=full_matrices))


@_takes_out
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values, descending."""
    return singular_values(A)


@_takes_out
def matrix_rank(A: Tensor, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """How many singular values are above max(atol, rtol * largest)."""
    return algebra.rank(A, tol if atol is None else atol, 0.0 if tol is not None else rtol, hermitian)


@_takes_out
def pinv(A: Tensor, rcond: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """The Moore-Penrose inverse; singular values below rtol times the largest count as 0."""
    return algebra.pseudo_inverse(A, rcond if rtol is None else rtol, atol, hermitian)


@_takes_out
def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: str | None = None) -> Any:
    """(solution, residuals, rank, singular_values) of the X that minimises |A X - B|.

    Through the Moore-Penrose inverse, whatever the driver. As torch, residuals are only filled in where a driver other
    than the default "gelsy" gives them, and singular values by none but "gelsd" and "gelss".
    """
    chosen = driver or "gelsy"
    if chosen not in ("gelsy", "gels", "gelsd", "gelss"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    is_vector = len(A.shape) - 1 == len(B.shape) and B.shape == A.shape[:-1]
    right = B.unsqueeze(-1) if is_vector else B
    found = matmul(algebra.pseudo_inverse(A, rcond), right)
    m, n = A.shape[-2:]
    nothing = FUNCTIONS["empty"]((0,), dtype=A.dtype)
    residuals = nothing
    if m > n and chosen != "gelsy":
        residuals = (matmul(A, found) - right).square().sum(-2)
    ranks = FUNCTIONS["empty"]((0,), dtype=dtypes.int64) if chosen == "gels" else algebra.rank(A, None, rcond, False)
    sizes = singular_values(A.detach()) if chosen in ("gelsd", "gelss") else nothing
    return _Lstsq(found.squeeze(-1) if is_vector else found, residuals, ranks, sizes)


@_takes_out
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number: the norm times the inverse's norm."""
    if p in (None, 2, -2):
        sizes = singular_values(A)
        largest, smallest = sizes[..., 0], sizes[..., -1]
        return smallest / largest if p == -2 else largest / smallest
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


@_takes_out
def multi_dot(tensors: Any) -> Tensor:
    """The product of matrices (the first and last may be vectors) in the cheapest order."""
    several_ = list(tensors)
    if len(several_) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(several_)}")
    first, last = len(several_[0].shape) == 1, len(several_[-1].shape) == 1
    if first:
        several_[0] = several_[0].unsqueeze(0)
    if last:
        several_[-1] = several_[-1].unsqueeze(1)
    out = matrix_chain(several_)
    out = out.squeeze(-1) if last else out
    return out.squeeze(0) if first else out


@_takes_out
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The dot products of vectors along a dimension."""
    return (x * y).sum(dim)


@_takes_out
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product along a dimension of size 3."""
    return cross_product(input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of matrices as a view."""
    return _diagonal(A, offset, dim1, dim2)


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """[..., n, N]: the powers 0 to N - 1 of vectors [..., n], N = n unless told otherwise."""
    if not x.shape:
        x = x.unsqueeze(0)
    count = x.shape[-1] if N is None else N
    if count <= 1:
        raise RuntimeError(f"N must be greater than 1. Got N = {count}")
    wide = x.to(dtypes.int64) if x.dtype.kind in "uib" else x
    ones = FUNCTIONS["ones_like"](wide.detach()).unsqueeze(-1)
    return FUNCTIONS["cat"]([ones, wide.unsqueeze(-1).expand(*x.shape, count - 1)], -1).cumprod(-1)


@_takes_out
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of a tensor seen as a matrix from its last dimensions to its first `ind`."""
    rows, columns = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    count = 1
    for size in rows:
        count *= size
    return inv(A.reshape(count, -1)).reshape(*columns, *rows)


@_takes_out
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with tensordot(A, X) = B."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(len(A.shape) - len(dims), len(A.shape))))
    shape = tuple(A.shape[len(B.shape) :])
    return solve(A.reshape(-1, B._node.type.numel), B.reshape(-1)).reshape(shape)
