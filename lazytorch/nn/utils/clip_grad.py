"""Clipping of gradients by their norm or by value (torch.nn.utils)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from lazytorch.autograd.modes import no_grad
from lazytorch.ops.creation import tensor_
from lazytorch.ops.shaping import stack
from lazytorch.tensor import Tensor


def _tensors(parameters: Any) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


@no_grad()
def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all elements of several tensors. Raises RuntimeError for one that is not finite, if asked to."""
    found = _tensors(tensors)
    norm_type = float(norm_type)
    if not found:
        return tensor_(0.0)
    total: Tensor = stack([x.norm(norm_type) for x in found]).norm(norm_type)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be clipped. "
            "To disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


@no_grad()
def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
    """Scale the gradients, in place, so that a total norm above `max_norm` becomes it."""
    coefficient = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
    for parameter in _tensors(parameters):
        if parameter.grad is not None:
            parameter.grad.mul_(coefficient)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients of the parameters, in place, to a total norm of at most `max_norm`; the norm before."""
    if not isinstance(parameters, Tensor):
        parameters = list(parameters)
        if not parameters:
            warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    found = _tensors(parameters)
    total = get_total_norm([p.grad for p in found if p.grad is not None], norm_type, error_if_nonfinite)
    clip_grads_with_norm_(found, max_norm, total)
    return total


def clip_grad_norm(parameters: Any, max_norm: float, norm_type: float = 2.0, **options: Any) -> Tensor:
    """The old name of `clip_grad_norm_`."""
    warnings.warn(
        "torch.nn.utils.clip_grad_norm is now deprecated in favor of torch.nn.utils.clip_grad_norm_.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, **options)


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Limit every element of the gradients, in place, to [-clip_value, clip_value]."""
    limit = float(clip_value)
    for parameter in _tensors(parameters):
        if parameter.grad is not None:
            parameter.grad.clamp_(-limit, limit)
