"""Rules of views, reductions, contractions and indirect access."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.codegen.stablehlo.emitter import Emitter, Term, array, compared, literal, rule, tensor_type
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import tensor, tensor_scatter, tensor_strided, tensor_transfer, tensor_windows
from lazytorch.ir.types import TensorType


@rule(tensor.reshape)
def _reshape(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return e.reshape(operands[0], operation.attributes.shape)


@rule(tensor.permute)
def _permute(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return transposed(e, operands[0], operation.attributes.order)


def transposed(e: Emitter, term: Term, order: Sequence[int]) -> Term:
    """Dimensions in another order."""
    if list(order) == sorted(order):
        return term
    shape = tuple([term.type.shape[d] for d in order])
    return e.op("stablehlo.transpose", [term], term.type.with_shape(shape), f"permutation = {array(order)}")


@rule(tensor.expand)
def _expand(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return e.broadcast(operands[0], operation.attributes.shape)


@rule(tensor.slice_)
def _slice(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    a = operation.attributes
    return slice_of(e, operands[0], a.starts, a.sizes, a.steps)


def slice_of(e: Emitter, term: Term, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> Term:
    """Per dimension, `size` elements from `start` in steps of `step`."""
    limits = [
        start + (size - 1) * step + 1 if size else start for start, size, step in zip(starts, sizes, steps, strict=True)
    ]
    attributes = f"start_indices = {array(starts)}, limit_indices = {array(limits)}, strides = {array(steps)}"
    return e.op("stablehlo.slice", [term], term.type.with_shape(tuple(sizes)), attributes)


@rule(tensor_strided.diagonal)
def _diagonal(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """A strided slice of the flattened matrices."""
    (x,) = operands
    *lead, rows, columns = x.type.shape
    start, length, step = tensor_strided.diagonal_place((rows, columns), operation.attributes.offset)
    flat = e.reshape(x, (*lead, rows * columns))
    return slice_of(e, flat, [0] * len(lead) + [start if length else 0], [*lead, length], [1] * len(lead) + [step])


@rule(tensor_strided.as_strided)
def _as_strided(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    a = operation.attributes
    return gathered(e, operands[0], positions(e, TensorType(dtypes.int64, a.shape), a.strides, a.offset))


def positions(e: Emitter, type: TensorType, strides: Sequence[int], offset: int = 0) -> Term:
    """For every element of the type the sum of its indices times the strides (of the leading dimensions), and the offset."""
    index = e.constant(offset, type)
    for dim, stride in enumerate(strides):
        place = e.op("stablehlo.iota", [], type, f"iota_dimension = {dim} : i64")
        index = e.op("stablehlo.add", [index, e.op("stablehlo.multiply", [place, e.constant(stride, type)], type)], type)
    return index


@rule(tensor.flip)
def _flip(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return e.op("stablehlo.reverse", operands, operands[0].type, f"dimensions = {array(operation.attributes.dims)}")


@rule(tensor.alias, tensor.detach)
def _same(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return operands[0]


@rule(tensor_windows.window)
def _window(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """Every element of the window is a strided slice; they are laid side by side."""
    (x,) = operands
    a = operation.attributes
    result = tensor_type(operation.result)
    spatial = len(a.sizes)
    lead = x.type.shape[: x.type.rank - spatial]
    counts = result.shape[len(lead) : len(lead) + spatial]
    parts = []
    for offset in itertools.product(*map(range, a.sizes)):
        starts = [0] * len(lead) + [o * d for o, d in zip(offset, a.dilations, strict=True)]
        part = slice_of(e, x, starts, (*lead, *counts), [1] * len(lead) + list(a.strides))
        parts.append(e.reshape(part, (*lead, *counts, 1)))
    return e.reshape(concatenate(e, parts, len(lead) + spatial), result.shape)


def concatenate(e: Emitter, parts: Sequence[Term], dim: int) -> Term:
    """One after another along a dimension."""
    first = parts[0].type
    total = sum(part.type.shape[dim] for part in parts)
    type = first.with_shape((*first.shape[:dim], total, *first.shape[dim + 1 :]))
    return parts[0] if len(parts) == 1 else e.op("stablehlo.concatenate", parts, type, f"dimension = {dim} : i64")


@rule(tensor.concat)
def _concat(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return concatenate(e, operands, operation.attributes.dim)


@rule(tensor.pad)
def _pad(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    a = operation.attributes
    return padded(e, operands[0], a.low, a.high, a.interior, a.value)


def padded(e: Emitter, term: Term, low: Sequence[int], high: Sequence[int], interior: Sequence[int], value: Any) -> Term:
    """Surrounded with `value`."""
    axes = zip(term.type.shape, low, high, interior, strict=True)
    shape = tuple([before + size + after + max(size - 1, 0) * between for size, before, after, between in axes])
    filling = e.constant(value, term.type.with_shape(()))
    attributes = f"edge_padding_low = {array(low)}, edge_padding_high = {array(high)}, interior_padding = {array(interior)}"
    return e.op("stablehlo.pad", [term, filling], term.type.with_shape(shape), attributes)


@rule(tensor.insert_slice)
def _insert_slice(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """The value padded to the base's shape, chosen where a mask padded in the same way says so."""
    base, value = operands
    a = operation.attributes
    if not value.type.numel:
        return base
    axes = zip(base.type.shape, a.starts, value.type.shape, a.steps, strict=True)
    high = [extent - start - ((size - 1) * step + 1) for extent, start, size, step in axes]
    interior = [step - 1 for step in a.steps]
    mask = e.constant(True, value.type.with_dtype(dtypes.bool_))
    inside = padded(e, mask, a.starts, high, interior, False)
    return e.select(inside, padded(e, value, a.starts, high, interior, 0), base)


@rule(tensor.iota)
def _iota(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return e.op("stablehlo.iota", [], tensor_type(operation.result), "iota_dimension = 0 : i64")


@rule(tensor_transfer.literal)
def _literal(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    type = tensor_type(operation.result)
    numbers = [literal(value, type.dtype) for value in operation.attributes.values]
    for size in reversed(type.shape):
        numbers = [f"[{', '.join(numbers[i : i + size])}]" for i in range(0, len(numbers), size)] if size else ["[]"]
    text = numbers[0] if type.numel else ""
    return e.op("stablehlo.constant", [], type, f"value = dense<{text}> : {type}")


# -- reductions ------------------------------------------------------------

_COMBINE: dict[Declaration, str] = {
    tensor.reduce_sum: "add",
    tensor.reduce_prod: "multiply",
    tensor.reduce_max: "maximum",
    tensor.reduce_min: "minimum",
    tensor.reduce_any: "or",
    tensor.reduce_all: "and",
}


def _least(dtype: DType) -> Any:
    return -math.inf if dtype.kind == "f" else False if dtype.kind == "b" else int(np.iinfo(dtype.numpy).min)


def _most(dtype: DType) -> Any:
    return math.inf if dtype.kind == "f" else True if dtype.kind == "b" else int(np.iinfo(dtype.numpy).max)


def _neutral(combine: str, dtype: DType) -> Any:
    if combine == "maximum":
        return _least(dtype)
    if combine == "minimum":
        return _most(dtype)
    return {"add": 0, "multiply": 1, "or": False, "and": True}[combine]


@rule(*_COMBINE)
def _reduce(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    return reduced(e, operands[0], operation.attributes.dims, _COMBINE[operation.declaration])


def reduced(e: Emitter, term: Term, dims: Sequence[int], combine: str) -> Term:
    """Reduced over dimensions, which vanish."""
    if not dims:
        return term
    scalar = term.type.with_shape(())
    initial = e.constant(_neutral(combine, scalar.dtype), scalar)
    region = [
        f"^bb0(%a: {scalar}, %b: {scalar}):",
        f'  %c = "stablehlo.{combine}"(%a, %b) : ({scalar}, {scalar}) -> {scalar}',
        f'  "stablehlo.return"(%c) : ({scalar}) -> ()',
    ]
    shape = tensor.reduced_shape(term.type.shape, tuple(dims))
    return e.op("stablehlo.reduce", [term, initial], term.type.with_shape(shape), f"dimensions = {array(dims)}", region)


@rule(tensor.argmax, tensor.argmin)
def _argreduce(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """Reduce pairs of element and position: the better element, of equals the first; a nan is better than a number."""
    (x,) = operands
    dim = operation.attributes.dim
    largest = operation.declaration is tensor.argmax
    shape = tensor_type(operation.result).shape
    value, place = x.type.with_shape(()), TensorType(dtypes.int64, ())
    positions = e.op("stablehlo.iota", [], x.type.with_dtype(dtypes.int64), f"iota_dimension = {dim} : i64")
    initial = e.constant((_least if largest else _most)(value.dtype), value)
    last = e.constant(int(np.iinfo(np.int64).max), place)
    region = _better(value, place, "GT" if largest else "LT")
    types = [x.type.with_shape(shape), TensorType(dtypes.int64, shape)]
    return e.several("stablehlo.reduce", [x, positions, initial, last], types, f"dimensions = {array([dim])}", region)[1]


def _better(value: TensorType, place: TensorType, direction: str) -> list[str]:
    flag = "tensor<i1>"

    def both(result: str, operation: str, a: str, b: str) -> str:
        return f'  {result} = "stablehlo.{operation}"({a}, {b}) : ({flag}, {flag}) -> {flag}'

    def choose(result: str, a: str, b: str, type: TensorType) -> str:
        return f'  {result} = "stablehlo.select"(%wins, {a}, {b}) : ({flag}, {type}, {type}) -> {type}'

    return [
        f"^bb0(%a: {value}, %i: {place}, %b: {value}, %j: {place}):",
        compared("%a_nan", "NE", "%a", "%a", value),
        compared("%b_nan", "NE", "%b", "%b", value),
        compared("%beats", direction, "%a", "%b", value),
        compared("%equal", "EQ", "%a", "%b", value),
        compared("%first", "LT", "%i", "%j", place),
        f'  %b_number = "stablehlo.not"(%b_nan) : ({flag}) -> {flag}',
        both("%only_a", "and", "%a_nan", "%b_number"),
        both("%nans", "and", "%a_nan", "%b_nan"),
        both("%tie", "or", "%equal", "%nans"),
        both("%wins_tie", "and", "%tie", "%first"),
        both("%wins_value", "or", "%beats", "%only_a"),
        both("%wins", "or", "%wins_value", "%wins_tie"),
        choose("%c", "%a", "%b", value),
        choose("%k", "%i", "%j", place),
        f'  "stablehlo.return"(%c, %k) : ({value}, {place}) -> ()',
    ]


# -- contraction ------------------------------------------------------------


@rule(tensor.contract)
def _contract(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """Letters of one operand alone are summed first; dot_general gives batch, left and right letters in this order."""
    a = operation.attributes
    lhs, left = _without(e, operands[0], a.lhs, a.rhs + a.out)
    rhs, right = _without(e, operands[1], a.rhs, a.lhs + a.out)
    batch = [letter for letter in left if letter in right and letter in a.out]
    summed = [letter for letter in left if letter in right and letter not in a.out]
    free = [letter for letter in left + right if letter not in batch and letter not in summed]
    order = batch + free
    sizes = dict(zip(left + right, lhs.type.shape + rhs.type.shape, strict=True))
    numbers = (
        f"lhs_batching_dimensions = [{_places(left, batch)}], rhs_batching_dimensions = [{_places(right, batch)}], "
        f"lhs_contracting_dimensions = [{_places(left, summed)}], rhs_contracting_dimensions = [{_places(right, summed)}]"
    )
    type = lhs.type.with_shape(tuple([sizes[letter] for letter in order]))
    product = e.op("stablehlo.dot_general", [lhs, rhs], type, f"dot_dimension_numbers = #stablehlo.dot<{numbers}>")
    return transposed(e, product, [order.index(letter) for letter in a.out])


def _without(e: Emitter, term: Term, letters: str, kept: str) -> tuple[Term, str]:
    gone = [place for place, letter in enumerate(letters) if letter not in kept]
    return reduced(e, term, gone, "add"), "".join(letter for letter in letters if letter in kept)


def _places(letters: str, wanted: Sequence[str]) -> str:
    return ", ".join(str(letters.index(letter)) for letter in wanted)


# -- indirect access ------------------------------------------------------------


def _from_the_front(e: Emitter, index: Term, size: int) -> Term:
    """Indices with those that count from the end brought to the front."""
    negative = e.compare("LT", index, e.constant(0, index.type))
    return e.select(negative, e.op("stablehlo.add", [index, e.constant(size, index.type)], index.type), index)


@rule(tensor.gather)
def _gather(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    x, index = operands
    return gathered(e, x, _from_the_front(e, index, x.type.shape[0]))


def gathered(e: Emitter, x: Term, index: Term) -> Term:
    """Elements along the first dimension, by positions within it."""
    rank = index.type.rank
    numbers = (
        f"offset_dims = [{', '.join(map(str, range(rank, rank + x.type.rank - 1)))}], collapsed_slice_dims = [0], "
        f"start_index_map = [0], index_vector_dim = {rank}"
    )
    attributes = f"dimension_numbers = #stablehlo.gather<{numbers}>, slice_sizes = {array([1, *x.type.shape[1:]])}"
    return e.op("stablehlo.gather", [x, index], x.type.with_shape((*index.type.shape, *x.type.shape[1:])), attributes)


_INTO: dict[Declaration, str] = {
    tensor.scatter_add: "add",
    tensor_scatter.scatter_mul: "multiply",
    tensor_scatter.scatter_max: "maximum",
    tensor_scatter.scatter_min: "minimum",
}


@rule(tensor.scatter, *_INTO)
def _scatter(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    base, index, value = operands
    index = _from_the_front(e, index, base.type.shape[0])
    rank = index.type.rank
    scalar = base.type.with_shape(())
    combine = _INTO.get(operation.declaration)
    region = [f"^bb0(%a: {scalar}, %b: {scalar}):"]
    if combine is not None:
        region.append(f'  %c = "stablehlo.{combine}"(%a, %b) : ({scalar}, {scalar}) -> {scalar}')
    region.append(f'  "stablehlo.return"({"%b" if combine is None else "%c"}) : ({scalar}) -> ()')
    numbers = (
        f"update_window_dims = [{', '.join(map(str, range(rank, rank + base.type.rank - 1)))}], inserted_window_dims = [0], "
        f"scatter_dims_to_operand_dims = [0], index_vector_dim = {rank}"
    )
    attributes = f"scatter_dimension_numbers = #stablehlo.scatter<{numbers}>"
    return e.op("stablehlo.scatter", [base, index, value], base.type, attributes, region)
