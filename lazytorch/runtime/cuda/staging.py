"""Programs with values on several devices: divided into stages, each of them a program of one device.

A stage has the operations of one device that need no value which a transfer brings from a later one; between stages, memory
is copied. What is computed from constants alone is computed on every device that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazytorch.config import config
from lazytorch.ir.capture import capture
from lazytorch.ir.core import Operation, Value, new_func, return_
from lazytorch.ir.declaration import Operator, Trait
from lazytorch.ir.trace import Node, Trace
from lazytorch.ir.types import TensorType, Type
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.cuda.buffer import DeviceBuffer, to_device
from lazytorch.runtime.cuda.device import device_named
from lazytorch.runtime.cuda.planner import plan_for_device
from lazytorch.runtime.interpreted import Leaf
from lazytorch.runtime.planner import plan_function
from lazytorch.runtime.program import Stages


class Held:
    """A leaf or an output of a stage."""

    __slots__ = ("buffer", "type")

    def __init__(self, type: Any, buffer: Any = None) -> None:
        self.type = type
        self.buffer = buffer


@dataclass
class Stage:
    """Operations of one device (None: the CPU), as a function. `inputs` and `results` are values of the whole function."""

    device: str | None
    func: Operation
    inputs: list[Value]
    results: list[Value]
    program: Any = None


@dataclass(eq=False)
class StagedProgram:
    """What a key of the program cache leads to where other devices than the CPU take part.

    arguments: the whole function's; returned: its results, with the value (no transfer) that each one is.
    """

    stages_in_order: Sequence[Stage]
    arguments: Sequence[Value]
    returned: Sequence[tuple[Value, str | None]]
    saved: Sequence[int] = ()
    stages: Stages = field(default_factory=Stages)

    def run(
        self, leaves: Sequence[Leaf], outputs: Sequence[Leaf], replaced: Sequence[Leaf], hidden: Mapping[int, int]
    ) -> None:
        """Compute stage by stage, and give every output its buffer. No result is written over a leaf."""
        places: dict[tuple[Value, str | None], Any] = {}
        for argument, leaf in zip(self.arguments, leaves, strict=True):
            places[argument, argument.type.device] = leaf.buffer
        for stage in self.stages_in_order:
            inputs = [Held(value.type, moved(places, value, stage.device)) for value in stage.inputs]
            results = [Held(value.type) for value in stage.results]
            stage.program.run(inputs, results, (), {})
            for value, result in zip(stage.results, results, strict=True):
                places[value, stage.device] = result.buffer
        for output, (value, device) in zip(outputs, self.returned, strict=True):
            buffer = moved(places, value, device, keep=False)
            # Memory that others write to stays theirs: the output is a value of its own.
            output.buffer = buffer.copy() if buffer.shared else buffer


def moved(places: dict[tuple[Value, str | None], Any], value: Value, device: str | None, keep: bool = True) -> Any:
    """A value's memory on a device, copied there if it is not there yet. keep: a Python number may stay one."""
    found = places.get((value, device))
    if found is None:
        found = next(buffer for (other, _), buffer in places.items() if other is value)
        if isinstance(found, Buffer) or not keep:
            assert isinstance(value.type, TensorType)
            found = places[value, device] = copied(found, value.type, device)
    return found


def copied(source: Any, type: TensorType, device: str | None) -> Buffer:
    """A copy of a buffer's (or number's) elements in the memory of a device."""
    dtype, shape = type.dtype.numpy, type.shape
    if device is not None and isinstance(source, Buffer):
        return to_device(device_named(device), source, type.nbytes)
    array = source.numpy(dtype, shape) if isinstance(source, Buffer) else np.asarray(source, dtype)
    if device is not None:
        return DeviceBuffer.of(device_named(device), array)
    buffer = Buffer(max(array.nbytes, 1))
    buffer.numpy(dtype, shape)[...] = array
    return buffer


def plan(trace: Trace, outputs: Sequence[int], saved: Sequence[int]) -> StagedProgram:
    """Compile a program that computes the trace's numbered values (see ir/capture.py) from its leaves."""
    func = capture(trace, outputs)
    program = staged(func)
    program.saved = saved
    leaf_of = dict(zip(func.region.block.arguments, trace.leaves, strict=True))
    for stage in program.stages_in_order:
        stubs = [_stub(value, leaf_of) for value in stage.inputs]
        with config(check=False):  # its kernels are compared on host memory
            if stage.device is None:
                stage.program = plan_function(stage.func, stubs)
            else:
                stage.program = plan_for_device(stage.func, stubs, device_named(stage.device))
    launches = [launch for stage in program.stages_in_order for launch in stage.program.stages.launches]
    program.stages = Stages(launches=launches)
    return program


def _stub(value: Value, leaf_of: dict[Value, Node]) -> Held:
    """What planning has to know of an input: whether it is memory."""
    leaf = leaf_of.get(value)
    is_number = leaf is not None and not isinstance(leaf.buffer, Buffer)
    assert isinstance(value.type, TensorType)
    return Held(value.type.on(None), leaf.buffer if is_number and leaf is not None else Buffer(1))


def staged(func: Operation) -> StagedProgram:
    """The stages of a function, whose operations are copied."""
    division = _Division(func)
    stages = [division.stage(level, device) for level, device in division.order()]
    for stage in stages:
        stage.results = [value for value in division.members[division.key_of[stage.func]] if value in division.wanted]
        return_values = [division.copies[stage.func][value] for value in stage.results]
        stage.func.region.block.append(Operation(return_.operator(), return_values, ()))
    block = func.region.block
    returned = [(division.source(value), value.type.device) for value in block.terminator.operands]
    return StagedProgram([stage for stage in stages if stage.results], block.arguments, returned)


class _Division:
    """Which operations of a function belong to which stage: (level, device), by the number of transfers before them."""

    def __init__(self, func: Operation) -> None:
        self.level: dict[Value, int] = dict.fromkeys(func.region.block.arguments, 0)
        self.portable: set[Value] = set()
        self.members: dict[tuple[int, str | None], list[Value]] = {}
        self.wanted: set[Value] = set()
        self.copies: dict[Operation, dict[Value, Value]] = {}
        self.key_of: dict[Operation, tuple[int, str | None]] = {}
        self.home: dict[Value, tuple[int, str | None]] = {}
        block = func.region.block
        for operation in block:
            if not operation.has(Trait.TERMINATOR):
                self._place(operation)
        for value in block.terminator.operands:
            self._want(self.source(value))

    def _place(self, operation: Operation) -> None:
        sources = [self.source(operand) for operand in operation.operands]
        if all(source in self.portable for source in sources) and not operation.has(Trait.HOST):
            self.portable.update(operation.results)
        if operation.has(Trait.TRANSFER):
            self.level[operation.result] = self.level[sources[0]] + 1
            return
        device = operation.results[0].type.device
        level = 0
        for source in sources:  # the function's arguments are there when the first stage begins
            computed = source.defining_op() is not None and source not in self.portable
            level = max(level, self.level[source] + (computed and source.type.device != device))
        for result in operation.results:
            self.level[result] = level
            self.home[result] = (level, device)
        self.members.setdefault((level, device), []).extend(operation.results)

    def source(self, value: Value) -> Value:
        """The value that chains of transfers bring."""
        made = value.defining_op()
        while made is not None and made.has(Trait.TRANSFER):
            value = made.operands[0]
            made = value.defining_op()
        return value

    def _want(self, value: Value) -> None:
        """A value that another stage or the caller reads."""
        if value.defining_op() is not None:
            self.wanted.add(value)

    def order(self) -> list[tuple[int, str | None]]:
        """The stages, none before one that it reads from."""
        return sorted(self.members, key=lambda key: (key[0], key[1] or ""))

    def stage(self, level: int, device: str | None) -> Stage:
        """The function of a stage, still without its return."""
        members = self.members[level, device]
        own = set(members)
        copies: dict[Value, Value] = {}
        func = new_func("program", [])
        block = func.region.block
        self.copies[func], self.key_of[func] = copies, (level, device)
        stage = Stage(device, func, [], [])
        stack: list[Value] = list(reversed(members))
        while stack:
            value = stack[-1]
            if value in copies:
                stack.pop()
                continue
            made = value.defining_op()
            if made is None or (value not in own and value not in self.portable):
                copies[value] = block.add_argument(_host(value.type))
                stage.inputs.append(value)
                self._want(value)
                stack.pop()
                continue
            sources = [self.source(operand) for operand in made.operands]
            waiting = [source for source in sources if source not in copies]
            if waiting:
                stack += waiting
                continue
            types = [_host(result.type) for result in made.results]
            copy = Operation(_on_host(made.operator), [copies[source] for source in sources], types, (), made.location)
            block.append(copy)
            copies.update(zip(made.results, copy.results, strict=True))
            stack.pop()
        return stage


def _host(type: Type) -> Type:
    """Within a stage, types name no device."""
    return type.on(None) if isinstance(type, TensorType) else type


def _on_host(operator: Operator) -> Operator:
    attributes = operator.attributes.as_dict()
    if not any(isinstance(x, TensorType) and x.device is not None for x in attributes.values()):
        return operator
    changed = {name: _host(x) if isinstance(x, Type) else x for name, x in attributes.items()}
    return operator.declaration.operator(operator.label, **changed)
