"""Derivatives of functions: `grad`, `vjp`, `jvp` and what is made of them (torch.func)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.autograd.forward_ad import attach_tangent
from lazytorch.history import Accumulator
from lazytorch.ir.backward import backward
from lazytorch.ir.dialects import tensor
from lazytorch.ir.dialects.composite import filled, zeros_like
from lazytorch.ir.trace import STATE, Node, record_node
from lazytorch.ir.transformations import ForwardLevel
from lazytorch.ops.recording import place
from lazytorch.tensor import Tensor, value, wrap
from lazytorch.trees import Structure, flatten

Function = Callable[..., Any]
Argnums = int | tuple[int, ...]


# -- reverse mode ------------------------------------------------------------


class _Reverse:
    """One function differentiated in reverse: the stand-ins for its inputs, and the walk back to them."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        trace = STATE.trace
        self.outer = trace.grad_enabled
        self.connected = self.outer and any(x.requires_grad for x in inputs)
        self.inputs = [_tracked(x, self.outer) for x in inputs]
        self.nodes = [value(x) for x in self.inputs]

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function's outcome, recorded with its history whatever the mode outside."""
        trace = STATE.trace
        trace.grad_enabled = True
        try:
            return func(*args, **kwargs)
        finally:
            trace.grad_enabled = self.outer

    def tracks_others(self, outputs: Sequence[Tensor]) -> bool:
        """Whether derivatives flow on to something else than the inputs, so that the gradients need a history too."""
        return self.outer and (self.connected or _leads_elsewhere([value(x) for x in outputs], self.nodes))

    def pull(self, outputs: Sequence[Tensor], cotangents: Sequence[Node], tracked: bool) -> list[Tensor]:
        """The inputs' cotangents, zeros where there is no influence."""
        trace = STATE.trace
        pairs = [(value(y), g) for y, g in zip(outputs, cotangents, strict=True) if value(y).history is not None]
        arrived = backward(
            trace,
            [node for node, _ in pairs],
            [g for _, g in pairs],
            create_graph=tracked,
            retain_graph=True,
            stops=self.nodes,
        )
        return [wrap(trace, arrived[node] if node in arrived else zeros_like(node)) for node in self.nodes]

    def released(self, outcome: Any, tracked: bool) -> Any:
        """The outcome for the world outside: without the history that only leads to the stand-ins."""
        leaves, structure = flatten(outcome)
        return structure.build([x if tracked or not isinstance(x, Tensor) else _untracked(x) for x in leaves])


def _tracked(x: Tensor, outer: bool) -> Tensor:
    """A stand-in for an input: the same value, to which gradients flow, and through it if they did before."""
    if x.dtype.kind not in "fc":
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    trace = STATE.trace
    node = record_node(trace, tensor.alias.operator(), (value(x),), outer)
    out = wrap(trace, node)
    if node.history is None:
        node.history = Accumulator(out)
    return out


def _untracked(x: Tensor) -> Tensor:
    if not x.requires_grad:
        return x
    trace = STATE.trace
    return wrap(trace, record_node(trace, tensor.alias.operator(), (value(x),), False))


def _leads_elsewhere(roots: Sequence[Node], own: Sequence[Node]) -> bool:
    """Whether the history of the roots ends in a leaf that is none of `own`."""
    seen = set(map(id, own))
    stack = [root for root in roots if root.history is not None]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node.history, Accumulator):
            return True
        stack += [operand for operand in node.operands if operand.history is not None]
    return False


def selected(args: tuple[Any, ...], argnums: Argnums) -> tuple[tuple[int, ...], Any]:
    """The positions of the arguments to differentiate by, and these arguments (one, or a tuple). Raises RuntimeError."""
    several = isinstance(argnums, tuple)
    if not isinstance(argnums, int | tuple):
        raise RuntimeError(f"argnum must be int or Tuple[int, ...], got: {type(argnums)}")
    positions = []
    for number in argnums if isinstance(argnums, tuple) else (argnums,):
        if not isinstance(number, int):
            raise RuntimeError(f"argnum must be int, got {type(number)}")
        if not -len(args) <= number < len(args):
            raise RuntimeError(f"Got argnum={number}, but only {len(args)} positional inputs")
        positions.append(number % len(args))
    if several and not positions:
        raise RuntimeError("argnums must be non-empty")
    if len(set(positions)) != len(positions):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return tuple(positions), tuple(args[i] for i in positions) if several else args[positions[0]]


def replaced(args: tuple[Any, ...], positions: Sequence[int], new: Any, several: bool) -> tuple[Any, ...]:
    """The arguments with others in the place of those that `selected` gave."""
    out = list(args)
    for position, x in zip(positions, new if several else (new,), strict=True):
        out[position] = x
    return tuple(out)


def grad_and_value(func: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """`grad_and_value(f)(*args)` is (the gradient of f, its value), or (gradient, (value, aux)) with `has_aux`.

    f returns a scalar tensor (has_aux: a pair of it and anything else). The gradient has the structure of the argument
    `argnums`, or is a tuple of them. Raises torch's RuntimeErrors for other results.
    """

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        place()
        positions, chosen = selected(args, argnums)
        leaves, structure = flatten(chosen)
        level = _Reverse(leaves)
        given = replaced(args, positions, structure.build(level.inputs), isinstance(argnums, tuple))
        output = level.call(func, given, kwargs)
        aux = None
        if has_aux:
            if not (isinstance(output, tuple) and len(output) == 2):
                raise RuntimeError(
                    "grad_and_value(f)(*args): output of function f should be a tuple: (output, aux) if has_aux is True"
                )
            output, aux = output
        if not isinstance(output, Tensor):
            raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(output)}")
        if output.shape:
            raise RuntimeError(
                "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with "
                f"{len(output.shape)} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        tracked = level.tracks_others([output])
        node = value(output)
        found = structure.build(level.pull([output], [filled(1.0, node, ())], tracked))
        result = level.released(output, tracked)
        return found, ((result, level.released(aux, tracked)) if has_aux else result)

    return gradient


def grad(func: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """`grad(f)(*args)` is the gradient of f, a function of a scalar result, by its argument `argnums` (see
    `grad_and_value`); with `has_aux` a pair of it and what f returns beside its result."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, outcome = both(*args, **kwargs)
        return (found, outcome[1]) if has_aux else found

    return gradient


def vjp(func: Function, *primals: Any, has_aux: bool = False) -> Any:
    """(func(*primals), function from cotangents of the outcome to those of the primals), and aux with `has_aux`.

    Raises RuntimeError where func returns something else than tensors, and the function where its argument does not fit.
    """
    place()
    output, level, outputs, structure, aux = _recorded(func, primals, has_aux)
    shape = flatten(primals)[1]
    tracked = level.tracks_others(outputs)

    def pull(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> tuple[Any, ...]:
        place()
        given, have = flatten(cotangents)
        if have != structure:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. "
                f"cotangents: {_short(have)}, primal output: {_short(structure)}"
            )
        _check_shapes(given, outputs)
        follow = STATE.trace.grad_enabled and (tracked or any(g.requires_grad for g in given))
        found: tuple[Any, ...] = shape.build(level.pull(outputs, [value(g) for g in given], follow))
        return found

    result = level.released(output, tracked)
    return (result, pull, level.released(aux, tracked)) if has_aux else (result, pull)


def _recorded(func: Function, primals: tuple[Any, ...], has_aux: bool) -> tuple[Any, _Reverse, list[Tensor], Structure, Any]:
    """The outcome of a function on stand-ins for its arguments: as it is, flat, and what else it returned."""
    leaves, structure = flatten(primals)
    level = _Reverse(leaves)
    output = level.call(func, structure.build(level.inputs), {})
    aux = None
    if has_aux:
        if not (isinstance(output, tuple) and len(output) == 2):
            raise RuntimeError("vjp(f, *primals): output of function f should be a tuple: (output, aux) if has_aux is True")
        output, aux = output
    outputs, made = flatten(output)
    for x in outputs:
        if not isinstance(x, Tensor):
            raise RuntimeError(
                f"vjp(f, *primals): expected f(*primals) to return only tensors, got unsupported type {type(x)}"
            )
    return output, level, outputs, made, aux


def _short(structure: Structure) -> str:
    """A structure as `(*, [*, *])`."""
    pattern = structure.build(["*"] * structure.size)
    return repr(pattern).replace("'*'", "*")


def _check_shapes(cotangents: Sequence[Any], outputs: Sequence[Tensor]) -> None:
    for i, (g, y) in enumerate(zip(cotangents, outputs, strict=True)):
        if g.shape != y.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of torch.Size({list(g.shape)}) and output[{i}] has a "
                "shape of "
                f"torch.Size({list(y.shape)})."
            )


# -- forward mode ------------------------------------------------------------


def jvp(
    func: Function, primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False, has_aux: bool = False
) -> Any:
    """(func(*primals), the derivative in the direction of the tangents), and aux with `has_aux`.

    strict: an outcome that does not depend on the primals is an error instead of having a tangent of zeros.
    Raises torch's RuntimeErrors for arguments that do not fit.
    """
    place()
    leaves, directions, structure = _paired("jvp(f, primals, tangents)", primals, tangents)
    trace = STATE.trace
    level = ForwardLevel(trace)
    given = [attach_tangent(level, x, t) for x, t in zip(leaves, directions, strict=True)]
    trace.levels.append(level)
    try:
        output = func(*structure.build(given))
        aux = None
        if has_aux:
            if not (isinstance(output, tuple) and len(output) == 2):
                raise RuntimeError(
                    "jvp(f, primals, tangents): output of function f should be a tuple: (output, aux) if has_aux is True"
                )
            output, aux = output
        outputs, made = flatten(output)
        pushed = made.build(_pushed(level, outputs, strict))
    finally:
        trace.levels.remove(level)
    return (output, pushed, aux) if has_aux else (output, pushed)


def _paired(name: str, primals: Any, tangents: Any) -> tuple[list[Tensor], list[Tensor], Structure]:
    """The leaves of primals and tangents. Raises torch's RuntimeErrors."""
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{name}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    leaves, structure = flatten(primals)
    directions, other = flatten(tangents)
    if other != structure:
        raise RuntimeError(
            f"{name}: Expected primals and tangents to have the same python structure. For example, if primals is a tuple "
            "of 3 "
            f"tensors, tangents also must be. Got primals with structure {structure} and tangents with structure {other}"
        )
    for what, values in (("primals", leaves), ("tangents", directions)):
        if not values:
            raise RuntimeError(f"{name}: Expected {what} to contain at least one Tensor.")
        for x in values:
            if not isinstance(x, Tensor):
                raise RuntimeError(f"{name}: Expected {what} to contain only Tensors, got unsupported type {type(x)}")
    return leaves, directions, structure


def _pushed(level: ForwardLevel, outputs: Sequence[Any], strict: bool) -> list[Tensor]:
    """The outputs' tangents, zeros where there are none."""
    for x in outputs:
        if not isinstance(x, Tensor):
            raise RuntimeError(
                f"jvp(f, primals, tangents): expected f(*primals) to return only tensors, got unsupported type {type(x)}"
            )
    found = level.push([value(x) for x in outputs])
    if strict and any(tangent is None for tangent in found):
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed with "
            "strict=True."
        )
    trace = STATE.trace
    return [wrap(trace, zeros_like(value(x)) if t is None else t) for x, t in zip(outputs, found, strict=True)]


def linearize(func: Function, *primals: Any) -> tuple[Any, Function]:
    """(func(*primals), function from tangents of the primals to those of the outcome): func is called only once."""
    place()
    trace = STATE.trace
    began = ForwardLevel(trace)
    trace.levels.append(began)
    try:
        output, level, outputs, structure, _ = _recorded(func, primals, False)
    finally:
        trace.levels.remove(began)
    shape = flatten(primals)[1]
    tracked = level.tracks_others(outputs)

    def push(*tangents: Any) -> Any:
        place()
        directions, have = flatten(tangents)
        if have != shape:
            raise RuntimeError(f"Expected the tangents {have} to have the same argspec as the primals {shape}")
        for number, (x, t) in enumerate(zip(level.inputs, directions, strict=True)):
            if x.shape != t.shape:
                raise RuntimeError(
                    f"tangent with shape {list(t.shape)} at flattened input position {number} does not match the shape of "
                    f"primal {list(x.shape)}"
                )
        trace = STATE.trace
        forward = ForwardLevel(trace, began)
        forward.tangents.update(zip(level.nodes, map(value, directions), strict=True))
        outer = trace.grad_enabled
        trace.grad_enabled = outer and (tracked or any(t.requires_grad for t in directions))
        try:
            return structure.build(_pushed(forward, outputs, False))
        finally:
            trace.grad_enabled = outer

    return level.released(output, tracked), push
