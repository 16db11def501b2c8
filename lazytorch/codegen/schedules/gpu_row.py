"""The row schedule on a GPU: a team of threads per row makes the passes of schedules/row.py over it.

What two passes need is computed again in the second one: that gives the same bits, and needs no memory.
"""

from __future__ import annotations

import math

from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.kernel_builder import Index, KernelBuilder
from lazytorch.codegen.launch import Address, Launch, ScheduleContext, symbol_of
from lazytorch.codegen.schedules.gpu_team import Team, TeamMember
from lazytorch.codegen.schedules.nest import NestEmitter, split_rows, write
from lazytorch.codegen.schedules.reduction import BLOCK
from lazytorch.codegen.schedules.row import Pass, RowPlan
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait


def gpu_row_launches(kernel: Operation, context: ScheduleContext) -> list[Launch]:
    """One launch for a cluster of reductions along rows and the maps around them."""
    target = context.target
    assert isinstance(target, GpuTarget)
    block = kernel.region.block
    outputs = list(dict.fromkeys(block.terminator.operands))
    plan = RowPlan([operation for operation in block if operation.has(Trait.REDUCTION)], outputs)
    nest = plan.nest
    lanes = nest.aligned_lanes(nest.lanes(target, [value.type.dtype for value in outputs]))
    team = Team(target, math.gcd(lanes, plan.columns))
    key = f"{plan.key(team.lanes)}|gpu"
    symbol = symbol_of("row", key)
    elements = plan.rows * plan.columns
    return [
        Launch(
            key=key,
            symbol=symbol,
            build=lambda: _Kernel(KernelBuilder(symbol), plan, team).build(),
            slots=[*nest.slots(), *[Address(value) for value in outputs], *nest.sizes],
            flops=elements * plan.expression.operations,
            bytes=nest.bytes_read() + sum(tensor_type(value).nbytes for value in outputs),
            operations=[operation for operation in block if not operation.has(Trait.TERMINATOR)],
            blocks=team.blocks(plan.rows),
            threads=team.block,
        )
    ]


class _Kernel:
    """A row kernel under construction."""

    def __init__(self, k: KernelBuilder, plan: RowPlan, team: Team) -> None:
        self.k, self.plan, self.lanes = k, plan, team.lanes
        self.emitter = NestEmitter(k, plan.nest, team.lanes, aligned=True)
        self.outputs = [k.buffer(value.type.dtype, (1,), f"out{i}") for i, value in enumerate(plan.outputs)]
        self.sizes = [k.index_argument(f"size{g}") for g in range(len(plan.nest.sizes))]
        self.member = TeamMember(k, team)

    def build(self) -> Operation:
        """The loop over rows, with the passes one after the other."""
        k, plan = self.k, self.plan
        columns = self.sizes[-1]
        with self.member.items(k.product(self.sizes[:-1])) as (row, live):
            self.emitter.at(*split_rows(k, row, self.sizes[:-1]))
            self.base = k.mul(row, columns)
            self.columns = k.select_index(live, columns, 0)  # a team without a row reads and writes nothing
            for step in plan.passes:
                self._pass(step, live)
            entries = plan.expression.outputs[len(plan.reductions) :]
            with self.member.alone(live):
                for entry, is_full, out in zip(entries, plan.is_full, self.outputs, strict=True):
                    if not is_full:
                        k.store(self._scalar(entry), out, row)
        return k.finish()

    def _scalar(self, entry: int) -> Value:
        kind, *rest = self.plan.expression.entries[entry]
        return self.k.splat(rest[0], rest[1]) if kind == "constant" else self.emitter.outer[entry]

    def _pass(self, step: Pass, live: Value) -> None:
        """One loop over the row: write outputs, and reduce."""
        k, plan, member = self.k, self.plan, self.member
        wanted = plan.wanted(step)

        def point(index: Index, mask: Value | None) -> list[Value]:
            values = self.emitter.values(index, self.lanes, mask, None, wanted)
            for number, value in zip(step.outputs, values[len(step.reductions) :], strict=True):
                write(k, value, self.outputs[number], (k.add(self.base, index),), mask, aligned=True)
            return values[: len(step.reductions)]

        if not step.reductions:
            member.vector_loop(0, self.columns, point)
            return
        reductions = [plan.reductions[number] for number in step.reductions]
        if plan.columns <= BLOCK:
            found = member.sums(reductions, 0, self.columns, point)
        else:
            found = member.blocked_sums(reductions, self.sizes[-1], live, point)
        totals = dict(zip(step.reductions, [member.shared(total) for total in found], strict=True))
        self.emitter.supply({leaf: totals[number] for leaf, number in plan.internal.items() if number in totals})
