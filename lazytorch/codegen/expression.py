"""What a kernel computes at one point of its iteration space.

`pull` walks from the values a cluster yields down to what it reads: elementwise operations stay operations, views become
strided access to the buffers below them. The result is a flat program over leaves; it is the kernel's structure (its key)
and what the schedules emit, as scalars or as vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any

from lazytorch.codegen.views import Access, apply_view, contiguous
from lazytorch.dtypes import DType
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Operator, Trait
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.types import TensorType

FUNCTION = 30
"""Instructions that a function such as exp is counted as."""


class NotStrided(Exception):
    """A reshape between a buffer and its reader needs a copy. `value` is what has to be materialised; `shape` is that of
    the reshape's result if no view lies between it and the reader, else None."""

    def __init__(self, value: Value, shape: tuple[int, ...] | None = None) -> None:
        super().__init__(str(value))
        self.value = value
        self.shape = shape


@dataclass(frozen=True)
class Leaf:
    """Something read: a buffer (`value` is the kernel's operand), or an iota (`value` None), through a strided access."""

    value: Value | None
    dtype: DType
    access: Access


@dataclass
class Expression:
    """A flat program. Entry i is ("leaf", n), ("constant", number, dtype), ("op", operator, operand entries, dtype) or
    ("given", value, dtype): a value that the schedule supplies."""

    shape: tuple[int, ...]
    leaves: list[Leaf] = field(default_factory=list)
    entries: list[tuple[Any, ...]] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    operations: int = 0

    def below(self, wanted: Sequence[int], given: Container[int] = ()) -> list[int]:
        """The entries that `wanted` are computed from, themselves included, operands first; stops at `given` ones."""
        found: set[int] = set()
        stack = [number for number in wanted if number not in given]
        while stack:
            number = stack.pop()
            if number in found:
                continue
            found.add(number)
            entry = self.entries[number]
            if entry[0] == "op":
                stack += [operand for operand in entry[2] if operand not in given]
        return sorted(found)

    @property
    def instructions(self) -> int:
        """Instructions per vector, roughly: a function of the dialect math is computed by dozens of them."""
        names = [entry[1].declaration.name for entry in self.entries if entry[0] == "op"]
        return sum(FUNCTION if name.startswith("math.") else 1 for name in names)

    def dtype(self, entry: int) -> DType:
        """The element type of an entry."""
        dtype: DType = self.entries[entry][-1]
        return dtype


Path = tuple[Operation, ...]


def pull(
    outputs: Sequence[Value],
    shape: tuple[int, ...],
    given: Sequence[Value] = (),
    boundary: Container[Value] = frozenset(),
) -> Expression:
    """The expression of values that all have `shape`. Values in `given` are supplied by the schedule at the same index,
    those in `boundary` lie in buffers though an operation defines them.

    Block arguments (and anything without a defining operation) are leaves. Raises NotStrided.
    """
    puller = _Puller(shape, set(given), boundary)
    puller.expression.outputs = [puller.entry(value, ()) for value in outputs]
    return puller.expression


class _Puller:
    def __init__(self, shape: tuple[int, ...], given: set[Value], boundary: Container[Value]) -> None:
        self.boundary = boundary
        self.expression = Expression(shape)
        self.given = given
        self.memo: dict[tuple[Value, Path], int] = {}
        self.leaf_numbers: dict[Leaf, int] = {}
        self.keys: dict[Any, int] = {}

    def entry(self, value: Value, path: Path) -> int:
        """The entry of `value` seen through the view operations of `path` (nearest the value first). Iterative."""
        memo = self.memo
        stack: list[tuple[Value, Path, Operation | None, list[tuple[Value, Path]] | None]] = [(value, path, None, None)]
        while stack:
            current, through, operation, needs = stack.pop()
            if needs is None:
                if (current, through) in memo:
                    continue
                operation = None if current in self.boundary else current.defining_op()
                needs = [] if operation is None or current in self.given else _needs(operation, through)
                missing = [need for need in needs if need not in memo]
                if missing:
                    stack.append((current, through, operation, needs))
                    stack += [(*need, None, None) for need in missing]
                    continue
            memo[current, through] = self._make(current, through, operation, needs)
        return memo[value, path]

    def _make(self, value: Value, path: Path, operation: Operation | None, needs: Sequence[tuple[Value, Path]]) -> int:
        type = value.type
        if value in self.given:
            if any(not step.has(Trait.ELEMENTWISE) for step in path):
                raise CompileError("a value of the schedule is read through a view", stage="schedule")
            return self._add(("given", value, type.dtype))
        if operation is None:
            return self._leaf(value, type.dtype, value, path)
        declaration = operation.operator.declaration
        if declaration is arith.constant:
            return self._add(("constant", operation.attributes.value, type.dtype))
        if declaration is tensor.iota:
            return self._leaf(None, type.dtype, value, path)
        if Trait.VIEW in declaration.traits:
            return self.memo[needs[0]]
        self.expression.operations += 1
        return self._add(("op", operation.operator, tuple([self.memo[need] for need in needs]), type.dtype))

    def _leaf(self, buffer: Value | None, dtype: DType, value: Value, path: Path) -> int:
        access: Access | None = contiguous(value.type.shape)
        for step, following in zip(path, (*path[1:], None), strict=False):
            assert access is not None
            if step.declaration is tensor.reshape and following is not None and following.declaration is tensor.reshape:
                continue  # only the last of several shapes matters
            if step.has(Trait.VIEW):
                access = apply_view(access, step)
                if access is None:
                    raise NotStrided(step.operands[0], None if following is not None else step.result.type.shape)
            else:
                access = access.expanded(step.result.type.shape)
        assert access is not None
        leaf = Leaf(buffer, dtype, access.expanded(self.expression.shape))
        number = self.leaf_numbers.get(leaf)
        if number is None:
            number = self.leaf_numbers[leaf] = len(self.expression.leaves)
            self.expression.leaves.append(leaf)
        return self._add(("leaf", number, dtype))

    def _add(self, entry: tuple[Any, ...]) -> int:
        key = (entry[0], repr(entry[1]), entry[2:]) if entry[0] == "constant" else entry
        number = self.keys.get(key)
        if number is None:
            number = self.keys[key] = len(self.expression.entries)
            self.expression.entries.append(entry)
        return number


def _needs(operation: Operation, path: Path) -> list[tuple[Value, Path]]:
    """What is computed before an operation seen through a path: its operands, each through a path of its own. A broadcast
    operand is expanded to the operation's shape first."""
    declaration = operation.operator.declaration
    if Trait.ELEMENTWISE in declaration.traits:
        shape = operation.results[0].type.shape
        return [(x, path if x.type.shape == shape else (operation, *path)) for x in operation.operands]
    if Trait.VIEW in declaration.traits:
        return [(operation.operands[0], (operation, *path))]
    if declaration is arith.constant or declaration is tensor.iota:
        return []
    raise CompileError(f"{operation.name} cannot be computed element by element", stage="schedule")


def describe(expression: Expression) -> str:
    """The expression as canonical text without sizes, strides or names: part of a kernel's key."""
    words = []
    for entry in expression.entries:
        kind = entry[0]
        if kind == "leaf":
            words.append(f"l{entry[1]}:{entry[2].name}")
        elif kind == "constant":
            words.append(f"c{entry[1]!r}:{entry[2].name}")
        elif kind == "given":
            words.append(f"g:{entry[2].name}")
        else:
            operator: Operator = entry[1]
            words.append(f"{operator.declaration.name}{operator.attributes}{entry[2]}:{entry[3].name}")
    return ";".join(words) + "->" + ",".join(map(str, expression.outputs))


Read = Callable[[int], Value]


def emit(
    expression: Expression,
    entries: Sequence[int],
    values: dict[int, Value],
    leaf: Read,
    constant: Callable[[Any, DType], Value],
) -> None:
    """Compute `entries` (ascending) into `values`; leaves and constants come from the schedule, as scalars or vectors.

    Operations are emitted at the current insertion point. `values` may already hold entries computed further out.
    """
    for number in entries:
        if number in values:
            continue
        entry = expression.entries[number]
        if entry[0] == "leaf":
            values[number] = leaf(entry[1])
        elif entry[0] == "constant":
            values[number] = constant(entry[1], entry[2])
        elif entry[0] == "op":
            operands = [values[operand] for operand in entry[2]]
            values[number] = operands[0].builder.emit(entry[1], operands)
        else:
            raise CompileError("a value of the schedule was not supplied", stage="schedule")


def collapse(
    sizes: Sequence[int], accesses: Sequence[Sequence[int]], barriers: frozenset[int] = frozenset()
) -> list[list[int]]:
    """Groups of adjacent dimensions that can be one loop for every access; size-1 dimensions vanish.

    `accesses` are stride tuples. A dimension in `barriers` does not merge with the one before it.
    """
    groups: list[list[int]] = []
    broken = False
    for d, size in enumerate(sizes):
        if d in barriers:
            broken = True
        if size == 1:
            continue
        if groups and not broken:
            last = groups[-1][-1]
            if all(strides[last] == strides[d] * size for strides in accesses):
                groups[-1].append(d)
                continue
        groups.append([d])
        broken = False
    return groups


def tensor_type(value: Value) -> TensorType:
    """The value's type, known to be a tensor's."""
    assert isinstance(value.type, TensorType)
    return value.type
