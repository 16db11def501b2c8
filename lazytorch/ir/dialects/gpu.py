"""`gpu`: what a thread of a kernel on a GPU knows of the others. Only kernels for such targets have these operations.

A launch is a grid of blocks of threads; 32 consecutive threads of a block are a warp. `loop.parallel` divides its iterations
among all threads of the launch; the operations here are for kernels whose threads work together on one result.
"""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, example
from lazytorch.ir.types import INDEX, BufferType, ScalarType, Type, VectorType

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
view: Declaration = Declaration(
    "gpu.view",
    lambda attributes, buffer: BufferType(attributes.dtype, (1,)),
    attributes=("dtype",),
    traits=(),
    example=example("buffer<bf16, [1]>", dtype=dtypes.float32),
    doc="the memory of a buffer as elements of another type",
)
warp_barrier: Declaration = Declaration(
    "gpu.warp_barrier",
    _none,
    traits=(),
    example=example(),
    doc="waits until all threads of the warp are here; what they wrote to shared memory before is seen after it",
)


def _infer_copy(
    attributes: Attributes, target: Type, place: Type, source: Type, start: Type, condition: Type
) -> tuple[Type, ...]:
    flat = isinstance(target, BufferType) and target.strides == (1,)
    if (
        not flat
        or source is not target
        or place is not INDEX
        or start is not INDEX
        or condition is not ScalarType(dtypes.bool_)
    ):
        raise TypeError(
            "gpu.copy_async: expected a flat buffer, an index, such a buffer, an index and an i1 but got "
            f"{target}, {place}, {source}, {start} and {condition}"
        )
    if attributes.lanes * target.dtype.itemsize not in (4, 8, 16):
        raise TypeError(f"gpu.copy_async: {attributes.lanes} elements of {target} are not 4, 8 or 16 bytes")
    return ()


copy_async: Declaration = Declaration(
    "gpu.copy_async",
    _infer_copy,
    attributes=("lanes",),
    traits=(),
    example=example("buffer<bf16, [1]>", "index", "buffer<bf16, [1]>", "index", "i1", lanes=8),
    doc="target in shared memory, an index of it, source in global memory, an index of it, a condition: `lanes` consecutive "
    "elements (4, 8 or 16 bytes, aligned alike) begin to be copied, zeros where the condition is false; they are there when "
    "`gpu.wait_copies` has waited for them. sm_80",
)
commit_copies: Declaration = Declaration(
    "gpu.commit_copies",
    _none,
    traits=(),
    example=example(),
    doc="the copies that this thread began since the last time are one group",
)
wait_copies: Declaration = Declaration(
    "gpu.wait_copies",
    _none,
    attributes=("pending",),
    traits=(),
    example=example(pending=1),
    doc="waits for this thread's groups of copies, but for the last `pending` of them",
)


def _fragment(attributes: Attributes, buffer: BufferType, index: Type) -> Type:
    if not isinstance(buffer, BufferType) or buffer.dtype.itemsize not in (2, 4) or index is not INDEX:
        raise TypeError(
            f"gpu.load_matrices: expected a buffer of elements of 2 or 4 bytes and an index, got {buffer}, {index}"
        )
    return VectorType(buffer.dtype, 16 // buffer.dtype.itemsize)


load_matrices: Declaration = Declaration(
    "gpu.load_matrices",
    _fragment,
    attributes=("transposed",),
    defaults={"transposed": False},
    traits=(),
    example=example("buffer<bf16, [1]>", "index", transposed=True),
    doc="a buffer in shared memory, an index of it. Thread 8 i + r of the warp names row r, 16 bytes, of matrix i, of 8 by "
    "8 elements of 2 bytes or 8 by 4 of 4 bytes. Thread t gets of each of the four matrices 4 bytes: row t / 4 and there "
    "the columns from (t % 4) * 4 bytes on; of the `transposed` matrices if they have 2-byte elements and this is asked for",
)


def _infer_multiply(attributes: Attributes, a: Type, b: Type, c: Type) -> Type:
    lanes = 16 // a.dtype.itemsize
    due = (VectorType(a.dtype, lanes), VectorType(a.dtype, lanes // 2), VectorType(dtypes.float32, 4))
    if (a, b, c) != due or a.dtype not in (dtypes.float32, dtypes.float16, dtypes.bfloat16):
        raise TypeError(f"gpu.multiply_matrices: expected fragments {', '.join(map(str, due))} but got {a}, {b}, {c}")
    return c


multiply_matrices: Declaration = Declaration(
    "gpu.multiply_matrices",
    _infer_multiply,
    example=example("vector<8xbf16>", "vector<4xbf16>", "vector<4xf32>"),
    doc="c + a @ b by a warp: a is 16 by 16 (16 by 8 of f32, of which as much counts as a tf32 has), b 16 by 8 (8 by 8), c "
    "16 by 8. Thread t has of a what `gpu.load_matrices` gives for its quarters (upper left, lower left, upper right, lower "
    "right); of b the same for the transposed halves (upper, lower); of c the elements 2 (t % 4) and following of the rows "
    "t / 4 and t / 4 + 8",
)
round_tf32: Declaration = Declaration(
    "gpu.round_tf32",
    _same,
    example=example("vector<4xf32>"),
    doc="rounded to the nearest number with 10 bits after the point (ties away from 0). sm_80",
)
