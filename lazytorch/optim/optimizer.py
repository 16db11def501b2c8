"""What optimizers share, and SGD."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from math import copysign
from typing import Any

from lazytorch import dtypes
from lazytorch.autograd.modes import enable_grad
from lazytorch.capturing.observer import Effect
from lazytorch.dtypes import DType
from lazytorch.history import RemovableHandle, register
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import optim
from lazytorch.ir.trace import LONG_STEP, STATE, Node, Trace, record_node, results_of
from lazytorch.ops.creation import tensor_
from lazytorch.ops.recording import number_leaf, place
from lazytorch.runtime.session import synchronize
from lazytorch.tensor import Tensor, assign_fresh, value, wrap


class _RequiredParameter:
    """The default of an option that has none: every parameter group must give it."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _RequiredParameter()


class Optimizer:
    """Parameter groups with their options, and the state of every parameter."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"torch.{'FloatTensor' if params.dtype is dtypes.float32 else 'Tensor'}"
            )
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters (or pairs of names and parameters) with options of their own."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = param_group
        members = group["params"]
        if isinstance(members, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets will "
                "change between runs. Please use a list instead."
            )
        found: list[Any] = [members] if isinstance(members, Tensor) else list(members)
        if found and isinstance(found[0], tuple):
            group["param_names"] = [name for name, _ in found]
            found = [parameter for _, parameter in found]
        group["params"] = found
        for parameter in found:
            if not isinstance(parameter, Tensor):
                kind = type(parameter)
                name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {name}")
            if not parameter.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        if len(set(found)) != len(found):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; see "
                "github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        if any(parameter in set(other["params"]) for other in self.param_groups for parameter in found):
            raise ValueError("some parameters appear in more than one parameter group")
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
        if len(trace.nodes) > LONG_STEP and trace.observer is None:
            # Here every step of a loop is cut alike, whatever the loop asks for and when: each is the same program.
            synchronize(trace, (), "a step of the optimizer has ended")
        return loss

    def _has(self, group: dict[str, Any], members: list[Tensor]) -> bool:
        """Whether a group is still one of the optimizer's, and no other of its parameters has got a gradient."""
        if not any(each is group for each in self.param_groups):
            return False
        others = len(group["params"]) - len(members)
        return not others or [p.grad is None for p in group["params"]].count(True) >= others

    def _update(self, group: dict[str, Any], members: list[Tensor], dtype: DType, started: bool) -> None:
        """Record one step of parameters of one element type, all of them with a state or all without."""
        raise NotImplementedError

    # -- hooks

    def _around_step(self) -> _SteppedWithHooks:
        """The instance's own `step`, which calls hooks; made when the first one is registered."""
        own = self.__dict__.get("step")
        if not isinstance(own, _SteppedWithHooks):
            own = self.__dict__["step"] = _SteppedWithHooks(self, self.step)
        return own

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before every step; it may return other arguments."""
        return register(self._around_step().before, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after every step."""
        return register(self._around_step().after, hook)

    def _hooks(self, name: str) -> dict[int, Any]:
        hooks: dict[int, Any] = self.__dict__.setdefault(f"_{name}_hooks", {})
        return hooks

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before a state dict is made."""
        return register(self._hooks("state_dict_pre"), hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after a state dict is made; what it returns replaces it."""
        return register(self._hooks("state_dict_post"), hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before a state dict is loaded; what it returns replaces it."""
        return register(self._hooks("load_pre"), hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after a state dict is loaded."""
        return register(self._hooks("load_post"), hook)

    # -- state

    def state_dict(self) -> dict[str, Any]:
        """Options and states, with parameters as numbers; counters are tensors, as in torch."""
        for hook in list(self._hooks("state_dict_pre").values()):
            hook(self)
        numbers: dict[int, int] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(id(parameter), len(numbers))
        groups = [
            {
                **{name: entry for name, entry in group.items() if name != "params"},
                "params": [numbers[id(p)] for p in group["params"]],
            }
            for group in self.param_groups
        ]
        states = {
            (numbers[id(p)] if isinstance(p, Tensor) else p): {name: _shown(name, entry) for name, entry in state.items()}
            for p, state in self.state.items()
        }
        out: dict[str, Any] = {"state": states, "param_groups": groups}
        for hook in list(self._hooks("state_dict_post").values()):
            replaced = hook(self, out)
            out = out if replaced is None else replaced
        return out

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take options and states from `state_dict`. Raises ValueError when its groups do not fit."""
        for hook in list(self._hooks("load_pre").values()):
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        saved_groups = state_dict["param_groups"]
        if len(saved_groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        parameters: dict[Any, Tensor] = {}
        for own, saved in zip(self.param_groups, saved_groups, strict=True):
            if len(own["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                )
            parameters.update(zip(saved["params"], own["params"], strict=True))
        for own, saved in zip(self.param_groups, saved_groups, strict=True):
            own.update({name: copy.deepcopy(entry) for name, entry in saved.items() if name != "params"})
        self.state = defaultdict(dict)
        for number, state in state_dict["state"].items():
            parameter = parameters.get(number, number)
            self.state[parameter] = {name: _taken(name, entry, parameter) for name, entry in state.items()}
        for hook in list(self._hooks("load_post").values()):
            hook(self)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines += [*([""] if number else []), f"Parameter Group {number}"]
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def options_of(names: dict[str, Any]) -> dict[str, Any]:
    """A constructor's arguments but the parameters, from its `locals()`: the defaults of a group."""
    return {name: given for name, given in names.items() if name not in ("self", "params", "__class__")}


COUNTERS = ("step", "mu_product", "eta", "mu")
"""Entries of a state that are Python numbers here and tensors in a state dict."""


def _shown(name: str, entry: Any) -> Any:
    """An entry of a state as a state dict has it."""
    return tensor_(float(entry)) if name in COUNTERS and isinstance(entry, int | float) else entry


def _taken(name: str, entry: Any, parameter: Any) -> Any:
    """An entry of a state dict as a state keeps it: a copy in the parameter's element type."""
    if name in COUNTERS and isinstance(entry, Tensor | int | float):
        number = float(entry)
        return int(number) if name == "step" else number
    if not isinstance(entry, Tensor):
        return copy.deepcopy(entry)
    floating = isinstance(parameter, Tensor) and parameter.is_floating_point() and entry.is_floating_point()
    return entry.detach().to(parameter.dtype).clone() if floating else entry.detach().clone()


class _SteppedWithHooks:
    """A `step` with hooks before and after it."""

    def __init__(self, optimizer: Optimizer, step: Callable[..., Any]) -> None:
        self.optimizer, self.step = optimizer, step
        self.before: dict[int, Any] = {}
        self.after: dict[int, Any] = {}

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if STATE.trace.observer is not None:
            STATE.trace.observer.refuse("an optimizer with hooks steps")
        given: tuple[Any, dict[str, Any]] = ((self.optimizer, *arguments), keywords)
        for hook in list(self.before.values()):
            replaced = hook(self.optimizer, *given)
            if replaced is not None:
                if not isinstance(replaced, tuple) or len(replaced) != 2:
                    raise RuntimeError(
                        f"{self.step} must return None or a tuple of (new_args, new_kwargs), but got {replaced}."
                    )
                given = replaced
        out = self.step(*given[0][1:], **given[1])
        for hook in list(self.after.values()):
            hook(self.optimizer, *given)
        return out


def numbers_of(scalars: Sequence[float], dtype: DType) -> list[Node]:
    """The scalars of a step as run-time arguments. In an observed call each is one of its own, equal to others or not."""
    if STATE.trace.observer is not None:
        return [number_leaf(x, dtype) for x in scalars]
    return [_number(x, copysign(1.0, x), dtype) for x in scalars]


def record_with(operator: Operator, numbers: Sequence[Node], operands: list[Node]) -> tuple[Node, ...]:
    """Record one step over all parameters, its scalars being nodes already."""
    trace = STATE.trace
    return results_of(trace, record_node(trace, operator, (*numbers, *operands)))


@lru_cache(64)
def _number(x: float, sign: float, dtype: DType) -> Node:
    """A run-time argument, the same one as long as its value (0.0 or -0.0, too) stays: most of them never change."""
    return number_leaf(x, dtype)


def values_of(tensors: Iterable[Tensor]) -> list[Node]:
    """The tensors' present values."""
    return [t._node if t._base is None else value(t) for t in tensors]


def gradients_of(members: list[Tensor]) -> list[Node]:
    """The present gradients of parameters that all have one."""
    return values_of([p.grad for p in members])  # type: ignore[misc]


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
        super().__init__(params, options_of(locals()))

    def _update(self, group: dict[str, Any], members: list[Tensor], dtype: DType, started: bool) -> None:
        momentum, decay = group["momentum"], group["weight_decay"]
        # + 0.0: of a negative zero, which the cache could not tell from a positive one, no more is left.
        numbers: Sequence[Node] = _sgd_numbers(float(group["lr"]) + 0.0, momentum, group["dampening"], decay, dtype)
        count, trace = len(members), STATE.trace
        first = bool(momentum) and not started
        operator = _sgd_of(group, first, count)
        if trace.observer is not None:
            numbers = self._observe(trace, group, members, operator, dtype)
        operands = values_of(members) + gradients_of(members)
        buffers: list[Tensor] = []
        if momentum and started:
            buffers = [self.state[p]["momentum_buffer"] for p in members]
            operands += values_of(buffers)
        made = record_with(operator, numbers, operands)
        assign_fresh(trace, members + buffers, made)
        if first:
            for p, node in zip(members, made[count:], strict=True):
                self.state[p] = {"momentum_buffer": wrap(trace, node)}

    def _observe(
        self, trace: Trace, group: dict[str, Any], members: list[Tensor], operator: Operator, dtype: DType
    ) -> list[Node]:
        """The scalars of a step that may be replayed, when they will be asked for again."""
        numbers = numbers_of(_sgd_scalars(group), dtype)
        states = [(p, self.state[p].get("momentum_buffer")) for p in members] if group["momentum"] else []

        def prepare() -> Sequence[float] | None:
            for p, buffer in states:
                if self.state[p].get("momentum_buffer") is not buffer:
                    return None
            same = self._has(group, members) and _sgd_of(group, False, len(members)) is operator
            return _sgd_scalars(group) if same else None

        trace.observer.effects.append(Effect(self, numbers, prepare, _nothing))
        return numbers


@lru_cache(64)
def _sgd_numbers(lr: Any, momentum: Any, dampening: Any, decay: Any, dtype: DType) -> tuple[Node, ...]:
    """The scalars of a step as run-time arguments, the same ones as long as the options stay."""
    scalars = -float(lr), float(momentum), 1.0 - float(dampening), float(decay)
    return tuple([number_leaf(x, dtype) for x in scalars])


def _sgd_scalars(group: dict[str, Any]) -> list[float]:
    """The scalars of a step by a group's options."""
    lr = float(group["lr"]) + 0.0
    return [-lr, float(group["momentum"]), 1.0 - float(group["dampening"]), float(group["weight_decay"])]


def _sgd_of(group: dict[str, Any], first: bool, count: int) -> Operator:
    """The operation of a step by a group's options."""
    flags = bool(group["nesterov"]), bool(group["momentum"]), group["weight_decay"] != 0, bool(group["maximize"])
    return _sgd(first, count, *flags)


def _nothing() -> None:
    """What a step without counters changes in Python's world."""


@cache
def _sgd(first: bool, count: int, nesterov: bool, momentum: bool, decay: bool, maximize: bool) -> Operator:
    common: dict[str, Any] = {"count": count, "nesterov": nesterov, "decay": decay, "maximize": maximize}
    return optim.sgd_first.operator(**common) if first else optim.sgd.operator(momentum=momentum, **common)
