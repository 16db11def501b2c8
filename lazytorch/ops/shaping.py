"""Views, and functions that rearrange or join tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lazytorch import dtypes
from lazytorch.codegen.views import reshaped
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.trace import Node
from lazytorch.ops.promotion import promote_types
from lazytorch.ops.recording import (
    FUNCTIONS,
    attach,
    cast,
    dimension,
    emit,
    named,
    place,
    rank_of,
    result,
    torch_function,
    view,
    written,
    wrong_argument,
)
from lazytorch.tensor import Tensor, value


def sizes_of(arguments: Sequence[Any]) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` alike."""
    if len(arguments) == 1 and isinstance(arguments[0], list | tuple):
        arguments = arguments[0]
    try:
        return tuple([operator.index(size) for size in arguments])
    except TypeError:
        wrong = next(size for size in arguments if not hasattr(size, "__index__"))
        raise wrong_argument("size", "tuple of ints", wrong) from None


def _resolved(shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """The shape with -1 worked out."""
    if shape.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if -1 in shape:
        known = 1
        for size in shape:
            known *= size if size != -1 else 1
        if known == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size "
                "-1 can be any value and is ambiguous"
            )
        if numel % known:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
        shape = tuple([numel // known if size == -1 else size for size in shape])
    count = 1
    for size in shape:
        count *= size
    if count != numel:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
    return shape


def _view_method(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """The same storage in another shape. Raises RuntimeError where strides cannot express it."""
    want = _resolved(sizes_of(shape), self._node.type.numel)
    if self._base is not None and reshaped(self._access(), want) is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return view(self, tensor.reshape.operator("View", shape=want))


attach("view", _view_method)


@torch_function("reshape", method=False)
def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """Another shape: a view where possible, else a copy."""
    want = _resolved(tuple([int(n) for n in shape]), input._node.type.numel)
    if input._base is not None and reshaped(input._access(), want) is None:
        place()
        return result(emit(tensor.reshape, value(input), label="UnsafeView", shape=want))
    return view(input, tensor.reshape.operator("View", shape=want))


def _reshape_method(self: Tensor, *shape: Any) -> Tensor:
    return reshape(self, sizes_of(shape))


def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    return reshape(self, other.shape)


attach("reshape", _reshape_method)
attach("reshape_as", _reshape_as)


@torch_function("flatten", out=False)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim as one."""
    shape = input._node.type.shape
    if not shape:
        return reshape(input, (1,))
    first, last = dimension(start_dim, len(shape)), dimension(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if first == last:
        return input
    return reshape(input, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


@torch_function("ravel", out=False)
def ravel(input: Tensor) -> Tensor:
    """One dimension."""
    return reshape(input, (-1,))


@torch_function("unflatten", out=False)
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several."""
    shape = input._node.type.shape
    d = dimension(dim, len(shape))
    return reshape(input, (*shape[:d], *_resolved(tuple(sizes), shape[d]), *shape[d + 1 :]))


@torch_function("permute", out=False, method=False)
def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Reorder the dimensions."""
    rank = len(input._node.type.shape)
    if len(dims) != rank:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {rank} is not equal to len(dims) = {len(dims)}"
        )
    order = tuple([dimension(int(d), rank) for d in dims])
    if len(set(order)) != rank:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return view(input, tensor.permute.operator(order=order))


def _permute_method(self: Tensor, *dims: Any) -> Tensor:
    return permute(self, sizes_of(dims))


attach("permute", _permute_method)


def _swapped(rank: int, a: int, b: int) -> tuple[int, ...]:
    order = list(range(rank))
    if rank:
        order[a], order[b] = order[b], order[a]
    return tuple(order)


@torch_function("transpose", "swapaxes", "swapdims", out=False)
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Exchange two dimensions."""
    rank = len(input._node.type.shape)
    order = _swapped(rank, dimension(dim0, rank), dimension(dim1, rank))
    return view(input, tensor.permute.operator("Transpose", order=order))


@torch_function("t", out=False)
def t(input: Tensor) -> Tensor:
    """Exchange the dimensions of a matrix."""
    rank = len(input._node.type.shape)
    if rank > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {rank}D")
    return view(input, tensor.permute.operator("T", order=tuple(reversed(range(rank)))))


def _reversed(self: Tensor) -> Tensor:
    rank = len(self._node.type.shape)
    return view(self, tensor.permute.operator("Permute", order=tuple(reversed(range(rank)))))


def _last_two(self: Tensor) -> Tensor:
    return transpose(self, -2, -1)


attach("T", property(_reversed))
attach("mT", property(_last_two))


@torch_function("movedim", "moveaxis", out=False)
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Move dimensions to new places; the others keep their order."""
    rank = len(input._node.type.shape)
    if not rank:
        return view(input, tensor.alias.operator())
    given = [[x] if isinstance(x, int) else list(x) for x in (source, destination)]
    if len(given[0]) != len(given[1]):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({given[0]} dims) should contain the same number of dims "
            f"as destination ({given[1]} dims)"
        )
    sources, places = ([dimension(d, rank) for d in dims] for dims in given)
    for name, dims, shown in (("source", sources, given[0]), ("destination", places, given[1])):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({shown})")
    order = [-1] * rank
    for s, d in zip(sources, places, strict=True):
        order[d] = s
    rest = iter([d for d in range(rank) if d not in sources])
    return permute(input, [next(rest) if d < 0 else d for d in order])


@torch_function("unsqueeze", inplace=False, out=False)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new dimension of size 1."""
    shape = input._node.type.shape
    d = dimension(dim, len(shape) + 1)
    return view(input, tensor.reshape.operator("Unsqueeze", shape=(*shape[:d], 1, *shape[d:])))


@torch_function("squeeze", out=False)
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without dimensions of size 1 (or only the given ones)."""
    shape = input._node.type.shape
    if dim is None:
        kept = tuple([n for n in shape if n != 1])
    else:
        chosen = {dimension(d, len(shape)) for d in ([dim] if isinstance(dim, int) else dim)}
        kept = tuple([n for d, n in enumerate(shape) if d not in chosen or n != 1])
    return view(input, tensor.reshape.operator("Squeeze0" if dim is None else "Squeeze1", shape=kept))


def _expand(self: Tensor, *sizes: Any) -> Tensor:
    """Broadcast to larger sizes without copying; -1 keeps a size."""
    want = list(sizes_of(sizes))
    shape = self._node.type.shape
    extra = len(want) - len(shape)
    if extra < 0:
        raise RuntimeError(
            f"expand({self.type()}{{{list(shape)}}}, size={want}): the number of sizes provided ({len(want)}) must be "
            f"greater or equal to the number of dimensions in the tensor ({len(shape)})"
        )
    for d, size in enumerate(shape):
        if want[extra + d] == -1:
            want[extra + d] = size
        elif size not in (1, want[extra + d]):
            raise RuntimeError(
                f"The expanded size of the tensor ({want[extra + d]}) must match the existing size ({size}) at "
                f"non-singleton dimension {extra + d}.  Target sizes: {want}.  Tensor sizes: {list(shape)}"
            )
    return view(self, tensor.expand.operator(shape=tuple(want)))


attach("expand", _expand)


def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    return _expand(self, other.shape)


attach("expand_as", _expand_as)


@torch_function("broadcast_to", out=False)
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """Broadcast to a shape."""
    return _expand(input, tuple(size))


@torch_function("narrow", out=False)
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` elements from `start` along a dimension."""
    if not input._node.type.shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    d = dimension(dim, len(input._node.type.shape))
    if isinstance(start, Tensor):
        if start.shape or start.dtype.kind not in "ui":
            raise RuntimeError("start must be an 0-dim integral Tensor.")
        start = int(start)
    size = input._node.type.shape[d]
    if not -size <= start <= size:
        raise IndexError(f"start out of range (expected to be in range of [{-size}, {size}], but got {start})")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    return sliced(input, d, int(start), int(length), 1, "Slice")


def sliced(input: Tensor, d: int, start: int, size: int, step: int, label: str) -> Tensor:
    """A slice along one dimension."""
    shape = input._node.type.shape
    if start < 0:
        start += shape[d]
    if start < 0 or size < 0 or (start + size > shape[d] and step == 1):
        raise RuntimeError(f"start ({start}) + length ({size}) exceeds dimension size ({shape[d]}).")
    return view(input, _slice(shape, d, start, size, step, label))


@lru_cache(4096)
def _slice(shape: tuple[int, ...], d: int, start: int, size: int, step: int, label: str) -> Operator:
    return tensor.slice_.operator(
        label,
        starts=tuple([start if i == d else 0 for i in range(len(shape))]),
        sizes=tuple([size if i == d else n for i, n in enumerate(shape)]),
        steps=tuple([step if i == d else 1 for i in range(len(shape))]),
    )


@torch_function("split", out=False)
def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of a size, or of given sizes, along a dimension."""
    shape = input._node.type.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    d = dimension(dim, len(shape))
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step < 0:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
        if step == 0 and shape[d]:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {shape[d]}")
        pieces = [min(step, shape[d] - at) for at in range(0, shape[d], step or 1)] or [0]
    else:
        pieces = [int(n) for n in split_size_or_sections]
        if min(pieces, default=0) < 0:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={pieces}"
            )
        if sum(pieces) != shape[d]:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {shape[d]} (input tensor's size at dimension "
                f"{d}), but got split_sizes={pieces}"
            )
    out, at = [], 0
    for size in pieces:
        out.append(sliced(input, d, at, size, 1, "Split"))
        at += size
    return tuple(out)


@torch_function("chunk", out=False)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """About `chunks` pieces of equal size."""
    shape = input._node.type.shape
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    d = dimension(dim, len(shape))
    if not shape[d]:
        return (sliced(input, d, 0, 0, 1, "Split"),) * chunks
    return split(input, -(-shape[d] // chunks), d)


@torch_function("select", out=False)
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One element along a dimension, which vanishes."""
    shape = input._node.type.shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = dimension(dim, len(shape))
    at = int(index)
    if not -shape[d] <= at < shape[d]:
        raise IndexError(f"select(): index {at} out of range for tensor of size {list(shape)} at dimension {d}")
    return _one(input, d, at % shape[d], "Select")


def _one(input: Tensor, d: int, at: int, label: str) -> Tensor:
    shape = input._node.type.shape
    piece = sliced(input, d, at, 1, 1, label)
    return view(piece, tensor.reshape.operator(label, shape=(*shape[:d], *shape[d + 1 :])))


@torch_function("unbind", out=False)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Every element along a dimension."""
    if not input._node.type.shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    d = dimension(dim, len(input._node.type.shape))
    return tuple([_one(input, d, i, "Unbind") for i in range(input._node.type.shape[d])])


def _iterate(self: Tensor) -> Any:
    if not self._node.type.shape:
        raise TypeError("iteration over a 0-d tensor")
    return iter(unbind(self, 0))


attach("__iter__", _iterate)


def _nodes_of(tensors: Sequence[Any]) -> list[Node]:
    """The nodes of a sequence of tensors. Raises torch's TypeError where something else is among them."""
    for position, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(f"expected Tensor as element {position} in argument 0, but got {type(x).__name__}")
    return [value(x) for x in tensors]


@torch_function("cat", "concat", "concatenate", method=False, out=False)
def cat(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None, **other: Any) -> Tensor:
    """Join along a dimension."""
    dim = other.get("axis", dim)
    if not len(tensors):
        raise ValueError("expected a non-empty list of Tensors")
    place()
    nodes = _nodes_of(tensors)
    kept = [node for node in nodes if node.type.shape != (0,)] or nodes[:1]
    dtype = nodes[0].type.dtype
    for node in nodes:
        dtype = promote_types(dtype, node.type.dtype)
    if not kept[0].type.shape:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    if not isinstance(dim, int):
        raise wrong_argument("dim", "int", dim, at=2)
    d = dimension(dim, len(kept[0].type.shape))
    # A vector of no elements fits everywhere; one with a history gets its gradient.
    none = tuple([0 if i == d else size for i, size in enumerate(kept[0].type.shape)])
    fresh = [node for node in nodes if node.history is not None and not any(node is other for other in kept)]
    kept += [emit(tensor.reshape, node, shape=none) for node in fresh]
    return _joined_into(result(emit(tensor.concat, *[cast(node, dtype) for node in kept], dim=d)), out)


def _joined_into(joined: Tensor, out: Tensor | None) -> Tensor:
    if out is None:
        return joined
    if rank_of(joined.dtype) > rank_of(out.dtype):
        raise TypeError(f"torch.cat(): input types can't be cast to the desired output type {out.dtype.title}")
    return written(joined, out, "cat")


@torch_function("stack", method=False, out=False)
def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """Join along a new dimension."""
    if not len(tensors):
        raise RuntimeError("stack expects a non-empty TensorList")
    place()
    nodes = _nodes_of(tensors)
    shape = nodes[0].type.shape
    for position, node in enumerate(nodes):
        if node.type.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(node.type.shape)} at entry {position}"
            )
    dtype = nodes[0].type.dtype
    for node in nodes:
        dtype = promote_types(dtype, node.type.dtype)
    d = dimension(dim, len(shape) + 1)
    wide = [emit(tensor.reshape, cast(node, dtype), shape=(*shape[:d], 1, *shape[d:])) for node in nodes]
    return _joined_into(result(emit(tensor.concat, *wide, label="Stack", dim=d)), out)


@torch_function("flip", out=False, method=False)
def flip(input: Tensor, dims: Sequence[int]) -> Tensor:
    """A copy with dimensions reversed."""
    rank = len(input._node.type.shape)
    chosen = tuple(sorted(dimension(d, rank) for d in dims)) if rank else ()
    place()
    return result(emit(tensor.flip, value(input), dims=chosen))


def _flip_method(self: Tensor, *dims: Any, **keywords: Any) -> Tensor:
    return flip(self, sizes_of(dims), **keywords) if dims else flip(self, **keywords)


attach("flip", _flip_method)


@torch_function("roll", out=False)
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Move elements along dimensions; what leaves at the end comes in at the start."""
    if dims is None or (dims in ((), []) and isinstance(shifts, int)):
        return reshape(roll(ravel(input), shifts, 0), input.shape)
    shifts = [shifts] if isinstance(shifts, int) else list(shifts)
    dims = [dims] if isinstance(dims, int) else list(dims)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    out = input
    for shift, dim in zip(shifts, dims, strict=True):
        size = out.shape[dim]
        at = (-shift) % size if size else 0
        if at:
            out = cat([narrow(out, dim, at, size - at), narrow(out, dim, 0, at)], dim)
    return named(out, "Roll")


def _repeat(self: Tensor, *sizes: Any) -> Tensor:
    """A copy with the tensor repeated along each dimension."""
    times = sizes_of(sizes)
    if len(times) < len(self._node.type.shape):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    shape = (1,) * (len(times) - len(self._node.type.shape)) + self._node.type.shape
    place()
    pairs = tuple([n for size in shape for n in (1, size)])
    wide = tuple([n for count, size in zip(times, shape, strict=True) for n in (count, size)])
    node = emit(tensor.expand, emit(tensor.reshape, value(self), shape=pairs), shape=wide)
    flat = tuple([count * size for count, size in zip(times, shape, strict=True)])
    return result(emit(tensor.reshape, node, label="Repeat", shape=flat))


attach("repeat", _repeat)


@torch_function("contiguous", out=False)
def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """Itself if the elements lie in order, else a copy."""
    return input if input.is_contiguous() else FUNCTIONS["clone"](input, memory_format="torch.contiguous_format")


def _triangle(name: str, predicate: str) -> None:
    def function(input: Tensor, diagonal: int = 0) -> Tensor:
        shape = input._node.type.shape
        if len(shape) < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        rows, columns = shape[-2], shape[-1]
        place()
        x = value(input)
        row = positions(x, rows, dtypes.int64)
        column = positions(x, columns, dtypes.int64)
        limit = arith.add(tensor.reshape(row, shape=(rows, 1)), int(diagonal))
        keep = arith.compare(column, limit, predicate=predicate)
        zero = 0.0 if x.type.dtype.kind == "f" else (x.type.dtype.kind == "b" and False) or 0
        return result(emit(arith.select, keep, x, x.builder.constant(zero, x), label=name.title()))

    function.__name__ = name
    function.__doc__ = f"The part of matrices {'below' if name == 'tril' else 'above'} a diagonal; the rest is 0."
    torch_function(name, inplace=True, out="same")(function)


_triangle("tril", "le")
_triangle("triu", "ge")


def _size(self: Tensor, dim: int | None = None) -> Any:
    if dim is None:
        return self.shape
    if not self._node.type.shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return self.shape[dimension(dim, len(self.shape))]


def _rank(self: Tensor) -> int:
    return len(self._node.type.shape)


def _numel(self: Tensor) -> int:
    return int(self._node.type.numel)


attach("size", _size)
attach("dim", _rank)
attach("ndim", property(_rank))
attach("numel", _numel)
attach("nelement", _numel)
