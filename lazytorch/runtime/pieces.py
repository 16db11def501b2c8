"""Long graphs in pieces: what a loop of the user's repeats is planned once, not once per round.

Planning takes about a millisecond per operation, and a recurrent net or an episode of another length is another graph of
thousands of operations. Such a graph repeats itself: cut where one operation comes again and again, most of its pieces are
equal, and each kind of piece is a program that is planned once and found again, whatever the length. One program for the
whole graph is somewhat faster to run, so a graph that comes many times is planned after all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from lazytorch.codegen.views import chained, contiguous
from lazytorch.ir.capture import needed
from lazytorch.ir.declaration import Operator, Trait
from lazytorch.ir.dialects import tensor, tensor_strided
from lazytorch.ir.trace import Node, Trace, enter, leaf, operand_numbers, record_node, result
from lazytorch.ir.types import TupleType

LONG = 500
"""Operations from which on a graph may be run in pieces."""
SIGHTS = 100
"""How often a graph is run in pieces before it is planned as a whole."""
_REPEATED = 6
"""How often the operations of a graph must come on average: others have no pieces that are alike."""
_SHORTEST, _LONGEST = 16, 160
"""Operations of a piece: at least, and on average at most."""
_CANDIDATES = 24
_PIECE_COST = 0.05
"""What a piece costs at every run, in operations planned."""


class Piece(NamedTuple):
    """A run of operations, by number: those to compute, those whose values later pieces or the caller need, and those that
    nobody needs any more afterwards."""

    nodes: tuple[int, ...]
    outputs: tuple[int, ...]
    freed: tuple[int, ...]


class Pieces:
    """How one graph is run in pieces. saved: numbers of values that a kept history will need; sights: runs so far."""

    def __init__(self, pieces: Sequence[Piece], saved: Sequence[int]) -> None:
        self.pieces = pieces
        self.saved = saved
        self.sights = 0

    def run(self, trace: Trace, execute: Callable[[Trace, list[Node]], None]) -> None:
        """Compute the values that the pieces were made for; `execute` runs a trace for some of its values."""
        self.sights += 1
        nodes = trace.nodes
        for piece in self.pieces:
            part = Trace()
            for number in piece.nodes:
                if nodes[number].epoch is not part.epoch:
                    _enter(part, nodes[number])
            execute(part, [nodes[number] for number in piece.outputs])
            for number in piece.freed:
                nodes[number].buffer = None


def _enter(part: Trace, node: Node) -> None:
    """Enter an operation. Slices of what earlier pieces computed are read from where they begin: a start, or the size of the
    whole, would make another program of each round."""
    for operand in node.operands:
        if operand.epoch is part.epoch or operand.buffer is not None:
            continue
        chain = [operand]
        while _is(chain[-1], Trait.VIEW) and chain[-1].buffer is None and chain[-1].epoch is not part.epoch:
            chain.append(chain[-1].operands[0])
        root = chain.pop()
        if not any(_operator(view).declaration is tensor.slice_ for view in chain):
            continue
        entered = _repeated(part, root, operand) if root.type.numel == 1 else _read(part, root, chain)
        if entered is not None:
            operand.epoch, operand.number = entered.epoch, entered.number
    enter(part, node)


def _read(part: Trace, root: Node, chain: Sequence[Node]) -> Node | None:
    """The view that the first of a chain is of a value in memory, as an operation on a part of the memory."""
    access = chained(root.type, tuple([_operator(view) for view in reversed(chain)]))
    if not hasattr(root.buffer, "part") or access is None or 0 in access.shape or min(access.strides, default=0) < 0:
        return None
    extent = 1 + sum((size - 1) * stride for size, stride in zip(access.shape, access.strides, strict=True))
    itemsize = root.type.dtype.itemsize
    memory = root.buffer.part(access.offset * itemsize, extent * itemsize)
    if access.strides == contiguous(access.shape).strides:
        entered = leaf(chain[0].type, memory)
        enter(part, entered)
        return entered
    operator = tensor_strided.as_strided.operator(shape=access.shape, strides=access.strides, offset=0)
    return record_node(part, operator, (leaf(root.type.with_shape((extent,)), memory),))


def _repeated(part: Trace, root: Node, view: Node) -> Node:
    """A view that shows one number again and again, wherever it begins."""
    number = record_node(part, tensor.reshape.operator(shape=()), (root,), False)
    return record_node(part, tensor.expand.operator(shape=view.type.shape), (number,), False)


def divide(trace: Trace, outputs: Sequence[int], saved: Callable[[], Sequence[int]]) -> Pieces | None:
    """The pieces of a trace whose operations are all nodes; None if it is short, nothing in it repeats itself, or it is
    captured, as a whole."""
    count = len(trace.nodes)
    if count < LONG or trace.levels or trace.observer is not None:
        return None
    starts = _starts([node.signature.id for node in trace.nodes], trace.nodes)  # type: ignore[union-attr]
    if starts is None:
        return None
    kept = saved()
    return Pieces(_pieces(trace, starts, [*outputs, *kept]), kept)


def _starts(ids: Sequence[int], nodes: Sequence[Node]) -> list[int] | None:
    """Where to cut: before operations that make the pieces alike. None where planning them would save less than half."""
    if len(set(ids)) * _REPEATED > len(ids):
        return None
    results = {id for id, node in zip(ids, nodes, strict=True) if node.signature.operator.declaration is result}  # type: ignore[union-attr]
    starts, waiting = [0], [(0, len(ids))]
    while waiting:
        start, stop = waiting.pop()
        cuts = _alike(ids[start:stop], results)
        starts += [start + cut for cut in cuts[1:]]
        waiting += [
            (start + one, start + other)
            for one, other in pairwise([*cuts, stop - start])
            if _LONGEST < other - one < stop - start
        ]
    starts.sort()
    distinct = {tuple(ids[start:stop]) for start, stop in pairwise([*starts, len(ids)])}
    return starts if sum(map(len, distinct)) < len(ids) / 2 else None


def _alike(ids: Sequence[int], results: set[int]) -> list[int]:
    """Where a part begins, and where to cut it: before the operation that leaves the fewest to plan."""
    count = len(ids)
    best, cost = [0], count * 0.9
    fitting = [(times, id) for id, times in Counter(ids).items() if id not in results and count <= _LONGEST * times]
    for _, id in sorted(fitting)[:_CANDIDATES]:
        starts = [0, *_occurrences(ids, id)]
        distinct = {tuple(ids[start:stop]) for start, stop in pairwise([*starts, count])}
        this = sum(map(len, distinct)) + _PIECE_COST * len(starts)
        if this < cost:
            best, cost = starts, this
    return best


def _occurrences(ids: Sequence[int], id: int) -> Iterator[int]:
    """The positions of an operation, those left out that follow the one before too closely."""
    last = 0
    for position, other in enumerate(ids):
        if other == id and position - last >= _SHORTEST:
            yield position
            last = position


def _pieces(trace: Trace, starts: Sequence[int], outputs: Sequence[int]) -> list[Piece]:
    """Only values that are computed leave a piece: views of them are made again where they are read."""
    nodes, rows = trace.nodes, operand_numbers(trace)
    wanted = {number for number in outputs if number >= 0}
    computed = needed(rows, outputs)
    at = [0] * len(nodes)
    for piece, (start, stop) in enumerate(zip(starts, [*starts[1:], len(nodes)], strict=True)):
        at[start:stop] = [piece] * (stop - start)
    last = at.copy()
    for number in reversed(computed):  # users before operands
        until = last[number] if _made_again(nodes[number]) and number not in wanted else at[number]
        for operand in rows[number]:
            if operand >= 0:
                last[operand] = max(last[operand], until)
    members: list[list[int]] = [[] for _ in starts]
    results: list[list[int]] = [[] for _ in starts]
    freed: list[list[int]] = [[] for _ in starts]
    for number in computed:
        if number in wanted or not _made_again(nodes[number]):
            members[at[number]].append(number)
        if number in wanted:
            results[at[number]].append(number)
        elif last[number] > at[number] and not _made_again(nodes[number]) and type(nodes[number].type) is not TupleType:
            results[at[number]].append(number)
            freed[last[number]].append(number)
    return [Piece(*map(tuple, parts)) for parts in zip(members, results, freed, strict=True) if parts[1]]


def _made_again(node: Node) -> bool:
    return _is(node, Trait.VIEW) or _is(node, Trait.CONSTANT)


def _is(node: Node, trait: Trait) -> bool:
    return node.signature is not None and node.signature.operator.declaration.has(trait)


def _operator(node: Node) -> Operator:
    assert node.signature is not None
    return node.signature.operator
