"""RMSprop, Adagrad, Adadelta, Adamax, NAdam, RAdam, Rprop and ASGD (torch.optim)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import optim_adaptive as steps
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.optim.optimizer import options_of
from lazytorch.optim.stateful import StateOptimizer, step_attributes, zeros
from lazytorch.tensor import Tensor


def _check(name: str, value: Any, least: float = 0.0, below: float | None = None) -> None:
    """Raise torch's ValueError for an option out of its range."""
    if not least <= value or (below is not None and not value < below):
        raise ValueError(f"Invalid {name}: {value}")


def _check_betas(betas: Any) -> None:
    for position, beta in enumerate(betas):
        _check(f"beta parameter at index {position}", beta, 0.0, 1.0)


class RMSprop(StateOptimizer):
    """Gradients divided by the root of their mean square (torch.optim.RMSprop)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        options = options_of(locals())
        for name, given in (
            ("learning rate", lr),
            ("epsilon value", eps),
            ("momentum value", momentum),
            ("weight_decay value", weight_decay),
            ("alpha value", alpha),
        ):
            _check(name, given)
        super().__init__(params, options)

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        momentum = ["momentum_buffer"] if group["momentum"] > 0 else []
        return ["square_avg", *momentum, *(["grad_avg"] if group["centered"] else [])]

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        alpha = group["alpha"]
        momentum, centered = group["momentum"] > 0, bool(group["centered"])
        operator = steps.rmsprop.operator(**step_attributes(group, count), momentum=momentum, centered=centered)
        numbers = [-group["lr"], alpha, 1 - alpha, group["eps"], group["momentum"], group["weight_decay"]]
        return operator, [float(x) for x in numbers]


class Adagrad(StateOptimizer):
    """Gradients divided by the root of the sum of their squares (torch.optim.Adagrad)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        options = options_of(locals())
        for name, given in (
            ("learning rate", lr),
            ("lr_decay value", lr_decay),
            ("weight_decay value", weight_decay),
            ("initial_accumulator_value value", initial_accumulator_value),
            ("epsilon value", eps),
        ):
            _check(name, given)
        super().__init__(params, options)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = self._start(group, parameter)

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        return ["sum"]

    def _start(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        first = group["initial_accumulator_value"]
        return {"step": 0, "sum": FUNCTIONS["full_like"](parameter.detach(), first)}

    def share_memory(self) -> None:
        """The states are in memory that every thread sees already."""

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        rate = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        numbers = [-rate, group["eps"], group["weight_decay"]]
        return steps.adagrad.operator(**step_attributes(group, count)), [float(x) for x in numbers]


class Adadelta(StateOptimizer):
    """Steps in the ratio of root mean squares of steps and gradients (torch.optim.Adadelta)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check("learning rate", lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        _check("epsilon value", eps)
        _check("weight_decay value", weight_decay)
        super().__init__(params, options_of(locals()))

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        return ["square_avg", "acc_delta"]

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        rho = group["rho"]
        numbers = [-group["lr"], rho, 1 - rho, group["eps"], group["weight_decay"]]
        return steps.adadelta.operator(**step_attributes(group, count)), [float(x) for x in numbers]


class _MomentOptimizer(StateOptimizer):
    """What the relatives of Adam share."""

    def __init__(self, params: Iterable[Any], options: dict[str, Any]) -> None:
        _check("learning rate", options["lr"])
        _check("epsilon value", options["eps"])
        _check_betas(options["betas"])
        _check("weight_decay value", options["weight_decay"])
        super().__init__(params, options)

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        return ["exp_avg", "exp_avg_sq"]

    def _decay(self, group: dict[str, Any]) -> float:
        decoupled = group.get("decoupled_weight_decay", False)
        return 1 - group["lr"] * group["weight_decay"] if decoupled else group["weight_decay"]


class Adamax(_MomentOptimizer):
    """Adam by the largest gradient instead of the mean square (torch.optim.Adamax)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(params, options_of(locals()))

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        return ["exp_avg", "exp_inf"]

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        beta1, beta2 = group["betas"]
        rate = group["lr"] / (1 - beta1 ** state["step"])
        numbers = [1 - beta1, beta2, group["eps"], -rate, group["weight_decay"]]
        return steps.adamax.operator(**step_attributes(group, count)), [float(x) for x in numbers]


class NAdam(_MomentOptimizer):
    """Adam with Nesterov momentum (torch.optim.NAdam)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check("momentum_decay value", momentum_decay)
        super().__init__(params, options_of(locals()))

    def _start(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        return {"step": 0, "mu_product": 1.0, "exp_avg": zeros(parameter), "exp_avg_sq": zeros(parameter)}

    def _momentum(self, group: dict[str, Any], step: int) -> float:
        return float(group["betas"][0] * (1.0 - 0.5 * (0.96 ** (step * group["momentum_decay"]))))

    def _finish(self, group: dict[str, Any], state: dict[str, Any]) -> None:
        state["mu_product"] = _single(state["mu_product"] * self._momentum(group, state["step"]))

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        lr, (beta1, beta2), step = group["lr"], group["betas"], state["step"]
        mu, following = self._momentum(group, step), self._momentum(group, step + 1)
        product = _single(state["mu_product"] * mu)
        numbers = [1 - beta1, beta2, 1 - beta2, 1 - beta2**step, group["eps"]]
        numbers += [-lr * (1.0 - mu) / (1.0 - product), (-lr * following) / (1.0 - product * following)]
        numbers.append(self._decay(group))
        operator = steps.nadam.operator(**step_attributes(group, count, group["decoupled_weight_decay"]))
        return operator, [float(x) for x in numbers]


def _single(x: float) -> float:
    """Rounded to float32, in which torch keeps the numbers of a state."""
    return float(np.float32(x))


class RAdam(_MomentOptimizer):
    """Adam whose division by the root mean square waits until that is known (torch.optim.RAdam)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(params, options_of(locals()))

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        (beta1, beta2), step = group["betas"], state["step"]
        correction1, correction2 = 1 - beta1**step, 1 - beta2**step
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * step * (beta2**step) / correction2
        rectified = length > 5.0
        factor = 1.0
        if rectified:
            factor = ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)) ** 0.5
        attributes = step_attributes(group, count, group["decoupled_weight_decay"])
        operator = steps.radam.operator(**attributes, rectified=rectified)
        numbers = [1 - beta1, beta2, 1 - beta2, correction1, group["lr"], correction2**0.5, group["eps"], factor]
        return operator, [float(x) for x in (*numbers, self._decay(group))]


class Rprop(StateOptimizer):
    """Steps by the signs of gradients, longer while a sign stays (torch.optim.Rprop)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check("learning rate", lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, options_of(locals()))

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        return ["prev", "step_size"]

    def _start(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        size = FUNCTIONS["full_like"](parameter.detach(), float(group["lr"]))
        return {"step": 0, "prev": zeros(parameter), "step_size": size}

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        numbers = [*group["etas"], *group["step_sizes"]]
        return steps.rprop.operator(**step_attributes(group, count)), [float(x) for x in numbers]


class ASGD(StateOptimizer):
    """SGD with the average of the parameters kept in the state (torch.optim.ASGD)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        _check("learning rate", lr)
        _check("weight_decay value", weight_decay)
        super().__init__(params, options_of(locals()))

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        return ["ax"]

    def _start(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        return {"step": 0, "eta": _single(float(group["lr"])), "mu": 1.0, "ax": zeros(parameter)}

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        eta, mu = state["eta"], state["mu"]
        numbers = [-eta, 1 - group["lambd"] * eta, mu, group["weight_decay"]]
        operator = steps.asgd.operator(**step_attributes(group, count), averaging=mu != 1)
        return operator, [float(x) for x in numbers]

    def _finish(self, group: dict[str, Any], state: dict[str, Any]) -> None:
        step = state["step"]
        state["eta"] = _single(group["lr"] / ((1 + group["lambd"] * group["lr"] * step) ** group["alpha"]))
        state["mu"] = _single(1 / max(1, step - group["t0"]))


__all__ = ["ASGD", "Adadelta", "Adagrad", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop"]
