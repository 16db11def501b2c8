"""Stacking, splitting, repeating and turning: rearrangements composed of the views and `cat`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.codegen.views import contiguous
from lazytorch.ir.dialects import arith, tensor, tensor_strided, tensor_windows
from lazytorch.ops.matrices import diagonal
from lazytorch.ops.recording import FUNCTIONS, attach, cast, dimension, place, result, torch_function, view
from lazytorch.ops.shaping import cat, permute, reshape, sizes_of, sliced, split, unsqueeze
from lazytorch.ops.tensor_types import construct
from lazytorch.size import Size
from lazytorch.tensor import Tensor, from_array, root_of, value


def _several(arguments: Sequence[Any]) -> list[Tensor]:
    """`f(a, b)` and `f([a, b])` alike."""
    if len(arguments) == 1 and isinstance(arguments[0], list | tuple):
        return list(arguments[0])
    return list(arguments)


def _at_least(name: str, reshape_to: Callable[[tuple[int, ...]], tuple[int, ...]], rank: int) -> None:
    def one(x: Tensor) -> Tensor:
        return x if len(x.shape) >= rank else reshape(x, reshape_to(tuple(x.shape)))

    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], Tensor):
            return one(tensors[0])
        return tuple([one(x) for x in _several(tensors)])

    function.__name__ = name
    function.__doc__ = f"The tensors with at least {rank} dimensions."
    torch_function(name, method=False, out=False)(function)


_at_least("atleast_1d", lambda shape: (1,), 1)
_at_least("atleast_2d", lambda shape: (1, *(shape or (1,))), 2)
_at_least("atleast_3d", lambda shape: (1, *(shape or (1,)), 1) if len(shape) < 2 else (*shape, 1), 3)


def _require_some(name: str, tensors: Sequence[Tensor]) -> None:
    if not len(tensors):
        raise RuntimeError(f"{name} expects a non-empty TensorList")


@torch_function("hstack", method=False, out=False)
def hstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Join along the second dimension (vectors: the first)."""
    _require_some("hstack", tensors)
    pieces = [FUNCTIONS["atleast_1d"](x) for x in tensors]
    return cat(pieces, 0 if len(pieces[0].shape) == 1 else 1, out=out)


@torch_function("vstack", "row_stack", method=False, out=False)
def vstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Join along the first dimension; vectors are rows."""
    _require_some("vstack", tensors)
    return cat([FUNCTIONS["atleast_2d"](x) for x in tensors], 0, out=out)


@torch_function("dstack", method=False, out=False)
def dstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Join along the third dimension."""
    _require_some("dstack", tensors)
    return cat([FUNCTIONS["atleast_3d"](x) for x in tensors], 2, out=out)


@torch_function("column_stack", method=False, out=False)
def column_stack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Join along the second dimension; vectors are columns."""
    _require_some("column_stack", tensors)
    return cat([x if len(x.shape) > 1 else reshape(x, (-1, 1)) for x in tensors], 1, out=out)


@torch_function("tensor_split", out=False)
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """So many pieces of nearly equal size, or the pieces between the given positions."""
    d = dimension(dim, len(input.shape))
    size = input.shape[d]
    chosen = indices_or_sections
    if isinstance(chosen, Tensor):
        chosen = chosen.tolist()
    if isinstance(chosen, int):
        if chosen <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {chosen}")
        each, extra = divmod(size, chosen)
        return split(input, [each + 1] * extra + [each] * (chosen - extra), d)
    bounds = [0, *[slice(at).indices(size)[1] for at in chosen], size]
    pairs = itertools.pairwise(bounds)
    return tuple([sliced(input, d, low, max(high - low, 0), 1, "Slice") for low, high in pairs])


def _split_along(name: str, least: int, dim_of: Callable[[int], int]) -> None:
    def function(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if len(input.shape) < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with "
                f"{len(input.shape)} dimensions!"
            )
        d = dim_of(len(input.shape))
        count = indices_or_sections
        if isinstance(count, int) and (count == 0 or input.shape[d] % count):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {d}, but the size of the dimension {input.shape[d]} is "
                f"not divisible by the split_size {count}!"
            )
        return tensor_split(input, count, d)

    function.__name__, function.__doc__ = name, "Split along one dimension into equal pieces, or at positions."
    torch_function(name, out=False)(function)


_split_along("hsplit", 1, lambda rank: 0 if rank == 1 else 1)
_split_along("vsplit", 2, lambda rank: 0)
_split_along("dsplit", 3, lambda rank: 2)


@torch_function("split_with_sizes", out=False)
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of given sizes."""
    return split(input, list(split_sizes), dim)


def _tile(input: Tensor, *dims: Any) -> Tensor:
    """Copies of the tensor along its dimensions; missing repetitions are 1."""
    times = sizes_of(dims)
    return input.repeat((1,) * (len(input.shape) - len(times)) + times)


torch_function("tile", out=False)(_tile)


@torch_function("meshgrid", method=False, out=False)
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinate grids of vectors, as views; `indexing="xy"` exchanges the first two dimensions."""
    vectors = [reshape(x, (-1,)) if not x.shape else x for x in _several(tensors)]
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for x in vectors:
        if len(x.shape) != 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {x}")
    if len({x.dtype for x in vectors}) > 1:
        raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    turned = indexing == "xy" and len(vectors) > 1
    if turned:
        vectors[0], vectors[1] = vectors[1], vectors[0]
    shape = tuple([x.shape[0] for x in vectors])
    grids = [
        reshape(x, tuple([-1 if d == i else 1 for d in range(len(vectors))])).expand(shape) for i, x in enumerate(vectors)
    ]
    if turned:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@torch_function("broadcast_tensors", method=False, out=False)
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All in their common shape: views of those that have another one."""
    several = _several(tensors)
    shape = broadcast_shapes(*[tuple(x.shape) for x in several])
    return tuple([x if x.shape == shape else x.expand(shape) for x in several])


@torch_function("broadcast_shapes", method=False, out=False)
def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that all shapes broadcast to."""
    found: tuple[int, ...] = ()
    for shape in shapes:
        found = arith.broadcast_shapes(found, (shape,) if isinstance(shape, int) else tuple(shape))
    return Size(found)


@torch_function("repeat_interleave", out=False)
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Every element several times in a row; counts in a tensor are asked for.

    With one tensor of counts alone: the numbers of its elements, each so often.
    """
    if repeats is None:
        counts = input._array("repeat_interleave()")
        return from_array(np.repeat(np.arange(len(counts)), counts), dtypes.int64, input)
    x = reshape(input, (-1,)) if dim is None else input
    d = 0 if dim is None else dimension(dim, len(x.shape))
    if isinstance(repeats, Tensor) and repeats._node.type.numel != 1:
        counts = repeats._array("repeat_interleave()").reshape(-1)
        if len(counts) != x.shape[d]:
            raise RuntimeError("repeats must have the same size as input along dim")
        where = from_array(np.repeat(np.arange(len(counts)), counts).astype(np.int64), dtypes.int64, x)
        return x.index_select(d, where)
    times = int(repeats)
    wide = unsqueeze(x, d + 1)
    shape = list(wide.shape)
    shape[d + 1] = times
    flat = [*x.shape[:d], x.shape[d] * times, *x.shape[d + 1 :]]
    return FUNCTIONS["clone"](wide.expand(shape)).reshape(flat)


@torch_function("fliplr", out=False)
def fliplr(input: Tensor) -> Tensor:
    """Reversed along the second dimension."""
    if len(input.shape) < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return FUNCTIONS["flip"](input, (1,))


@torch_function("flipud", out=False)
def flipud(input: Tensor) -> Tensor:
    """Reversed along the first dimension."""
    if not input.shape:
        raise RuntimeError("Input must be >= 1-d.")
    return FUNCTIONS["flip"](input, (0,))


@torch_function("rot90", out=False)
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k times 90 degrees, from the first towards the second of two dimensions."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    first, second = dims
    rank = len(input.shape)
    if rank < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {rank}")
    if first == second or abs(first - second) == rank:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {first} and dim1 = {second}")
    for number, d in enumerate(dims):
        if not -rank <= d < rank:
            raise RuntimeError(f"Rotation dim{number} out of range, dim{number} = {d}")
    if k % 4 == 0:
        return FUNCTIONS["clone"](input)
    if k % 4 == 2:
        return FUNCTIONS["flip"](input, (first, second))
    turned = FUNCTIONS["flip"](input, (second if k % 4 == 1 else first,))
    return FUNCTIONS["clone"](turned.transpose(first, second))


def _unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Slices of `size` elements, `step` apart, along a dimension, as a view; the slices' elements are the last dimension."""
    rank = len(self.shape)
    d = _dimension(dimension, rank)
    extent = self.shape[d] if rank else 1
    if size > extent:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {extent} but size is {size}")
    if not rank:
        return reshape(self, (1,)).narrow(0, 0, size)
    rest = [i for i in range(rank) if i != d]
    moved = permute(self, [*rest, d])
    windows = view(moved, tensor_windows.window.operator("Unfold", sizes=(size,), strides=(step,), dilations=(1,)))
    back = [i if i < d else i - 1 for i in range(rank)]
    back[d] = rank - 1
    return permute(windows, [*back, rank])


_dimension = dimension
attach("unfold", _unfold)


@torch_function("as_strided", out=False)
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """A view of the tensor's storage with any sizes, strides and offset."""
    offset = input.storage_offset() if storage_offset is None else int(storage_offset)
    own = offset - input.storage_offset()
    last = own + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # Of the tensor itself where it has all the elements: it may have a history that its storage lacks (`detach()`).
    inside = input.is_contiguous() and own >= 0 and last < input._node.type.numel
    flat = reshape(input if inside else root_of(input), (-1,))
    start = own if inside else offset
    return view(flat, tensor_strided.as_strided.operator(shape=tuple(size), strides=tuple(stride), offset=start))


@torch_function("cartesian_prod", method=False, out=False)
def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of the vectors' elements, one a row."""
    vectors = _several(tensors)
    if len(vectors) == 1:
        return vectors[0]
    grids = meshgrid(*vectors)
    return FUNCTIONS["stack"]([reshape(grid, (-1,)) for grid in grids], 1)


@torch_function("combinations", out=False)
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All combinations of r elements of a vector, one a row."""
    if len(input.shape) != 1:
        raise RuntimeError("Expect a 1D vector, but got shape " + str(list(input.shape)))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    if r == 0:
        return FUNCTIONS["empty"]((0,), dtype=input.dtype, device=input.device)
    found = np.array(list(choose(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    return input[from_array(found, dtypes.int64, input)]


@torch_function("sum_to_size", out=False)
def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Summed over what would be broadcast from the given sizes."""
    place()
    shape = sizes_of(size)
    if arith.broadcast_shapes(shape, tuple(input.shape)) != tuple(input.shape):
        raise RuntimeError(f"size {{{list(shape)}}} is not expandable to size {{{list(input.shape)}}}.")
    x = value(input)
    if x.type.dtype.kind in "uib" and (shape != x.type.shape or not shape):
        x = cast(x, dtypes.int64)
    return result(tensor.sum_to(x, shape))


@torch_function("unravel_index", method=False, out=False)
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The index per dimension of positions in a flattened tensor of a shape."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    strides = contiguous(sizes).strides
    return tuple([(indices // step) % size for size, step in zip(sizes, strides, strict=True)])


@torch_function("argwhere", out=False)
def argwhere(input: Tensor) -> Tensor:
    """The positions of elements that are not 0, one a row; asks for the values."""
    return FUNCTIONS["nonzero"](input)


# -- small methods of tensors


def _contains(self: Tensor, element: Any) -> bool:
    """Whether some element equals a number (or a tensor's only one)."""
    if not isinstance(element, Tensor | int | float | complex):
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
    return bool(FUNCTIONS["any"](FUNCTIONS["eq"](self, element)))


def _backwards(self: Tensor) -> Tensor:
    """Reversed along the first dimension."""
    return FUNCTIONS["flip"](self, (0,)) if self.shape else self


def _new(self: Tensor, *arguments: Any) -> Tensor:
    """As the constructor of the tensor's class: of sizes, or with data."""
    return construct(self.dtype, arguments, strict=False)


attach("__contains__", _contains)
attach("__reversed__", _backwards)
attach("ndimension", lambda self: len(self.shape))
attach("new", _new)
attach("retains_grad", property(lambda self: bool(getattr(self, "_retain", False))))

_VIEWS = "as_strided detach expand narrow permute select split squeeze t transpose unbind unfold unsqueeze view"


def _copying(name: str, function: Callable[..., Any]) -> None:
    def copied(*arguments: Any, **keywords: Any) -> Any:
        made = function(*arguments, **keywords)
        clone = FUNCTIONS["clone"]
        return clone(made) if isinstance(made, Tensor) else tuple([clone(piece) for piece in made])

    copied.__name__, copied.__doc__ = f"{name}_copy", f"As `{name}`, but a copy instead of a view."
    FUNCTIONS[f"{name}_copy"] = copied


for _name in _VIEWS.split():
    _copying(_name, getattr(Tensor, _name))
_copying("diagonal", diagonal)
