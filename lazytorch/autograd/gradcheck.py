"""Derivatives against differences (torch.autograd.gradcheck)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch.autograd.engine import as_tensors, grad
from lazytorch.autograd.modes import enable_grad, no_grad
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.tensor import Tensor, from_array

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative does not agree with differences."""


def _numerical(func: Callable[..., Any], inputs: Sequence[Any], position: int, eps: float) -> list[np.ndarray]:
    """The Jacobian of every output by one input, [input elements, output elements], by central differences."""
    x = inputs[position]
    base = x.detach().numpy().copy()
    columns: list[list[np.ndarray]] = []
    with no_grad():
        for index in np.ndindex(*base.shape):
            sides = []
            for step in (eps, -eps):
                moved = base.copy()
                moved[index] += step
                changed = [*inputs[:position], from_array(moved, x.dtype, x), *inputs[position + 1 :]]
                outputs = _differentiable(as_tensors(func(*changed)), False)
                sides.append([y.detach().numpy().astype(np.float64).reshape(-1) for y in outputs])
            columns.append([(high - low) / (2 * eps) for high, low in zip(*sides, strict=True)])
    return [np.stack([column[i] for column in columns]) for i in range(len(columns[0]))] if columns else []


def _differentiable(outputs: Sequence[Any], tracked: bool) -> list[Tensor]:
    return [y for y in outputs if isinstance(y, Tensor) and y.dtype.is_floating_point and (y.requires_grad or not tracked)]


def _analytical(output: Tensor, x: Tensor) -> np.ndarray:
    """The same by one backward walk per output element."""
    rows = []
    for element in output.reshape(-1).unbind(0):
        (found,) = grad(element, x, retain_graph=True, allow_unused=True)
        rows.append(np.zeros(tuple(x.shape)) if found is None else found.detach().cpu().numpy())
    return np.stack([row.reshape(-1) for row in rows], 1) if rows else np.zeros((x._node.type.numel, 0))


def _batched(output: Tensor, x: Tensor) -> np.ndarray:
    """The same by one vectorised walk."""
    units = FUNCTIONS["eye"](output._node.type.numel, dtype=output.dtype, device=output.device).reshape((-1, *output.shape))
    (found,) = grad(output, x, units, retain_graph=True, allow_unused=True, is_grads_batched=True)
    count = x._node.type.numel
    return np.zeros((count, len(units))) if found is None else found.detach().cpu().numpy().reshape(-1, count).T


def _forward(func: Callable[..., Any], inputs: Sequence[Any], position: int, vectorized: bool) -> list[np.ndarray]:
    """The same in forward mode, one direction after the other or all at once."""
    from lazytorch.autograd import forward_ad  # loaded when first used: `import lazytorch` need not wait for it
    from lazytorch.vectorization import vmap

    given = [x.detach() if isinstance(x, Tensor) else x for x in inputs]
    x = given[position]

    def push(direction: Tensor) -> tuple[Tensor, ...]:
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, direction)
            outputs = _differentiable(as_tensors(func(*given[:position], dual, *given[position + 1 :])), False)
            pushed = [forward_ad.unpack_dual(y).tangent for y in outputs]
        return tuple([FUNCTIONS["zeros_like"](y) if t is None else t for y, t in zip(outputs, pushed, strict=True)])

    count = x._node.type.numel
    units = FUNCTIONS["eye"](count, dtype=x.dtype, device=x.device).reshape((-1, *x.shape))
    if vectorized:
        return [column.numpy().reshape(count, -1) for column in vmap(push)(units)]
    columns = [push(unit) for unit in units.unbind(0)]
    return [np.stack([t.numpy().reshape(-1) for t in several]) for several in zip(*columns, strict=True)]


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the derivatives agree with central differences, element by element.

    Inputs of float64 that require grad are moved by eps. Raises GradcheckError (or returns False) where they do not
    agree, ValueError when no input requires grad. check_forward_ad: the derivatives of forward mode too. check_batched_grad,
    check_batched_forward_grad: the vectorised ones of either mode too.
    """
    several = tuple(as_tensors(inputs))
    checked = [i for i, x in enumerate(several) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True."
        )
    outputs = _differentiable(as_tensors(func(*several)), True)
    modes = [
        ("Jacobian", check_backward_ad, lambda i: [_analytical(y, several[i]) for y in outputs]),
        ("Jacobian computed with forward mode", check_forward_ad, lambda i: _forward(func, several, i, False)),
        ("Jacobian of batched gradients", check_batched_grad, lambda i: [_batched(y, several[i]) for y in outputs]),
        (
            "Jacobian computed with batched forward mode",
            check_batched_forward_grad,
            lambda i: _forward(func, several, i, True),
        ),
    ]
    for number in checked:
        numerical = _numerical(func, several, number, eps)
        for name, wanted, analytical in modes:
            for which, found in enumerate(analytical(number) if wanted else ()):
                if np.allclose(found, numerical[which], rtol, atol):
                    continue
                if not raise_exception:
                    return False
                raise GradcheckError(
                    f"{name} mismatch for output {which} with respect to input {number},\n"
                    f"numerical:{numerical[which]}\nanalytical:{found}\n"
                )
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    gen_non_contig_grad_outputs: bool = False,
    **options: Any,
) -> bool:
    """`gradcheck` of the first derivatives."""
    several = tuple(as_tensors(inputs))
    outputs = _differentiable(as_tensors(func(*several)), True)
    if grad_outputs is None:
        seeds = [FUNCTIONS["randn_like"](y).detach().requires_grad_() for y in outputs]
    else:
        seeds = list(as_tensors(grad_outputs))
    count = len(several)

    def slopes(*arguments: Any) -> tuple[Tensor, ...]:
        given, weights = arguments[:count], arguments[count:]
        tracked = [x if x.requires_grad else x.detach().requires_grad_() for x in given]
        results = _differentiable(as_tensors(func(*tracked)), True)
        found = grad(results, tracked, list(weights), create_graph=True, allow_unused=True)
        return tuple([g for g in found if g is not None])

    def enabled(*arguments: Any) -> tuple[Tensor, ...]:
        # Differences are taken without history, but the first derivatives need one.
        with enable_grad():
            return slopes(*arguments)

    return gradcheck(enabled, (*several, *seeds), **options)
