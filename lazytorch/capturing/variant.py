"""A captured call: a compiled program with where its inputs come from, and where what it computes goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lazytorch.capturing.observer import Effect
from lazytorch.capturing.watch import Watch
from lazytorch.history import HOOKED
from lazytorch.ir.declaration import Operator, Signature
from lazytorch.ir.trace import Node, Place, leaf
from lazytorch.ir.types import Type
from lazytorch.runtime.statistics import STATISTICS
from lazytorch.tensor import Tensor, memory_of, of_leaf
from lazytorch.trees import Structure

ARGUMENT, ROOT, TENSOR, GRADIENT, CONSTANT, NUMBER, DRAWN = range(7)
"""Where a leaf comes from: an argument's own value, the storage that an argument is a view of, a tensor that outlives the call,
the gradient of such a tensor, a value of the program itself, an effect's number, the random generator."""


class Source(NamedTuple):
    """A leaf of the program: where from, which (a position among the arguments, a tensor, a node, ...), and what it must be.

    history: None, True or the type of the value's history. memory: the type of what holds the value. written: whether the
    call gives its storage other contents.
    """

    kind: int
    what: Any
    type: Type
    history: Any
    memory: type | None
    written: bool


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
    """A new tensor in the result: of an output, or a view (of the base that `base` says, a number of a result or a place)."""

    output: int
    kind: type
    base: Any = None
    view: tuple[Operator, ...] = ()
    type: Type | None = None
    history: Any = None


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
    outputs: Sequence[tuple[int, Type]]
    rows: Sequence[Row]
    written: Sequence[Written]
    deposits: Sequence[Deposit]
    cleared: Sequence[tuple[int, Any, bool]]
    result: Sequence[Any]
    structure: Structure
    effects: Sequence[Effect]
    watch: Watch
    hooked: Mapping[int, int]
    identities: tuple[int, ...]

    def __post_init__(self) -> None:
        self.hidden = {donation.leaf: donation.uses for donation in getattr(self.program, "donations", ())}
        self.replaced = [each.leaf for each in self.written if each.leaf >= 0] if not self.rows else []
        self.simple = len(self.result) == 1 and self.structure.kind is None

    def bind(self, given: Sequence[Any]) -> list[Node] | str:
        """The leaves of a run, numbers and random ones left out; or what about a condition does not hold."""
        leaves = []
        for kind, what, type_, history, memory, written in self.sources:
            if kind == TENSOR:
                tensor = what
            elif kind == ARGUMENT or kind == ROOT:
                tensor = given[what]
            elif kind == GRADIENT:
                tensor = what.grad
                if tensor is None:
                    return "a tensor has no gradient"
            else:
                leaves.append(what if kind == CONSTANT else None)
                continue
            base = tensor._base
            if kind == ROOT:
                node = base._node
            elif base is not None and tensor._seen != base._version_count:
                return "the storage of a view was written to"
            else:
                node = tensor._node
            found = node.history
            if node.type is not type_:
                return f"a tensor is {node.type} and was {type_}"
            if found is not history and type(found) is not history:
                return "requires_grad of a tensor is another"
            buffer = node.buffer
            if type(buffer) is not memory:
                return "a tensor's value is not in memory"
            if written and buffer.shared:
                return "NumPy shares the memory of a tensor that is written to"
            leaves.append(node)
        for kind, what, absent in self.cleared:
            if (_place(kind, what, given).grad is None) is not absent:
                return "a gradient is there that was not, or the other way round"
        if (HOOKED or self.hooked) and self.hooked != hooks_now():
            return "a tensor has other hooks"
        if len(self.identities) > 1 and self.identities != identities(given):
            return "arguments share memory that did not, or the other way round"
        return self.watch.difference() or leaves

    def replay(self, leaves: list[Any], given: Sequence[Any]) -> Any:
        """Run the program on the leaves that `bind` found; None is returned as `NotImplemented` where an effect has no number
        for it."""
        if self.effects and not self._take_effect(leaves):
            return NotImplemented
        for number, source in enumerate(self.sources):
            if source.kind == DRAWN:
                leaves[number] = leaf(source.type, memory_of(np.ascontiguousarray(source.what())))
        nodes = self._history(leaves) if self.rows else None
        if nodes is None:
            outputs = [leaf(type_, None) for _, type_ in self.outputs]
        else:
            outputs = [nodes[number] if number in nodes else leaf(type_, None) for number, type_ in self.outputs]
        olds = [_place(kind, what, given) for kind, what, _, _, _ in self.written]
        try:
            self.program.run(leaves, outputs, [leaves[number] for number in self.replaced], self.hidden)
        finally:  # after an error, what was written over already has its new contents
            place = (Variant.replay.__code__, 0)
            for (_, _, output, versions, _), tensor in zip(self.written, olds, strict=True):
                old, new = tensor._node, outputs[output]
                if new.buffer is not None:
                    if new.history is None:
                        new.history = old.history
                    old.storage = (tensor._version_count, place)
                    tensor._node = new
                    tensor._version_count += versions
        for kind, what, output in self.deposits:
            _place(kind, what, given).grad = None if output is None else of_leaf(outputs[output])
        STATISTICS.calls_replayed += 1
        return self._returned(outputs, given)

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
        for number, source in enumerate(self.sources):
            if source.kind == NUMBER:
                effect, position = source.what
                found = numbers[effect]
                assert found is not None
                leaves[number] = leaf(source.type, found[position])
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

    def _returned(self, outputs: Sequence[Node], given: Sequence[Any]) -> Any:
        made: list[Any] = []
        for each in self.result:
            kind = type(each)
            if kind is Made:
                made.append(self._tensor(each, outputs, given, made))
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
                tensor._base = before[base] if type(base) is int else _place(*base, given)
            tensor._view, tensor._seen = made.view, -1
        if made.kind is not Tensor:
            tensor.__class__ = made.kind
        return tensor


def _place(kind: int, what: Any, given: Sequence[Any]) -> Any:
    """The tensor that a place names."""
    if kind == TENSOR:
        return what
    tensor = given[what]
    return tensor._base if kind == ROOT else tensor


def hooks_now() -> dict[int, int]:
    """How many hooks each tensor has that has some."""
    return {key: len(getattr(tensor, "_hooks", ())) for key, tensor in HOOKED.items()}


def identities(given: Sequence[Any]) -> tuple[int, ...]:
    """For every tensor among the arguments, which of them is the first in its storage."""
    first: dict[int, int] = {}
    found = []
    for x in given:
        if isinstance(x, Tensor):
            root = x if x._base is None else x._base
            found.append(first.setdefault(id(root), len(found)))
    return tuple(found)


