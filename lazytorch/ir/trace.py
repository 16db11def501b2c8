"""The lazy graph: operations in their compact recorded form.

A `Node` is a recorded operation together with its single result. A `Trace` is what one thread recorded since its last
sync, with the program key that is written while recording: per operation its signature's number and its operands'
numbers (leaves, values that already hold data, are numbered from -1 downwards at first use). Nothing here recurses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

from lazytorch.config import config
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Attributes, Declaration, Operator, Signature, Trait
from lazytorch.ir.dialects import arith, tensor, tensor_strided
from lazytorch.ir.types import TensorType, TupleType, Type

Place = tuple[CodeType, int]
_new = object.__new__
_NUMBERS = frozenset((float, int, bool, complex))


class Freed:
    """The history of a node whose graph was released by an earlier backward walk. Use `FREED`."""

    def __repr__(self) -> str:
        return "FREED"


FREED = Freed()


class Node:
    """A recorded operation and its result, or a leaf (`signature` None) that holds data.

    buffer: the runtime's memory once the value exists (opaque here; a Python number for a scalar leaf), else None.
    history: None (no gradient), True (differentiable through `operands`), FREED, or the accumulator of an autograd leaf.
    epoch, number: the place in the trace whose `epoch` it is. cotangent: in flight during a backward walk.
    storage: what ir/saved.py has to know of the storage that holds or held this value; mostly None.
    """

    __slots__ = ("buffer", "cotangent", "epoch", "history", "number", "operands", "place", "signature", "storage", "type")
    signature: Signature | None
    operands: tuple[Node, ...]
    type: Any
    buffer: Any
    history: Any
    epoch: object | None
    number: int
    place: Place | None
    cotangent: Any
    storage: Any

    @property
    def builder(self) -> Recorder:
        """Rules that compute with this value record into the trace."""
        return RECORDER

    @property
    def attributes(self) -> Attributes:
        """The attributes of the operation."""
        assert self.signature is not None
        return self.signature.operator.attributes

    @property
    def result(self) -> Node:
        """The value itself: operation and result are one object."""
        return self

    def __repr__(self) -> str:
        what = "leaf" if self.signature is None else self.signature.operator.declaration.name
        return f"<{what}: {self.type}>"


LONG_STEP = 32
"""Pending operations from which on the end of a training step runs them: enough that a program's overhead does not count."""


class Trace:
    """What one thread has recorded since its last sync.

    live: every tensor object made since then (whether the user still holds it is found out at the sync).
    again: values of the past that were recorded again, so that the tensors that have them are not among `live`.
    updates: storages that already hold data and have a new value pending.
    limit: operations after which the trace is run where the user's loop comes round (0: eagerly, every one by itself).
    anchor: the place in the loop at which such runs end; None after a sync that the user asked for.
    backwards: backward() calls in it, or at the end of the program before it.
    call: where the user called the library's module (an nn.Sequential, say) that is at work; None outside of such calls.
    levels: the function transformations at work, outermost first (ir/transformations.py).
    mixed: some value with a history older than this trace is in it, so tape order is no topological order of histories.
    replays: the backward walks whose operations are mostly no nodes yet (see ir/replay.py), and the numbers of their first.
    autocast: the narrow element types of products by kind of device (ops/autocasting.py), None outside of `torch.autocast`.
    observer: notes what a call does that may be replayed later (capturing/observer.py); None outside of such calls.
    watch: called before what was recorded is run, and so before the trace forgets it (autograd/graph.py).
    """

    __slots__ = (
        "again",
        "anchor",
        "autocast",
        "backwards",
        "call",
        "epoch",
        "grad_enabled",
        "key",
        "leaves",
        "levels",
        "limit",
        "live",
        "mixed",
        "nodes",
        "observer",
        "place",
        "replays",
        "updates",
        "watch",
    )

    def __init__(self) -> None:
        self.grad_enabled = True
        self.call: Place | None = None
        self.place: Place | None = None
        self.levels: list[Any] = []
        self.autocast: dict[str, DType] | None = None
        self.watch: Callable[[Trace], None] | None = None
        self.observer: Any = None
        self.reset()

    def reset(self) -> None:
        """Start afresh: every recorded node now belongs to the past."""
        self.epoch = object()
        self.key: list[Any] = []
        self.nodes: list[Node] = []
        self.leaves: list[Node] = []
        self.live: list[Any] = []
        self.again: set[Node] = set()
        self.updates: dict[Any, Node] = {}
        self.mixed = False
        self.replays: list[tuple[int, Any]] = []
        self.limit = 0 if config.eager else config.flush_nodes
        self.anchor: Place | None = None
        self.backwards = 0

    def comes_round(self) -> bool:
        """Whether a trace that has become long is to be run now: where the user's outermost loop comes round, if any.

        A loop that asks for nothing would otherwise be cut at another place every time, and each cut is another program.
        """
        if self.limit == 0 or len(self.nodes) >= 2 * config.flush_nodes:
            return True
        if self.anchor is None:
            self.anchor = self._rarest_repeated_place()
        place, anchor = self.place, self.anchor
        return anchor is not None and place is not None and place[0] is anchor[0] and place[1] == anchor[1]

    def _rarest_repeated_place(self) -> Place | None:
        """Of the places that recorded several times, the first of those that did so least often; None if there is none."""
        counts: dict[tuple[int, int], int] = {}
        places: dict[tuple[int, int], Place] = {}
        for node in self.nodes:
            if node.place is not None:
                key = (id(node.place[0]), node.place[1])
                counts[key] = counts.get(key, 0) + 1
                places[key] = node.place
        repeated = [(count, key) for key, count in counts.items() if count > 1]
        return places[min(repeated, key=lambda item: item[0])[1]] if repeated else None


class _ThreadState(threading.local):
    def __init__(self) -> None:
        self.trace = Trace()


STATE = _ThreadState()


def enter(trace: Trace, node: Node) -> int:
    """Bring a node of the past into the trace: with data it becomes a leaf, without it is recorded again. Its number.

    Several threads may use one value, each in a trace of its own. Here a node's epoch is written before its number, and
    everywhere a number is read before the epoch it is checked against: a number of another thread's trace is never used.
    """
    epoch = trace.epoch
    if node.buffer is not None:
        return _enter_leaf(trace, node)
    number = 0
    stack = [node]
    while stack:
        current = stack[-1]
        number = current.number
        if current.epoch is epoch:
            stack.pop()
            continue
        if current.buffer is not None or finds_memory(current):
            number = _enter_leaf(trace, current)
            stack.pop()
            continue
        if current.history is True:
            trace.mixed = True
        numbers, missing = [], []
        for operand in current.operands:
            numbers.append(operand.number)
            if operand.epoch is not epoch:
                missing.append(operand)
        if missing:
            stack += missing
            continue
        assert current.signature is not None
        trace.key.append(current.signature.id)
        trace.key += numbers
        number = len(trace.nodes)
        current.epoch = epoch
        current.number = number
        trace.nodes.append(current)
        trace.again.add(current)
        stack.pop()
    return number


def finds_memory(node: Node) -> bool:
    """Leading rows of a value that is in memory by now have memory, too: recorded again, their start would be part of the
    program, and another one for each of the rows that a loop goes through."""
    signature = node.signature
    if node.history is not None or signature is None or signature.operator.declaration is not tensor.slice_:
        return False
    source = node.operands[0]
    rows = tensor_strided.leading_rows(source.type, signature.operator.attributes)
    if rows is None or not hasattr(source.buffer, "part"):
        return False
    node.buffer = source.buffer.part(*rows)
    return True


def _enter_leaf(trace: Trace, node: Node) -> int:
    """The rows of leaves in the key: their type, whether it is a number, whether it has a history."""
    history = node.history
    kind = 0
    if history is not None:
        kind = 1
        if history is True:
            trace.mixed = True
    buffer = node.buffer
    if type(buffer) in _NUMBERS:
        kind += 2
    elif buffer.shared and trace.observer is None and buffer.is_held_outside():
        trace.limit = 0  # what is recorded with it is computed at once: whoever shares the memory may write to it
    leaves = trace.leaves
    number = ~len(leaves)
    node.epoch = trace.epoch
    node.number = number
    leaves.append(node)
    trace.key.append(~(4 * node.type.id + kind))
    return number


def operand_numbers(trace: Trace) -> list[Sequence[int]]:
    """The numbers of every operation's operands, from the key: those in the nodes may be another thread's by now."""
    rows: list[Sequence[int]] = []
    key, position = trace.key, 0
    replays = dict(trace.replays)
    while position < len(key):
        walk = replays.get(len(rows))
        if walk is not None and key[position] >= 0:
            rows += [row.operands for row in walk.rows]
            position += len(walk.key)
            continue
        position += 1
        if key[position - 1] >= 0:  # not the row of a leaf
            count = len(trace.nodes[len(rows)].operands)
            rows.append(key[position : position + count])
            position += count
    return rows


def record1(trace: Trace, signature: Signature, a: Node, history: Any) -> Node:
    """Record an operation of one operand."""
    epoch = trace.epoch
    number = a.number
    if a.epoch is not epoch:
        number = enter(trace, a)
    node = _new(Node)
    node.signature = signature
    node.operands = (a,)
    node.type = signature.result_type
    node.buffer = None
    node.history = history
    node.epoch = epoch
    node.cotangent = None
    node.storage = None
    node.place = trace.place
    nodes = trace.nodes
    node.number = len(nodes)
    trace.key += (signature.id, number)
    nodes.append(node)
    return node


def record2(trace: Trace, signature: Signature, a: Node, b: Node, history: Any) -> Node:
    """Record an operation of two operands."""
    epoch = trace.epoch
    first = a.number
    if a.epoch is not epoch:
        first = enter(trace, a)
    second = b.number
    if b.epoch is not epoch:
        second = enter(trace, b)
    node = _new(Node)
    node.signature = signature
    node.operands = (a, b)
    node.type = signature.result_type
    node.buffer = None
    node.history = history
    node.epoch = epoch
    node.cotangent = None
    node.storage = None
    node.place = trace.place
    nodes = trace.nodes
    node.number = len(nodes)
    trace.key += (signature.id, first, second)
    nodes.append(node)
    return node


def record(trace: Trace, signature: Signature, operands: tuple[Node, ...], history: Any) -> Node:
    """Record an operation of any number of operands."""
    epoch = trace.epoch
    numbers = []
    for operand in operands:
        number = operand.number
        if operand.epoch is not epoch:
            number = enter(trace, operand)
        numbers.append(number)
    node = _new(Node)
    node.signature = signature
    node.operands = operands
    node.type = signature.result_type
    node.buffer = None
    node.history = history
    node.epoch = epoch
    node.cotangent = None
    node.storage = None
    node.place = trace.place
    key, nodes = trace.key, trace.nodes
    node.number = len(nodes)
    key.append(signature.id)
    key += numbers
    nodes.append(node)
    return node


def record3(trace: Trace, signature: Signature, operands: tuple[Node, Node, Node], history: Any) -> Node:
    """Record an operation of three operands."""
    epoch = trace.epoch
    a, b, c = operands
    first = a.number
    if a.epoch is not epoch:
        first = enter(trace, a)
    second = b.number
    if b.epoch is not epoch:
        second = enter(trace, b)
    third = c.number
    if c.epoch is not epoch:
        third = enter(trace, c)
    node = _new(Node)
    node.signature = signature
    node.operands = operands
    node.type = signature.result_type
    node.buffer = None
    node.history = history
    node.epoch = epoch
    node.cotangent = None
    node.storage = None
    node.place = trace.place
    nodes = trace.nodes
    node.number = len(nodes)
    trace.key += (signature.id, first, second, third)
    nodes.append(node)
    return node


def record_node(trace: Trace, operator: Operator, operands: tuple[Node, ...], differentiable: bool = True) -> Node:
    """Record an operation with the history that its operands give it. Of an operation of several results, the node of the
    whole operation (see `results_of`). Infers the type on first use, and raises the user's error there."""
    recording = differentiable and trace.grad_enabled
    count = len(operands)
    if count == 1:
        (a,) = operands
        signature = operator.by_one.get(a.type)
        if signature is None:
            signature = operator.signature(a.type)
        history = True if recording and a.history is not None and signature.differentiable else None
        return record1(trace, signature, a, history)
    if count == 2:
        a, b = operands
        try:
            signature = operator.by_two[a.type][b.type]
        except KeyError:
            signature = operator.signature(a.type, b.type)
        some = a.history is not None or b.history is not None
        return record2(trace, signature, a, b, True if recording and some and signature.differentiable else None)
    if count == 3:
        a, b, c = operands
        signature = operator.by_many.get((a.type, b.type, c.type))
        if signature is None:
            signature = operator.signature(a.type, b.type, c.type)
        some = a.history is not None or b.history is not None or c.history is not None
        return record3(trace, signature, operands, True if recording and some and signature.differentiable else None)  # type: ignore[arg-type]
    types = tuple([operand.type for operand in operands])
    signature = operator.by_many.get(types)
    if signature is None:
        signature = operator.signature(*types)
    history = None
    if recording and signature.differentiable:
        for operand in operands:
            if operand.history is not None:
                history = True
                break
    return record(trace, signature, operands, history)


def leaf(type: Type, buffer: Any, history: Any = None) -> Node:
    """A value that holds data: memory, or a Python number that is a run-time argument (never part of the key)."""
    node = _new(Node)
    node.signature = None
    node.operands = ()
    node.type = type
    node.buffer = buffer
    node.history = history
    node.epoch = None
    node.number = 0
    node.place = None
    node.cotangent = None
    node.storage = None
    return node


_WHOLE_NAMES = ("CopySlices", "CopyBackwards")


def gradient_name(node: Node) -> str:
    """The name that torch gives the autograd node of an operation."""
    assert node.signature is not None
    name = _label(node.signature.operator)
    if name in _WHOLE_NAMES or (name.endswith("Backward") and name == node.signature.operator.label):
        return name  # the second: a torch.autograd.Function
    return f"{name[:-1]}Backward{name[-1]}" if name[-1:].isdigit() else f"{name}Backward0"


def _label(operator: Operator) -> str:
    return operator.label or operator.declaration.gradient_name or operator.declaration.name.partition(".")[2].title()


def _infer_result(attributes: Attributes, operation: Type) -> Type:
    assert isinstance(operation, TupleType)
    inferred: Type = operation.types[attributes.index]
    return inferred


def _result_vjp(op: Node, g: Node) -> None:
    raise AssertionError("cotangents of results are collected by the backward walk, not by a rule")


result: Declaration = Declaration(
    "trace.result",
    _infer_result,
    attributes=("index",),
    vjp=(_result_vjp,),
    traits=(Trait.PURE,),
    doc="One result of a recorded operation that has several (the trace's compact form only).",
)


class Recorder:
    """The builder of recorded values: emits into this thread's trace, without history (rules and passes use it)."""

    def emit(self, operator: Operator, operands: Sequence[Node]) -> Any:
        """Record; the node, or a tuple of result nodes for an operation of several results."""
        trace = STATE.trace
        node = record_node(trace, operator, tuple(operands))
        if type(node.type) is TupleType:
            return results_of(trace, node)
        return node

    def constant(self, value: Any, like: Node) -> Node:
        """A rank-0 constant of `like`'s element type: part of the structure, unlike a scalar leaf."""
        node: Node = self.emit(
            arith.constant.operator(
                value=_as(value, like.type.dtype.kind), type=TensorType(like.type.dtype, (), like.type.device)
            ),
            (),
        )
        return node


def _as(value: Any, kind: str) -> Any:
    return float(value) if kind == "f" else int(value) if kind in "iu" else value


_RESULTS: dict[tuple[TupleType, Operator], list[Signature]] = {}


def results_of(trace: Trace, node: Node) -> tuple[Node, ...]:
    """A node per result of a recorded operation of several results; each keeps the operation's name for `grad_fn`."""
    assert node.signature is not None
    operator = node.signature.operator
    signatures = _RESULTS.get((node.type, operator))
    if signatures is None:
        label, count = _label(operator), len(node.type.types)
        signatures = [result.operator(label, index=i).signature(node.type) for i in range(count)]
        _RESULTS[node.type, operator] = signatures
    history, operands, epoch, place = node.history, (node,), trace.epoch, trace.place
    number = node.number
    key, nodes = trace.key, trace.nodes
    made = []
    for signature in signatures:
        one = _new(Node)
        one.signature = signature
        one.operands = operands
        one.type = signature.result_type
        one.buffer = None
        one.history = history if signature.differentiable else None
        one.epoch = epoch
        one.cotangent = None
        one.storage = None
        one.place = place
        one.number = len(nodes)
        key += (signature.id, number)
        nodes.append(one)
        made.append(one)
    return tuple(made)


RECORDER = Recorder()
Flush = Callable[[Trace], None]
