"""Backward walks that were walked before: the same graph again gets the same operations, without asking the rules.

Training repeats itself. What a backward walk appends to the trace is determined by the trace's key, the histories of its
values, and the roots; a second look at these finds the operations as numbers, and only the gradients themselves become
nodes. The others are rows of a table that everybody reads with the same key: `HIDDEN` stands for them in `trace.nodes`
until somebody needs them all (`materialise`): a plan, a dump, the interpreter, or a history that outlives the sync.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lazytorch.dtypes import float32
from lazytorch.ir.declaration import Signature
from lazytorch.ir.saved import Shared
from lazytorch.ir.trace import FREED, Node, Trace, leaf, operand_numbers
from lazytorch.ir.types import TensorType


class Row(NamedTuple):
    """An operation that a walk appended: the numbers of its operands, and of a node recorded for the same place."""

    signature: Signature
    operands: tuple[int, ...]
    place: int


class Walk(NamedTuple):
    """What a backward walk did to the trace, in the trace's numbers.

    key: its rows of the key. made: (index of the row, number) of each gradient that the walk computed. arrived: (number of
    the value, number of its gradient). freed: the nodes whose history was released. uses: how often a leaf is an operand.
    """

    rows: tuple[Row, ...]
    key: tuple[int, ...]
    made: tuple[tuple[int, Signature], ...]
    arrived: tuple[tuple[int, int], ...]
    freed: tuple[int, ...]
    uses: Mapping[int, int]


HIDDEN = leaf(TensorType(float32, ()), None)
"""In `trace.nodes`, an operation that is only a row of a replayed walk."""
_walks: dict[Any, Walk | None] = {}
"""By `walk_key`; None: seen once."""
_WALKS_KEPT = 512
_HISTORIES = {None: 0, True: 1, FREED: 2}


def walk_key(trace: Trace, roots: Sequence[Node], cotangents: Sequence[Node], retain_graph: bool) -> Any:
    """All that the outcome of a walk depends on; None when that is more than the trace."""
    epoch = trace.epoch
    if trace.mixed:
        return None
    numbers = []
    for node in (*roots, *cotangents):
        numbers.append(node.number)
        if node.epoch is not epoch:
            return None
    values = trace.leaves + trace.nodes
    code = _HISTORIES.get
    written = [node for node in values if type(node.storage) is tuple]
    return (
        retain_graph,
        *numbers,
        None,
        *[code(node.history, 3) for node in values],
        *(_writes(trace, values) if written else ()),
        None,
        *trace.key,
    )


def _writes(trace: Trace, values: Sequence[Node]) -> Iterator[int | None]:
    """What `check_unmodified` depends on: which values were written over, by the call that recorded which operation, and
    which others lie in the storage of their operand."""
    places = {id(node.place): number for number, node in enumerate(trace.nodes)}
    for position, node in enumerate(values):
        if type(node.storage) is tuple:
            yield position
            yield places.get(id(node.storage[1]))
    yield None
    for position, node in enumerate(values):
        if type(node.storage) is Shared:
            yield position


def find(key: Any) -> Walk | None:
    """The walk that was kept for a key."""
    return _walks.get(key)


def replay(trace: Trace, walk: Walk) -> dict[Node, Node]:
    """Append what the walk appended; by value, the gradients that arrive."""
    nodes, leaves = trace.nodes, trace.leaves
    first = len(nodes)
    nodes += [HIDDEN] * len(walk.rows)
    trace.key += walk.key
    for index, signature in walk.made:
        nodes[first + index] = _node(trace, first + index, signature, walk.rows[index].place)
    if walk.rows:  # one that appends nothing would stand where the next begins
        trace.replays.append((first, walk))
    for number in walk.freed:
        nodes[number].history = FREED
    return {
        (nodes[value] if value >= 0 else leaves[~value]): (nodes[gradient] if gradient >= 0 else leaves[~gradient])
        for value, gradient in walk.arrived
    }


def keep(
    trace: Trace, key: Any, before: tuple[int, int, int, int], passed: Sequence[Node], arrived: Mapping[Node, Node]
) -> None:
    """Remember what a walk did, from the second time on that its key is seen, unless more than the trace had a part in it.

    before: the lengths of the trace's nodes, key, leaves and live tensors before the walk. passed: the nodes whose rules
    were asked.
    """
    if key not in _walks:
        if len(_walks) >= _WALKS_KEPT:
            del _walks[next(iter(_walks))]
        _walks[key] = None
        return
    first, key_length, leaf_count, live_count = before
    if len(trace.leaves) != leaf_count or len(trace.live) != live_count:
        return
    for node in passed:
        assert node.signature is not None
        if node.signature.vjp is not node.signature.operator.declaration.vjp:
            return  # a rule of the user's own
    made = trace.nodes[first:]
    if any(node.history is not None or node.storage is not None for node in made):
        return
    places = {id(node.place): number for number, node in enumerate(trace.nodes[:first])}
    if not all(id(node.place) in places for node in made):
        return
    operands = operand_numbers(trace)[first:]
    rows = tuple(
        Row(node.signature, tuple(numbers), places[id(node.place)])  # type: ignore[arg-type]
        for node, numbers in zip(made, operands, strict=True)
    )
    number_of = {id(node): number for number, node in enumerate(trace.nodes)}
    number_of |= {id(node): ~number for number, node in enumerate(trace.leaves)}
    ends = tuple((number_of[id(value)], number_of[id(gradient)]) for value, gradient in arrived.items())
    gradients = sorted({number - first for _, number in ends if number >= first})
    _walks[key] = Walk(
        rows,
        tuple(trace.key[key_length:]),
        tuple((index, rows[index].signature) for index in gradients),
        ends,
        tuple(number_of[id(node)] for node in passed if node.history is FREED),
        _leaf_uses(trace, first, rows),
    )


def _leaf_uses(trace: Trace, first: int, rows: Sequence[Row]) -> Mapping[int, int]:
    """How many references to each leaf the operands of the nodes from `first` on are (rules may hand on a node's own
    operands, as one and the same tuple)."""
    seen = {id(node.operands) for node in trace.nodes[:first]}
    uses: Counter[int] = Counter()
    for node, row in zip(trace.nodes[first:], rows, strict=True):
        if id(node.operands) not in seen:
            seen.add(id(node.operands))
            uses.update(x for x in row.operands if x < 0)
    return uses


def hidden_uses(trace: Trace) -> Mapping[int, int]:
    """By leaf, how many of its recorded uses no node refers to, because they are rows of replayed walks."""
    replays = trace.replays
    if len(replays) == 1:
        walk: Walk = replays[0][1]
        return walk.uses
    total: Counter[int] = Counter()
    for _, walk in replays:
        total.update(walk.uses)
    return total


def materialise(trace: Trace) -> None:
    """Make every operation of the trace a node."""
    nodes, leaves = trace.nodes, trace.leaves
    for first, walk in trace.replays:
        for number, row in enumerate(walk.rows, first):
            if nodes[number] is HIDDEN:
                nodes[number] = _node(trace, number, row.signature, row.place)
            nodes[number].operands = tuple([nodes[x] if x >= 0 else leaves[~x] for x in row.operands])
    trace.replays = []


def _node(trace: Trace, number: int, signature: Signature, place: int) -> Node:
    """The node of a row, its operands left out."""
    node = leaf(signature.result_type, None)
    node.signature = signature
    node.epoch = trace.epoch
    node.number = number
    node.place = trace.nodes[place].place
    return node
