"""SGD, Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from math import copysign
from typing import Any

from lazytorch.autograd.modes import enable_grad
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import optim
from lazytorch.ir.trace import STATE, Node, record_node, results_of
from lazytorch.ops.recording import FUNCTIONS, number_leaf, place
from lazytorch.tensor import Tensor, assign_fresh, value, wrap


class Optimizer:
    """Parameter groups with their options, and the state of every parameter."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own."""
        group = dict(param_group)
        members = group["params"]
        group["params"] = [members] if isinstance(members, Tensor) else list(members)
        for parameter in group["params"]:
            if not isinstance(parameter, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(parameter)}")
            if not parameter.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget (or zero) the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        trace = STATE.trace
        place()
        before, trace.grad_enabled = trace.grad_enabled, False
        try:
            for group in self.param_groups:
                ready = [p for p in group["params"] if p.grad is not None]
                kinds = {(p._node.type.dtype, p in self.state) for p in ready}
                for dtype, started in kinds:
                    members = ready
                    if len(kinds) > 1:
                        members = [p for p in ready if (p._node.type.dtype, p in self.state) == (dtype, started)]
                    self._update(group, members, dtype, started)
        finally:
            trace.grad_enabled = before
        return loss

    def _update(self, group: dict[str, Any], members: list[Tensor], dtype: DType, started: bool) -> None:
        """Record one step of parameters of one element type, all of them with a state or all without."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Options and states, with parameters as numbers."""
        numbers = {id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        groups = [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": {numbers[id(p)]: dict(s) for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take options and states from `state_dict`."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        for own, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            if len(own["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                )
            own.update({name: entry for name, entry in saved.items() if name != "params"})
        self.state = {
            parameters[number]: {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
            for number, state in state_dict["state"].items()
        }

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _record(operator: Operator, scalars: list[float], dtype: DType, operands: list[Node]) -> tuple[Node, ...]:
    """Record one step over all parameters; its results."""
    trace = STATE.trace
    return results_of(
        trace, record_node(trace, operator, (*[_number(x, copysign(1.0, x), dtype) for x in scalars], *operands))
    )


@lru_cache(64)
def _number(x: float, sign: float, dtype: DType) -> Node:
    """A run-time argument, the same one as long as its value (0.0 or -0.0, too) stays: most of them never change."""
    return number_leaf(x, dtype)


def _values(tensors: Iterable[Tensor]) -> list[Node]:
    """The tensors' present values."""
    return [t._node if t._base is None else value(t) for t in tensors]


def _gradients(members: list[Tensor]) -> list[Node]:
    return _values([p.grad for p in members if p.grad is not None])


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, dampening, Nesterov momentum and weight decay (torch.optim.SGD)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def _update(self, group: dict[str, Any], members: list[Tensor], dtype: DType, started: bool) -> None:
        momentum, decay = float(group["momentum"]), float(group["weight_decay"])
        scalars = [-float(group["lr"]), momentum, 1.0 - float(group["dampening"]), decay]
        count, trace = len(members), STATE.trace
        first = bool(momentum) and not started
        operator = _sgd(first, count, bool(group["nesterov"]), bool(momentum), decay != 0, bool(group["maximize"]))
        operands = _values(members) + _gradients(members)
        buffers: list[Tensor] = []
        if momentum and started:
            buffers = [self.state[p]["momentum_buffer"] for p in members]
            operands += _values(buffers)
        made = _record(operator, scalars, dtype, operands)
        for p, node in zip(members, made, strict=False):
            assign_fresh(trace, p, node)
        for buffer, node in zip(buffers, made[count:], strict=True) if buffers else ():
            assign_fresh(trace, buffer, node)
        if first:
            for p, node in zip(members, made[count:], strict=True):
                self.state[p] = {"momentum_buffer": wrap(trace, node)}


@cache
def _sgd(first: bool, count: int, nesterov: bool, momentum: bool, decay: bool, maximize: bool) -> Operator:
    common: dict[str, Any] = {"count": count, "nesterov": nesterov, "decay": decay, "maximize": maximize}
    return optim.sgd_first.operator(**common) if first else optim.sgd.operator(momentum=momentum, **common)


class Adam(Optimizer):
    """Adam with bias correction (torch.optim.Adam)."""

    decoupled = False

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
    ) -> None:
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        for position, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {position}: {beta}")
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize})

    def _update(self, group: dict[str, Any], members: list[Tensor], dtype: DType, started: bool) -> None:
        names = ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if group["amsgrad"] else [])
        for p in members if not started else ():
            self.state[p] = {"step": 0, **{name: FUNCTIONS["zeros_like"](p.detach()) for name in names}}
        by_step: dict[int, list[Tensor]] = {}
        for p in members:
            state = self.state[p]
            state["step"] += 1
            by_step.setdefault(state["step"], []).append(p)
        for step, some in by_step.items():
            self._step(group, some, dtype, step, names)

    def _step(self, group: dict[str, Any], members: list[Tensor], dtype: DType, step: int, names: list[str]) -> None:
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        beta1, beta2 = group["betas"]
        size = lr / (1 - beta1**step)
        root = math.sqrt(1 - beta2**step)
        shrink = 1 - lr * decay if self.decoupled else decay
        scalars = [1 - beta1, beta2, 1 - beta2, -size, root, float(group["eps"]), shrink]
        kind = ("decoupled" if self.decoupled else "gradient") if decay else ""
        operator = _adam(len(members), kind, bool(group["amsgrad"]), bool(group["maximize"]))
        states = [self.state[p][name] for name in names for p in members]
        made = _record(operator, scalars, dtype, _values(members) + _gradients(members) + _values(states))
        trace = STATE.trace
        for tensor, node in zip([*members, *states], made, strict=True):
            assign_fresh(trace, tensor, node)


@cache
def _adam(count: int, decay: str, amsgrad: bool, maximize: bool) -> Operator:
    return optim.adam.operator(count=count, decay=decay, amsgrad=amsgrad, maximize=maximize)


class AdamW(Adam):
    """Adam with decoupled weight decay (torch.optim.AdamW)."""

    decoupled = True

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, **options: Any) -> None:
        super().__init__(params, lr, **{"weight_decay": 1e-2, **options})
