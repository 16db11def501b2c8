"""`optim`: steps of the optimizers other than SGD and Adam, each one operation over all parameters (see optim.py).

Each step is given as what happens to one parameter: `rule(attributes, scalars, parameter, gradient, states)` returns the
new parameter and states, in torch's order of operations (torch.optim.*._single_tensor_*).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from lazytorch.ir.declaration import Attributes, Declaration
from lazytorch.ir.dialects import arith
from lazytorch.ir.dialects.composite import number
from lazytorch.ir.dialects.optim import add_product, add_scaled, declare_step

Rule = Callable[[Attributes, Any, Any, Any, Sequence[Any]], tuple[Any, Sequence[Any]]]


def _step(
    name: str,
    scalars: Sequence[str],
    states: Callable[[Attributes], int],
    rule: Rule,
    attributes: Sequence[str],
    doc: str,
) -> Declaration:
    """Declare a step from its rule; `attributes` are further switches. The attribute `decay` is '', 'gradient' (added to it)
    or 'decoupled' (shrinks the parameter; the scalar `decay` is then the factor)."""

    def decompose(op: Any) -> tuple[Any, ...]:
        a = op.attributes
        given = SimpleNamespace(**dict(zip(scalars, op.operands, strict=False)))
        values = op.operands[len(scalars) :]
        count, kept = a.count, states(a)
        parameters: list[Any] = []
        new_states: list[list[Any]] = [[] for _ in range(kept)]
        for i in range(count):
            parameter, gradient = values[i], values[count + i]
            if a.maximize:
                gradient = arith.neg(gradient)
            if a.decay == "decoupled":
                parameter = arith.mul(parameter, given.decay)
            elif a.decay == "gradient":
                gradient = add_scaled(gradient, parameter, given.decay)
            before = [values[(2 + k) * count + i] for k in range(kept)]
            parameter, after = rule(a, given, parameter, gradient, before)
            parameters.append(parameter)
            for entries, state in zip(new_states, after, strict=True):
                entries.append(state)
        return (*parameters, *[state for entries in new_states for state in entries])

    options = {"decay": "", "maximize": False, **dict.fromkeys(attributes, False)}
    return declare_step(name, scalars, lambda a: 2 + states(a), decompose, options, doc)


def _add_quotient(x: Any, a: Any, b: Any, scale: Any) -> Any:
    """`x.addcdiv(a, b, value=scale)`"""
    return arith.add(x, arith.div(arith.mul(a, scale), b))


def _lerp(x: Any, end: Any, weight: Any) -> Any:
    """`x.lerp(end, weight)` for a weight below 0.5."""
    return add_scaled(x, arith.sub(end, x), weight)


def _moments(s: Any, gradient: Any, first: Any, second: Any) -> tuple[Any, Any]:
    """The moving averages of the gradient and of its square."""
    return _lerp(first, gradient, s.lerp), add_product(arith.mul(second, s.beta2), gradient, gradient, s.rest2)


def _rmsprop(a: Attributes, s: Any, p: Any, g: Any, states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    kept = list(states)
    square = add_product(arith.mul(kept.pop(0), s.alpha), g, g, s.rest)
    new = [square]
    under_root = square
    buffer = kept.pop(0) if a.momentum else None
    if a.centered:
        mean = _lerp(kept.pop(0), g, s.rest)
        under_root = add_product(square, mean, mean, number(-1, square))
    average = arith.add(arith.sqrt(under_root), s.eps)
    if buffer is not None:
        buffer = arith.add(arith.mul(buffer, s.momentum), arith.div(g, average))
        new.append(buffer)
        p = add_scaled(p, buffer, s.negative_rate)
    else:
        p = _add_quotient(p, g, average, s.negative_rate)
    return p, [*new, mean] if a.centered else new


rmsprop: Declaration = _step(
    "optim.rmsprop",
    ("negative_rate", "alpha", "rest", "eps", "momentum", "decay"),
    lambda a: 1 + a.momentum + a.centered,
    _rmsprop,
    ("momentum", "centered"),
    "one step of RMSprop; states: mean square, with momentum the buffer, centered also the mean gradient",
)


def _adagrad(a: Attributes, s: Any, p: Any, g: Any, states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    total = arith.add(states[0], arith.mul(g, g))
    return _add_quotient(p, g, arith.add(arith.sqrt(total), s.eps), s.negative_rate), [total]


adagrad: Declaration = _step(
    "optim.adagrad",
    ("negative_rate", "eps", "decay"),
    lambda a: 1,
    _adagrad,
    (),
    "one step of Adagrad; state: the sum of squares; the rate is already divided by its decay",
)


def _adadelta(a: Attributes, s: Any, p: Any, g: Any, states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    square = add_product(arith.mul(states[0], s.rho), g, g, s.rest)
    spread = arith.sqrt(arith.add(square, s.eps))
    delta = arith.mul(arith.div(arith.sqrt(arith.add(states[1], s.eps)), spread), g)
    steps = add_product(arith.mul(states[1], s.rho), delta, delta, s.rest)
    return add_scaled(p, delta, s.negative_rate), [square, steps]


adadelta: Declaration = _step(
    "optim.adadelta",
    ("negative_rate", "rho", "rest", "eps", "decay"),
    lambda a: 2,
    _adadelta,
    (),
    "one step of Adadelta; states: mean squares of the gradients and of the steps",
)


def _adamax(a: Attributes, s: Any, p: Any, g: Any, states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    first = _lerp(states[0], g, s.lerp)
    largest = arith.maximum(arith.mul(states[1], s.beta2), arith.add(arith.abs_(g), s.eps))
    return _add_quotient(p, first, largest, s.negative_step), [first, largest]


adamax: Declaration = _step(
    "optim.adamax",
    ("lerp", "beta2", "eps", "negative_step", "decay"),
    lambda a: 2,
    _adamax,
    (),
    "one step of Adamax; states: mean gradient and decayed largest gradient",
)


def _nadam(a: Attributes, s: Any, p: Any, g: Any, states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    first, second = _moments(s, g, *states)
    denominator = arith.add(arith.sqrt(arith.div(second, s.correction2)), s.eps)
    p = _add_quotient(p, g, denominator, s.gradient_step)
    return _add_quotient(p, first, denominator, s.momentum_step), [first, second]


nadam: Declaration = _step(
    "optim.nadam",
    ("lerp", "beta2", "rest2", "correction2", "eps", "gradient_step", "momentum_step", "decay"),
    lambda a: 2,
    _nadam,
    (),
    "one step of NAdam; states: first and second moments",
)


def _radam(a: Attributes, s: Any, p: Any, g: Any, states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    first, second = _moments(s, g, *states)
    step = arith.mul(arith.div(first, s.correction1), s.rate)
    if a.rectified:
        step = arith.mul(arith.mul(step, arith.div(s.root, arith.add(arith.sqrt(second), s.eps))), s.rectification)
    return arith.sub(p, step), [first, second]


radam: Declaration = _step(
    "optim.radam",
    ("lerp", "beta2", "rest2", "correction1", "rate", "root", "eps", "rectification", "decay"),
    lambda a: 2,
    _radam,
    ("rectified",),
    "one step of RAdam; `rectified`: the variance is known well enough to divide by it; states: both moments",
)


def _rprop(a: Attributes, s: Any, p: Any, g: Any, states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    previous, size = states
    agreement = arith.mul(g, previous)
    rises = arith.compare(agreement, number(0, g), predicate="gt")
    turns = arith.compare(agreement, number(0, g), predicate="lt")
    factor = arith.select(rises, s.eta_plus, arith.select(turns, s.eta_minus, number(1, g)))
    size = arith.minimum(arith.maximum(arith.mul(size, factor), s.least), s.most)
    g = arith.select(turns, number(0, g), g)
    return arith.sub(p, arith.mul(arith.sign(g), size)), [g, size]


rprop: Declaration = _step(
    "optim.rprop",
    ("eta_minus", "eta_plus", "least", "most"),
    lambda a: 2,
    _rprop,
    (),
    "one step of Rprop; states: the gradient before, and each element's step size",
)


def _asgd(a: Attributes, s: Any, p: Any, g: Any, states: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    p = add_scaled(arith.mul(p, s.shrink), g, s.negative_rate)
    average = states[0]
    return p, [arith.add(average, arith.mul(arith.sub(p, average), s.mu)) if a.averaging else p]


asgd: Declaration = _step(
    "optim.asgd",
    ("negative_rate", "shrink", "mu", "decay"),
    lambda a: 1,
    _asgd,
    ("averaging",),
    "one step of averaged SGD; state: the average, which begins as the parameter",
)
