"""SparseAdam, Adafactor and Muon (torch.optim): steps of ordinary operations, parameter by parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ops.products import addmm, matmul
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.ops.tensor_types import finfo
from lazytorch.optim.optimizer import Optimizer, options_of
from lazytorch.optim.stateful import zeros
from lazytorch.tensor import Tensor


class PerParameter(Optimizer):
    """An optimizer that moves each parameter by itself."""

    def _move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor, state: dict[str, Any]) -> None:
        """Change a parameter and its state (empty before the first step) in place."""
        raise NotImplementedError

    def _update(self, group: dict[str, Any], members: list[Tensor], dtype: DType, started: bool) -> None:
        for parameter in members:
            gradient = parameter.grad
            assert gradient is not None, "members have gradients"
            self._move(group, parameter, -gradient if group.get("maximize") else gradient, self.state[parameter])


class SparseAdam(PerParameter):
    """Adam of the rows that have a gradient: rows of zeros keep their moments and parameters (torch.optim.SparseAdam).

    Gradients are dense here; what torch's sparse ones leave out are rows of zeros.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        options = options_of(locals())
        for name, given in (("learning rate", lr), ("epsilon value", eps)):
            if not given > 0.0:
                raise ValueError(f"Invalid {name}: {given}")
        for position, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {position}: {beta}")
        super().__init__(params, options)

    def _move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor, state: dict[str, Any]) -> None:
        if not state:
            state.update(step=0, exp_avg=zeros(parameter), exp_avg_sq=zeros(parameter))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        step, mean, square = state["step"], state["exp_avg"], state["exp_avg_sq"]
        rest = tuple(range(1, len(gradient.shape)))
        seen = gradient != 0
        seen = seen.any(rest, keepdim=True) if rest else seen
        mean.add_(FUNCTIONS["where"](seen, (gradient - mean) * (1 - beta1), 0.0))
        square.add_(FUNCTIONS["where"](seen, (gradient * gradient - square) * (1 - beta2), 0.0))
        size = group["lr"] * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        parameter.add_(FUNCTIONS["where"](seen, mean / (square.sqrt() + group["eps"]) * -size, 0.0))


class Adafactor(PerParameter):
    """Steps by a mean square that is kept as a row and a column (torch.optim.Adafactor; Shazeer and Stern 2018)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        options = options_of(locals())
        for name, given in (("Learning rate", lr), ("weight_decay", weight_decay), ("epsilon2", eps[1])):
            if not given >= 0.0:
                raise ValueError(f"{name} should be >= 0 but is: {given}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        super().__init__(params, options)

    def _move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor, state: dict[str, Any]) -> None:
        eps1, eps2 = group["eps"]
        eps1 = finfo(parameter.dtype).eps if eps1 is None else eps1
        if not state:
            state.update(step=0, **_variances(gradient))
        state["step"] += 1
        share = state["step"] ** group["beta2_decay"]
        rate = min(group["lr"], 1 / math.sqrt(state["step"]))
        alpha = (parameter.norm(2) / math.sqrt(parameter.numel())).clamp_min(eps2) * rate
        if group["weight_decay"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        if "row_var" in state:
            rows, columns = state["row_var"], state["col_var"]
            rows.lerp_(gradient.square().mean(-1, keepdim=True), share)
            columns.lerp_(gradient.square().mean(-2, keepdim=True), share)
            estimate = matmul(rows, columns) / rows.mean(-2, keepdim=True).clamp_min(eps1)
        else:
            estimate = state["variance"].lerp_(gradient * gradient, share)
        update = gradient * estimate.clamp(min=eps1 * eps1).rsqrt()
        least = (update.norm(2) / (math.sqrt(update.numel()) * group["d"])).clamp_min(1.0)
        parameter.sub_(update * (alpha / least))


def _variances(gradient: Tensor) -> dict[str, Tensor]:
    shape = list(gradient.shape)
    if len(shape) < 2:
        return {"variance": FUNCTIONS["zeros_like"](gradient)}
    return {"row_var": gradient.new_zeros([*shape[:-1], 1]), "col_var": gradient.new_zeros([*shape[:-2], 1, shape[-1]])}


class Muon(PerParameter):
    """Momentum made orthogonal, of matrices (torch.optim.Muon; Jordan et al. 2024)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        options = options_of(locals())
        for name, given in (("Learning rate", lr), ("momentum", momentum), ("weight decay", weight_decay)):
            if not given >= 0.0:
                raise ValueError(f"{name} should be >= 0 but is: {given}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(params, options)
        for group in self.param_groups:
            for parameter in group["params"]:
                if len(parameter.shape) != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {parameter.shape}"
                    )

    def _move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor, state: dict[str, Any]) -> None:
        if not state:
            state["momentum_buffer"] = zeros(parameter)
        momentum, buffer = group["momentum"], state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - momentum)
        update = FUNCTIONS["lerp"](gradient, buffer, momentum) if group["nesterov"] else buffer
        rows, columns = parameter.shape
        ratio = math.sqrt(max(1, rows / columns))
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(_orthogonal(group, update), alpha=-group["lr"] * ratio)


def _orthogonal(group: dict[str, Any], matrix: Tensor) -> Tensor:
    """About the nearest orthogonal matrix, in bfloat16: Newton and Schulz's iteration with a quintic polynomial."""
    a, b, c = group["ns_coefficients"]
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.to(dtypes.bfloat16)
    x = x.transpose(0, 1) if tall else x
    x = x / x.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = matmul(x, x.transpose(0, 1))
        x = addmm(x, addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(0, 1) if tall else x


__all__ = ["Adafactor", "Muon", "SparseAdam"]
