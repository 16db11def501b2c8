"""Planning for a CUDA device: the passes, fusion and layout of runtime/planner.py, with GPU schedules and launches."""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, Scratch, Slot, Status, Table, grid_of
from lazytorch.codegen.passes import Fuse
from lazytorch.config import config
from lazytorch.ir.core import Operation
from lazytorch.ir.pass_manager import PassManager
from lazytorch.runtime.cuda.buffer import DeviceBuffer
from lazytorch.runtime.cuda.compiler import kernel_ptx
from lazytorch.runtime.cuda.device import CudaDevice
from lazytorch.runtime.cuda.program import STATUS_WORDS, WORD, DeviceProgram, DeviceStep
from lazytorch.runtime.interpreted import Leaf
from lazytorch.runtime.planner import GPU_PIPELINE, Layout, bytes_of, launches_of
from lazytorch.runtime.program import Stages
from lazytorch.runtime.statistics import STATISTICS

_MASK = (1 << 64) - 1


def plan_for_device(func: Operation, leaves: Sequence[Leaf], device: CudaDevice) -> DeviceProgram:
    """Compile a function of tensor operations, which is taken apart for it."""
    STATISTICS.programs_planned += 1
    PassManager(GPU_PIPELINE).run_on_func(func)
    layout = _DeviceLayout(func, (), leaves)
    PassManager([Fuse(single=not config.fuse)]).run_on_func(func)
    context = ScheduleContext(device.target, 1, config.tf32)
    launches = launches_of(func, layout, context)
    return layout.device_program(launches, device)


class _DeviceLayout(Layout):
    """Where values live on a device: everything a launch needs to know is an address plus an offset."""

    def device_program(self, launches: Sequence[Launch], device: CudaDevice) -> DeviceProgram:
        """The runnable program."""
        self.tables: dict[int, DeviceBuffer] = {}
        self.keep: list[object] = []
        self.statuses: list[int] = []
        self.status_binding = self.arena_binding + bool(self.arena_bytes)
        steps = [self._step(step, launch, device) for step, launch in enumerate(launches)]
        return DeviceProgram(
            device=device,
            steps=steps,
            results=self._results(),
            sizes=[max(bytes_of(value), 1) for value in self.new],
            arena_bytes=self.arena_bytes,
            leaf_numbers=self.leaf_numbers,
            statuses=self.statuses,
            keep=[*self.tables.values(), *self.keep],
            flops=sum(launch.flops for launch in launches),
            stages=Stages(fused=self.func, launches=launches),
        )

    def _step(self, step: int, launch: Launch, device: CudaDevice) -> DeviceStep:
        arguments = bytearray(WORD * len(launch.slots))
        patches: list[tuple[int, int, int]] = []
        for position, slot in enumerate(launch.slots):
            at = WORD * position
            place = self._place_of(slot, step)
            if place is not None:
                patches.append((at, *place))
                continue
            number = slot if isinstance(slot, int) else self._table_address(slot, device)
            arguments[at : at + WORD] = (number & _MASK).to_bytes(WORD, "little")
        if launch.host is not None:
            operation = launch.operations[0]
            types = [tensor_type(value) for value in (*operation.operands, *operation.results)]
            return DeviceStep(launch, None, arguments, patches, types=types, results=len(operation.results))
        blocks, threads = grid_of(launch, device.target, device.driver.processors)
        return DeviceStep(launch, device.kernel(launch, kernel_ptx), arguments, patches, blocks, threads)

    def _place_of(self, slot: Slot, step: int) -> tuple[int, int] | None:
        """The binding and byte offset of an address that a run decides; None for what is known now."""
        if isinstance(slot, Status):
            if step not in self.statuses:
                self.statuses.append(step)
            return self.status_binding, WORD * STATUS_WORDS * self.statuses.index(step)
        if isinstance(slot, Scratch):
            return self.arena_binding, self.offset[self.kernel_of_launch[step], slot.index]
        if isinstance(slot, Address):
            root = self.root(slot.value)
            binding = self.binding.get(root)
            if binding is None:
                return self.arena_binding, self.offset[root] + slot.offset
            return binding, slot.offset
        return None

    def _table_address(self, slot: Slot, device: CudaDevice) -> int:
        assert isinstance(slot, Table)
        buffer = self.tables.get(id(slot.array))
        if buffer is None:
            buffer = self.tables[id(slot.array)] = DeviceBuffer.of(device, slot.array, device.main_stream)
            self.keep.append(slot.array)
        return buffer.ptr
