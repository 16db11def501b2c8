"""Adam and AdamW (torch.optim; Kingma and Ba 2015, Loshchilov and Hutter 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import optim
from lazytorch.optim.optimizer import options_of
from lazytorch.optim.stateful import StateOptimizer


class Adam(StateOptimizer):
    """Adam with bias correction (torch.optim.Adam)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        options = options_of(locals())
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        for position, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {position}: {beta}")
        super().__init__(params, options)

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        return ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if group["amsgrad"] else [])

    def _numbers(self, state: dict[str, Any]) -> Any:
        return state["step"]

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        lr, decay, step = float(group["lr"]), float(group["weight_decay"]), state["step"]
        beta1, beta2 = group["betas"]
        size = lr / (1 - beta1**step)
        root = math.sqrt(1 - beta2**step)
        decoupled = group["decoupled_weight_decay"]
        shrink = 1 - lr * decay if decoupled else decay
        kind = ("decoupled" if decoupled else "gradient") if decay else ""
        operator = _adam(count, kind, bool(group["amsgrad"]), bool(group["maximize"]))
        return operator, [1 - beta1, beta2, 1 - beta2, -size, root, float(group["eps"]), shrink]


@cache
def _adam(count: int, decay: str, amsgrad: bool, maximize: bool) -> Operator:
    return optim.adam.operator(count=count, decay=decay, amsgrad=amsgrad, maximize=maximize)


class AdamW(Adam):
    """Adam with decoupled weight decay (torch.optim.AdamW)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **options, decoupled_weight_decay=True)
