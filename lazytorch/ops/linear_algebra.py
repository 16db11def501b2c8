"""Factorisations, solutions and functions of matrices: the names that torch itself has, and what `torch.linalg` shares."""

from __future__ import annotations

from typing import Any

from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, linalg
from lazytorch.ir.trace import RECORDER, Node
from lazytorch.ir.types import TensorType
from lazytorch.ops.products import matmul
from lazytorch.ops.recording import FUNCTIONS, emit, place, result, torch_function, without_slope
from lazytorch.ops.return_types import structure
from lazytorch.tensor import Tensor, value

EPSILON = {4: 2.0**-23, 8: 2.0**-52}
"""The distance of 1 to the next number, by the bytes of the element type."""


def _single(declaration: Declaration, A: Tensor, **attributes: Any) -> Tensor:
    place()
    return result(emit(declaration, value(A), **attributes))


def several(declaration: Declaration, A: Tensor, **attributes: Any) -> list[Tensor]:
    """Record an operation of several results."""
    place()
    nodes: tuple[Node, ...] = RECORDER.emit(declaration.operator(**attributes), (value(A),))
    return [result(node) for node in nodes]


@torch_function("inverse", out="same")
def inverse(input: Tensor) -> Tensor:
    """The inverse of square matrices. Raises LinAlgError, when computed, for a singular one."""
    return _single(linalg.inv, input)


@torch_function("det", out="same")
def det(input: Tensor) -> Tensor:
    """The determinant of square matrices."""
    return _single(linalg.det, input)


def sign_and_log(name: str, A: Tensor) -> Any:
    """(sign, logabsdet) under the result name of `torch.slogdet` or `torch.linalg.slogdet`."""
    return structure(name, "sign", "logabsdet")(*several(linalg.slogdet, A))


@torch_function("slogdet", out="same")
def slogdet(input: Tensor) -> Any:
    """Sign and logarithm of the absolute value of the determinant."""
    return sign_and_log("slogdet", input)


@torch_function("logdet", out=False)
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; nan where it is negative."""
    sign, size = several(linalg.slogdet, input)
    return FUNCTIONS["where"](sign < 0, float("nan"), size)


@torch_function("cholesky", out="same")
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The triangular factor L of L L^T (`upper`: its transpose). Raises LinAlgError, when computed, where there is none."""
    factor = _single(linalg.cholesky, input)
    return factor.transpose(-2, -1) if upper else factor


def _common(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the leading dimensions broadcast."""
    batch = arith.broadcast_shapes(tuple(A.shape[:-2]), tuple(B.shape[:-2]))
    return A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:])


def _require_one_type(name: str, A: Tensor, B: Tensor) -> None:
    if A.dtype is not B.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {A.dtype.title} and B of type "
            f"{B.dtype.title} instead"
        )


def solved(A: Tensor, B: Tensor, left: bool = True) -> Tensor:
    """X of A X = B (or X A = B); B may be a vector, or a batch of them as long as A is one of matrices."""
    linalg.check_matrix("linalg.solve", value(A).type, square=True)
    _require_one_type("linalg.solve", A, B)
    is_vector = len(B.shape) == 1 or (len(B.shape) == len(A.shape) - 1 and B.shape == A.shape[:-1])
    right = B.unsqueeze(-1) if is_vector else B
    rows = -2 if left else -1
    if right.shape[rows] != A.shape[-1]:
        shown = [f"{x.shape[-2]}x{x.shape[-1]}" for x in (A, right)]
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({shown[0]} and {shown[1]})"
        )
    if not left:
        return solved(A.transpose(-2, -1), right.transpose(-2, -1)).transpose(-2, -1)
    a, b = _common(A, right)
    place()
    out = result(emit(linalg.solve, value(a), value(b)))
    return out.squeeze(-1) if is_vector else out


def triangular(A: Tensor, B: Tensor, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """X of A X = B (or X A = B) for a triangular A."""
    linalg.check_matrix("linalg.solve_triangular", value(A).type, square=True)
    _require_one_type("linalg.solve_triangular", A, B)
    if not left:
        turned = triangular(A.transpose(-2, -1), B.transpose(-2, -1), not upper, True, unitriangular)
        return turned.transpose(-2, -1)
    a, b = _common(A, B)
    place()
    return result(emit(linalg.solve_triangular, value(a), value(b), upper=upper, unit=unitriangular))


@torch_function("triangular_solve", out=False)
def triangular_solve(b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False) -> Any:
    """(solution, cloned_coefficient) of A X = b (or A^T X = b)."""
    used, side = (A.transpose(-2, -1), not upper) if transpose else (A, upper)
    found = triangular(used, b, side, unitriangular=unitriangular)
    return structure("triangular_solve", "solution", "cloned_coefficient")(found, FUNCTIONS["clone"](A))


@torch_function("cholesky_solve", out="same")
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X of A X = B, given the Cholesky factor of A."""
    if B.dtype is not L.dtype:
        raise RuntimeError(
            f"Expected b and A to have the same dtype, but found b of type {B.dtype.title} and A of type "
            f"{L.dtype.title} instead."
        )
    lower = L.transpose(-2, -1) if upper else L
    return triangular(lower.transpose(-2, -1), triangular(lower, B, False), True)


@torch_function("cholesky_inverse", out="same")
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, given its Cholesky factor."""
    eye = FUNCTIONS["eye"](L.shape[-1], dtype=L.dtype, device=L.device).expand(L.shape)
    return cholesky_solve(eye, L, upper)


def orthogonal_triangular(name: str, A: Tensor, mode: str) -> Any:
    """(Q, R) under the result name of `torch.qr` or `torch.linalg.qr`."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    q, r = several(linalg.qr, A, complete=mode == "complete")
    if mode == "r":
        q = FUNCTIONS["empty"]((0,), dtype=A.dtype, device=A.device)
    return structure(name, "Q", "R")(q, r)


@torch_function("qr", out="same")
def qr(input: Tensor, some: bool = True) -> Any:
    """Orthonormal Q and upper triangular R of Q R = input."""
    return orthogonal_triangular("qr", input, "reduced" if some else "complete")


@torch_function("svd", out="same")
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """U, singular values S and V of U diag(S) V^T = input."""
    kind = structure("svd", "U", "S", "V")
    u, s, vh = several(linalg.svd, input, full=not some)
    if not compute_uv:
        m, n = input.shape[-2:]
        batch = tuple(input.shape[:-2])
        return kind(
            FUNCTIONS["zeros"]((*batch, m, m), device=input.device),
            s,
            FUNCTIONS["zeros"]((*batch, n, n), device=input.device),
        )
    return kind(u, s, vh.transpose(-2, -1))


def singular_values(A: Tensor) -> Tensor:
    """The singular values, descending."""
    return several(linalg.svd, A, full=False)[1]


def rank_tolerance(sizes: Tensor, shape: Any, atol: Any, rtol: Any) -> Tensor:
    """Below what a singular value counts as 0: max(atol, rtol * largest); rtol max(m, n) eps unless told otherwise."""
    if rtol is None:
        rtol = 0.0 if atol is not None else max(shape[-2:]) * EPSILON[sizes.dtype.itemsize]
    largest = sizes.amax(-1, keepdim=True) if sizes.shape[-1] else sizes.new_zeros((*sizes.shape[:-1], 1))
    relative, absolute = (x.unsqueeze(-1) if isinstance(x, Tensor) else x for x in (rtol, atol))
    limit = (
        absolute if isinstance(absolute, Tensor) else FUNCTIONS["full_like"](largest, 0.0 if absolute is None else absolute)
    )
    return FUNCTIONS["maximum"](largest * relative, limit)


def rank(A: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
    """How many singular values count as more than 0."""
    sizes = several(linalg.eigh, A, upper=False)[0].abs() if hermitian else singular_values(A)
    return (sizes > rank_tolerance(sizes, A.shape, atol, rtol)).sum(-1)


def _tolerance(name: str, limit: Any, default: float) -> float:
    if isinstance(limit, Tensor) and limit.shape:
        raise NotImplementedError(f"{name}: tolerances that differ from matrix to matrix are not supported; use a number")
    return default if limit is None else float(limit)


def pseudo_inverse(A: Tensor, rtol: Any = None, atol: Any = None, symmetric: bool = False) -> Tensor:
    """The Moore-Penrose inverse; of symmetric matrices the lower triangle is read."""
    type = value(A).type
    if type.rank < 2 or type.dtype.kind != "f":
        raise RuntimeError(
            f"linalg.pinv({A.dtype.title}{{{list(A.shape)}}}): expected a tensor "
            "with 2 or more dimensions of float, double, cfloat or cdouble types"
        )
    assert isinstance(type, TensorType)
    usual = max(A.shape[-2:]) * EPSILON.get(type.dtype.itemsize, 0.0) if atol is None else 0.0
    limits = {"rtol": _tolerance("linalg.pinv", rtol, usual), "atol": _tolerance("linalg.pinv", atol, 0.0)}
    return _single(linalg.pinv, A, **limits, symmetric=symmetric)


@torch_function("pinverse", out=False)
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The Moore-Penrose inverse; singular values below rcond times the largest count as 0."""
    return pseudo_inverse(input, rcond)


@torch_function("matrix_exp", out=False)
def matrix_exp(A: Tensor) -> Tensor:
    """The matrix exponential of square matrices."""
    return _single(linalg.exp, A)


@torch_function("matrix_power", out="same")
def matrix_power(input: Tensor, n: int) -> Tensor:
    """The n-th power of square matrices, of the inverse for a negative n; by repeated squaring."""
    linalg.check_matrix("linalg.matrix_power", value(input).type, square=True)
    base = inverse(input) if n < 0 else input
    left = abs(n)
    out = None
    while left:
        if left & 1:
            out = base if out is None else matmul(out, base)
        left >>= 1
        if left:
            base = matmul(base, base)
    if out is None:
        ones = FUNCTIONS["clone"](
            FUNCTIONS["eye"](input.shape[-1], dtype=input.dtype, device=input.device).expand(input.shape)
        )
        return without_slope(ones, input)
    return FUNCTIONS["clone"](out) if out is input else out
