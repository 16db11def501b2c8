"""A program on one CUDA device: its steps, and how a run binds leaves, results and temporaries to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazytorch.codegen.launch import Launch
from lazytorch.ir.core import Operation
from lazytorch.ir.types import TensorType
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.cuda.device import CudaDevice, DeviceBuffer
from lazytorch.runtime.cuda.driver import Kernel
from lazytorch.runtime.interpreted import Leaf
from lazytorch.runtime.program import Stages, failure_of
from lazytorch.runtime.statistics import STATISTICS

STATUS_WORDS = 3
WORD = 8


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
    statuses: one triple of words for each of these steps.
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

    def run(
        self, leaves: Sequence[Leaf], outputs: Sequence[Leaf], replaced: Sequence[Leaf], hidden: Mapping[int, int]
    ) -> None:
        """Compute, and give every output its buffer. Raises IndexError for an index found out of range."""
        device = self.device
        buffers = [DeviceBuffer(device, size) for size in self.sizes]
        temporary: list[object] = []
        bindings = self._leaf_addresses(leaves, temporary)
        bindings += [buffer.ptr for buffer in buffers]
        if self.arena_bytes:
            arena = DeviceBuffer(device, self.arena_bytes)
            temporary.append(arena)
            bindings.append(arena.ptr)
        status = None
        if self.statuses:
            status = DeviceBuffer.of(device, np.zeros(STATUS_WORDS * len(self.statuses), np.int64))
            bindings.append(status.ptr)
        for step in self.steps:
            self._launch(step, bindings)
        if status is not None:
            self._check(status)
        STATISTICS.flops += self.flops
        for node, (kind, number) in zip(outputs, self.results, strict=True):
            node.buffer = buffers[number] if kind == "new" else self._leaf_buffer(leaves[number])

    def _leaf_addresses(self, leaves: Sequence[Leaf], temporary: list[object]) -> list[int]:
        numbers = [n for n in self.leaf_numbers if not isinstance(leaves[n].buffer, Buffer)]
        place: dict[int, int] = {}
        if numbers:
            words = np.zeros((len(numbers), WORD), np.uint8)
            for row, number in zip(words, numbers, strict=True):
                data = np.asarray(leaves[number].buffer, leaves[number].type.dtype.numpy).reshape(1).view(np.uint8)
                row[: data.size] = data
            block = DeviceBuffer.of(self.device, words)
            temporary.append(block)
            place = {number: block.ptr + WORD * row for row, number in enumerate(numbers)}
        return [place[n] if n in place else leaves[n].buffer.ptr for n in self.leaf_numbers]

    def _launch(self, step: DeviceStep, bindings: Sequence[int]) -> None:
        if step.kernel is None:
            self._call_host(step, bindings)
            return
        arguments = step.arguments
        for at, binding, offset in step.patches:
            arguments[at : at + WORD] = (bindings[binding] + offset).to_bytes(WORD, "little")
        try:
            step.kernel.launch(step.blocks, step.threads, bytes(arguments))
        except RuntimeError as error:
            places = dict.fromkeys(str(operation.location) for operation in step.launch.operations)
            error.add_note(f"kernel {step.launch.symbol}, recorded at {', '.join(places)}")
            raise

    def _call_host(self, step: DeviceStep, bindings: Sequence[int]) -> None:
        """A step that only NumPy can do: on copies of the operands, in host memory."""
        driver = self.device.driver
        copies = [Buffer(max(type.nbytes, 1)) for type in step.types]
        places = [bindings[binding] + offset for _, binding, offset in step.patches]
        arrays = [copy.numpy(np.uint8, (type.nbytes,)) for copy, type in zip(copies, step.types, strict=True)]
        count = len(arrays) - step.results
        for array, place in zip(arrays[:count], places[:count], strict=True):
            if array.nbytes:
                driver.read(place, array)
        assert step.launch.host is not None
        step.launch.host([copy.ptr for copy in copies])
        for array, place in zip(arrays[count:], places[count:], strict=True):
            if array.nbytes:
                driver.write(place, array)

    def _check(self, status: DeviceBuffer) -> None:
        """Raise for the first step that found an error."""
        words = status.numpy(np.int64, (len(self.statuses), STATUS_WORDS))
        for step, (code, first, second) in zip(self.statuses, words.tolist(), strict=True):
            if code:
                operation: Operation = self.steps[step].launch.operations[0]
                raise failure_of(operation, first, second)

    def _leaf_buffer(self, leaf: Leaf) -> Any:
        """The memory of a leaf that is itself a result."""
        if isinstance(leaf.buffer, DeviceBuffer):
            return leaf.buffer
        return DeviceBuffer.of(self.device, np.asarray(leaf.buffer, leaf.type.dtype.numpy))
