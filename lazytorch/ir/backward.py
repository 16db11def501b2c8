"""The backward walk over the trace: extends the recorded graph with the operations' own vector-Jacobian products."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lazytorch.ir.dialects import arith
from lazytorch.ir.dialects.composite import conform
from lazytorch.ir.replay import find, keep, replay, walk_key
from lazytorch.ir.saved import check_unmodified
from lazytorch.ir.trace import FREED, Node, Trace, result

AGAIN = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)


def postorder(roots: Sequence[Node]) -> list[Node]:
    """Every node with a history that the roots depend on, operands before users. Iterative."""
    seen: set[int] = set()
    out: list[Node] = []
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            out.append(node)
            continue
        if id(node) in seen:
            continue
        seen.add(id(node))
        stack.append((node, True))
        for operand in node.operands:
            history = operand.history
            if history is FREED:
                raise RuntimeError(AGAIN)
            if history is True and id(operand) not in seen:
                stack.append((operand, False))
    return out


def backward(
    trace: Trace,
    roots: Sequence[Node],
    cotangents: Sequence[Node],
    *,
    create_graph: bool = False,
    retain_graph: bool = False,
    stops: Sequence[Node] = (),
    hook: Callable[[Node, Node], Node] | None = None,
    check: Callable[[Node, int, Node], None] | None = None,
) -> dict[Node, Node]:
    """Emit the backward operations of `roots`; the cotangent that arrived at each autograd leaf and each node of `stops`.

    A node's cotangent passes through `hook` before it is used. `check(node, i, contribution)` is called with what a node
    passes on to its i-th operand. Raises RuntimeError for a graph that was freed, and
    NotImplementedError for an operation on the way that has no derivative.
    """
    for root in roots:
        if root.history is FREED:
            raise RuntimeError(AGAIN)
    if create_graph or stops or hook is not None or check is not None or trace.levels:
        return _walk(trace, roots, cotangents, create_graph, retain_graph, stops, hook, check)[0]
    key = walk_key(trace, roots, cotangents, retain_graph)
    if key is None:
        return _walk(trace, roots, cotangents, create_graph, retain_graph, stops, hook)[0]
    known = find(key)
    if known is not None:
        return replay(trace, known)
    before = len(trace.nodes), len(trace.key), len(trace.leaves), len(trace.live)
    arrived, passed = _walk(trace, roots, cotangents, create_graph, retain_graph, stops, hook)
    keep(trace, key, before, passed, arrived)
    return arrived


def _walk(
    trace: Trace,
    roots: Sequence[Node],
    cotangents: Sequence[Node],
    create_graph: bool,
    retain_graph: bool,
    stops: Sequence[Node],
    hook: Callable[[Node, Node], Node] | None,
    check: Callable[[Node, int, Node], None] | None = None,
) -> tuple[dict[Node, Node], list[Node]]:
    """What `backward` does where no earlier walk can be repeated; also the nodes whose rules were asked."""
    order = _reverse_order(trace, roots)
    grad_enabled, trace.grad_enabled = trace.grad_enabled, create_graph
    place = trace.place
    kept = set(map(id, stops))
    arrived: dict[Node, Node] = {}
    touched: list[Node] = []
    passed: list[Node] = []
    try:
        for root, cotangent in zip(roots, cotangents, strict=True):
            _add(root, cotangent, touched)
        for node in order:
            cotangent = node.cotangent
            if cotangent is None or node.history is not True:
                continue  # not on the way, or a leaf of the graph
            trace.place = node.place
            if hook is not None and type(cotangent) is not list:
                cotangent = hook(node, cotangent)
            if id(node) in kept:
                arrived[node] = cotangent
            passed.append(node)
            rules = node.signature.vjp  # type: ignore[union-attr]
            operands = node.operands
            if node.storage is not None or [operand for operand in operands if operand.storage is not None]:
                check_unmodified(node)
            if type(rules) is tuple and rules is not result.vjp:
                for operand, rule in zip(operands, rules, strict=True):
                    if operand.history is not None and rule is not None:
                        contribution = rule(node, cotangent)
                        if check is not None:
                            check(node, operands.index(operand), contribution)
                        _add(operand, contribution, touched)
            else:
                _propagate_jointly(node, cotangent, touched, check)
        for node in touched:
            if node.history is not True and node.cotangent is not None:
                arrived[node] = hook(node, node.cotangent) if hook is not None else node.cotangent
    finally:
        for node in touched:
            node.cotangent = None
        trace.grad_enabled, trace.place = grad_enabled, place
    if not retain_graph:
        for node in reversed(passed):  # operands first
            if not node.signature.linear or _reaches_freed(node):  # type: ignore[union-attr]
                node.history = FREED
    return arrived, passed


def _reaches_freed(node: Node) -> bool:
    """Whether an operand was freed. A linear operation of others is left as it is: torch saves nothing there."""
    return any(operand.history is FREED for operand in node.operands)


def _reverse_order(trace: Trace, roots: Sequence[Node]) -> Iterable[Node]:
    """Nodes with users before operands. As long as the whole history is in the trace, that is the trace read backwards;
    what does not lead to the roots gets no cotangent and is passed over."""
    epoch = trace.epoch
    if len(roots) == 1 and not trace.mixed:
        (root,) = roots
        if root.history is True and root.epoch is epoch and root.buffer is None:
            return trace.nodes[root.number :: -1]
    recorded = [root for root in roots if root.history is True]
    if not trace.mixed and all(root.epoch is epoch and root.buffer is None for root in recorded):
        last = max([root.number for root in recorded], default=-1)
        return trace.nodes[last::-1] if last >= 0 else ()
    return reversed(postorder(recorded))


def _propagate_jointly(
    node: Node, cotangent: Any, touched: list[Node], check: Callable[[Node, int, Node], None] | None
) -> None:
    """Apply a rule that gives all operands' contributions at once."""
    assert node.signature is not None
    rules = node.signature.vjp
    if rules is result.vjp:
        _collect(node, cotangent, touched)
        return
    if not callable(rules):
        name = node.signature.operator.declaration.name
        raise NotImplementedError(f"derivative for {name} is not implemented")
    for position, (operand, contribution) in enumerate(zip(node.operands, rules(node, cotangent), strict=True)):
        if contribution is not None and operand.history is not None:
            if check is not None:
                check(node, position, contribution)
            _add(operand, contribution, touched)


def _collect(node: Node, cotangent: Any, touched: list[Node]) -> None:
    """The cotangent of one of several results waits at their operation."""
    (operation,) = node.operands
    if operation.cotangent is None:
        operation.cotangent = [None] * len(operation.type.types)
        touched.append(operation)
    operation.cotangent[node.attributes.index] = cotangent


def _add(node: Node, cotangent: Node, touched: list[Node]) -> None:
    if cotangent.type is not node.type:
        cotangent = conform(cotangent, node.type)
    before = node.cotangent
    if before is None:
        if node.history is FREED:
            raise RuntimeError(AGAIN)
        node.cotangent = cotangent
        touched.append(node)
    else:
        node.cotangent = arith.add(before, cotangent)
