"""Planning: from a captured function to a compiled program. Runs only when the program cache has no fitting one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lazytorch.codegen.expression import pull, tensor_type
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, Status, Table
from lazytorch.codegen.passes import Fuse
from lazytorch.codegen.schedules import schedule
from lazytorch.codegen.structure import remember, structure
from lazytorch.codegen.target import Target, current_target
from lazytorch.codegen.views import contiguous
from lazytorch.config import config
from lazytorch.errors import CompileError
from lazytorch.ir.capture import capture
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import fused, tensor
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.printer import print_ir
from lazytorch.ir.trace import Node, Trace
from lazytorch.ir.types import TensorType
from lazytorch.ir.validation import Validation
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.checking import CheckedKernel, KernelCheck, Place
from lazytorch.runtime.interpreted import Leaf, evaluate, leaf_array
from lazytorch.runtime.kernels import compile_together, kernel_address, kernel_text
from lazytorch.runtime.memory_plan import Lifetime, plan_arena
from lazytorch.runtime.program import Donation, Program, Stages
from lazytorch.runtime.runner import STATUS, BindingAddress, HostFunction, NativeProgram, Patch, Step
from lazytorch.runtime.statistics import STATISTICS
from lazytorch.runtime.thread_count import get_num_threads

PIPELINE = "canonicalize,cse,dce,decompose,split-complex,canonicalize,cse,dce"
"""What runs on a captured function before fusion; to be read aloud."""
GPU_PIPELINE = PIPELINE.replace("decompose", "decompose{longest=512}")
"""The same for a GPU, whose schedule of attention holds whole rows of queries, keys and values in shared memory."""

_FORMATS = {"f2": "e", "f4": "f", "f8": "d"}


def plan(trace: Trace, outputs: Sequence[int], saved: Sequence[int]) -> Program:
    """Compile a program that computes the trace's numbered values (see ir/capture.py) from its leaves."""
    nodes, leaves = trace.nodes, trace.leaves

    def captured() -> Operation:
        return capture(trace, outputs)

    expected = None
    if config.check:
        with suppress(IndexError):  # the program's own error, found when it runs
            expected = evaluate(nodes, leaves, [nodes[n] if n >= 0 else leaves[~n] for n in outputs])
    return plan_function(captured(), leaves, nodes, saved, lambda: print_ir(captured(), locations=True), expected)


def plan_function(
    func: Operation,
    leaves: Sequence[Leaf],
    nodes: Sequence[Node] = (),
    saved: Sequence[int] = (),
    source: Callable[[], str] | None = None,
    expected: Sequence[np.ndarray] | None = None,
) -> Program:
    """Compile a function of tensor operations, which is taken apart for it.

    leaves: its arguments' values, of which only LAZYTORCH_CHECK looks at more than whether they are memory.
    nodes: the recorded operations it was captured from, which refer to the leaves. source: its text, for a reproducer.
    expected: what it computes from the leaves, for LAZYTORCH_CHECK, if known.
    """
    STATISTICS.programs_planned += 1
    recorded = print_ir(func, locations=True) if config.dump else ""
    PassManager(PIPELINE).run_on_func(func, source, _validation(func, leaves, expected))
    simplified = print_ir(func, locations=True) if config.dump else ""
    layout = Layout(func, nodes, leaves)
    PassManager([Fuse(single=not config.fuse)]).run_on_func(func, None, _validation(func, leaves))
    target = current_target()
    context = ScheduleContext(target, get_num_threads())
    launches = launches_of(func, layout, context)
    if config.dump:
        _write_stages(func, launches, target, recorded, simplified)
    return layout.program(launches, target, saved)


def launches_of(func: Operation, layout: Layout, context: ScheduleContext) -> list[Launch]:
    """Schedule the kernels of a fused function, and lay out its memory. Raises CompileError for an operation that fusion
    left outside of every kernel."""
    launches: list[Launch] = []
    for operation in func.region.block:
        if operation.declaration is fused.kernel:
            layout.begin_kernel(len(launches), operation)
            launches += schedule(operation, context)
            layout.end_kernel(len(launches), operation)
        elif operation.declaration is tensor.reshape:
            layout.alias(operation.result, operation.operands[0])
        elif operation.declaration.name != "builtin.return":
            raise CompileError(
                f"{operation.name} is left outside of every kernel", stage="fusion", location=str(operation.location)
            )
    layout.finish(launches)
    return launches


def _validation(func: Operation, leaves: Sequence[Leaf], expected: Sequence[np.ndarray] | None = None) -> Validation | None:
    """What the function computes now, to compare with after every pass, if LAZYTORCH_CHECK asks for that."""
    if not config.check:
        return None
    try:
        return Validation(func, [leaf_array(leaf) for leaf in leaves], expected)
    except IndexError:  # the program's own error, found when it runs
        return None


def _write_stages(func: Operation, launches: Sequence[Launch], target: Target, graph: str, tensor_text: str) -> None:
    """Write a program at every stage into a folder of its own (`LAZYTORCH_DUMP`)."""
    folder = Path(config.dump) / f"program{STATISTICS.programs_planned:04}"
    folder.mkdir(parents=True, exist_ok=True)
    kernels = {launch.symbol: launch for launch in launches}.values()
    texts = {
        "graph.mlir": graph,
        "tensor.mlir": tensor_text,
        "fused.mlir": print_ir(func, locations=True),
        "loop.mlir": "\n".join(print_ir(launch.build()) for launch in kernels if launch.build is not None),
        "kernels.ll": "\n".join(kernel_text(launch, target) for launch in kernels if launch.build is not None),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)


def _entry(launch: Launch, target: Target) -> tuple[int | HostFunction, object]:
    """What the step calls, and what must be kept alive as long as it does."""
    if launch.host is None:
        return kernel_address(launch, target)
    function = HostFunction(launch.host)
    return function, function


class Layout:
    """Decides for every value of a function where it lives: leaf, result buffer, or arena offset."""

    def __init__(self, func: Operation, nodes: Sequence[Node], leaves: Sequence[Leaf]) -> None:
        block = func.region.block
        self.nodes = nodes
        self.func = func
        self.leaves = leaves
        self.roots: dict[Value, Value] = {}
        self.argument_of = {argument: number for number, argument in enumerate(block.arguments)}
        terminator = block.terminator
        returned = list(terminator.operands)
        self.returned: list[int | None] = [self.argument_of.get(value) for value in returned]
        terminator.operands = tuple([value for value in returned if value not in self.argument_of])
        self.first: dict[Value, int] = {}
        self.last: dict[Value, int] = {}
        self.scratch: dict[tuple[int, int], tuple[int, int, int]] = {}  # (kernel, index) -> bytes, first, last
        self.kernel_of_launch: list[int] = []
        self.kernels = 0

    def root(self, value: Value) -> Value:
        """The value whose memory this one shares."""
        while value in self.roots:
            value = self.roots[value]
        return value

    def alias(self, value: Value, of: Value) -> None:
        """`value` is the same memory as `of` in another shape."""
        self.roots[value] = of

    def begin_kernel(self, step: int, kernel: Operation) -> None:
        """Results of the kernel are written from this step on."""
        for value in kernel.results:
            self.first[value] = self.last[value] = step

    def end_kernel(self, steps: int, kernel: Operation) -> None:
        """The kernel's operands are read and its results written up to the last of its steps."""
        for value in (*kernel.operands, *kernel.results):
            self.last[self.root(value)] = steps - 1
        while len(self.kernel_of_launch) < steps:
            self.kernel_of_launch.append(self.kernels)
        self.kernels += 1

    def finish(self, launches: Sequence[Launch]) -> None:
        """Assign bindings and arena offsets."""
        results = list(self.func.region.block.terminator.operands)
        self.leaf_numbers = [number for value, number in self.argument_of.items() if value.users]
        self.binding: dict[Value, int] = {}
        block = self.func.region.block
        for position, number in enumerate(self.leaf_numbers):
            self.binding[block.arguments[number]] = position
        base = len(self.leaf_numbers)
        self.new: list[Value] = []
        for value in results:
            root = self.root(value)
            if root not in self.binding:
                self.binding[root] = base + len(self.new)
                self.new.append(root)
        self.arena_binding = base + len(self.new)
        temporaries = [value for value in self.first if value not in self.binding]
        lifetimes = [Lifetime(bytes_of(value), self.first[value], self.last[value]) for value in temporaries]
        for step, launch in enumerate(launches):
            for slot in launch.slots:
                if isinstance(slot, Scratch):
                    place = (self.kernel_of_launch[step], slot.index)
                    nbytes, first, _ = self.scratch.get(place, (0, step, step))
                    self.scratch[place] = (max(nbytes, slot.nbytes), first, step)
        lifetimes += [Lifetime(*entry) for entry in self.scratch.values()]
        offsets, self.arena_bytes = plan_arena(lifetimes)
        self.offset: dict[Any, int] = dict(zip([*temporaries, *self.scratch], offsets, strict=True))

    def program(self, launches: Sequence[Launch], target: Target, saved: Sequence[int]) -> Program:
        """The runnable program."""
        keep: list[object] = []
        tables: dict[int, int] = {}
        constants: list[int] = []
        formats = "".join(self._format(number) for number in self.leaf_numbers) + "Q" * len(self.new)
        if self.arena_bytes:
            formats += "Q"
        steps = []
        compile_together(launches, target)
        for step, launch in enumerate(launches):
            address, code = _entry(launch, target)
            keep.append(code)
            slots: list[Any] = []
            patches: list[Patch] = []
            for position, slot in enumerate(launch.slots):
                slots.append(self._slot(slot, position, step, patches, tables, constants, keep))
            steps.append(Step(address, slots, patches, launch.chunks, launch.symbol))
        native = NativeProgram(steps, formats, constants, keep) if steps else None
        check = self._kernel_check(steps, formats, constants, keep) if config.check else None
        return Program(
            native=native,
            donations=self._donations(),
            results=self._results(),
            sizes=[max(bytes_of(value), 1) for value in self.new],
            arena_bytes=self.arena_bytes,
            leaf_numbers=self.leaf_numbers,
            saved=saved,
            operations=[launch.operations[0] if launch.operations else None for launch in launches],
            flops=sum(launch.flops for launch in launches),
            stages=Stages(fused=self.func, launches=launches),
            check=check,
        )

    def _kernel_check(
        self, steps: Sequence[Step], formats: str, constants: Sequence[int], keep: Sequence[object]
    ) -> KernelCheck:
        """The kernels one by one, each with its part of the steps, and the results of the program."""
        checked = []
        kernels = [operation for operation in self.func.region.block if operation.declaration is fused.kernel]
        for number, kernel in enumerate(kernels):
            own = [step for step, of in enumerate(self.kernel_of_launch) if of == number]
            if own:
                native = NativeProgram(steps[own[0] : own[-1] + 1], formats, constants, keep)
                operands = [self._place(value) for value in kernel.operands]
                results = [self._place(value) for value in kernel.results]
                checked.append(CheckedKernel(kernel, native, own[0], operands, results))
        return KernelCheck(checked, [self._place(value) for value in self.new])

    def _place(self, value: Value) -> Place:
        """Where a value of the function lies in a run."""
        root = self.root(value)
        binding = self.binding.get(root)
        if binding is None:
            return Place(root, self.arena_binding, self.offset[root])
        in_memory = binding >= len(self.leaf_numbers) or self._holds_memory(self.leaf_numbers[binding])
        return Place(root, binding, 0, in_memory)

    def _format(self, number: int) -> str:
        if self._holds_memory(number):
            return "Q"
        return _FORMATS.get(self.leaves[number].type.dtype.numpy.str[1:], "q")

    def _holds_memory(self, number: int) -> bool:
        """Whether a leaf is memory; else it is a Python number, which lies in its binding itself."""
        return type(self.leaves[number].buffer) is Buffer

    def _slot(
        self,
        slot: Slot,
        position: int,
        step: int,
        patches: list[Patch],
        tables: dict[int, int],
        constants: list[int],
        keep: list[object],
    ) -> Any:
        if isinstance(slot, int):
            return slot
        if isinstance(slot, Status):
            return STATUS
        if isinstance(slot, Table):
            address = tables.get(id(slot.array))
            if address is None:
                data = np.ascontiguousarray(slot.array)
                buffer = Buffer(max(data.nbytes, 1))
                buffer.numpy(data.dtype, data.shape)[...] = data
                keep += [buffer, slot.array]
                address = tables[id(slot.array)] = buffer.ptr
            return address
        if isinstance(slot, Scratch):
            patches.append(Patch(position, self.arena_binding, self.offset[self.kernel_of_launch[step], slot.index]))
            return 0
        return self._address(slot, position, patches)

    def _address(self, slot: Address, position: int, patches: list[Patch]) -> Any:
        root = self.root(slot.value)
        binding = self.binding.get(root)
        if binding is None:
            patches.append(Patch(position, self.arena_binding, self.offset[root] + slot.offset))
            return 0
        if binding < len(self.leaf_numbers) and not self._holds_memory(self.leaf_numbers[binding]):
            return BindingAddress(binding)
        patches.append(Patch(position, binding, slot.offset))
        return 0

    def _donations(self) -> list[Donation]:
        """Results that may be written over the leaf they replace: one kernel reads the leaf last, element by element where
        it writes the result, so each element is read before it is overwritten."""
        uses = self._recorded_uses()
        out = []
        taken: set[int] = set()
        for kernel in self.func.region.block:
            if kernel.declaration is not fused.kernel or kernel.attributes.schedule != "map":
                continue
            elsewhere: set[Value] | None = None
            for value in kernel.results:
                position = self.binding.get(value, -1) - len(self.leaf_numbers)
                if not 0 <= position < len(self.new):
                    continue
                for operand in kernel.operands:
                    number = self.argument_of.get(operand)
                    if number is None or number in taken or number in self.returned or operand.type is not value.type:
                        continue
                    if not self._holds_memory(number) or self.last[operand] != self.first[value]:
                        continue
                    if elsewhere is None:
                        elsewhere = {self.root(read) for read in _read_elsewhere(kernel)}
                    if operand not in elsewhere:
                        taken.add(number)
                        out.append(Donation(number, position, uses[number], self.first[value]))
                        break
        return out

    def _recorded_uses(self) -> list[int]:
        """How often each leaf is an operand of the recorded operations."""
        uses = [0] * len(self.leaves)
        numbers = {id(leaf): number for number, leaf in enumerate(self.leaves)}
        for operands in {id(node.operands): node.operands for node in self.nodes}.values():
            for operand in operands:
                if id(operand) in numbers:
                    uses[numbers[id(operand)]] += 1
        return uses

    def _results(self) -> list[tuple[str, int]]:
        out: list[tuple[str, int]] = []
        produced = iter(self.func.region.block.terminator.operands)
        base = len(self.leaf_numbers)
        for argument in self.returned:
            if argument is not None:
                out.append(("leaf", argument))
                continue
            root = self.root(next(produced))
            if root in self.argument_of:
                out.append(("leaf", self.argument_of[root]))
            else:
                out.append(("new", self.binding[root] - base))
        return out


_elsewhere: dict[Any, frozenset[int]] = {}
"""Of map kernels by structure, which of the values they read they do not read only at the element that they compute."""


def _read_elsewhere(kernel: Operation) -> set[Value]:
    """The operands that a map kernel reads not only at the very element that it computes."""
    block = kernel.region.block
    yielded = list(dict.fromkeys(block.terminator.operands))
    key, read = structure(yielded)
    found = _elsewhere.get(key)
    if found is None:
        shape = tensor_type(yielded[0]).shape
        here = contiguous(shape)
        moved = {leaf.value for leaf in pull(yielded, shape).leaves if leaf.access != here}
        found = frozenset([number for number, value in enumerate(read) if value in moved])
        remember(_elsewhere, key, found)
    outside = dict(zip(block.arguments, kernel.operands, strict=True))
    return {outside[read[number]] for number in found}


def bytes_of(value: Value) -> int:
    assert isinstance(value.type, TensorType)
    return value.type.nbytes
