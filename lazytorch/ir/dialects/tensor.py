"""`tensor`: shape, creation, reduction, contraction, gather and scatter. Value semantics: nothing here mutates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir import accumulation
from lazytorch.ir.attribute_checks import distinct_dimensions, element_type, number_of, permutation, sizes
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example, leading
from lazytorch.ir.dialects import arith
from lazytorch.ir.dialects.indirect import gather as gather
from lazytorch.ir.dialects.indirect import scatter as scatter
from lazytorch.ir.dialects.indirect import scatter_add as scatter_add
from lazytorch.ir.types import TensorType

VIEW = (Trait.PURE, Trait.VIEW, Trait.LINEAR, Trait.ADDITIVE)


def _after(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Dimension numbers behind one more leading dimension."""
    return tuple([dim + 1 for dim in dims])


# -- views: a reader applies them as an index map, nothing is copied ---------------------------------------------------


def _infer_reshape(attributes: Attributes, x: TensorType) -> TensorType:
    if math.prod(sizes("tensor.reshape", attributes.shape)) != x.numel:
        raise RuntimeError(f"shape '{list(attributes.shape)}' is invalid for input of size {x.numel}")
    return TensorType(x.dtype, attributes.shape)


reshape: Declaration = Declaration(
    "tensor.reshape",
    _infer_reshape,
    attributes=("shape",),
    traits=VIEW,
    vjp=(lambda op, g: reshape(g, shape=op.operands[0].type.shape),),
    batch=leading(lambda a, size: {"shape": (size, *a.shape)}),
    reference=lambda attributes, x: np.reshape(x, attributes.shape),
    gradient_name="View",
    example=example("tensor<2x3xf32>", shape=(3, 2)),
    doc="the same elements in row-major order in another shape",
)


def inverse_order(order: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `order`."""
    out = [0] * len(order)
    for position, dimension in enumerate(order):
        out[dimension] = position
    return tuple(out)


permute: Declaration = Declaration(
    "tensor.permute",
    lambda attributes, x: TensorType(
        x.dtype, tuple([x.shape[d] for d in permutation("tensor.permute", attributes.order, x.rank)])
    ),
    attributes=("order",),
    traits=VIEW,
    vjp=(lambda op, g: permute(g, order=inverse_order(op.attributes.order)),),
    batch=leading(lambda a, size: {"order": (0, *_after(a.order))}),
    reference=lambda attributes, x: np.transpose(x, attributes.order),
    gradient_name="Permute",
    example=example("tensor<2x3xf32>", order=(1, 0)),
    doc="result dimension i is operand dimension order[i]",
)


def _infer_expand(attributes: Attributes, x: TensorType) -> TensorType:
    if arith.broadcast_shapes(x.shape, attributes.shape) != attributes.shape:
        raise RuntimeError(f"tensor.expand: {x} does not broadcast to {list(attributes.shape)}")
    return TensorType(x.dtype, attributes.shape)


expand: Declaration = Declaration(
    "tensor.expand",
    _infer_expand,
    attributes=("shape",),
    traits=VIEW,
    vjp=(lambda op, g: sum_to(g, op.operands[0].type.shape),),
    batch=lambda op: op.again(op.aligned(len(op.attributes.shape)), shape=(op.size, *op.attributes.shape)),
    reference=lambda attributes, x: np.broadcast_to(x, attributes.shape),
    gradient_name="Expand",
    example=example("tensor<3xf32>", shape=(2, 3)),
    doc="broadcast as in NumPy",
)


def _infer_slice(attributes: Attributes, x: TensorType) -> TensorType:
    for start, size, step, extent in zip(attributes.starts, attributes.sizes, attributes.steps, x.shape, strict=True):
        if start < 0 or size < 0 or step < 1 or (size and start + (size - 1) * step >= extent):
            raise IndexError(f"tensor.slice: {start}:+{size}:{step} is out of bounds for a dimension of size {extent}")
    return TensorType(x.dtype, attributes.sizes)


def _window(attributes: Attributes) -> tuple[slice, ...]:
    """The NumPy index of a slice operation."""
    triples = zip(attributes.starts, attributes.sizes, attributes.steps, strict=True)
    return tuple([slice(start, start + (size - 1) * step + 1 if size else start, step) for start, size, step in triples])


def _slice_vjp(op: Any, g: Any) -> Any:
    a = op.attributes
    high = []
    for start, size, step, extent in zip(a.starts, a.sizes, a.steps, op.operands[0].type.shape, strict=True):
        high.append(extent - start - ((size - 1) * step + 1 if size else 0))
    return pad(g, low=a.starts, high=tuple(high), interior=tuple([step - 1 for step in a.steps]), value=0.0)


slice_: Declaration = Declaration(
    "tensor.slice",
    _infer_slice,
    attributes=("starts", "sizes", "steps"),
    traits=VIEW,
    vjp=(_slice_vjp,),
    batch=leading(lambda a, size: {"starts": (0, *a.starts), "sizes": (size, *a.sizes), "steps": (1, *a.steps)}),
    reference=lambda attributes, x: x[_window(attributes)],
    gradient_name="Slice",
    example=example("tensor<5x3xf32>", starts=(1, 0), sizes=(2, 3), steps=(2, 1)),
    doc="per dimension, `size` elements from `start` in steps of `step`",
)


def _infer_flip(attributes: Attributes, x: TensorType) -> TensorType:
    distinct_dimensions("tensor.flip", attributes.dims, x.rank)
    return x


flip: Declaration = Declaration(
    "tensor.flip",
    _infer_flip,
    attributes=("dims",),
    traits=VIEW,
    vjp=(lambda op, g: flip(g, dims=op.attributes.dims),),
    batch=leading(lambda a, size: {"dims": _after(a.dims)}),
    reference=lambda attributes, x: np.flip(x, attributes.dims),
    gradient_name="Flip",
    example=example("tensor<2x3xf32>", dims=(1,)),
    doc="reverse the given dimensions",
)
alias: Declaration = Declaration(
    "tensor.alias",
    lambda attributes, x: x,
    traits=VIEW,
    vjp=(lambda op, g: g,),
    batch=leading(),
    reference=lambda attributes, x: x,
    gradient_name="Alias",
    doc="the same value under another name",
)
detach: Declaration = Declaration(
    "tensor.detach",
    lambda attributes, x: x,
    traits=(Trait.PURE, Trait.VIEW, Trait.LINEAR),
    vjp=(None,),
    batch=leading(),
    reference=lambda attributes, x: x,
    doc="the same value, through which no gradient flows",
)


overwrite: Declaration = Declaration(
    "tensor.overwrite",
    lambda attributes, old, new: new,
    traits=(Trait.PURE, Trait.COMPOSITE, Trait.LINEAR),
    vjp=(lambda op, g: g, None),
    batch=leading(),
    reference=lambda attributes, old, new: new,
    decompose=lambda op: op.operands[1],
    gradient_name="Alias",
    doc="the second value with the history of the first: what a write through `detach()` leaves behind",
)
forget: Declaration = Declaration(
    "tensor.forget",
    lambda attributes, old, new: new,
    traits=(Trait.PURE, Trait.COMPOSITE),
    vjp=(lambda op, g: arith.constant.build(g.builder, value=0.0, type=op.operands[0].type), lambda op, g: g),
    batch=leading(),
    reference=lambda attributes, old, new: new,
    decompose=lambda op: op.operands[1],
    gradient_name="Fill2",
    doc="the second value, on which the first has no influence: what a write of constants leaves behind in a history",
)

# -- building larger tensors ------------------------------------------------------------


def _infer_pad(attributes: Attributes, x: TensorType) -> TensorType:
    number_of("tensor.pad", attributes.value, x.dtype)
    shape = []
    for low, high, interior, size in zip(attributes.low, attributes.high, attributes.interior, x.shape, strict=True):
        extent = low + high + size + max(size - 1, 0) * interior
        if interior < 0 or low < 0 or high < 0:
            raise RuntimeError(f"tensor.pad: negative padding ({low}, {high}) of a dimension of size {size}")
        shape.append(extent)
    return TensorType(x.dtype, tuple(shape))


def padded_place(attributes: Any, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Where the operand of a pad lies in its result, as a NumPy index."""
    place = []
    for low, interior, size in zip(attributes.low, attributes.interior, shape, strict=True):
        step = interior + 1
        place.append(slice(low, low + (size - 1) * step + 1 if size else low, step))
    return tuple(place)


def _reference_pad(attributes: Attributes, x: np.ndarray) -> np.ndarray:
    shape = _infer_pad(attributes, TensorType(dtypes.of_numpy(x.dtype), x.shape)).shape
    out = np.full(shape, attributes.value, x.dtype)
    out[padded_place(attributes, x.shape)] = x
    return out


pad: Declaration = Declaration(
    "tensor.pad",
    _infer_pad,
    attributes=("low", "high", "interior", "value"),
    traits=(Trait.PURE, Trait.LINEAR),
    vjp=(
        lambda op, g: slice_(
            g,
            starts=op.attributes.low,
            sizes=op.operands[0].type.shape,
            steps=tuple([interior + 1 for interior in op.attributes.interior]),
        ),
    ),
    batch=leading(lambda a, size: {"low": (0, *a.low), "high": (0, *a.high), "interior": (0, *a.interior)}),
    reference=_reference_pad,
    gradient_name="ConstantPadNd",
    example=example("tensor<2x3xf32>", low=(1, 0), high=(0, 2), interior=(0, 1), value=0.0),
    doc="surround with `value`: low and high elements per dimension, `interior` between neighbours (as XLA's pad)",
)


def _infer_concat(attributes: Attributes, *types: TensorType) -> TensorType:
    first = types[0]
    (dim,) = distinct_dimensions("tensor.concat", (attributes.dim,), first.rank)
    total = 0
    for position, type in enumerate(types):
        if type.dtype is not first.dtype:
            raise RuntimeError(f"tensor.concat: expected one dtype but got {first.dtype} and {type.dtype}")
        if type.rank != first.rank:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {first.rank} and {type.rank}")
        for d, (a, b) in enumerate(zip(first.shape, type.shape, strict=True)):
            if d != dim and a != b:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. "
                    f"Expected size {a} but got size {b} for tensor number {position} in the list."
                )
        total += type.shape[dim]
    return TensorType(first.dtype, (*first.shape[:dim], total, *first.shape[dim + 1 :]))


def _concat_vjp(op: Any, g: Any) -> tuple[Any, ...]:
    out, at, rank, dim = [], 0, g.type.rank, op.attributes.dim
    for operand in op.operands:
        starts = tuple([at if d == dim else 0 for d in range(rank)])
        out.append(slice_(g, starts=starts, sizes=operand.type.shape, steps=(1,) * rank))
        at += operand.type.shape[dim]
    return tuple(out)


concat: Declaration = Declaration(
    "tensor.concat",
    _infer_concat,
    attributes=("dim",),
    traits=(Trait.PURE, Trait.LINEAR, Trait.ADDITIVE),
    vjp=_concat_vjp,
    batch=leading(lambda a, size: {"dim": a.dim + 1}),
    reference=lambda attributes, *arrays: np.concatenate(arrays, attributes.dim),
    gradient_name="Cat",
    example=example("tensor<2x3xf32>", "tensor<2x1xf32>", dim=1),
    doc="one after another along `dim`",
)


def _infer_insert(attributes: Attributes, base: TensorType, value: TensorType) -> TensorType:
    _infer_slice(Attributes({**attributes.as_dict(), "sizes": value.shape}), base)
    if base.dtype is not value.dtype:
        raise RuntimeError(f"tensor.insert_slice: dtypes {base.dtype} and {value.dtype} differ")
    return base


def _reference_insert(attributes: Attributes, base: np.ndarray, value: np.ndarray) -> np.ndarray:
    out = np.array(base)
    out[_window(Attributes({**attributes.as_dict(), "sizes": value.shape}))] = value
    return out


def _insert_base_vjp(op: Any, g: Any) -> Any:
    value = op.operands[1]
    zeros = arith.constant.build(g.builder, value=0.0, type=value.type)
    return insert_slice(g, zeros, starts=op.attributes.starts, steps=op.attributes.steps)


insert_slice: Declaration = Declaration(
    "tensor.insert_slice",
    _infer_insert,
    attributes=("starts", "steps"),
    traits=(Trait.PURE, Trait.ADDITIVE),
    vjp=(
        _insert_base_vjp,
        lambda op, g: slice_(g, starts=op.attributes.starts, sizes=op.operands[1].type.shape, steps=op.attributes.steps),
    ),
    batch=leading(lambda a, size: {"starts": (0, *a.starts), "steps": (1, *a.steps)}),
    reference=_reference_insert,
    gradient_name="CopySlices",
    example=example("tensor<5x3xf32>", "tensor<2x3xf32>", starts=(1, 0), steps=(2, 1)),
    doc="the base with a slice replaced by a value: what writing through a view means",
)
iota: Declaration = Declaration(
    "tensor.iota",
    lambda attributes: TensorType(element_type("tensor.iota", attributes.dtype), sizes("tensor.iota", (attributes.size,))),
    attributes=("size", "dtype"),
    reference=lambda attributes: np.arange(attributes.size).astype(attributes.dtype.numpy),
    example=example(size=5, dtype=dtypes.int64),
    doc="0, 1, 2, ... size - 1",
)

# -- reductions ------------------------------------------------------------


def reduced_shape(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the reduced dimensions."""
    distinct_dimensions("tensor.reduce", dims, len(shape))
    return tuple([size for d, size in enumerate(shape) if d not in dims])


def unreduce(x: Any, shape: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    """A reduction's result (or its cotangent) with the reduced dimensions back as size 1, so that it broadcasts."""
    return reshape(x, shape=tuple([1 if d in dims else size for d, size in enumerate(shape)]))


def sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Sum over what was broadcast from `shape`: the adjoint of broadcasting."""
    have = x.type.shape
    extra = len(have) - len(shape)
    dims = tuple([d for d, size in enumerate(have) if d < extra or (shape[d - extra] == 1 and size != 1)])
    if dims:
        x = reduce_sum(x, dims=dims)
    return x if x.type.shape == shape else reshape(x, shape=shape)


def _infer_reduce(attributes: Attributes, x: TensorType) -> TensorType:
    return TensorType(x.dtype, reduced_shape(x.shape, attributes.dims))


def _infer_nonempty_reduce(attributes: Attributes, x: TensorType) -> TensorType:
    if any(x.shape[d] == 0 for d in attributes.dims):
        raise IndexError("max(): Expected reduction dim to have non-zero size.")
    return TensorType(x.dtype, reduced_shape(x.shape, attributes.dims))


def _sum_vjp(op: Any, g: Any) -> Any:
    shape = op.operands[0].type.shape
    return expand(unreduce(g, shape, op.attributes.dims), shape=shape)


def _extreme_vjp(op: Any, g: Any) -> Any:
    """The cotangent, divided evenly among the elements equal to the extreme (torch's amax and amin)."""
    x, dims = op.operands[0], op.attributes.dims
    shape = x.type.shape
    hit = arith.cast(arith.compare(x, unreduce(op.result, shape, dims), predicate="eq"), dtype=x.type.dtype)
    count = reduce_sum(hit, dims=dims)
    return arith.mul(hit, unreduce(arith.div(g, count), shape, dims))


def _prod_vjp(op: Any, g: Any) -> Any:
    """g * result / x; where a factor is 0, the product of the others for it, and 0 for them."""
    x, dims = op.operands[0], op.attributes.dims
    shape, zero = x.type.shape, arith.compare(x, 0.0, predicate="eq")
    zeros = unreduce(reduce_sum(arith.cast(zero, dtype=x.type.dtype), dims=dims), shape, dims)
    others = unreduce(reduce_prod(arith.select(zero, 1.0, x), dims=dims), shape, dims)
    alone = arith.select(arith.compare(zeros, 1.0, predicate="eq"), others, 0.0)
    rest = arith.select(zero, alone, arith.div(unreduce(op.result, shape, dims), x))
    return arith.mul(unreduce(g, shape, dims), rest)


REDUCE = (Trait.PURE, Trait.REDUCTION)
reduce_sum: Declaration = Declaration(
    "tensor.reduce_sum",
    _infer_reduce,
    attributes=("dims",),
    traits=(*REDUCE, Trait.LINEAR, Trait.ADDITIVE),
    vjp=(_sum_vjp,),
    batch=leading(lambda a, size: {"dims": _after(a.dims)}),
    reference=lambda attributes, x: accumulation.reduce(x, attributes.dims, np.add, 0.0),
    gradient_name="Sum",
    example=example("tensor<2x3xf32>", dims=(1,)),
    doc="sum over `dims` (ascending) in the fixed order of docs/architecture.md; the dimensions vanish",
)
reduce_prod: Declaration = Declaration(
    "tensor.reduce_prod",
    _infer_reduce,
    attributes=("dims",),
    traits=REDUCE,
    vjp=(_prod_vjp,),
    batch=leading(lambda a, size: {"dims": _after(a.dims)}),
    reference=lambda attributes, x: accumulation.reduce(x, attributes.dims, np.multiply, 1.0),
    gradient_name="Prod",
    example=example("tensor<2x3xf32>", dims=(1,)),
    doc="product over `dims`",
)
reduce_max: Declaration = Declaration(
    "tensor.reduce_max",
    _infer_nonempty_reduce,
    attributes=("dims",),
    traits=REDUCE,
    vjp=(_extreme_vjp,),
    batch=leading(lambda a, size: {"dims": _after(a.dims)}),
    reference=lambda attributes, x: accumulation.extreme(x, attributes.dims, arith.larger, np.maximum, -np.inf),
    gradient_name="Amax",
    example=example("tensor<2x3xf32>", dims=(1,)),
    doc="largest over `dims`; nan if any is nan; of equal zeros the first in the order in which sums accumulate",
)
reduce_min: Declaration = Declaration(
    "tensor.reduce_min",
    _infer_nonempty_reduce,
    attributes=("dims",),
    traits=REDUCE,
    vjp=(_extreme_vjp,),
    batch=leading(lambda a, size: {"dims": _after(a.dims)}),
    reference=lambda attributes, x: accumulation.extreme(x, attributes.dims, arith.smaller, np.minimum, np.inf),
    gradient_name="Amin",
    example=example("tensor<2x3xf32>", dims=(1,)),
    doc="smallest over `dims`; nan if any is nan; of equal zeros the first in the order in which sums accumulate",
)
reduce_any: Declaration = Declaration(
    "tensor.reduce_any",
    _infer_reduce,
    attributes=("dims",),
    traits=REDUCE,
    batch=leading(lambda a, size: {"dims": _after(a.dims)}),
    reference=lambda attributes, x: np.any(x, attributes.dims),
    example=example("tensor<2x3xi1>", dims=(1,)),
    doc="logical or over `dims` of i1",
)
reduce_all: Declaration = Declaration(
    "tensor.reduce_all",
    _infer_reduce,
    attributes=("dims",),
    traits=REDUCE,
    batch=leading(lambda a, size: {"dims": _after(a.dims)}),
    reference=lambda attributes, x: np.all(x, attributes.dims),
    example=example("tensor<2x3xi1>", dims=(1,)),
    doc="logical and over `dims` of i1",
)


def _infer_argreduce(attributes: Attributes, x: TensorType) -> TensorType:
    if x.shape[attributes.dim] == 0:
        raise IndexError(f"argmax(): Expected reduction dim {attributes.dim} to have non-zero size.")
    return TensorType(dtypes.int64, reduced_shape(x.shape, (attributes.dim,)))


argmax: Declaration = Declaration(
    "tensor.argmax",
    _infer_argreduce,
    attributes=("dim",),
    traits=REDUCE,
    batch=leading(lambda a, size: {"dim": a.dim + 1}),
    reference=lambda attributes, x: np.argmax(x, attributes.dim),
    example=example("tensor<2x3xf32>", dim=1),
    doc="index of the first largest element along `dim` as i64; a nan counts as the largest",
)
argmin: Declaration = Declaration(
    "tensor.argmin",
    _infer_argreduce,
    attributes=("dim",),
    traits=REDUCE,
    batch=leading(lambda a, size: {"dim": a.dim + 1}),
    reference=lambda attributes, x: np.argmin(x, attributes.dim),
    example=example("tensor<2x3xf32>", dim=1),
    doc="index of the first smallest element along `dim` as i64; a nan counts as the smallest",
)

# -- contraction ------------------------------------------------------------


def _infer_contract(attributes: Attributes, lhs: TensorType, rhs: TensorType) -> TensorType:
    if lhs.dtype is not rhs.dtype:
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {lhs.dtype} != {rhs.dtype}")
    sizes: dict[str, int] = {}
    for letters, type in ((attributes.lhs, lhs), (attributes.rhs, rhs)):
        if len(letters) != type.rank or len(set(letters)) != len(letters):
            raise RuntimeError(f"tensor.contract: '{letters}' names {len(letters)} dimensions of {type}")
        for letter, size in zip(letters, type.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({_by(lhs.shape)} and {_by(rhs.shape)})")
    return TensorType(lhs.dtype, tuple([sizes[letter] for letter in attributes.out]))


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _contract_side(op: Any, g: Any, side: int) -> Any:
    """The cotangent of one operand: contract g with the other operand, over the letters this one does not have."""
    a = op.attributes
    mine, other = (a.lhs, a.rhs) if side == 0 else (a.rhs, a.lhs)
    shared = "".join(letter for letter in mine if letter in a.out or letter in other)
    partner = op.operands[1 - side]
    operands, letters = ((g, partner), (a.out, other)) if side == 0 else ((partner, g), (other, a.out))
    out = contract(*operands, lhs=letters[0], rhs=letters[1], out=shared)
    if shared != mine:
        shape = tuple([n if x in shared else 1 for x, n in zip(mine, op.operands[side].type.shape, strict=True)])
        out = expand(reshape(out, shape=shape), shape=op.operands[side].type.shape)
    return out


def _batch_contract(op: Any) -> Any:
    """The batch is one more letter, of the operands that have it."""
    a = op.attributes
    letter = next(chr(code) for code in range(ord("A"), 0x110000) if chr(code) not in a.lhs + a.rhs)
    lhs, rhs = [letter + word if op.batched[i] else word for i, word in enumerate((a.lhs, a.rhs))]
    return op.again(op.operands, lhs=lhs, rhs=rhs, out=letter + a.out)


contract: Declaration = Declaration(
    "tensor.contract",
    _infer_contract,
    attributes=("lhs", "rhs", "out"),
    traits=(Trait.PURE, Trait.CONTRACTION, Trait.EXPENSIVE),
    vjp=(lambda op, g: _contract_side(op, g, 0), lambda op, g: _contract_side(op, g, 1)),
    batch=_batch_contract,
    reference=lambda attributes, lhs, rhs: accumulation.contract(lhs, rhs, (attributes.lhs, attributes.rhs, attributes.out)),
    gradient_name="Mm",
    example=example("tensor<2x3x4xf32>", "tensor<2x4x5xf32>", lhs="bmk", rhs="bkn", out="bmn"),
    doc="general product: one letter per dimension, letters missing in `out` are summed (einsum of two operands)",
)
