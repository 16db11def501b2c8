"""SGD, Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from lazytorch.autograd.modes import enable_grad
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import optim
from lazytorch.ir.trace import STATE, Node, record, results_of
from lazytorch.ops.recording import FUNCTIONS, number_leaf, place
from lazytorch.tensor import Tensor, assign, value, wrap


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
                by_kind: dict[tuple[DType, bool], list[Tensor]] = {}
                for parameter in ready:
                    by_kind.setdefault((parameter.dtype, parameter in self.state), []).append(parameter)
                for (dtype, started), members in by_kind.items():
                    self._update(group, members, dtype, started)
        finally:
            trace.grad_enabled = before
        return loss

    def _update(self, group: dict[str, Any], members: list[Tensor], dtype: DType, started: bool) -> None:
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


def _record(operator: Operator, scalars: list[float], dtype: DType, lists: list[list[Node]]) -> tuple[Node, ...]:
    """Record one step over all parameters; its results."""
    trace = STATE.trace
    operands = tuple([number_leaf(x, dtype) for x in scalars] + [node for nodes in lists for node in nodes])
    signature = operator.signature(*[operand.type for operand in operands])
    return results_of(trace, record(trace, signature, operands, None))


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
        count = len(members)
        parameters = [value(p) for p in members]
        gradients = [value(p.grad) for p in members if p.grad is not None]
        common = {"count": count, "nesterov": group["nesterov"], "decay": decay != 0, "maximize": group["maximize"]}
        if momentum and not started:
            made = _record(optim.sgd_first.operator(**common), scalars, dtype, [parameters, gradients])
            for p, node in zip(members, made[count:], strict=True):
                self.state[p] = {"momentum_buffer": wrap(STATE.trace, node)}
        elif momentum:
            buffers = [self.state[p]["momentum_buffer"] for p in members]
            operator = optim.sgd.operator(momentum=True, **common)
            made = _record(operator, scalars, dtype, [parameters, gradients, [value(b) for b in buffers]])
            for buffer, node in zip(buffers, made[count:], strict=True):
                assign(buffer, node)
        else:
            made = _record(optim.sgd.operator(momentum=False, **common), scalars, dtype, [parameters, gradients])
        for p, node in zip(members, made, strict=False):
            assign(p, node)


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
        count = len(members)
        operator = optim.adam.operator(count=count, decay=kind, amsgrad=group["amsgrad"], maximize=group["maximize"])
        states = [[self.state[p][name] for p in members] for name in names]
        lists = [[value(p) for p in members], [value(p.grad) for p in members if p.grad is not None]]
        made = _record(operator, scalars, dtype, lists + [[value(s) for s in kept] for kept in states])
        for p, node in zip(members, made, strict=False):
            assign(p, node)
        for number, kept in enumerate(states, 1):
            for state, node in zip(kept, made[number * count :], strict=False):
                assign(state, node)


class AdamW(Adam):
    """Adam with decoupled weight decay (torch.optim.AdamW)."""

    decoupled = True

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, **options: Any) -> None:
        super().__init__(params, lr, **{"weight_decay": 1e-2, **options})
