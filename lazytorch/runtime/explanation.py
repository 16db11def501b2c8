"""What the kernels of a program do and need, as a table (`lazytorch.explain`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.launch import Launch, grid_of
from lazytorch.codegen.target import Target
from lazytorch.ir.location import UNKNOWN
from lazytorch.ir.trace import Node, Trace
from lazytorch.runtime.cuda.compiler import kernel_ptx
from lazytorch.runtime.gpu_tools import assemble, find_ptxas, shared_bytes
from lazytorch.runtime.stages import program_launches

PROCESSORS = 108
"""Multiprocessors of a GPU that is not there: those of an A100."""


@dataclass(frozen=True)
class KernelCost:
    """One launch. flops, bytes: of arithmetic, and of memory that is read and written if every element moves once.

    blocks, threads, shared_bytes, occupancy: of a kernel on a GPU (else 0), where occupancy is the part of a
    multiprocessor's threads that its blocks fill. registers, spill_bytes: per thread, -1 where there is no ptxas to ask;
    occupancy is an upper bound then.
    """

    symbol: str
    device: str
    places: tuple[str, ...]
    flops: int
    bytes: int
    blocks: int = 0
    threads: int = 0
    shared_bytes: int = 0
    registers: int = -1
    spill_bytes: int = -1
    occupancy: float = 0.0

    @property
    def intensity(self) -> float:
        """Flops per byte."""
        return self.flops / self.bytes if self.bytes else 0.0


def explain_node(trace: Trace, node: Node, gpu: GpuTarget | None = None) -> list[KernelCost]:
    """What the launches that would compute a pending value cost, in their order. Nothing is run. gpu: what they would cost
    there."""
    return [kernel_cost(launch, target) for launch, target in program_launches(trace, node, gpu)]


def kernel_cost(launch: Launch, target: Target | GpuTarget) -> KernelCost:
    """What one launch costs."""
    known = [operation.location for operation in launch.operations if operation.location is not UNKNOWN]
    places = tuple(dict.fromkeys(str(location) for location in known))
    if launch.build is None or not isinstance(target, GpuTarget):
        return KernelCost(launch.symbol, "cpu", places, launch.flops, launch.bytes)
    ptx = kernel_ptx(launch, target)
    shared, registers, spills = shared_bytes(ptx), -1, -1
    if find_ptxas() is not None:
        cost = assemble(ptx, target.name)[launch.symbol]
        registers, spills = cost.registers, cost.spill_bytes
    blocks, threads = grid_of(launch, target, PROCESSORS)
    occupancy = target.occupancy(threads, max(registers, 0), shared)
    return KernelCost(
        launch.symbol, target.name, places, launch.flops, launch.bytes, blocks, threads, shared, registers, spills, occupancy
    )


def table(costs: Sequence[KernelCost]) -> str:
    """The costs as text, one launch per line, and what they have together."""
    heads = (
        "kernel",
        "on",
        "flops",
        "bytes",
        "flops/byte",
        "grid",
        "registers",
        "spills",
        "shared",
        "occupancy",
        "recorded at",
    )
    rows = [heads, *[_row(cost) for cost in costs]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = f"{len(costs)} launches, {_short(sum(x.flops for x in costs))}flop, {_short(sum(x.bytes for x in costs))}B"
    unknown = any(cost.threads and cost.registers < 0 for cost in costs)
    return (
        "\n".join([*lines, total, *(["registers: unknown, there is no ptxas; occupancy at most"] if unknown else [])]) + "\n"
    )


def _row(cost: KernelCost) -> tuple[str, ...]:
    known = (cost.symbol, cost.device, _short(cost.flops), _short(cost.bytes), f"{cost.intensity:.2f}")
    places = ", ".join(cost.places)
    if not cost.threads:
        return (*known, "", "", "", "", "", places)
    measured = [str(number) if number >= 0 else "?" for number in (cost.registers, cost.spill_bytes)]
    grid = f"{cost.blocks}x{cost.threads}"
    return (*known, grid, *measured, _short(cost.shared_bytes), f"{cost.occupancy:.0%}", places)


def _short(number: float) -> str:
    """A number with three digits and a prefix."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000 or prefix == "T":
            break
        number /= 1000
    return f"{number:.3g}{prefix}"
