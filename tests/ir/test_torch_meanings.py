"""The meaning of every operation is what torch computes: the example of each declaration, interpreted, against a torch call.

A new operation is found by its existing: by torch's function of its name where there is one, else by a line in `TORCH`, or
in `ELSEWHERE` with a reason. Backward operations follow from their forward ones, through torch's autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration, declaration_named
from lazytorch.ir.examples import documented_operations, example_module, example_operation
from lazytorch.ir.interpreter import interpret

Meaning = Callable[..., Any]
"""f(attributes, *operands) -> result or tuple of results, as torch tensors."""

KERNEL_LEVEL = ("builtin.", "fused.", "loop.", "gpu.")
BACKWARD = "_backward"
OPERATIONS = [d for d in documented_operations() if not d.name.startswith(KERNEL_LEVEL)]

ELSEWHERE = {
    **{
        d.name: "whole runs of every optimizer are compared in tests/frontend/test_optimizers.py"
        for d in OPERATIONS
        if d.name.startswith("optim.")
    },
    "linalg.eig": "of any order: compared in tests/frontend/test_linear_algebra.py",
    "random.normal": "torch's generator is compared in tests/frontend/test_statistics_and_random.py",
    "random.philox": "known answers and torch's loops: tests/ir/test_philox.py",
    "random.philox_normal": "numbers that torch printed on GPUs: tests/gpu/test_random.py",
    "random.uniform": "torch's generator is compared in tests/frontend/test_statistics_and_random.py",
    "tensor.transfer": "needs another device: tests/gpu",
}
"""Operations of which one example says nothing about torch, and why."""

COARSE = {"special.standard_gamma_grad": 1e-4}
"""Relative tolerances where torch's own approximation is a coarse one."""


def _dtype(dtype: DType) -> torch.dtype:
    found: torch.dtype = getattr(torch, str(dtype).removeprefix("torch."))
    return found


def _slices(a: Any, sizes: Any) -> tuple[slice, ...]:
    return tuple([slice(b, b + n * s, s) for b, n, s in zip(a.starts, sizes, a.steps, strict=True)])


def _written(a: Any, base: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    out = base.clone()
    out[_slices(a, value.shape)] = value
    return out


def _padded(a: Any, x: torch.Tensor) -> torch.Tensor:
    shape = [
        low + size + max(size - 1, 0) * inner + high
        for low, size, inner, high in zip(a.low, x.shape, a.interior, a.high, strict=True)
    ]
    out = x.new_full(shape, a.value)
    places = [
        slice(low, low + (size - 1) * (inner + 1) + 1, inner + 1)
        for low, size, inner in zip(a.low, x.shape, a.interior, strict=True)
    ]
    out[tuple(places)] = x
    return out


def _windows(a: Any, x: torch.Tensor) -> torch.Tensor:
    """Windows of one dimension."""
    size, stride, dilation = a.sizes[0], a.strides[0], a.dilations[0]
    return x.unfold(-1, dilation * (size - 1) + 1, stride)[..., ::dilation]


def _folded(a: Any, x: torch.Tensor) -> torch.Tensor:
    """The sum of windows of one dimension: the cotangent of taking them."""
    whole = torch.zeros(a.shape, requires_grad=True)
    size, stride, dilation = x.shape[-1], a.strides[0], a.dilations[0]
    windows = whole.unfold(-1, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return torch.autograd.grad(windows, whole, x)[0]


def _recurrence(a: Any, factor: torch.Tensor, term: torch.Tensor) -> torch.Tensor:
    rows, y = [], torch.zeros(term.shape[0])
    for i in range(term.shape[1]):
        y = factor[:, i] * y + term[:, i]
        rows.append(y)
    return torch.stack(rows, a.dim)


def _scatter_reduce(kind: str) -> Meaning:
    def meaning(a: Any, base: torch.Tensor, index: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return base.index_reduce(0, index, value, kind)

    return meaning


def _scores(a: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    scores = a.scale * q @ k.mT
    return scores.masked_fill(torch.ones_like(scores).tril().logical_not(), -torch.inf) if a.causal else scores


def _query_cotangent(a: Any, g: Any, q: Any, k: Any, v: Any, logsumexp: Any, delta: Any) -> torch.Tensor:
    """By given statistics of the rows: Dao, FlashAttention-2, algorithm 2."""
    weights = torch.exp(_scores(a, q, k) - logsumexp[..., None])
    return a.scale * (weights * (g @ v.mT - delta[..., None])) @ k


def _pooled(function: Callable[..., Any]) -> Meaning:
    return lambda a, x: function(x, a.sizes, a.strides, a.padding, a.dilations, a.ceil)


def _same_signs(*factors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Factors whose columns are unique up to their signs."""
    return tuple([factor.abs() for factor in factors])


def _exponential_unit(a: Any, x: torch.Tensor) -> torch.Tensor:
    return a.scale * F.elu(x / a.width, a.alpha)


def _with_statistics(a: Any, x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    return (x - mean) / torch.sqrt(variance + a.eps)  # F.batch_norm has no derivative by the statistics


PREDICATES = {"eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge}

TORCH: dict[str, Meaning] = {
    "arith.bit_and": lambda a, x, y: x & y,
    "arith.bit_not": lambda a, x: ~x,
    "arith.bit_or": lambda a, x, y: x | y,
    "arith.bit_xor": lambda a, x, y: x ^ y,
    "arith.bitcast": lambda a, x: x.view(_dtype(a.dtype)),
    "arith.cast": lambda a, x: x.to(_dtype(a.dtype)),
    "arith.clamped": lambda a, x, y, passed: y,
    "arith.compare": lambda a, x, y: PREDICATES[a.predicate](x, y),
    "arith.constant": lambda a: torch.full(a.type.shape, a.value, dtype=_dtype(a.type.dtype)),
    "arith.fma": lambda a, x, y, z: (x.double() * y.double() + z.double()).float(),
    "arith.round_even": lambda a, x: torch.round(x),
    "arith.select": lambda a, condition, x, y: torch.where(condition, x, y),
    "arith.shift_left": lambda a, x, y: x << y,
    "arith.shift_right": lambda a, x, y: x >> y,
    "complex.of_pairs": lambda a, x: torch.view_as_complex(x.contiguous()),
    "complex.to_pairs": lambda a, x: torch.view_as_real(x),
    "fourier.transform": lambda a, x: (torch.fft.ifftn if a.inverse else torch.fft.fftn)(
        x, dim=a.dims, norm="forward" if a.inverse else "backward"
    ),
    "linalg.cofactor": lambda a, x: torch.linalg.det(x) * torch.linalg.inv(x).mT,
    "linalg.cholesky_ex": lambda a, x: tuple(torch.linalg.cholesky_ex(x)),
    "linalg.eigh": lambda a, x: tuple(map(torch.abs, torch.linalg.eigh(x, "U" if a.upper else "L"))),
    "linalg.lu_factor": lambda a, x: tuple(torch.linalg.lu_factor_ex(x)),
    "linalg.norm_root": lambda a, x: x ** (1 / a.order),
    "linalg.permutation_matrix": lambda a, pivots: torch.eye(a.rows),  # without exchanges
    "linalg.pinv": lambda a, x: torch.linalg.pinv(x, rtol=a.rtol),
    "linalg.qr": lambda a, x: _same_signs(*torch.linalg.qr(x, "complete" if a.complete else "reduced")),
    "linalg.reflections": lambda a, x: tuple(torch.geqrf(x)),
    "linalg.slogdet": lambda a, x: tuple(torch.linalg.slogdet(x)),
    "linalg.solve": lambda a, x, y: torch.linalg.solve(x, y),
    "linalg.solve_triangular": lambda a, x, y: torch.linalg.solve_triangular(x, y, upper=a.upper, unitriangular=a.unit),
    "linalg.svd": lambda a, x: _same_signs(*torch.linalg.svd(x, full_matrices=a.full)),
    "math.polygamma": lambda a, x: torch.polygamma(a.n, x),
    "nn.attention": lambda a, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=a.causal, scale=a.scale),
    "nn.attention_backward": _query_cotangent,
    "nn.attention_logsumexp": lambda a, q, k: torch.logsumexp(_scores(a, q, k), -1),
    "nn.avg_pool": lambda a, x: F.avg_pool2d(x, a.sizes, a.strides, a.padding, a.ceil, a.count_padding, a.divisor or None),
    "nn.batch_mean": lambda a, x: x.mean(0),
    "nn.batch_norm": lambda a, x, weight, bias: F.batch_norm(x, None, None, weight, bias, training=True, eps=a.eps),
    "nn.batch_norm_with": _with_statistics,
    "nn.batch_variance": lambda a, x: x.var(0),
    "nn.bce_loss": lambda a, x, y: F.binary_cross_entropy(x, y, reduction=a.reduction),
    "nn.bce_with_logits_loss": lambda a, x, y: F.binary_cross_entropy_with_logits(x, y, reduction=a.reduction),
    "nn.cross_entropy": lambda a, x, y: F.cross_entropy(
        x, y, reduction=a.reduction, ignore_index=a.ignore_index, label_smoothing=a.label_smoothing
    ),
    "nn.cross_entropy_probabilities": lambda a, x, y: F.cross_entropy(
        x, y, reduction=a.reduction, label_smoothing=a.label_smoothing
    ),
    "nn.dropout": lambda a, x, kept: x * kept / (1 - a.p),
    "nn.elu": lambda a, x: F.elu(x, a.alpha),
    "nn.embedding": lambda a, table, index: F.embedding(index, table),
    "nn.exponential_unit": _exponential_unit,
    "nn.gelu": lambda a, x: F.gelu(x, approximate=a.approximate),
    "nn.hardshrink": lambda a, x: F.hardshrink(x, a.bound),
    "nn.hardtanh": lambda a, x: F.hardtanh(x, a.low, a.high),
    "nn.huber_loss": lambda a, x, y: F.huber_loss(x, y, reduction=a.reduction, delta=a.delta),
    "nn.l1_loss": lambda a, x, y: F.l1_loss(x, y, reduction=a.reduction),
    "nn.layer_norm": lambda a, x, weight, bias: F.layer_norm(x, a.shape, weight, bias, a.eps),
    "nn.leaky_relu": lambda a, x: F.leaky_relu(x, a.slope),
    "nn.linear": lambda a, x, weight, bias: F.linear(x, weight, bias),
    "nn.log_sigmoid": lambda a, x: F.logsigmoid(x),
    "nn.log_softmax": lambda a, x: F.log_softmax(x, a.dim),
    "nn.max_pool": _pooled(F.max_pool2d),
    "nn.max_pool_index": _pooled(lambda *options: F.max_pool2d(*options, return_indices=True)[1]),
    "nn.moving_average": lambda a, before, value: (1 - a.momentum) * before + a.momentum * value,
    "nn.mse_loss": lambda a, x, y: F.mse_loss(x, y, reduction=a.reduction),
    "nn.nll_loss": lambda a, x, y: F.nll_loss(x, y, reduction=a.reduction, ignore_index=a.ignore_index),
    "nn.prelu": lambda a, x, slope: torch.where(x > 0, x, slope * x),
    "nn.scaled_gradient": lambda a, x, scale: x,
    "nn.smooth_l1_loss": lambda a, x, y: F.smooth_l1_loss(x, y, reduction=a.reduction, beta=a.beta),
    "nn.softmax": lambda a, x: F.softmax(x, a.dim),
    "nn.softplus": lambda a, x: F.softplus(x, a.beta, a.threshold),
    "nn.softshrink": lambda a, x: F.softshrink(x, a.bound),
    "nn.threshold": lambda a, x: F.threshold(x, a.threshold, a.value),
    "special.dirichlet_grad": lambda a, x, alpha, total: torch._dirichlet_grad(x, alpha, total),
    "special.dirichlet_variable": lambda a, alpha, value: value,
    "special.gamma_variable": lambda a, alpha, value: value,
    "special.polynomial": lambda a, x, degree: getattr(torch.special, a.kind)(x, degree),
    "special.standard_gamma_grad": lambda a, alpha, value: torch._standard_gamma_grad(alpha, value),
    "tensor.alias": lambda a, x: x,
    "tensor.argmax": lambda a, x: x.argmax(a.dim),
    "tensor.argmin": lambda a, x: x.argmin(a.dim),
    "tensor.argsort": lambda a, x: x.argsort(dim=-1, descending=a.descending, stable=True),
    "tensor.as_strided": lambda a, x: x.as_strided(a.shape, a.strides, a.offset),
    "tensor.concat": lambda a, *x: torch.cat(x, a.dim),
    "tensor.contract": lambda a, x, y: torch.einsum(f"{a.lhs},{a.rhs}->{a.out}", x, y),
    "tensor.conv": lambda a, x, weight: F.conv2d(x, weight, None, a.strides, a.padding, a.dilations, a.groups),
    "tensor.detach": lambda a, x: x,
    "tensor.diagonal": lambda a, x: x.diagonal(a.offset, -2, -1),
    "tensor.expand": lambda a, x: x.expand(a.shape),
    "tensor.flip": lambda a, x: x.flip(a.dims),
    "tensor.fold_windows": _folded,
    "tensor.forget": lambda a, x, y: y,
    "tensor.gather": lambda a, x, index: x[index],
    "tensor.insert_slice": _written,
    "tensor.iota": lambda a: torch.arange(a.size, dtype=_dtype(a.dtype)),
    "tensor.literal": lambda a: torch.tensor(a.values).reshape(a.type.shape),
    "tensor.overwrite": lambda a, x, y: y,
    "tensor.pad": _padded,
    "tensor.permute": lambda a, x: x.permute(a.order),
    "tensor.reduce_all": lambda a, x: x.all(a.dims),
    "tensor.reduce_any": lambda a, x: x.any(a.dims),
    "tensor.reduce_max": lambda a, x: x.amax(a.dims),
    "tensor.reduce_min": lambda a, x: x.amin(a.dims),
    "tensor.reduce_prod": lambda a, x: x.prod(a.dims[0]),
    "tensor.reduce_sum": lambda a, x: x.sum(a.dims),
    "tensor.reshape": lambda a, x: x.reshape(a.shape),
    "tensor.scan_linear": _recurrence,
    "tensor.scan_max": lambda a, x: x.cummax(a.dim).values,
    "tensor.scan_min": lambda a, x: x.cummin(a.dim).values,
    "tensor.scan_prod": lambda a, x: x.cumprod(a.dim),
    "tensor.scan_sum": lambda a, x: x.cumsum(a.dim),
    "tensor.scatter": lambda a, x, index, value: x.index_put((index,), value),
    "tensor.scatter_add": lambda a, x, index, value: x.index_add(0, index, value),
    "tensor.scatter_max": _scatter_reduce("amax"),
    "tensor.scatter_min": _scatter_reduce("amin"),
    "tensor.scatter_mul": _scatter_reduce("prod"),
    "tensor.searchsorted": lambda a, table, x: torch.searchsorted(table, x, right=a.right),
    "tensor.slice": lambda a, x: x[_slices(a, a.sizes)],
    "tensor.window": _windows,
}


def meaning_of(declaration: Declaration) -> Meaning | None:
    """What torch computes: by `TORCH`, by the forward operation's derivative, or torch's function of the same name."""
    name = declaration.name
    if name in TORCH:
        return TORCH[name]
    if name.endswith(BACKWARD):
        forward = meaning_of(declaration_named(name.removesuffix(BACKWARD)))
        return None if forward is None else _derivative(forward)
    if declaration.attribute_names:
        return None
    for library in (torch, torch.special, F, torch.linalg):
        function = getattr(library, name.partition(".")[2], None)
        if callable(function):
            return lambda attributes, *operands: function(*operands)
    return None


def _derivative(forward: Meaning) -> Meaning:
    def meaning(attributes: Any, cotangent: torch.Tensor, *operands: torch.Tensor) -> torch.Tensor:
        leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in operands]
        wanted = leaves[attributes.operand]
        value = forward(attributes, *leaves)
        if not value.requires_grad:  # torch has no derivative of it
            moved = [[x.double() + (1e-6 * sign if x is wanted else 0) for x in leaves] for sign in (1, -1)]
            high, low = (forward(attributes, *values) for values in moved)
            return (cotangent * (high - low) / 2e-6).float()
        return torch.autograd.grad(value, wanted, cotangent)[0]

    return meaning


def _operand(name: str, type: Any, rows: int, random: np.random.Generator) -> np.ndarray:
    """Numbers in the domain of every function; whole ones are indices, square matrices symmetric and positive."""
    kind, shape = type.dtype.kind, type.shape
    if kind == "c":
        return (random.uniform(0.1, 0.9, shape) + 1j * random.uniform(0.1, 0.9, shape)).astype(type.dtype.numpy)
    if kind == "b":
        return random.random(shape) < 0.5
    if kind != "f":
        # of two writes to one place torch does not say which wins
        whole = (
            random.permutation(rows)[: type.numel].reshape(shape) if "scatter" in name else random.integers(0, rows, shape)
        )
        return whole.astype(type.dtype.numpy)
    values = random.uniform(0.1, 0.9, shape)
    if name.startswith("linalg.") and len(shape) == 2 and shape[0] == shape[1]:
        values = values @ values.T + np.diag(np.arange(1.0, shape[0] + 1))
    if name == "math.acosh":
        values += 1
    if name == "tensor.searchsorted" and len(shape) == 1:
        values = np.sort(values)
    return values.astype(type.dtype.numpy)


COMPARED = [d for d in OPERATIONS if d.name not in ELSEWHERE]


@pytest.mark.parametrize("declaration", COMPARED, ids=lambda d: d.name)
def test_the_meaning_of_an_operation_is_what_torch_computes(declaration: Declaration) -> None:
    meaning = meaning_of(declaration)
    assert meaning is not None, f"{declaration.name} needs a line in TORCH, or in ELSEWHERE with a reason"
    operation, random = example_operation(declaration), np.random.default_rng(0)
    types = [operand.type for operand in operation.operands]
    floats = [type for type in types if type.dtype.kind == "f" and type.shape]
    rows = floats[0].shape[0] if declaration.name.startswith("tensor.") and floats else 3
    arrays = [_operand(declaration.name, type, rows, random) for type in types]
    func = next(iter(example_module(declaration).region.block))
    got = interpret(func, arrays)
    want = meaning(operation.attributes, *[torch.from_numpy(array.copy()) for array in arrays])
    expected = want if isinstance(want, tuple) else (want,)
    if "linalg" in declaration.name and len(got) > 1:
        got = [np.abs(array) for array in got]
        expected = tuple([x.abs() for x in expected])
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == tuple(theirs.shape)
        np.testing.assert_allclose(
            mine, theirs.detach().resolve_conj().numpy(), rtol=COARSE.get(declaration.name, 2e-5), atol=1e-6
        )


def test_what_is_compared_elsewhere_exists_and_needs_no_line_here() -> None:
    names = {declaration.name for declaration in OPERATIONS}
    assert set(TORCH) <= names and set(ELSEWHERE) <= names and not set(TORCH) & set(ELSEWHERE)
