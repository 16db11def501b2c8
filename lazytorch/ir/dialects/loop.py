"""`loop`: one kernel each. Parallel and sequential loops, buffers with strides, vectors, local memory, masks.

Control structure carries regions, so these operations are built by `codegen.kernel_builder`, not by calling them.
Numbers are computed with `arith` and `math` on scalars, vectors and `index` values.
"""

from __future__ import annotations

from typing import Any

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example
from lazytorch.ir.types import INDEX, BufferType, ScalarType, Type, VectorType

_KERNEL = """\
loop.function @clear(%o: buffer<f32, [1]>, %i: index) {
  %0 = arith.constant 0.0 : f32
  loop.store %0, %o, %i
  loop.return
}

loop.kernel @row_sums(%x: buffer<f32, [?, 1]>, %out: buffer<f32, [1]>, %m: index, %n: index) {
  %0 = arith.constant 0 : index
  %1 = arith.constant 1 : index
  %2 = arith.constant 0.0 : f32
  loop.parallel %i = %0 to %m {
    %3 = loop.for %j = %0 to %n step %1 carrying (%sum: f32 = %2) {
      %4 = loop.load %x, %i, %j : f32
      %5 = arith.add %sum, %4 : f32
      loop.yield %5
    }
    %6 = arith.compare %3, %2 {predicate = "gt"} : i1
    loop.if %6 {
      loop.store %3, %out, %i
    } else {
      loop.call %out, %i {callee = "clear"}
    }
  }
}
"""


def _none(attributes: Attributes, *types: Type) -> tuple[Type, ...]:
    return ()


def _loaded(attributes: Attributes, buffer: BufferType, *rest: Type) -> Type:
    return ScalarType(buffer.dtype) if attributes.lanes == 1 else VectorType(buffer.dtype, attributes.lanes)


kernel: Declaration = Declaration(
    "loop.kernel",
    _none,
    attributes=("name",),
    traits=(),
    example=_KERNEL,
    doc="A kernel: its block arguments are buffers, `index` sizes and scalars, passed in 8-byte slots of one argument "
    "block: for a buffer its address and then its run-time strides, in order; one thread runs one chunk of the "
    "parallel loops.",
)
function: Declaration = Declaration(
    "loop.function",
    _none,
    attributes=("name",),
    traits=(),
    example=_KERNEL,
    doc="A function private to the kernels of a module (a microkernel, a packing routine); never inlined.",
)
call: Declaration = Declaration(
    "loop.call",
    _none,
    attributes=("callee",),
    traits=(),
    example=_KERNEL,
    doc="Call a loop.function of the same module.",
)
return_: Declaration = Declaration(
    "loop.return", _none, traits=(Trait.TERMINATOR,), example=_KERNEL, doc="Ends a kernel or function."
)
yield_: Declaration = Declaration(
    "loop.yield",
    _none,
    traits=(Trait.TERMINATOR,),
    example=_KERNEL,
    doc="Ends a loop or if body; the operands are carried or become results.",
)
parallel: Declaration = Declaration(
    "loop.parallel",
    _none,
    traits=(),
    example=_KERNEL,
    doc="operands lo, hi; for each index in [lo, hi), in any order, divided among the chunks of the launch. "
    "Only at the top level of a kernel. Body argument: the index.",
)
for_: Declaration = Declaration(
    "loop.for",
    lambda attributes, lo, hi, step, *carried: tuple(carried),
    traits=(),
    example=_KERNEL,
    doc="operands lo, hi, step, initial values; sequential; body arguments: the index and the carried values.",
)
if_: Declaration = Declaration(
    "loop.if",
    lambda attributes, condition: attributes.types,
    attributes=("types",),
    traits=(),
    example=_KERNEL,
    doc="operand: a scalar i1; two regions that yield values of `types`.",
)
load: Declaration = Declaration(
    "loop.load",
    _loaded,
    attributes=("lanes", "aligned"),
    defaults={"lanes": 1, "aligned": False},
    traits=(),
    example=example("buffer<f32, [?, 1]>", "index", "index", lanes=4),
    doc="buffer, indices. lanes > 1: that many consecutive elements along the last index, whose stride must be 1; "
    "`aligned` promises an address divisible by the vector's size.",
)
masked_load: Declaration = Declaration(
    "loop.masked_load",
    _loaded,
    attributes=("lanes",),
    traits=(),
    example=example("buffer<f32, [1]>", "index", "vector<4xi1>", "vector<4xf32>", lanes=4),
    doc="buffer, indices, mask, other: lanes whose mask is false are not touched and read `other` (two last operands)",
)
store: Declaration = Declaration(
    "loop.store",
    _none,
    attributes=("aligned", "streaming"),
    defaults={"aligned": False, "streaming": False},
    traits=(),
    example=example("vector<4xf32>", "buffer<f32, [?, 1]>", "index", "index"),
    doc="value, buffer, indices. A vector goes to consecutive elements along the last index (stride 1).",
)
masked_store: Declaration = Declaration(
    "loop.masked_store",
    _none,
    traits=(),
    example=example("vector<4xf32>", "vector<4xi1>", "buffer<f32, [1]>", "index"),
    doc="value, mask, buffer, indices: lanes whose mask is false are not written",
)
strided_load: Declaration = Declaration(
    "loop.strided_load",
    _loaded,
    attributes=("lanes",),
    traits=(),
    example=example("buffer<f32, [?]>", "index", "vector<4xi1>", lanes=4),
    doc="buffer, indices, mask: lane i reads the last index + i, whatever that stride is; masked-off lanes are 0",
)
strided_store: Declaration = Declaration(
    "loop.strided_store",
    _none,
    traits=(),
    example=example("vector<4xf32>", "vector<4xi1>", "buffer<f32, [?]>", "index"),
    doc="value, mask, buffer, indices: lane i goes to the last index + i, whatever that stride is (a scatter)",
)
gather_load: Declaration = Declaration(
    "loop.gather_load",
    lambda attributes, buffer, index, mask: VectorType(buffer.dtype, index.lanes),
    traits=(),
    example=example("buffer<f32, [1]>", "vector<4xi64>", "vector<4xi1>"),
    doc="rank-1 buffer of stride 1, vector of i32 or i64 element positions, mask: lane i reads position index[i]; "
    "masked-off lanes are 0",
)
offset: Declaration = Declaration(
    "loop.offset",
    lambda attributes, buffer, *indices: buffer,
    traits=(Trait.PURE,),
    example=example("buffer<f32, [?, 1]>", "index", "index"),
    doc="buffer, indices: the same buffer type starting at that element",
)
flatten: Declaration = Declaration(
    "loop.flatten",
    lambda attributes, buffer: BufferType(buffer.dtype, (1,)),
    traits=(Trait.PURE,),
    example=example("buffer<f32, [?, 1]>"),
    doc="the memory of a buffer from its first element, as a rank-1 buffer of stride 1",
)
local: Declaration = Declaration(
    "loop.local",
    lambda attributes: BufferType(attributes.dtype, (1,)),
    attributes=("dtype", "size"),
    traits=(),
    example=example(dtype=dtypes.float32, size=64),
    doc="`size` elements of scratch memory of this thread, 64-byte aligned; one allocation per call, not per iteration",
)
broadcast: Declaration = Declaration(
    "loop.broadcast",
    lambda attributes, x: VectorType(x.dtype, attributes.lanes),
    attributes=("lanes",),
    traits=(Trait.PURE,),
    example=example("f32", lanes=4),
    doc="a scalar in every lane",
)
lane_ids: Declaration = Declaration(
    "loop.lane_ids",
    lambda attributes: VectorType(attributes.dtype, attributes.lanes),
    attributes=("lanes", "dtype"),
    traits=(Trait.PURE,),
    example=example(lanes=4, dtype=dtypes.int64),
    doc="0, 1, 2, ... as a vector",
)
extract: Declaration = Declaration(
    "loop.extract",
    lambda attributes, x: ScalarType(x.dtype),
    attributes=("lane",),
    traits=(Trait.PURE,),
    example=example("vector<4xf32>", lane=0),
    doc="one lane of a vector",
)
shuffle: Declaration = Declaration(
    "loop.shuffle",
    lambda attributes, a, b: VectorType(a.dtype, len(attributes.lanes)),
    attributes=("lanes",),
    traits=(Trait.PURE,),
    example=example("vector<4xf32>", "vector<4xf32>", lanes=(0, 4, 1, 5)),
    doc="lanes chosen by number out of a (0 ..) and b (following)",
)
mask: Declaration = Declaration(
    "loop.mask",
    lambda attributes, remaining: VectorType(dtypes.bool_, attributes.lanes),
    attributes=("lanes",),
    traits=(Trait.PURE,),
    example=example("index", lanes=4),
    doc="lane < remaining (an index)",
)
any_: Declaration = Declaration(
    "loop.any",
    lambda attributes, flags: ScalarType(dtypes.bool_),
    traits=(Trait.PURE,),
    doc="whether a vector of i1 is true in some lane, as a scalar",
)
prefetch: Declaration = Declaration(
    "loop.prefetch",
    _none,
    attributes=("write",),
    defaults={"write": False},
    traits=(),
    example=example("buffer<f32, [1]>", "index"),
    doc="buffer, indices: a hint",
)
fail: Declaration = Declaration(
    "loop.fail",
    _none,
    traits=(),
    example=example("buffer<i64, [1]>", "i64", "i64", "i64"),
    doc="status buffer<i64, [1]>, code, detail, extent: store these three numbers there if the first is still 0 "
    "(an index out of range, say); the program stops after this kernel and the runtime raises",
)
chunk_id: Declaration = Declaration(
    "loop.chunk_id", lambda attributes: INDEX, traits=(), example=example(), doc="the number of this chunk of the launch"
)


def is_control(operation: Any) -> bool:
    """Whether the operation carries loop or branch structure."""
    return bool(operation.regions)
