"""A program on one CUDA device: its steps, and how a run binds leaves, results and temporaries to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lazytorch.codegen.launch import Launch
from lazytorch.config import config
from lazytorch.errors import OutOfMemoryError
from lazytorch.ir.core import Operation
from lazytorch.ir.types import TensorType
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.cuda.buffer import DeviceBuffer
from lazytorch.runtime.cuda.device import CudaDevice, places_of
from lazytorch.runtime.cuda.driver import Event, Graph, Kernel, KernelCall, Pinned, Stream
from lazytorch.runtime.interpreted import Leaf
from lazytorch.runtime.program import Stages, failure_of
from lazytorch.runtime.statistics import STATISTICS

ALIGNMENT = 16
"""Bytes of the widest access to memory."""
STATUS_WORDS = 3
WORD = 8
_FEWEST_BATCHED = 4
"""Launches from which a graph pays."""
_GRAPHS_KEPT = 8
_BINDINGS_REMEMBERED = 64


@dataclass
class DeviceStep:
    """A launch with its argument block: `patches` are (byte offset in it, binding, byte offset from its address).

    kernel None: the launch's Python function is called with copies of what `patches` name, values of these `types`; the last
    `results` of them are written back.
    """

    launch: Launch
    kernel: Kernel | None
    arguments: bytearray
    patches: Sequence[tuple[int, int, int]]
    blocks: int = 1
    threads: int = 1
    types: Sequence[TensorType] = ()
    results: int = 0


@dataclass(eq=False)
class DeviceProgram:
    """What `runtime.program.Program` is for the CPU.

    Bindings are addresses, in this order: leaves (`leaf_numbers`), new results, the arena, the status words. A leaf that is
    a number gets its place in a block of 8-byte words that every run copies to the device.
    statuses: one triple of words for each of these steps; reports: pinned memory for what they say.
    graphs: the launches for bindings that came again; met: bindings that came once.
    """

    device: CudaDevice
    steps: Sequence[DeviceStep]
    results: Sequence[tuple[str, int]]
    sizes: Sequence[int]
    arena_bytes: int
    leaf_numbers: Sequence[int]
    statuses: Sequence[int]
    keep: Sequence[object]
    flops: int = 0
    saved: Sequence[int] = ()
    stages: Stages = field(default_factory=Stages)
    graphs: dict[tuple[int, ...], Graph] = field(default_factory=dict)
    met: dict[tuple[int, ...], None] = field(default_factory=dict)
    reports: list[Pinned] = field(default_factory=list)

    def run(
        self, leaves: Sequence[Leaf], outputs: Sequence[Leaf], replaced: Sequence[Leaf], hidden: Mapping[int, int]
    ) -> None:
        """Put the work into this thread's stream, and give every output its buffer. Raises IndexError for an index found
        out of range by this program or one before it, as soon as that is known: nobody waits here."""
        device = self.device
        with device.driver.active(), device.naming_faults():
            buffers = self._submit(leaves)
        STATISTICS.flops += self.flops
        for node, (kind, number) in zip(outputs, self.results, strict=True):
            node.buffer = buffers[number] if kind == "new" else self._leaf_buffer(leaves[number])
        device.raise_what_was_found()

    def _submit(self, leaves: Sequence[Leaf]) -> list[DeviceBuffer]:
        device, stream = self.device, self.device.stream
        temporary: list[object] = []
        try:
            buffers = [DeviceBuffer(device, size, stream) for size in self.sizes]
            bindings = self._leaf_addresses(leaves, stream, temporary)
            bindings += [buffer.ptr for buffer in buffers]
            if self.arena_bytes:
                arena = DeviceBuffer(device, self.arena_bytes, stream)
                temporary.append(arena)
                bindings.append(arena.ptr)
        except OutOfMemoryError as error:
            error.add_note(f"for the results and temporaries of {self._places()}")
            raise
        status = None
        if self.statuses:
            status = DeviceBuffer.of(device, np.zeros(STATUS_WORDS * len(self.statuses), np.int64), stream)
            bindings.append(status.ptr)
        device.launched.append(self._places)
        self._launch_all(bindings, stream)
        if status is not None:
            self._leave_check(status, stream)
        return buffers

    def _places(self) -> str:
        return places_of(self.stages.launches)

    def _leaf_addresses(self, leaves: Sequence[Leaf], stream: Stream, temporary: list[object]) -> list[int]:
        numbers = [n for n in self.leaf_numbers if not isinstance(leaves[n].buffer, Buffer)]
        place: dict[int, int] = {}
        if numbers:
            words = np.zeros((len(numbers), WORD), np.uint8)
            for row, number in zip(words, numbers, strict=True):
                data = np.asarray(leaves[number].buffer, leaves[number].type.dtype.numpy).reshape(1).view(np.uint8)
                row[: data.size] = data
            block = DeviceBuffer.of(self.device, words, stream)
            temporary.append(block)
            place = {number: block.ptr + WORD * row for row, number in enumerate(numbers)}
        return [place[n] if n in place else self._address(leaves[n].buffer, stream, temporary) for n in self.leaf_numbers]

    def _address(self, buffer: DeviceBuffer, stream: Stream, temporary: list[object]) -> int:
        """Where a leaf is, at a multiple of what kernels access at a time: of a slice that begins elsewhere, and of such
        memory of another library, a copy."""
        address = buffer.use(stream)
        if address % ALIGNMENT == 0:
            return address
        copy = DeviceBuffer(self.device, buffer.nbytes, stream)
        temporary.append(copy)
        self.device.driver.copy(copy.ptr, address, buffer.nbytes, stream)
        return copy.ptr

    def _launch_all(self, bindings: Sequence[int], stream: Stream) -> None:
        """Launch by launch, or as a graph from the second time that these addresses come."""
        if len(self.steps) >= _FEWEST_BATCHED and self.batchable and not config.cuda_sync:
            key = tuple(bindings)
            graph = self.graphs.get(key) or self._graph(key)
            if graph is not None:
                graph.launch(stream)
                return
        for step in self.steps:
            if step.kernel is None:
                self._call_host(step, bindings, stream)
            else:
                self._launch(step, step.kernel, bindings, stream)

    @cached_property
    def batchable(self) -> bool:
        """Whether all steps are kernels."""
        return all(step.kernel is not None for step in self.steps)

    def _graph(self, key: tuple[int, ...]) -> Graph | None:
        if key not in self.met:
            if len(self.met) >= _BINDINGS_REMEMBERED:
                del self.met[next(iter(self.met))]
            self.met[key] = None
            return None
        calls = [
            KernelCall(step.kernel, step.blocks, step.threads, _filled(step, key))
            for step in self.steps
            if step.kernel is not None
        ]
        graph = self.device.driver.graph(calls)
        if graph is not None:
            if len(self.graphs) >= _GRAPHS_KEPT:
                del self.graphs[next(iter(self.graphs))]
            self.graphs[key] = graph
        return graph

    def _launch(self, step: DeviceStep, kernel: Kernel, bindings: Sequence[int], stream: Stream) -> None:
        try:
            kernel.launch(step.blocks, step.threads, _filled(step, bindings), stream)
            if config.cuda_sync:
                stream.synchronize()
        except RuntimeError as error:
            self.device.launched.clear()  # this one it was
            error.add_note(places_of([step.launch]))
            raise

    def _call_host(self, step: DeviceStep, bindings: Sequence[int], stream: Stream) -> None:
        """A step that only NumPy can do: on copies of the operands, in host memory."""
        driver = self.device.driver
        copies = [Buffer(max(type.nbytes, 1)) for type in step.types]
        places = [bindings[binding] + offset for _, binding, offset in step.patches]
        arrays = [copy.numpy(np.uint8, (type.nbytes,)) for copy, type in zip(copies, step.types, strict=True)]
        count = len(arrays) - step.results
        for array, place in zip(arrays[:count], places[:count], strict=True):
            if array.nbytes:
                driver.read(place, array, stream)
        assert step.launch.host is not None
        step.launch.host([copy.ptr for copy in copies])
        for array, place in zip(arrays[count:], places[count:], strict=True):
            if array.nbytes:
                self.device.uploads.write(place, array, stream)

    def _leave_check(self, status: DeviceBuffer, stream: Stream) -> None:
        """Have the status words copied, to be looked at when the program is done."""
        report = self.reports.pop() if self.reports else self.device.driver.pinned(status.nbytes)
        self.device.driver.read(status.ptr, report.array, stream, wait=False)
        event = self.device.driver.event()
        event.record(stream)
        self.device.checks.append(_StatusCheck(event, self, report))

    def raise_if_noted(self, words: npt.NDArray[np.int64]) -> None:
        """Raise for the first step that noted an error."""
        for step, (code, first, second) in zip(self.statuses, words.reshape(-1, STATUS_WORDS).tolist(), strict=True):
            if code:
                operation: Operation = self.steps[step].launch.operations[0]
                raise failure_of(operation, first, second)

    def _leaf_buffer(self, leaf: Leaf) -> Any:
        """The memory of a leaf that is itself a result."""
        if isinstance(leaf.buffer, DeviceBuffer):
            return leaf.buffer
        return DeviceBuffer.of(self.device, np.asarray(leaf.buffer, leaf.type.dtype.numpy))


@dataclass
class _StatusCheck:
    """The status words of one run."""

    event: Event
    program: DeviceProgram
    report: Pinned

    def raise_if_failed(self) -> None:
        """Raise the user's error."""
        words = self.report.array.view(np.int64).copy()
        self.program.reports.append(self.report)
        self.program.raise_if_noted(words)


def _filled(step: DeviceStep, bindings: Sequence[int]) -> bytes:
    """A launch's argument block for these addresses."""
    arguments = step.arguments
    for at, binding, offset in step.patches:
        arguments[at : at + WORD] = (bindings[binding] + offset).to_bytes(WORD, "little")
    return bytes(arguments)
