"""A reduction as loops: what the schedules of reductions, for CPUs and for GPUs, have in common."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Any

import numpy as np

from lazytorch.codegen.expression import Expression, Leaf, NotStrided, collapse, pull, tensor_type
from lazytorch.codegen.kernel_builder import KernelBuilder
from lazytorch.codegen.schedules.nest import Nest
from lazytorch.codegen.views import contiguous
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, tensor

LANES = 64
BLOCK = 4096
RUN = 64
COMBINE: dict[Declaration, Declaration] = {
    tensor.reduce_sum: arith.add,
    tensor.reduce_prod: arith.mul,
    tensor.reduce_max: arith.maximum,
    tensor.reduce_min: arith.minimum,
    tensor.reduce_any: arith.bit_or,
    tensor.reduce_all: arith.bit_and,
}


def identity(reduction: Declaration, dtype: DType) -> Any:
    """What combined with x is x."""
    if reduction is tensor.reduce_max or reduction is tensor.reduce_min:
        sign = -1 if reduction is tensor.reduce_max else 1
        if dtype.kind == "f":
            return sign * float("inf")
        if dtype.kind == "b":
            return sign > 0
        bounds = np.iinfo(dtype.numpy)
        return int(bounds.min if sign < 0 else bounds.max)
    return {tensor.reduce_sum: 0, tensor.reduce_prod: 1, tensor.reduce_any: False, tensor.reduce_all: True}[reduction]


class Reduction:
    """A reduction as loops: outer dimensions, the reduced one, and at most one inner dimension that is kept."""

    def __init__(self, operation: Operation, boundary: Container[Value] = frozenset()) -> None:
        self.operation = operation
        self.operand = operation.operands[0]
        shape = tensor_type(self.operand).shape
        a = operation.attributes
        dims = tuple(a.dims) if hasattr(a, "dims") else (a.dim,)
        # Dimensions of size 1 separate nothing and may lie anywhere.
        dims = tuple([d for d in dims if shape[d] != 1]) or dims[:1]
        start, stop = dims[0], dims[-1] + 1
        between = [d for d in range(start, stop) if shape[d] != 1 and d not in dims]
        assert not between, "decompose splits reductions into adjacent dimensions"
        self.expression = pull([self.operand], shape, boundary=boundary)
        strides = [leaf.access.strides for leaf in self.expression.leaves]
        groups = collapse(shape, strides, frozenset((start, stop)))
        outer = [group for group in groups if group[0] < start]
        reduced = [group for group in groups if start <= group[0] < stop]
        inner = [group for group in groups if group[0] >= stop]
        if len(reduced) > 1 or len(inner) > 1:
            raise NotStrided(self.operand)
        self.trailing = not inner
        self.nest = Nest(self.expression, shape, [*outer, *(reduced or [[]]), *inner])
        self.outer_sizes = self.nest.sizes[: len(outer)]
        self.count = self.nest.sizes[len(outer)]
        self.rows = 1
        for size in self.outer_sizes:
            self.rows *= size
        self.work = self.rows * self.count * (self.nest.sizes[-1] if inner else 1) * (2 + self.expression.operations)


class SecondLevel(Reduction):
    """The second level of a reduction, over the results of its parts: [rows, parts], or [rows, parts, columns]."""

    def __init__(self, operation: Operation, partial: Value, shape: tuple[int, ...]) -> None:
        self.operation = operation
        leaf = Leaf(partial, partial.type.dtype, contiguous(shape))
        self.expression = Expression(shape, [leaf], [("leaf", 0, leaf.dtype)], [0])
        self.trailing = len(shape) == 2
        groups = [[d] for d in range(len(shape))]
        self.nest = Nest(self.expression, shape, groups if shape[0] > 1 else groups[1:])
        self.outer_sizes = self.nest.sizes[: int(shape[0] > 1)]
        self.rows, self.count = shape[0], shape[1]
        self.work = math.prod(shape)


def identities(k: KernelBuilder, reduction: Operation, lanes: int) -> Value:
    """What the reduction begins with, in every lane."""
    dtype = reduction.result.type.dtype
    return k.splat(identity(reduction.declaration, dtype), dtype, lanes)
