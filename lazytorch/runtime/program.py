"""A compiled program: native steps, and how a run's leaves, results and temporaries are bound to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazytorch.codegen.launch import Launch
from lazytorch.ir.core import Operation
from lazytorch.ir.location import Location
from lazytorch.ir.trace import Node
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.runner import NativeProgram
from lazytorch.runtime.statistics import STATISTICS


@dataclass(eq=False)
class Stages:
    """The program's text at each level, made on demand from these (for dumps and `explain`)."""

    graph: str = ""
    tensor: str = ""
    fused: Operation | None = None
    launches: Sequence[Launch] = ()


@dataclass(eq=False)
class Program:
    """What a key of the program cache leads to.

    results: for each output of the sync, ("new", position) for a result buffer of this run, or ("leaf", number) for a
        value that is one of the leaves.
    sizes: bytes of each new result buffer, in the order of their bindings.
    saved: numbers of recorded values that are outputs only because a kept autograd history will need them.
    locations: per step, where the user's program recorded it (for errors found while running).
    """

    native: NativeProgram | None
    results: Sequence[tuple[str, int]]
    sizes: Sequence[int]
    arena_bytes: int
    leaf_numbers: Sequence[int]
    saved: Sequence[int] = ()
    locations: Sequence[Location] = ()
    flops: int = 0
    stages: Stages = field(default_factory=Stages)

    def run(self, leaves: Sequence[Node], outputs: Sequence[Node]) -> None:
        """Compute, and give every output its buffer. Raises IndexError for an index found out of range."""
        buffers = [Buffer(size) for size in self.sizes]
        native = self.native
        if native is not None:
            values = []
            for number in self.leaf_numbers:
                buffer = leaves[number].buffer
                values.append(buffer.ptr if type(buffer) is Buffer else buffer)
            values += [buffer.ptr for buffer in buffers]
            if self.arena_bytes:
                arena = Buffer(self.arena_bytes)
                values.append(arena.ptr)
            if native.run(*values):
                self._raise()
            STATISTICS.flops += self.flops
        for node, (kind, number) in zip(outputs, self.results, strict=True):
            node.buffer = buffers[number] if kind == "new" else _leaf_buffer(leaves[number])

    def _raise(self) -> None:
        assert self.native is not None
        failure = self.native.failure
        assert failure is not None
        location = self.locations[failure.step]
        raise IndexError(
            f"index {failure.first} is out of bounds for dimension 0 with size {failure.second}"
            f"      [recorded at {location}]"
        )


def _leaf_buffer(leaf: Node) -> Any:
    """The memory of a leaf that is itself a result: shared, unless somebody else may write to it."""
    buffer = leaf.buffer
    if type(buffer) is Buffer and not buffer.shared:
        return buffer
    dtype, shape = leaf.type.dtype.numpy, leaf.type.shape
    copy = Buffer(max(leaf.type.nbytes, 1))
    source = buffer.numpy(dtype, shape) if type(buffer) is Buffer else np.asarray(buffer, dtype)
    copy.numpy(dtype, shape)[...] = source
    return copy
