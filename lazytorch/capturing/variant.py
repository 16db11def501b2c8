"""A captured call: a compiled program with where its inputs come from, and where what it computes goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np

from lazytorch.capturing.observer import Effect
from lazytorch.capturing.watch import Watch
from lazytorch.dtypes import float32
from lazytorch.history import HOOKED
from lazytorch.ir.declaration import Operator, Signature
from lazytorch.ir.trace import Node, Place, finds_memory, leaf
from lazytorch.ir.types import TensorType, Type
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.statistics import STATISTICS
from lazytorch.tensor import Tensor, of_leaf
from lazytorch.trees import Structure

ARGUMENT, ROOT, TENSOR, GRADIENT, CONSTANT, NUMBER, DRAWN = range(7)
"""Where a leaf comes from: an argument's own value, the storage that an argument is a view of, a tensor that outlives the
call, the gradient of such a tensor, a value of the program itself, an effect's number, the random generator."""


class Source(NamedTuple):
    """A leaf of the program: where from, which (a position among the arguments, a tensor, a node, ...), and what it must be.

    history: None, True or the type of the value's history. memory: the type of what holds the value. written: whether the
    call gives its storage other contents.
    """

    kind: int
    what: Any
    type: Any
    history: Any
    memory: Any
    written: bool


class Output(NamedTuple):
    """A value that the program computes: its number in the trace, its type, and the history that it shows."""

    number: int
    type: Type
    history: Any = None
    signature: Signature | None = None

    def node(self) -> Node:
        """The value of a run, without memory yet."""
        node = leaf(self.type, None, self.history)
        node.signature = self.signature
        return node


class Row(NamedTuple):
    """A recorded operation whose history outlives the call; without a signature, a value that is kept."""

    number: int
    type: Type
    signature: Signature | None
    operands: tuple[int, ...]
    history: Any
    place: Place | None
    storage: Any


class Written(NamedTuple):
    """A storage that gets the output `output`, from which on its version is higher by `versions`. leaf: the number of the
    leaf that is replaced, -1 if the program does not read it."""

    kind: int
    what: Any
    output: int
    versions: int
    leaf: int


class Deposit(NamedTuple):
    """The `.grad` of a tensor: a new tensor of an output, or None."""

    kind: int
    what: Any
    output: int | None


class Made(NamedTuple):
    """A new tensor in the result: of an output, or a view of the base that `base` says (a result's number, a place)."""

    output: int
    kind: type
    base: Any = None
    view: tuple[Operator, ...] = ()
    type: Type | None = None
    history: Any = None


class Drawn(NamedTuple):
    """A tensor in the result that holds the random numbers of draw number `draw` alone."""

    draw: int


class Given(NamedTuple):
    """A tensor in the result that was there before the call."""

    kind: int
    what: Any


@dataclass(eq=False)
class Variant:
    """What a call does under conditions, `mismatch` says which of them do not hold.

    outputs: numbers and types of the program's outputs, and then of the values that a history saves. rows: the recorded
    operations that a history needs. result: the leaves of what is returned: Made, Given, or a Python value.
    """

    program: Any
    sources: Sequence[Source]
    outputs: Sequence[Output]
    rows: Sequence[Row]
    written: Sequence[Written]
    deposits: Sequence[Deposit]
    cleared: Sequence[tuple[int, Any, bool]]
    result: Sequence[Any]
    structure: Structure
    effects: Sequence[Effect]
    watch: Watch
    owners: Sequence[Tensor]
    draws: Sequence[tuple[Type, Callable[[], np.ndarray]]]
    identities: tuple[int, ...]

    def __post_init__(self) -> None:
        self.hidden = {donation.leaf: donation.uses for donation in getattr(self.program, "donations", ())}
        self.replaced = [each.leaf for each in self.written if each.leaf >= 0] if not self.rows else []
        self.simple = len(self.result) == 1 and self.structure.kind is None
        self.in_place = [(each.output, each.leaf) for each in self.written] if not self.rows else []
        if any(number not in self.hidden for _, number in self.in_place):
            self.in_place = []
        self.hidden_in_place = self.hidden | {number: self.hidden[number] - 1 for _, number in self.in_place}
        kept = {output for output, _ in self.in_place}
        self.rest = [(number, output) for number, output in enumerate(self.outputs) if number not in kept]
        self.hooked = hooks_of(self.owners)
        # What every replay looks at, sorted so that the most frequent kind costs least.
        numbered = list(enumerate(self.sources))
        self.fixed: list[Any] = [source.what if source.kind == CONSTANT else None for source in self.sources]
        self.tensors = [(n, s.what, s.type, s.history, s.memory, s.written) for n, s in numbered if s.kind == TENSOR]
        self.others = [(n, s) for n, s in numbered if s.kind in (ARGUMENT, ROOT, GRADIENT)]
        self.drawn = [(n, s.what) for n, s in numbered if s.kind == DRAWN]
        self.numbers = [(n, *s.what, s.type) for n, s in numbered if s.kind == NUMBER]
        self.number_leaves: dict[int, Node] = {}
        self.distinct = len(set(self.identities)) == len(self.identities)

    def bind(self, given: Sequence[Any]) -> list[Any] | str:
        """The leaves of a run, numbers and random ones left out; or what about a condition does not hold."""
        leaves = self.fixed.copy()
        for number, tensor, type_, history, memory, written in self.tensors:
            node = tensor._node
            buffer: Any = node.buffer
            if (
                node.type is not type_
                or (node.history is not history and type(node.history) is not history)
                or type(buffer) is not memory
                or (written and buffer.shared)
                or (tensor._base is not None and tensor._seen != tensor._base._version_count)
            ):
                return _difference(node, self.sources[number]) or "the storage of a view was written to"
            leaves[number] = node
        for number, source in self.others:
            found = _value_of(source.kind, source.what, given)
            if found is None:
                return "a tensor has no gradient, or the storage of a view was written to"
            difference = _difference(found, source)
            if difference is not None:
                return difference
            leaves[number] = found
        for kind, what, absent in self.cleared:
            if (_place(kind, what, given).grad is None) is not absent:
                return "a gradient is there that was not, or the other way round"
        if (HOOKED or self.hooked) and self.hooked != hooks_of(self.owners):
            return "a tensor has other hooks"
        if len(self.identities) > 1 and not self._same_identities(given):
            return "arguments share memory that did not, or the other way round"
        return self.watch.difference() or leaves

    def _same_identities(self, given: Sequence[Any]) -> bool:
        """Whether those arguments share a storage that did."""
        if self.distinct:
            roots = {id(x if x._base is None else x._base) for x in given if isinstance(x, Tensor)}
            return len(roots) == len(self.identities)
        return self.identities == identities(given)

    def replay(self, leaves: list[Any], given: Sequence[Any]) -> Any:
        """Run the program on the leaves that `bind` found. NotImplemented, with nothing done, where an effect has no numbers
        for it."""
        if self.effects and not self._take_effect(leaves):
            return NotImplemented
        drawn = [leaf(type_, Buffer.holding(again())) for type_, again in self.draws] if self.draws else []
        for number, draw in self.drawn:
            leaves[number] = drawn[draw]
        outputs, hidden = self._outputs(leaves)
        try:
            self.program.run(leaves, outputs, [leaves[number] for number in self.replaced], hidden)
        finally:
            self._write(outputs, given)
        for kind, what, output in self.deposits:
            _place(kind, what, given).grad = None if output is None else of_leaf(outputs[output])
        STATISTICS.calls_replayed += 1
        return self._returned(outputs, given, drawn)

    def _outputs(self, leaves: list[Any]) -> tuple[list[Node], Mapping[int, int]]:
        """Values for the program to fill in, and how many uses of its leaves nothing refers to. The value of a storage that
        nobody else refers to is to be the storage's new value, too."""
        if self.rows:
            nodes = self._history(leaves)
            return [nodes[x.number] if x.number in nodes else x.node() for x in self.outputs], self.hidden
        outputs: list[Any] = [None] * len(self.outputs)
        hidden = self.hidden
        if self.in_place:
            for output, number in self.in_place:
                node = leaves[number]
                if getrefcount(node) != _UNSHARED:
                    break
                outputs[output] = node
            else:
                hidden = self.hidden_in_place
                for number, each in self.rest:
                    outputs[number] = each.node()
                return outputs, hidden
        return [each.node() for each in self.outputs], hidden

    def _write(self, outputs: Sequence[Node], given: Sequence[Any]) -> None:
        """Give storages their new values; after an error, those that were written over already."""
        for kind, what, output, versions, _ in self.written:
            tensor = what if kind == TENSOR else _place(kind, what, given)
            old, new = tensor._node, outputs[output]
            if old is new:
                tensor._version_count += versions
            elif new.buffer is not None:
                if new.history is None:
                    new.history = old.history
                old.storage = (tensor._version_count, _PLACE)
                tensor._node = new
                tensor._version_count += versions

    def _take_effect(self, leaves: list[Any]) -> bool:
        """Run the library's Python code of the call and take its numbers; False, with nothing changed, where the program
        cannot take them."""
        effects = self.effects
        numbers = [effect.prepare() for effect in effects]
        if None in numbers:
            return False
        if len(effects) > 1:
            numbers = []
            for effect in effects:
                numbers.append(effect.prepare())
                effect.commit()
        else:
            effects[0].commit()
        known = self.number_leaves
        for number, effect, position, type_ in self.numbers:
            found = numbers[effect][position]
            node = known.get(number)
            if node is None or node.buffer != found or not found:  # zeros may differ in their sign
                node = known[number] = leaf(type_, found)
            leaves[number] = node
        return True

    def _history(self, leaves: Sequence[Node]) -> dict[int, Node]:
        """The recorded operations anew, on this run's leaves."""
        nodes: dict[int, Node] = {}
        for number, type_, signature, operands, history, place, storage in self.rows:
            node = leaf(type_, None, history)
            node.signature = signature
            node.operands = tuple([nodes[x] if x >= 0 else leaves[~x] for x in operands])
            node.place, node.storage = place, storage
            nodes[number] = node
        return nodes

    def _returned(self, outputs: Sequence[Node], given: Sequence[Any], drawn: Sequence[Node]) -> Any:
        made: list[Any] = []
        for each in self.result:
            kind = type(each)
            if kind is Made:
                made.append(self._tensor(each, outputs, given, made))
            elif kind is Drawn:
                made.append(of_leaf(drawn[each.draw]))
            elif kind is Given:
                made.append(_place(each.kind, each.what, given))
            else:
                made.append(each)
        return made[0] if self.simple else self.structure.build(made[: self.structure.size])

    def _tensor(self, made: Made, outputs: Sequence[Node], given: Sequence[Any], before: Sequence[Any]) -> Tensor:
        if made.base is None:
            tensor = of_leaf(outputs[made.output])
        else:
            assert made.type is not None
            tensor = of_leaf(leaf(made.type, None, made.history))
            base = made.base
            if type(base) is Made:
                tensor._base = self._tensor(base, outputs, given, before)
            else:
                tensor._base = before[base] if type(base) is int else _place(base[0], base[1], given)
            tensor._view, tensor._seen = made.view, -1
        if made.kind is not Tensor:
            tensor.__class__ = made.kind
        return tensor


def _place_of_replays() -> None:
    """Where what a replay writes was written, for the error of a history that needed it."""


_PLACE: Place = (_place_of_replays.__code__, 0)


def _calibrate() -> int:
    """The references to a value that only its tensor and the leaves of a run hold, counted as `_outputs` does."""
    tensor = of_leaf(leaf(TensorType(float32, ()), None))
    leaves = [tensor._node]
    count = 0
    for number in range(1):
        node = leaves[number]
        count = getrefcount(node)
    return count


_UNSHARED = _calibrate()


def _value_of(kind: int, what: Any, given: Sequence[Any]) -> Node | None:
    """The value that a source names; None for a gradient that is not there, and for a view that has to be read anew."""
    tensor = what.grad if kind == GRADIENT else given[what]
    if tensor is None:
        return None
    base = tensor._base
    if kind == ROOT:
        root: Node = base._node
        return root
    node: Node = tensor._node
    if base is not None:
        if tensor._seen != base._version_count:
            return None
        if node.buffer is None:
            finds_memory(node)
    return node


def _difference(node: Node, source: Source) -> str | None:
    """How a value differs from what a source must be."""
    if node.type is not source.type:
        return f"a tensor is {node.type} and was {source.type}"
    if node.history is not source.history and type(node.history) is not source.history:
        return "requires_grad of a tensor is another"
    if type(node.buffer) is not source.memory:
        return "a tensor's value is not in memory"
    return "NumPy shares the memory of a tensor that is written to" if source.written and node.buffer.shared else None


def _place(kind: int, what: Any, given: Sequence[Any]) -> Any:
    """The tensor that a place names."""
    if kind == TENSOR:
        return what
    if kind == GRADIENT:
        return what.grad
    tensor = given[what]
    return tensor._base if kind == ROOT else tensor


def hooks_of(tensors: Sequence[Tensor]) -> dict[int, int]:
    """How many hooks each of some tensors has, of those that have any."""
    return {id(x): len(getattr(x, "_hooks", ())) for x in tensors if id(x) in HOOKED} if HOOKED else {}


def identities(given: Sequence[Any]) -> tuple[int, ...]:
    """For every tensor among the arguments, which of them is the first in its storage."""
    first: dict[int, int] = {}
    found: list[int] = []
    for x in given:
        if isinstance(x, Tensor):
            root = x if x._base is None else x._base
            found.append(first.setdefault(id(root), len(found)))
    return tuple(found)
