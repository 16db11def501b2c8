"""`gpu`: what a thread of a kernel on a GPU knows of the others. Only kernels for such targets have these operations.

A launch is a grid of blocks of threads; 32 consecutive threads of a block are a warp. `loop.parallel` divides its iterations
among all threads of the launch; the operations here are for kernels whose threads work together on one result.
"""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, example
from lazytorch.ir.types import INDEX, BufferType, Type

WARP = 32
"""Threads of a warp."""


def _same(attributes: Attributes, x: Type, *rest: Type) -> Type:
    return x


def _none(attributes: Attributes, *types: Type) -> tuple[Type, ...]:
    return ()


thread_id: Declaration = Declaration(
    "gpu.thread_id", lambda attributes: INDEX, example=example(), doc="the number of this thread in its block"
)
block_id: Declaration = Declaration(
    "gpu.block_id", lambda attributes: INDEX, example=example(), doc="the number of this thread's block in the grid"
)
grid_size: Declaration = Declaration(
    "gpu.grid_size", lambda attributes: INDEX, example=example(), doc="how many blocks the grid has"
)
shuffle: Declaration = Declaration(
    "gpu.shuffle",
    _same,
    attributes=("distance",),
    traits=(),
    example=example("vector<4xf32>", distance=8),
    doc="the value that another thread of the warp has, whose number is this one's exclusive-or `distance`; all threads of "
    "the warp take part",
)
broadcast: Declaration = Declaration(
    "gpu.broadcast",
    _same,
    attributes=("width",),
    traits=(),
    example=example("f32", width=16),
    doc="the value that the first of each `width` (a power of two) threads has; all threads of the warp take part",
)
barrier: Declaration = Declaration(
    "gpu.barrier",
    _none,
    traits=(),
    example=example(),
    doc="waits until all threads of the block are here; what they wrote to shared memory before is seen after it",
)
shared: Declaration = Declaration(
    "gpu.shared",
    lambda attributes: BufferType(attributes.dtype, (1,)),
    attributes=("dtype", "size"),
    traits=(),
    example=example(dtype=dtypes.float32, size=64),
    doc="`size` elements of memory that the threads of the block share, 16-byte aligned; not initialised",
)
