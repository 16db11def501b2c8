"""A compiled program: native steps, and how a run's leaves, results and temporaries are bound to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np

from lazytorch.codegen.launch import Launch
from lazytorch.dtypes import float32
from lazytorch.ir.core import Operation
from lazytorch.ir.dialects.indirect import index_error
from lazytorch.ir.trace import leaf
from lazytorch.ir.types import TensorType
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.interpreted import Leaf
from lazytorch.runtime.runner import Failure, NativeProgram
from lazytorch.runtime.statistics import STATISTICS


@dataclass
class Stages:
    """The program's text at each level, made on demand from these (for dumps and `explain`)."""

    graph: str = ""
    tensor: str = ""
    fused: Operation | None = None
    launches: Sequence[Launch] = ()


class Donation(NamedTuple):
    """The result buffer `position` may be the memory of leaf `leaf`, if only `uses` recorded operands refer to it; step
    `step` writes it."""

    leaf: int
    position: int
    uses: int
    step: int


@dataclass(eq=False)
class Program:
    """What a key of the program cache leads to.

    results: for each output of the sync, ("new", position) for a result buffer of this run, or ("leaf", number) for a
        value that is one of the leaves.
    sizes: bytes of each new result buffer, in the order of their bindings.
    saved: numbers of recorded values that are outputs only because a kept autograd history will need them.
    operations: per step, what it computes (for errors found while running).
    check: runs the steps instead of `native`, comparing every kernel with the reference (`LAZYTORCH_CHECK=1`).
    """

    native: NativeProgram | None
    results: Sequence[tuple[str, int]]
    sizes: Sequence[int]
    arena_bytes: int
    leaf_numbers: Sequence[int]
    saved: Sequence[int] = ()
    operations: Sequence[Operation | None] = ()
    donations: Sequence[Donation] = ()
    flops: int = 0
    stages: Stages = field(default_factory=Stages)
    check: Callable[[Sequence[Any]], Failure | None] | None = None

    def run(
        self, leaves: Sequence[Leaf], outputs: Sequence[Leaf], replaced: Sequence[Leaf], hidden: Mapping[int, int]
    ) -> None:
        """Compute, and give every output its buffer. Raises IndexError for an index found out of range.

        replaced: leaves whose tensors get a new value by this run. Where nobody else refers to one, its memory becomes the
        new value's, and the leaf has none any more.
        hidden: by leaf, how many of its recorded uses no operation refers to; one less for each place among the outputs,
            where the leaf of a replaced value may stand for the new one.
        """
        donated = self._donated(leaves, replaced, hidden) if replaced and self.donations else {}
        if donated:
            buffers = [
                donated[position].buffer if position in donated else Buffer(size) for position, size in enumerate(self.sizes)
            ]
        else:
            buffers = [Buffer(size) for size in self.sizes]
        native = self.native
        if native is not None:
            read = [leaves[number].buffer for number in self.leaf_numbers]
            values = [buffer.ptr if type(buffer) is Buffer else buffer for buffer in read]
            values += [buffer.ptr for buffer in buffers]
            if self.arena_bytes:
                arena = Buffer(self.arena_bytes)
                values.append(arena.ptr)
            if self.check is not None:
                failure = self.check(values)
            else:
                failure = native.failure if native.run(*values) else None
            if failure is not None:
                self._raise(failure, leaves, outputs, donated)
            STATISTICS.flops += self.flops
        for node in donated.values():
            node.buffer = None
        if self.all_new:
            for node, fresh in zip(outputs, buffers, strict=True):
                node.buffer = fresh
        else:
            for node, (kind, number) in zip(outputs, self.results, strict=True):
                node.buffer = buffers[number] if kind == "new" else _leaf_buffer(leaves[number])

    @cached_property
    def all_new(self) -> bool:
        """Whether the outputs are the result buffers in their order."""
        return list(self.results) == [("new", position) for position in range(len(self.sizes))]

    def _donated(self, leaves: Sequence[Leaf], replaced: Sequence[Leaf], hidden: Mapping[int, int]) -> dict[int, Leaf]:
        """By position, the leaves whose buffers results of this run may overwrite: replaced ones to which, and to whose
        buffer, nobody but this run and the recorded operations refers."""
        old = set(map(id, replaced))
        given = {}
        for number, position, uses, _ in self.donations:
            node = leaves[number]
            buffer = node.buffer
            if number in hidden:
                uses -= hidden[number]
            if (
                getrefcount(node) == _OWN_NODE + uses
                and getrefcount(buffer) == _OWN_BUFFER
                and id(node) in old
                and not buffer.shared
            ):
                given[position] = node
        return given

    def _raise(self, failure: Failure, leaves: Sequence[Leaf], outputs: Sequence[Leaf], donated: dict[int, Leaf]) -> None:
        for donation in self.donations:
            if donation.position in donated and donation.step <= failure.step:
                # Already written: the old value is gone, the new one is there.
                leaf = donated[donation.position]
                buffer, leaf.buffer = leaf.buffer, None
                outputs[self.results.index(("new", donation.position))].buffer = buffer
        operation = self.operations[failure.step]
        assert operation is not None
        raise failure_of(operation, failure.first, failure.second)


def failure_of(operation: Operation, first: int, second: int) -> Exception:
    """The user's error for what a step found; the numbers are those of loop.fail."""
    error = index_error(operation.attributes, first, second)
    error.args = (f"{error}      [recorded at {operation.location}]",)
    return error


def _calibrate() -> tuple[int, int]:
    """The references to a leaf that only the trace's leaves and updates and the list of replaced leaves hold, and to its
    buffer, in this interpreter: counted as `_donated` counts."""
    leaves = [leaf(TensorType(float32, ()), object())]
    holders = {None: leaves[0]}, [leaves[0]]
    counts = 0, 0
    for number in range(len(holders) - 1):
        node = leaves[number]
        buffer = node.buffer
        counts = getrefcount(node), getrefcount(buffer)
    return counts


_OWN_NODE, _OWN_BUFFER = _calibrate()


def _leaf_buffer(node: Leaf) -> Any:
    """The memory of a leaf that is itself a result: shared, unless somebody else may write to it."""
    buffer = node.buffer
    if type(buffer) is Buffer and not buffer.shared:
        return buffer
    dtype, shape = node.type.dtype.numpy, node.type.shape
    copy = Buffer(max(node.type.nbytes, 1))
    source = buffer.numpy(dtype, shape) if type(buffer) is Buffer else np.asarray(buffer, dtype)
    copy.numpy(dtype, shape)[...] = source
    return copy
