"""Optimizers whose state is tensors and numbers per parameter, and whose step is one recorded operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch.capturing.observer import Effect
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Operator
from lazytorch.ir.trace import STATE, Node
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.optim.optimizer import Optimizer, gradients_of, numbers_of, record_with, values_of
from lazytorch.tensor import Tensor, assign_fresh


def zeros(parameter: Tensor) -> Tensor:
    """A state of the parameter's shape and type to begin with."""
    return FUNCTIONS["zeros_like"](parameter.detach())


class StateOptimizer(Optimizer):
    """An optimizer whose step is one operation; subclasses say which states, scalars and attributes it has.

    Parameters of one group that made the same number of steps are stepped together.
    """

    def _state_names(self, group: dict[str, Any]) -> list[str]:
        """The states that are tensors, in the operation's order."""
        raise NotImplementedError

    def _start(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """The state before the first step."""
        return {"step": 0, **{name: zeros(parameter) for name in self._state_names(group)}}

    def _plan(self, group: dict[str, Any], count: int, state: dict[str, Any]) -> tuple[Operator, list[float]]:
        """The operation on `count` parameters, and its scalars. `state` is one parameter's, its step counted already."""
        raise NotImplementedError

    def _finish(self, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Change the numbers in a parameter's state after a step."""

    def _numbers(self, state: dict[str, Any]) -> Any:
        """What must be equal in the states of parameters that are stepped together."""
        return tuple([x for x in state.values() if not isinstance(x, Tensor)])

    def _update(self, group: dict[str, Any], members: list[Tensor], dtype: DType, started: bool) -> None:
        by_numbers: dict[Any, list[Tensor]] = {}
        for parameter in members:
            if not self.state.get(parameter):
                self.state[parameter] = self._start(group, parameter)
            state = self.state[parameter]
            state["step"] += 1
            by_numbers.setdefault(self._numbers(state), []).append(parameter)
        names = self._state_names(group)
        for some in by_numbers.values():
            operator, scalars = self._plan(group, len(some), self.state[some[0]])
            numbers = numbers_of(scalars, dtype)
            states = [self.state[p][name] for name in names for p in some]
            made = record_with(operator, numbers, values_of(some) + gradients_of(some) + values_of(states))
            assign_fresh(STATE.trace, [*some, *states], made)
            for parameter in some:
                self._finish(group, self.state[parameter])
            if STATE.trace.observer is not None:
                self._observe(STATE.trace.observer, group, some, operator, numbers)

    def _observe(
        self, observer: Any, group: dict[str, Any], members: list[Tensor], operator: Operator, numbers: Sequence[Node]
    ) -> None:
        """Note how a replay counts the step of these parameters, and which scalars it has."""
        states = [self.state[p] for p in members]
        tensors = [(state, name, x) for state in states for name, x in state.items() if isinstance(x, Tensor)]

        def prepare() -> Sequence[float] | None:
            if not self._has(group, members):
                return None
            for parameter, state in zip(members, states, strict=True):
                if self.state.get(parameter) is not state:
                    return None
            for state, name, tensor in tensors:
                if state.get(name) is not tensor:
                    return None
            following = {**states[0], "step": states[0]["step"] + 1}
            found, scalars = self._plan(group, len(members), following)
            return scalars if found is operator else None

        def commit() -> None:
            for state in states:
                state["step"] += 1
                self._finish(group, state)

        observer.effects.append(Effect(self, numbers, prepare, commit))


def step_attributes(group: dict[str, Any], count: int, decoupled: bool = False) -> dict[str, Any]:
    """The attributes that all steps have."""
    decay = ("decoupled" if decoupled else "gradient") if group.get("weight_decay", 0) else ""
    return {"count": count, "decay": decay, "maximize": bool(group["maximize"])}
