"""Factors with row exchanges (LU) and what is solved with them, products of reflections, decompositions of low rank."""

from __future__ import annotations

import warnings
from typing import Any

from lazytorch.ir.dialects import linalg_lu
from lazytorch.ir.trace import RECORDER
from lazytorch.ops.linear_algebra import inverse, solved, svd, triangular
from lazytorch.ops.products import matmul
from lazytorch.ops.recording import FUNCTIONS, attach, emit, place, result, torch_function
from lazytorch.ops.return_types import structure
from lazytorch.tensor import Tensor, value


def factored(A: Tensor, pivot: bool = True) -> list[Tensor]:
    """[LU, pivots, info]"""
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    place()
    return [result(node) for node in RECORDER.emit(linalg_lu.lu_factor.operator(), (value(A),))]


def permutation(pivots: Tensor, rows: int, like: Tensor) -> Tensor:
    """P of P L U = A."""
    return result(emit(linalg_lu.permutation_matrix, value(pivots), rows=rows, dtype=like.dtype))


def unpacked(LU: Tensor, pivots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """P, L and U of the factors in one matrix."""
    m, n = LU.shape[-2:]
    k = min(m, n)
    lower = LU[..., :, :k].tril(-1) + FUNCTIONS["eye"](m, k, dtype=LU.dtype, device=LU.device)
    return permutation(pivots, m, LU), lower, LU[..., :k, :].triu()


@torch_function("lu_unpack", method=False, out=False)
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """(P, L, U) of what `torch.linalg.lu_factor` gives; what is not unpacked is empty."""
    nothing = FUNCTIONS["empty"]((0,), dtype=LU_data.dtype, device=LU_data.device)
    p, lower, upper = unpacked(LU_data, LU_pivots)
    kind = structure("lu_unpack", "P", "L", "U")
    return kind(p if unpack_pivots else nothing, *((lower, upper) if unpack_data else (nothing, nothing)))


def solved_by_factors(LU: Tensor, pivots: Tensor, B: Tensor, left: bool = True, adjoint: bool = False) -> Tensor:
    """X of A X = B (X A = B; with the transpose of A if `adjoint`), given the factors of A."""
    if LU.dtype is not B.dtype:
        raise RuntimeError(
            f"linalg.lu_solve: Expected LU and B to have the same dtype, but found LU of type {LU.dtype.title} and B of "
            f"type {B.dtype.title} instead"
        )
    if not left:
        turned = solved_by_factors(LU, pivots, B.transpose(-2, -1), True, not adjoint)
        return turned.transpose(-2, -1)
    exchange = permutation(pivots, LU.shape[-1], LU)
    if adjoint:
        first = triangular(LU.transpose(-2, -1), B, False)
        return matmul(exchange, triangular(LU.transpose(-2, -1), first, True, unitriangular=True))
    first = triangular(LU, matmul(exchange.transpose(-2, -1), B), False, unitriangular=True)
    return triangular(LU, first, True)


@torch_function("lu_solve", out="same")
def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X of A X = b, given the factors of A."""
    return solved_by_factors(LU_data, LU_pivots, b)


@torch_function("lu", method=False, out=False)
def lu(A: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """(LU, pivots), and with `get_infos` the number of the first zero pivot, too."""
    warnings.warn("torch.lu is deprecated in favor of torch.linalg.lu_factor / torch.linalg.lu_factor_ex", stacklevel=2)
    found = factored(A, pivot)
    return tuple(found if get_infos else found[:2])


attach("lu", lu)


def inverted(A: Tensor, check: bool) -> tuple[Tensor, Tensor]:
    """(inverse, info): the number of the first zero pivot instead of an error."""
    factors, pivots, info = factored(A)
    if check:
        return inverse(A), info
    return solved_by_factors(
        factors, pivots, FUNCTIONS["eye"](A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
    ), info


def solved_or_not(A: Tensor, B: Tensor, left: bool, check: bool) -> tuple[Tensor, Tensor]:
    """(solution, info): the number of the first zero pivot instead of an error."""
    factors, pivots, info = factored(A)
    if check:
        return solved(A, B, left), info
    is_vector = len(B.shape) == 1 or (len(B.shape) == len(A.shape) - 1 and B.shape == A.shape[:-1])
    found = solved_by_factors(factors, pivots, B.unsqueeze(-1) if is_vector else B, left)
    return (found.squeeze(-1) if is_vector else found), info


# -- reflections ------------------------------------------------------------


@torch_function("geqrf", out="same")
def geqrf(input: Tensor) -> Any:
    """(a, tau): R and the vectors of reflections below it, and their factors: QR as LAPACK has it."""
    place()
    nodes = RECORDER.emit(linalg_lu.reflections.operator(), (value(input.detach()),))
    return structure("geqrf", "a", "tau")(*[result(node) for node in nodes])


def _reflected(vectors: Tensor, factors: Tensor, other: Tensor, forward: bool) -> Tensor:
    """H1 H2 ... Hk @ other (or Hk ... H1 @ other), Hi = 1 - factor_i v_i v_i^T."""
    m, count = vectors.shape[-2], factors.shape[-1]
    lower = vectors.tril(-1) + FUNCTIONS["eye"](m, vectors.shape[-1], dtype=vectors.dtype, device=vectors.device)
    for i in reversed(range(count)) if forward else range(count):
        v = lower[..., :, i : i + 1]
        other = other - factors[..., i, None, None] * matmul(v, matmul(v.transpose(-2, -1), other))
    return other


@torch_function("orgqr", out="same")
def orgqr(input: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of reflections: Q, from what `geqrf` gives."""
    m, n = input.shape[-2:]
    if m < n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if tau.shape[-1] > n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    if tau.dtype is not input.dtype:
        raise RuntimeError(
            f"torch.linalg.householder_product: tau dtype {tau.dtype.title} does not match input dtype {input.dtype.title}"
        )
    return _reflected(input, tau, FUNCTIONS["eye"](m, n, dtype=input.dtype, device=input.device).expand(input.shape), True)


@torch_function("ormqr", out="same")
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """Q @ other, other @ Q, or with the transpose of Q, from what `geqrf` gives."""
    if not left:
        return ormqr(input, tau, other.transpose(-2, -1), True, not transpose).transpose(-2, -1)
    return _reflected(input, tau, other, not transpose)


# -- low rank ------------------------------------------------------------


def _range(A: Tensor, q: int, niter: int, M: Tensor | None) -> Tensor:
    """An orthonormal basis of about the range of A - M (Halko, Martinsson and Tropp 2009, algorithm 4.4)."""
    rest = A if M is None else A - M
    turned = rest.transpose(-2, -1)
    basis = FUNCTIONS["qr"](matmul(rest, FUNCTIONS["randn"](A.shape[-1], q, dtype=A.dtype, device=A.device)))[0]
    for _ in range(niter):
        basis = FUNCTIONS["qr"](matmul(rest, FUNCTIONS["qr"](matmul(turned, basis))[0]))[0]
    return basis


@torch_function("svd_lowrank", method=False, out=False)
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> Any:
    """(U, S, V) of the q largest singular values of A - M, about."""
    q, niter = 6 if q is None else q, 2 if niter is None else niter
    wide = A.shape[-2] < A.shape[-1]
    B, N = (A.transpose(-2, -1), None if M is None else M.transpose(-2, -1)) if wide else (A, M)
    basis = _range(B, q, niter, N)
    inner = matmul(basis.transpose(-2, -1), B if N is None else B - N)
    u, s, v = svd(inner)
    u = matmul(basis, u)
    return (v, s, u) if wide else (u, s, v)


@torch_function("pca_lowrank", method=False, out=False)
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """(U, S, V) of the q largest principal components of the rows of A, about."""
    m, n = A.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)
