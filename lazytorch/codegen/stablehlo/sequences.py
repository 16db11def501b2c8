"""Rules of scans, sorting and searching."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lazytorch import dtypes
from lazytorch.codegen.stablehlo.emitter import Emitter, Term, compared, rule
from lazytorch.codegen.stablehlo.tensors import concatenate, gathered, positions, slice_of
from lazytorch.codegen.views import contiguous
from lazytorch.ir.core import Operation
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import tensor_scan, tensor_sort
from lazytorch.ir.types import TensorType

Combine = Callable[[Sequence[Term], Sequence[Term]], list[Term]]
"""(what came before, what follows) -> both together; associative."""


def _scanned(e: Emitter, terms: Sequence[Term], dim: int, combine: Combine) -> list[Term]:
    """Running combinations in log2(size) steps over the whole (Hillis and Steele, Data Parallel Algorithms, 1986)."""
    terms, size, shift = list(terms), terms[0].type.shape[dim], 1
    while shift < size:
        first = [_along(e, term, dim, 0, shift) for term in terms]
        before = [_along(e, term, dim, 0, size - shift) for term in terms]
        after = [_along(e, term, dim, shift, size - shift) for term in terms]
        terms = [concatenate(e, pair, dim) for pair in zip(first, combine(before, after), strict=True)]
        shift *= 2
    return terms


def _along(e: Emitter, term: Term, dim: int, start: int, size: int) -> Term:
    shape = term.type.shape
    starts = [start if d == dim else 0 for d in range(len(shape))]
    return slice_of(e, term, starts, [size if d == dim else n for d, n in enumerate(shape)], [1] * len(shape))


_SCANS: dict[Declaration, str] = {
    tensor_scan.scan_sum: "stablehlo.add",
    tensor_scan.scan_prod: "stablehlo.multiply",
    tensor_scan.scan_max: "stablehlo.maximum",
    tensor_scan.scan_min: "stablehlo.minimum",
}


@rule(*_SCANS)
def _scan(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    name = _SCANS[operation.declaration]

    def combine(before: Sequence[Term], after: Sequence[Term]) -> list[Term]:
        return [e.op(name, [before[0], after[0]], after[0].type)]

    return _scanned(e, operands, operation.attributes.dim, combine)[0]


@rule(tensor_scan.scan_linear)
def _scan_linear(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """Steps y -> a y + b compose to steps of the same kind."""

    def combine(before: Sequence[Term], after: Sequence[Term]) -> list[Term]:
        (a, b), (c, d) = before, after
        scaled = e.op("stablehlo.multiply", [c, b], d.type)
        return [e.op("stablehlo.multiply", [a, c], c.type), e.op("stablehlo.add", [scaled, d], d.type)]

    return _scanned(e, operands, operation.attributes.dim, combine)[1]


@rule(tensor_sort.argsort)
def _argsort(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """Pairs of element and position sorted by the element: stable, nan the largest."""
    (x,) = operands
    a, dim = operation.attributes, x.type.rank - 1
    value, place, flag = x.type.with_shape(()), TensorType(dtypes.int64, ()), "tensor<i1>"
    places = x.type.with_dtype(dtypes.int64)
    positions = e.op("stablehlo.iota", [], places, f"iota_dimension = {dim} : i64")
    larger, smaller = ("%a", "%b") if a.descending else ("%b", "%a")
    region = [
        f"^bb0(%a: {value}, %b: {value}, %i: {place}, %j: {place}):",
        compared("%before", "LT", smaller, larger, value),
        compared("%is_nan", "NE", larger, larger, value),
        compared("%is_number", "EQ", smaller, smaller, value),
        f'  %last = "stablehlo.and"(%is_nan, %is_number) : ({flag}, {flag}) -> {flag}',
        f'  %c = "stablehlo.or"(%before, %last) : ({flag}, {flag}) -> {flag}',
        f'  "stablehlo.return"(%c) : ({flag}) -> ()',
    ]
    attributes = f"dimension = {dim} : i64, is_stable = true"
    order = e.several("stablehlo.sort", [x, positions], [x.type, places], attributes, region)[1]
    return order if a.count < 0 else _along(e, order, dim, 0, min(a.count, x.type.shape[dim]))


@rule(tensor_sort.searchsorted)
def _searchsorted(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """Bisection of all values at once, unrolled: as torch's, it passes over what does not compare, nan above all."""
    table, values = operands
    size = table.type.shape[-1]
    type = values.type.with_dtype(dtypes.int64)
    low, high = e.constant(0, type), e.constant(size, type)
    flat = e.reshape(table, (table.type.numel,))
    start = positions(e, type, contiguous(table.type.shape).strides[:-1])  # of each value's row in the flattened table
    for _ in range(size.bit_length()):
        middle = e.op("stablehlo.divide", [e.op("stablehlo.add", [low, high], type), e.constant(2, type)], type)
        place = e.op("stablehlo.minimum", [middle, e.constant(size - 1, type)], type)
        found = gathered(e, flat, e.op("stablehlo.add", [start, place], type))
        reached = e.compare("GT" if operation.attributes.right else "GE", found, values)
        ended = e.compare("GE", low, high)
        following = e.op("stablehlo.add", [middle, e.constant(1, type)], type)
        low = e.select(e.op("stablehlo.or", [reached, ended], reached.type), low, following)
        high = e.select(reached, e.op("stablehlo.minimum", [middle, high], type), high)
    return low
