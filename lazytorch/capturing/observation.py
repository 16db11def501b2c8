"""Recording a call with an eye on what its program reads and what becomes of its results."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytorch.capturing.observer import Observer
from lazytorch.capturing.variant import (
    ARGUMENT,
    CONSTANT,
    DRAWN,
    GRADIENT,
    NUMBER,
    ROOT,
    TENSOR,
    Deposit,
    Drawn,
    Given,
    Made,
    Output,
    Row,
    Source,
    Variant,
    Written,
    identities,
)
from lazytorch.capturing.watch import Watch
from lazytorch.history import Accumulator
from lazytorch.ir.trace import FREED, STATE, Node, Trace, operand_numbers
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.program import Program
from lazytorch.runtime.session import Ran, held_tensors, synchronize
from lazytorch.runtime.statistics import STATISTICS
from lazytorch.tensor import Tensor
from lazytorch.trees import flatten

LARGEST_CONSTANT = 1 << 20
"""Bytes of data made during a call that are compared with those of the call before."""


class _Impossible(Exception):
    """Why a call cannot be captured."""


@dataclass
class Observation:
    """A call: what it did, as a key to compare with the next one's; which tensors' gradients it may set; the captured form,
    if the call before did the same."""

    key: tuple[Any, ...]
    owners: Sequence[Tensor]
    variant: Variant | None = None


def observe(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    given: Sequence[Any],
    before: Observation | None,
    strict: bool,
) -> tuple[Any, Observation | None, str]:
    """Call the function. What it returns; the observation, None where a call like this cannot be captured; and why, or what
    differs from the observation before. With `strict` RuntimeError is raised in place of a reason."""
    trace = STATE.trace
    call = _Call(function, given, before)
    observer = trace.observer = Observer(strict)
    trace.limit = sys.maxsize
    try:
        outcome = function(*arguments, **keywords)
    finally:
        trace.observer = None
        if trace.limit == sys.maxsize:
            trace.limit = call.limit
    if observer.reason:
        return outcome, None, observer.reason
    try:
        found = call.finish(trace, observer, outcome)
    except _Impossible as error:
        if strict:
            raise RuntimeError(f"torch.compile with fullgraph=True cannot capture the call: {error}") from None
        return outcome, None, str(error)
    reason = "" if before is None or found.variant is not None else "it recorded something else than the call before"
    return outcome, found, reason


class _Call:
    """What is known of a call before it, and what is found out after it."""

    def __init__(self, function: Callable[..., Any], given: Sequence[Any], before: Observation | None) -> None:
        self.given = given
        self.before = before
        self.function = function
        self.limit = STATE.trace.limit
        self.tensors = [(number, x) for number, x in enumerate(given) if isinstance(x, Tensor)]
        self.places: dict[int, tuple[int, Any]] = {}
        self.entered: dict[int, tuple[int, int]] = {}
        for number, x in self.tensors:
            if x._base is not None:
                self.places.setdefault(id(x._base), (ROOT, number))
                self.entered.setdefault(id(x._base._node), (ROOT, number))
            self.places[id(x)] = (ARGUMENT, number)
            self.entered[id(x._node)] = (ARGUMENT, number)
        owners = [*[x for _, x in self.tensors], *(before.owners if before is not None else ())]
        self.owner_of: dict[int, Tensor] = {}
        self.owners = list({id(x): x for x in owners}.values())
        self.gradients = {id(x): x.grad for x in self.owners}
        self.watch = Watch((function, *[x for x in given if not isinstance(x, Tensor)]))

    def finish(self, trace: Trace, observer: Observer, outcome: Any) -> Observation:
        """Run what was recorded, and note all that a replay needs. Raises _Impossible, and then what was recorded is still
        there."""
        handled = [effect.owner for effect in observer.effects]
        self.watch.forget(handled)
        changed = self.watch.difference()
        if changed is not None:
            raise _Impossible(f"the call changes what it may read: {changed}")
        results, structure = flatten(outcome)
        fresh = set(map(id, trace.live))
        updates = dict(trace.updates)
        numbers, nodes = operand_numbers(trace), trace.nodes
        key = tuple(trace.key)
        wanted = [_root(x)._node for x in results if isinstance(x, Tensor) and _root(x)._node.buffer is None]
        self._refuse_kept(trace, results, observer)
        trace.observer, observer.ended = observer, True
        try:
            ran = synchronize(trace, wanted, "a compiled call has ended")
        finally:
            trace.observer = None
        if ran.program is None:
            raise _Impossible("the interpreter runs programs (LAZYTORCH_INTERPRET)")
        if type(ran.program) is not Program:
            raise _Impossible("it computes on a GPU")
        owners = list({id(x): x for x in (*self.owners, *_accumulating(ran.leaves))}.values())
        self.owner_of = {id(x.grad): x for x in owners if x.grad is not None}
        sources = self._sources(ran, observer, updates)
        outputs = {id(node): number for number, node in enumerate(ran.outputs)}
        written = self._written(updates, outputs, ran.leaves)
        deposits = self._deposits(owners, outputs)
        drawn = {id(node): number for number, (node, _) in enumerate(observer.draws)}
        result = [self._result(x, results, fresh, outputs, drawn) for x in results]
        gradients = [(*self._place(x), _output_of(x.grad, outputs)) for x in owners]
        kept = [node for node in ran.outputs if node.history is True]
        rows = _rows(kept, nodes, numbers, {*[node.number for node in ran.outputs], *ran.program.saved}) if kept else []
        description = (
            key,
            tuple([node.number for node in ran.outputs]),
            *[_described(part) for part in (*sources, *written, *result)],
            *[(kind, id(what) if kind == TENSOR else what, output) for kind, what, output in gradients],
            structure,
        )
        found = Observation(description, [x for x in owners if id(x) not in self.places])
        if self.before is not None and self.before.key == description:
            set_now = {id(x) for x in self.owners if x.grad is not self.gradients[id(x)]}
            cleared = [(*self._place(x), self.gradients[id(x)] is None) for x in self.owners if id(x) in set_now]
            saved = [Output(number, nodes[number].type) for number in ran.program.saved]
            found.variant = Variant(
                program=ran.program,
                sources=sources,
                outputs=[Output(node.number, node.type, *_freed(node)) for node in ran.outputs] + saved,
                rows=rows,
                written=written,
                deposits=deposits,
                cleared=cleared,
                result=result,
                structure=structure,
                effects=observer.effects,
                draws=[(node.type, again) for node, again in observer.draws],
                watch=self.watch,
                owners=owners,
                identities=identities(self.given),
            )
            STATISTICS.calls_captured += 1
        return found

    def _refuse_kept(self, trace: Trace, results: Sequence[Any], observer: Observer) -> None:
        """A tensor that the call made and that Python code keeps elsewhere would be stale after a replay."""
        known = {id(x) for x in results if isinstance(x, Tensor)}
        known |= {id(_root(x)) for x in results if isinstance(x, Tensor)}
        known |= {id(x) for x in (*trace.updates, *observer.inner)} | set(self.places)
        owners = [*self.owners, *_accumulating(trace.leaves), *_accumulating(list(trace.updates.values()))]
        known |= {id(x.grad) for x in owners if x.grad is not None}
        held = held_tensors(trace)
        trace.live = held[::-1]
        tensor: Any
        for tensor in held:
            if id(tensor) not in known and id(_root(tensor)) not in known:
                raise _Impossible(f"a tensor made in the call is kept: {tensor._node.type} of {_made_by(tensor._node)}")

    def _place(self, tensor: Tensor) -> tuple[int, Any]:
        owner = self.owner_of.get(id(tensor))
        if owner is None:
            return self.places.get(id(tensor), (TENSOR, tensor))
        if id(owner) in self.places:
            raise _Impossible("the gradient of an argument is read or added to")
        return GRADIENT, owner

    def _sources(self, ran: Ran, observer: Observer, updates: dict[Any, Node]) -> list[Source]:
        numbered = {
            id(node): (effect, position)
            for effect, each in enumerate(observer.effects)
            for position, node in enumerate(each.nodes)
        }
        replaced = {id(node): tensor for tensor, node in updates.items()}
        drawn = {id(node): number for number, (node, _) in enumerate(observer.draws)}
        unknown = [
            node
            for node in ran.leaves
            if isinstance(node.buffer, Buffer | None)
            and id(node) not in replaced
            and id(node) not in self.entered
            and id(node) not in drawn
        ]
        holders = _holders(unknown)
        sources = []
        for node in ran.leaves:
            history = node.history if node.history is None or node.history is True else type(node.history)
            memory = Buffer if node.buffer is None else type(node.buffer)  # None: its memory was given to the new contents
            kind: int = CONSTANT
            what: Any = node
            if id(node) in numbered:
                kind, what = NUMBER, numbered[id(node)]
            elif id(node) in drawn:
                kind, what = DRAWN, drawn[id(node)]
            elif id(node) in self.entered:
                kind, what = self.entered[id(node)]
            elif id(node) in replaced:
                kind, what = self._place(replaced[id(node)])
            elif id(node) in holders:
                tensor, owner = holders[id(node)]
                kind, what = self._place(tensor) if owner is None else (GRADIENT, owner)
            elif memory is Buffer and node.buffer.nbytes > LARGEST_CONSTANT:
                raise _Impossible(f"a large constant is made in each call: {node.type}")
            sources.append(Source(kind, what, node.type, history, memory, id(node) in replaced))
        return sources

    def _written(self, updates: dict[Any, Node], outputs: dict[int, int], leaves: Sequence[Node]) -> list[Written]:
        places = {id(node): number for number, node in enumerate(leaves)}
        written = []
        for tensor, old in updates.items():
            output = outputs.get(id(tensor._node))
            if output is None or tensor._node.history is True:
                raise _Impossible("a tensor is written to with a history, or given the value of another one")
            mark = old.storage
            versions = tensor._version_count - mark[0] if type(mark) is tuple else 1
            written.append(Written(*self._place(tensor), output, versions, places.get(id(old), -1)))
        return written

    def _deposits(self, owners: Sequence[Tensor], outputs: dict[int, int]) -> list[Deposit]:
        deposits = []
        for tensor in owners:
            gradient, old = tensor.grad, self.gradients.get(id(tensor), tensor)
            if gradient is old or old is tensor:
                continue
            if gradient is None:
                deposits.append(Deposit(*self._place(tensor), None))
                continue
            output = outputs.get(id(gradient._node))
            if output is None or gradient._base is not None or gradient._node.history is not None:
                raise _Impossible("a gradient is a view, has a history, or is no result of the call")
            deposits.append(Deposit(*self._place(tensor), output))
        return deposits

    def _result(
        self, x: Any, results: Sequence[Any], fresh: set[int], outputs: dict[int, int], drawn: dict[int, int]
    ) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x._node) in drawn and x._base is None:
            return Drawn(drawn[id(x._node)])
        if id(x) in self.places or id(x) not in fresh:
            return Given(*self._place(x))
        if x._base is None:
            output = outputs.get(id(x._node))
            if output is None:
                raise _Impossible("a result is a constant, or the value of another tensor")
            return Made(output, type(x))
        base = x._base
        place: Any = self.places.get(id(base))
        if place is None:
            before = [number for number, y in enumerate(results) if y is base]
            if id(base) not in fresh:
                place = (TENSOR, base)
            elif before and before[0] < next(n for n, y in enumerate(results) if y is x):
                place = before[0]
            else:
                return self._lone_view(x, outputs)
        history = x._node.history
        return Made(-1, type(x), place, x._view, x._node.type, history if history is None or history is True else None)

    def _lone_view(self, x: Tensor, outputs: dict[int, int]) -> Any:
        """A view of a storage that nothing else in the result shows."""
        base = x._base
        assert base is not None
        output = outputs.get(id(base._node))
        if output is None:
            raise _Impossible("a result is a view of something that the call does not compute")
        history = x._node.history
        return Made(output, type(x), Made(output, Tensor), x._view, x._node.type, True if history is True else None)


def _root(tensor: Tensor) -> Tensor:
    return tensor if tensor._base is None else tensor._base


def _made_by(node: Node) -> str:
    return "data" if node.signature is None else node.signature.operator.declaration.name


def _accumulating(nodes: Sequence[Node]) -> list[Tensor]:
    """The tensors whose gradients a backward walk to these values sets."""
    owners = [node.history.tensor() for node in nodes if type(node.history) is Accumulator]
    return [owner for owner in owners if owner is not None]


def _holders(nodes: Sequence[Node]) -> dict[int, tuple[Tensor, Tensor | None]]:
    """By the id of a value, a tensor that holds it and lives on, and the tensor whose gradient that is, if it is one."""
    if not nodes:
        return {}
    wanted = {id(node) for node in nodes}
    found = {id(x._node): x for x in gc.get_referrers(*nodes) if isinstance(x, Tensor) and id(x._node) in wanted}
    tensors = list(found.values())
    owners = {id(x.grad): x for x in gc.get_referrers(*tensors) if isinstance(x, Tensor)} if tensors else {}
    return {key: (tensor, owners.get(id(tensor))) for key, tensor in found.items()}


def _rows(kept: Sequence[Node], nodes: Sequence[Node], numbers: Sequence[Sequence[int]], computed: set[int]) -> list[Row]:
    """The operations that the histories of values consist of, and what these read."""
    marked = bytearray(len(nodes))
    for node in kept:
        marked[node.number] = 1
    rows = []
    for number in range(len(nodes) - 1, -1, -1):
        if not marked[number]:
            continue
        node = nodes[number]
        if node.history is None and number in computed:
            rows.append(Row(number, node.type, None, (), None, node.place, None))
            continue
        signature = node.signature
        assert signature is not None
        if signature.vjp is not signature.operator.signature(*signature.operand_types).vjp:
            raise _Impossible("a result's history has a torch.autograd.Function in it")
        if type(node.history) is Accumulator:
            raise _Impossible("a result's history goes through a tensor that the call wrote to")
        for operand in numbers[number]:
            if operand >= 0:
                marked[operand] = 1
        storage = None if type(node.storage) is tuple else node.storage
        rows.append(Row(number, node.type, signature, tuple(numbers[number]), node.history, node.place, storage))
    return rows[::-1]


def _freed(node: Node) -> tuple[Any, Any]:
    """The history that a value shows though it was released, and the operation that made it."""
    return (FREED, node.signature) if node.history is FREED else (None, None)


def _output_of(gradient: Tensor | None, outputs: dict[int, int]) -> int | None:
    """Which output a gradient is; None for one that the call does not compute."""
    return None if gradient is None else outputs.get(id(gradient._node))


def _described(part: Any) -> Any:
    """A part of an observation as something that can be compared with another call's."""
    kind = type(part)
    if kind is Source and part.kind == CONSTANT:
        buffer = part.what.buffer
        data = buffer.numpy(np.uint8, (buffer.nbytes,)).tobytes() if type(buffer) is Buffer else (type(buffer), repr(buffer))
        return CONSTANT, part.type, data
    if kind in (Source, Written, Deposit, Given, Drawn):
        return kind, *[id(x) if isinstance(x, Tensor) else x for x in part]
    if kind is Made:
        base = part.base
        place = tuple([id(x) if isinstance(x, Tensor) else x for x in base]) if type(base) is tuple else base
        return kind, *part[:2], place, *part[3:]
    return (kind, repr(part)) if kind in (int, float, complex, str, bytes, bool, type(None)) else id(part)
