"""The sync: what is pending becomes one program, which is found in the cache or planned, and run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from sys import getrefcount
from typing import Any, NamedTuple, Protocol

from lazytorch.config import config
from lazytorch.ir.replay import hidden_uses, materialise
from lazytorch.ir.saved import Shared
from lazytorch.ir.trace import Node, Trace, enter
from lazytorch.runtime.interpreted import interpret
from lazytorch.runtime.pieces import SIGHTS, Pieces, divide
from lazytorch.runtime.statistics import OBSERVERS, STATISTICS


class Live(Protocol):
    """What the session knows of a tensor: its value, and the tensor it is a view of."""

    _node: Node
    _base: Any


class Ran(NamedTuple):
    """What a sync did: the program (None where the interpreter did it), its leaves, and the values computed."""

    program: Any
    leaves: list[Node]
    outputs: list[Node]


def _calibrate() -> int:
    """References to an object that only the list and the loop below hold, in this interpreter."""
    live = [object(), object()]
    pop = live.pop
    count = 0
    while live:
        tensor = pop()
        count = getrefcount(tensor)
    return count


_UNHELD = _calibrate()
_NOTHING: dict[int, int] = {}
_programs: dict[Any, Any] = {}
_PROGRAMS_KEPT = 2048


def held_tensors(trace: Trace) -> list[Live]:
    """The tensors made since the last sync that the user still holds; the trace forgets them all.

    Newest first, so that a dead view has let go of its base before the base is judged.
    """
    held = []
    live = trace.live
    pop = live.pop
    while live:
        tensor = pop()
        if getrefcount(tensor) > _UNHELD:
            held.append(tensor)
    return held


def held_outputs(trace: Trace) -> list[Node]:
    """The pending values the user still holds a tensor of. Views are not among them: they are read through their base."""
    return [tensor._node for tensor in held_tensors(trace) if tensor._base is None and tensor._node.buffer is None]


def synchronize(trace: Trace, wanted: Sequence[Node], cause: str) -> Ran:
    """Compute `wanted`, all pending updates of storage, and every pending value the user still holds.

    Afterwards each of them has a buffer, and the trace is empty. Errors found while running (an index out of range)
    are raised here, with the place that recorded the operation.
    """
    if trace.observer is not None:
        trace.observer.interrupted(cause)
    if trace.watch is not None:
        watch, trace.watch = trace.watch, None  # which may ask for values itself
        try:
            watch(trace)
        finally:
            trace.watch = watch
    STATISTICS.syncs += 1
    finish = OBSERVERS[-1](cause, len(trace.nodes)) if OBSERVERS else None
    updates = trace.updates
    pending = dict.fromkeys([*wanted, *[tensor._node for tensor in updates], *held_outputs(trace)])
    outputs = [node for node in pending if node.buffer is None]
    try:
        ran = Ran(_run(trace, outputs, cause), trace.leaves, outputs)
        for tensor, old in updates.items():
            if old.buffer is not None and old.buffer.shared:
                _write_back(old, tensor._node)
        levels = trace.levels
        for node in outputs:
            if node.history is not True and type(node.storage) is not Shared and not levels:
                node.operands = ()
            elif trace.replays:  # it keeps its operands, and theirs
                materialise(trace)
    finally:
        trace.reset()
        if finish is not None:
            finish()
    return ran


def _write_back(old: Node, new: Node) -> None:
    """Memory that was handed out is updated in place: its other owner cannot ask."""
    old.buffer.overwrite(new.buffer)
    new.buffer = old.buffer


def _run(trace: Trace, outputs: list[Node], cause: str) -> Any:
    epoch = trace.epoch
    numbers = []
    kept = False
    for node in outputs:
        number = node.number
        if node.epoch is not epoch:
            number = enter(trace, node)
        if node.history is True:
            kept = True
            numbers.append(2 * number + 1)
        else:
            numbers.append(2 * number)
    if config.interpret:
        materialise(trace)
        interpret(trace, outputs)
        return None
    return _execute(trace, outputs, numbers, kept, cause)


def _execute(trace: Trace, outputs: list[Node], numbers: Sequence[int], kept: bool, cause: str) -> Any:
    """Find or make the program of the outputs, and run it. numbers: the outputs', each doubled and, for one whose history
    is kept, 1 more. The program, None if there were several, one per piece."""
    key = (
        *trace.key,
        None,
        *numbers,
        config.fuse,
        config.target,
        config.check,
        config.tf32,
    )
    program = _programs.get(key)
    if config.log:
        _report(trace, cause, program is None)
    if program is None or (isinstance(program, Pieces) and (program.sights == SIGHTS or trace.observer is not None)):
        if len(_programs) >= _PROGRAMS_KEPT:
            del _programs[next(iter(_programs))]
        materialise(trace)
        divided = program is None and trace.observer is None  # a call that may be replayed is one program
        pieces = divide(trace, [x >> 1 for x in numbers], lambda: _saved(trace, numbers)) if divided else None
        program = _programs[key] = pieces or _plan(trace, numbers)
    else:
        STATISTICS.program_cache_hits += 1
    nodes = trace.nodes
    if isinstance(program, Pieces):
        materialise(trace)
        updates = trace.updates

        def run(part: Trace, values: list[Node]) -> None:
            part.updates = updates
            _execute(part, values, [2 * value.number for value in values], kept, cause)

        program.run(trace, run)
        return None
    if program.saved:
        outputs = outputs + [nodes[number] for number in program.saved]
    # A history that is kept needs the old values later, and so does a function transformation.
    replaced = () if kept or trace.levels else list(trace.updates.values())
    program.run(trace.leaves, outputs, replaced, hidden_uses(trace) if trace.replays else _NOTHING)
    return program


def _report(trace: Trace, cause: str, planned: bool) -> None:
    """What `LAZYTORCH_LOG=sync` and `compile` ask for, on stderr."""
    if "sync" in config.log:
        outcome = "planned" if planned else "cached"
        print(f"lazytorch: sync: {cause}: {len(trace.nodes)} operations, program {outcome}", file=sys.stderr)


def _saved(trace: Trace, numbers: Sequence[int]) -> list[int]:
    """What else must be kept for the histories of outputs."""
    from lazytorch.runtime.saved_values import saved_values  # with the compiler

    known = {number >> 1 for number in numbers}
    roots = [number >> 1 for number in numbers if number & 1]
    return [number for number in (saved_values(trace, roots) if roots else ()) if number not in known]


def _plan(trace: Trace, outputs: Sequence[int]) -> Any:
    """The program of the outputs' numbers, each doubled and, for one whose history is kept, 1 more."""
    # The compiler (and llvmlite with it) is loaded when the first program is planned.
    if any(node.type.device is not None for node in (*trace.nodes, *trace.leaves)):
        from lazytorch.runtime.cuda.staging import plan
    else:
        from lazytorch.runtime.planner import plan  # type: ignore[assignment]

    collecting = gc.isenabled()
    gc.disable()  # planning makes many objects and little garbage: a collection in it is for nothing
    try:
        saved = _saved(trace, outputs)
        return plan(trace, [number >> 1 for number in outputs] + saved, saved)
    finally:
        if collecting:
            gc.enable()
