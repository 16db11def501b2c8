"""Reading and writing by index: ints, slices, None, ..., masks and index tensors."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.indirect import inside, refuse, wrapped
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.trace import Node
from lazytorch.ops.recording import (
    FUNCTIONS,
    attach,
    beside,
    cast,
    dimension,
    emit,
    named,
    node_of,
    on_device,
    place,
    result,
    torch_function,
    view,
)
from lazytorch.ops.shaping import reshape, select, sliced, unsqueeze
from lazytorch.tensor import Tensor, assign, from_array, value

NUMBER = (int, np.integer)
Bounds = tuple[tuple[int, int], ...]


def _items(key: Any, rank: int) -> list[Any]:
    """The index as a list with `...` filled in."""
    items = list(key) if isinstance(key, tuple) else [key]
    used = sum(x.ndim if _is_mask(x) else 1 for x in items if x is not None and x is not Ellipsis and not _is_truth(x))
    if used > rank:
        if not rank:
            if any(isinstance(x, slice) for x in items):
                raise IndexError("slice() cannot be applied to a 0-dim tensor.")
            if isinstance(items[0], int) and items[0]:
                raise IndexError(f"index {items[0]} is out of bounds for dimension 0 with size 0")
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a "
                "0-dim tensor to a number"
            )
        raise IndexError(f"too many indices for tensor of dimension {rank}")
    dots = [i for i, x in enumerate(items) if x is Ellipsis]
    fill = [slice(None)] * (rank - used)
    if dots:
        rest = [slice(None) if x is Ellipsis else x for x in items[dots[0] + 1 :]]
        return items[: dots[0]] + fill[len(dots) - 1 :] + rest
    return items + fill


def _is_truth(x: Any) -> bool:
    """A single bool, which indexes no dimension but adds one of size 1 or 0."""
    return isinstance(x, bool) or (isinstance(x, Tensor) and x.dtype is dtypes.bool_ and not x.ndim)


def _is_mask(x: Any) -> bool:
    return isinstance(x, Tensor) and (x.dtype is dtypes.bool_ or (x.dtype is dtypes.uint8 and x.ndim > 0))


def _as_index(x: Any) -> Any:
    """Lists and arrays as index tensors."""
    if isinstance(x, list | range):
        made = FUNCTIONS["tensor"](list(x))
        return made if made.dtype.kind in "bui" else made.long()
    if isinstance(x, np.ndarray):
        return FUNCTIONS["from_numpy"](x)
    return x


def _basic(self: Tensor, items: Sequence[Any]) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """Apply ints, slices and None as views; the index tensors that remain, with their dimensions."""
    out, d = self, 0
    advanced: list[tuple[int, Tensor]] = []
    for item in items:
        if item is None:
            out = unsqueeze(out, d)
            d += 1
        elif _is_truth(item):
            out = unsqueeze(out, d)
            advanced.append((d, FUNCTIONS["tensor"]([0] if item else [], dtype=dtypes.int64, device=self.device)))
            d += 1
        elif isinstance(item, NUMBER) or (isinstance(item, Tensor) and not item.shape and item.dtype.kind in "ui"):
            out = _selected(out, d, int(item))
        elif isinstance(item, slice):
            out = _sliced(out, d, item)
            d += 1
        elif isinstance(item, Tensor):
            for index in _index_tensors(item, out, d):
                advanced.append((d, on_device(index, self.device)))
                d += 1
        elif isinstance(item, str):
            raise TypeError("new(): invalid data type 'str'")
        else:
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
                f"(got {type(item).__name__})"
            )
    return out, advanced


def _selected(out: Tensor, d: int, index: int) -> Tensor:
    size = out._node.type.shape[d]
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for dimension {d} with size {size}")
    return select(out, d, index)


def _sliced(out: Tensor, d: int, item: slice) -> Tensor:
    size = out.shape[d]
    step = 1 if item.step is None else operator.index(item.step)
    if step < 0:
        raise ValueError("step must be greater than zero")
    start, stop, _ = slice(item.start, item.stop, step).indices(size)
    if start == 0 and stop == size and step == 1:
        return out
    return sliced(out, d, start, max(0, -(-(stop - start) // step)), step, "Slice")


def _index_tensors(item: Tensor, out: Tensor, d: int) -> list[Tensor]:
    """A mask as the positions where it holds (asks for its value); integers as they are."""
    if not _is_mask(item) and item.dtype is not dtypes.bool_:
        if item.dtype.kind not in "ui":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return [item]
    shape = out.shape[d : d + item.ndim]
    for axis, (have, want) in enumerate(zip(item.shape, shape, strict=True)):
        if have != want:
            raise IndexError(
                f"The shape of the mask {list(item.shape)} at index {axis} does not match the shape of the indexed tensor "
                f"{list(out.shape)} at index {d + axis}"
            )
    return [from_array(where.astype(np.int64), dtypes.int64, item) for where in np.nonzero(item.detach()._array("a mask"))]


def _linear(shape: Sequence[int], advanced: Sequence[tuple[int, Tensor]]) -> tuple[Node, list[int], Bounds]:
    """Several index tensors as one index into their dimensions, flattened; the order that puts these dimensions first; for
    errors each index's number and size (torch's "dimension 1" is the second one that is indexed)."""
    dims = [d for d, _ in advanced]
    place()
    nodes = [cast(value(index), dtypes.int64) for _, index in advanced]
    bounds = tuple([(number, shape[d]) for number, d in enumerate(dims)])
    order = dims + [d for d in range(len(shape)) if d not in dims]
    if len(nodes) == 1:
        return nodes[0], order, bounds
    total = None
    places = [wrapped(node, shape[d]) for d, node in zip(dims, nodes, strict=True)]
    for d, at in zip(dims, places, strict=True):
        total = at if total is None else arith.add(arith.mul(total, shape[d]), at)
    for position in reversed(range(len(dims))):
        good = inside(places[position], shape[dims[position]])
        total = refuse(good, total, nodes[position], position)
    assert total is not None
    return total, order, bounds


def _place_of(advanced: Sequence[tuple[int, Tensor]], items: Sequence[Any]) -> int:
    """Where the dimensions of the index appear in the result: at the first index if they are adjacent, else in front."""
    dims = [d for d, _ in advanced]
    return dims[0] if dims == list(range(dims[0], dims[0] + len(dims))) else 0


def _get(self: Tensor, key: Any) -> Tensor:
    if type(key) is int and self._node.type.shape:
        return _selected(self, 0, key)
    items = [_as_index(x) for x in _items(_tuple(key), len(self.shape))]
    out, advanced = _basic(self, items)
    if not advanced:
        if out is not self:
            return out
        return view(self, tensor.alias.operator("Slice" if any(isinstance(x, slice) for x in _as_tuple(key)) else "Alias"))
    shape = out.shape
    index, order, bounds = _linear(shape, advanced)
    source = emit(tensor.permute, value(out), order=tuple(order))
    count = len(advanced)
    flat = 1
    for d in order[:count]:
        flat *= shape[d]
    rest = tuple([shape[d] for d in order[count:]])
    picked = emit(tensor.gather, emit(tensor.reshape, source, shape=(flat, *rest)), index, label="Index", bounds=bounds)
    at, width = _place_of(advanced, items), len(index.type.shape)
    if at:
        inner = list(range(width, width + len(rest)))
        picked = emit(tensor.permute, picked, label="Index", order=(*inner[:at], *range(width), *inner[at:]))
    return result(picked)


def _as_tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _tuple(key: Any) -> Any:
    if isinstance(key, list) and any(isinstance(x, slice | Tensor | type(None)) for x in key):
        return tuple(key)
    return key


def _set(self: Tensor, key: Any, new: Any) -> None:
    key = _tuple(key)
    if isinstance(key, Tensor) and (_is_mask(key) or _is_truth(key)) and _is_scalar(new):
        FUNCTIONS["_masked_write"](self, key, new)
        return
    items = [_as_index(x) for x in _items(key, len(self.shape))]
    out, advanced = _basic(self, items)
    place()
    if not advanced:
        node = node_of(new, out.dtype) if isinstance(new, int | float | bool | complex) else _source(new, out)
        shape = out._node.type.shape
        if node.type.shape != shape:
            node = emit(tensor.expand, beside(_without_leading_ones(node, len(shape)), out._node), shape=shape)
        if out is self:
            node = emit(tensor.alias, node)
        assign(out, node)
        return
    _scatter(out, advanced, items, new)


def _is_scalar(new: Any) -> bool:
    return isinstance(new, int | float | bool) or (isinstance(new, Tensor) and not new.shape)


def _source(new: Any, out: Tensor) -> Node:
    if not isinstance(new, Tensor):
        new = FUNCTIONS["tensor"](new, dtype=out.dtype, device=out.device)
    return cast(beside(value(new), out._node), out.dtype)


def _without_leading_ones(node: Node, rank: int) -> Node:
    shape = node.type.shape
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return node if shape == node.type.shape else emit(tensor.reshape, node, shape=shape)


def _scatter(out: Tensor, advanced: Sequence[tuple[int, Tensor]], items: Sequence[Any], new: Any) -> None:
    """Write through index tensors: into the permuted, flattened contents, and back."""
    shape = out.shape
    index, order, bounds = _linear(shape, advanced)
    count, width = len(advanced), len(index.type.shape)
    rest = tuple([shape[d] for d in order[count:]])
    flat = 1
    for d in order[:count]:
        flat *= shape[d]
    at = _place_of(advanced, items)
    want = (*rest[:at], *index.type.shape, *rest[at:]) if at else (*index.type.shape, *rest)
    node = _source(new, out) if not isinstance(new, int | float | bool) else node_of(new, out.dtype)
    node = emit(tensor.expand, beside(_without_leading_ones(node, len(want)), out._node), shape=want)
    if at:
        node = emit(tensor.permute, node, order=(*range(at, at + width), *range(at), *range(at + width, len(want))))
    base = emit(tensor.reshape, emit(tensor.permute, value(out), order=tuple(order)), shape=(flat, *rest))
    written = emit(tensor.scatter, base, index, node, label="IndexPut", bounds=bounds)
    back = emit(tensor.reshape, written, shape=tuple([shape[d] for d in order]))
    assign(out, emit(tensor.permute, back, order=tensor.inverse_order(tuple(order))))


def _contains(self: Tensor, element: Any) -> bool:
    """Whether some element equals a number (or tensor)."""
    if not isinstance(element, Tensor | int | float | complex):
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
    return bool(FUNCTIONS["any"](FUNCTIONS["eq"](self, element)))


attach("__contains__", _contains)
attach("__getitem__", _get)
attach("__setitem__", _set)


@torch_function("_masked_write", method=False, out=False)
def _masked_write(self: Tensor, mask: Tensor, new: Any) -> Tensor:
    """self[mask] = number, without asking for the mask."""
    place()
    holds = cast(value(mask), dtypes.bool_)
    extra = len(self.shape) - len(mask.shape)
    holds = emit(tensor.reshape, holds, shape=(*mask.shape, *(1,) * extra)) if extra else holds
    return assign(self, emit(arith.select, holds, node_of(new, self.dtype), value(self)))


@torch_function("index_select", out="same")
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The given positions along a dimension."""
    rank = len(input.shape)
    d = dimension(dim, rank)
    if len(index.shape) > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if not rank:
        return reshape(index_select(reshape(input, (1,)), 0, index), ())
    place()
    at = cast(value(index), dtypes.int64)
    at = refuse(arith.compare(at, 0, predicate="ge"), at, at)
    at = emit(tensor.reshape, at, shape=(at.type.numel,))
    order = (d, *[i for i in range(rank) if i != d])
    source = emit(tensor.permute, value(input), order=order) if d else value(input)
    label, fault = "IndexSelect", "data" if d else "self"
    picked = emit(tensor.gather, source, at, label=label, bounds=((d, input.shape[d]),), fault=fault)
    return result(emit(tensor.permute, picked, label=label, order=tensor.inverse_order(order)) if d else picked)


@torch_function("nonzero_static", out="same")
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` positions of elements that are not 0, one a row; missing rows hold the fill value."""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    found = nonzero(input)[:size]
    missing = found.new_full((size - found.shape[0], len(input.shape)), fill_value)
    return FUNCTIONS["cat"]([found, missing], 0)


@torch_function("masked_select", out="same")
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, in one dimension."""
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = arith.broadcast_shapes(tuple(input.shape), tuple(mask.shape)) or (1,)
    return named(input.expand(shape)[mask.expand(shape)], "MaskedSelect")


def element_index(shape: Sequence[int], dim: int, index: Node) -> Node:
    """The position in the flattened tensor of the element that `gather` means at each index."""
    good = inside(index, shape[dim])
    strides = [1] * len(shape)
    for d in range(len(shape) - 2, -1, -1):
        strides[d] = strides[d + 1] * shape[d + 1]
    total = arith.mul(index, strides[dim])
    for d, extent in enumerate(index.type.shape):
        if d != dim and extent > 1:
            along = positions(index, extent, dtypes.int64)
            along = tensor.reshape(along, shape=tuple([extent if i == d else 1 for i in range(len(shape))]))
            total = arith.add(total, arith.mul(along, strides[d]))
    node: Node = refuse(good, total, index)
    return node


@torch_function("gather", out="same")
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on."""
    place()
    shape = tuple(input.shape) or (1,)
    d = dimension(dim, len(shape))
    indices, rank = index._node.type.numel, len(index.shape)
    if (rank or 1) != len(shape) and indices:
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    if not indices:
        return reshape(reshape(input, (-1,))[:0], tuple(index.shape))
    if not rank or not input.shape:
        return reshape(gather(reshape(input, shape), d, reshape(index, (indices,))), tuple(index.shape))
    x = emit(tensor.reshape, value(input), shape=(input._node.type.numel,))
    at = element_index(shape, d, cast(value(index), dtypes.int64))
    return result(emit(tensor.gather, x, at, label="Gather", bounds=((d, shape[d]),), fault="element"))


def _scattered(name: str, self: Tensor, dim: int, index: Tensor, source: Any) -> Tensor:
    place()
    shape = self.shape
    d = dimension(dim, len(shape))
    if not shape:
        wide = reshape(source, (1,)) if isinstance(source, Tensor) else source
        return reshape(_scattered(name, reshape(self, (1,)), 0, reshape(index, (1,)), wide), ())
    for name_of, rank in (("self", len(shape)), ("src", len(source.shape) if isinstance(source, Tensor) else len(shape))):
        if index._node.type.numel and (len(index.shape) or 1) != (rank or 1):
            raise RuntimeError(f"Index tensor must have the same number of dimensions as {name_of} tensor")
    at = element_index(shape, d, cast(value(index), dtypes.int64))
    if isinstance(source, Tensor):
        if source.dtype is not self.dtype:
            raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
        new = value(source)
        if new.type.shape != index.shape:
            starts = (0,) * len(shape)
            new = emit(tensor.slice_, new, starts=starts, sizes=tuple(index.shape), steps=(1,) * len(shape))
    else:
        new = emit(tensor.expand, beside(node_of(source, self.dtype), self._node), shape=tuple(index.shape))
    flat = emit(tensor.reshape, value(self), shape=(self._node.type.numel,))
    declaration = tensor.scatter_add if name == "scatter_add" else tensor.scatter
    label = "ScatterAdd" if name == "scatter_add" else "Scatter0" if isinstance(source, Tensor) else "Scatter1"
    written = emit(declaration, flat, at, new, label=label, bounds=((d, shape[d]),), fault="element")
    return result(emit(tensor.reshape, written, label=label, shape=tuple(shape)))


@torch_function("scatter", inplace=True, out="same")
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """Write src (or `value`) at the positions that `gather` would read; reduce: "add" or "multiply" what is there."""
    source = src if value is None else value
    if reduce is None:
        return _scattered("scatter", input, dim, index, source)
    if reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    full = source if isinstance(source, Tensor) else input.new_full(tuple(index.shape), source)
    return FUNCTIONS["scatter_reduce"](input, dim, index, full, "sum" if reduce == "add" else "prod")


@torch_function("scatter_add", inplace=True, out="same")
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Add src at the positions that `gather` would read."""
    return _scattered("scatter_add", input, dim, index, src)


@torch_function("index_add", inplace=True, out="same")
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """Add rows of source to the given positions along a dimension, in order."""
    if not input.shape:
        wide = [reshape(x, (1,)) for x in (input, index, source)]
        return reshape(index_add(wide[0], dim, wide[1], wide[2], alpha=alpha), ())
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"index_add_(): self ({input.dtype.title}) and source ({source.dtype.title}) must have the same scalar type"
        )
    place()
    rank = len(input.shape)
    d = dimension(dim, rank)
    order = (d, *[i for i in range(rank) if i != d])
    new = source if alpha == 1 else source * alpha
    moved = emit(tensor.permute, cast(value(new), input.dtype), order=order)
    base = emit(tensor.permute, value(input), order=order)
    at = cast(value(index), dtypes.int64)
    at = refuse(arith.compare(at, 0, predicate="ge"), at, at)
    out = emit(tensor.scatter_add, base, at, moved, bounds=((d, input.shape[d]),), fault="element")
    return result(emit(tensor.permute, out, label="IndexAdd", order=tensor.inverse_order(order)))


@torch_function("nonzero", out="same")
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of elements that are not 0; asks for the values."""
    array = input.detach()._array("nonzero()")
    if not array.shape:
        if as_tuple:
            return nonzero(input.unsqueeze(0), as_tuple=True)
        return from_array(np.zeros((int(bool(array)), 0), np.int64), dtypes.int64, input)
    found = np.nonzero(array)
    if as_tuple:
        return tuple([from_array(where.astype(np.int64), dtypes.int64, input) for where in found])
    return from_array(np.stack(found, 1).astype(np.int64) if found else np.zeros((0, 0), np.int64), dtypes.int64, input)
