"""Operations, values, blocks, regions: the IR proper, in the sense of MLIR."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lazytorch.ir.declaration import Attributes, Declaration, Operator, Trait, declaration_named
from lazytorch.ir.location import UNKNOWN, Location
from lazytorch.ir.types import ScalarType, TensorType, TupleType, Type


class Value:
    """An SSA value: a result of an operation or an argument of a block. `users` counts the uses per operation."""

    __slots__ = ("index", "name", "owner", "type", "users")

    def __init__(self, type: Type, owner: Operation | Block, index: int, name: str = "") -> None:
        self.type = type
        self.owner = owner
        self.index = index
        self.name = name
        self.users: dict[Operation, int] = {}

    @property
    def builder(self) -> IRBuilder:
        """The current insertion point: where a rule that computes with this value adds its operations."""
        return current_builder()

    def defining_op(self, declaration: Declaration | None = None) -> Operation | None:
        """The operation this is a result of (only if it is of the given declaration), or None."""
        owner = self.owner
        if isinstance(owner, Operation) and (declaration is None or owner.declaration is declaration):
            return owner
        return None

    def replace_all_uses_with(self, value: Value) -> None:
        """Every user reads `value` instead."""
        for user in list(self.users):
            user.operands = tuple([value if operand is self else operand for operand in user.operands])

    def __repr__(self) -> str:
        return f"%{self.name or self.index}: {self.type}"


class Operation:
    """One operation. `operands` is a tuple; assign a new tuple to change it (uses are kept up to date)."""

    __slots__ = ("_operands", "location", "next", "operator", "parent", "previous", "regions", "results")

    def __init__(
        self,
        operator: Operator,
        operands: Sequence[Value] = (),
        result_types: Sequence[Type] | None = None,
        regions: Sequence[Region] = (),
        location: Location = UNKNOWN,
    ) -> None:
        self.operator = operator
        self._operands = operands = tuple(operands)
        for operand in operands:
            users = operand.users
            users[self] = users.get(self, 0) + 1
        if result_types is None:
            inferred = operator.infer(*[operand.type for operand in operands])
            result_types = inferred.types if isinstance(inferred, TupleType) else (inferred,)
        if len(result_types) == 1:
            self.results: tuple[Value, ...] = (Value(result_types[0], self, 0),)
        else:
            self.results = tuple([Value(type, self, index) for index, type in enumerate(result_types)])
        self.regions = tuple(regions) if regions else ()
        for region in self.regions:
            region.parent = self
        self.location = location
        self.parent: Block | None = None
        self.next: Operation | None = None
        self.previous: Operation | None = None

    @property
    def operands(self) -> tuple[Value, ...]:
        """The values read."""
        return self._operands

    @operands.setter
    def operands(self, operands: tuple[Value, ...]) -> None:
        for old in self._operands:
            count = old.users[self] - 1
            if count:
                old.users[self] = count
            else:
                del old.users[self]
        self._operands = operands
        for new in operands:
            new.users[self] = new.users.get(self, 0) + 1

    @property
    def declaration(self) -> Declaration:
        """What the operation is."""
        return self.operator.declaration

    @property
    def name(self) -> str:
        """The full name, `dialect.operation`."""
        return self.operator.declaration.name

    @property
    def attributes(self) -> Attributes:
        """The attributes, as fields."""
        return self.operator.attributes

    @property
    def result(self) -> Value:
        """The only result."""
        if len(self.results) != 1:
            raise ValueError(f"{self.name} has {len(self.results)} results, not one")
        return self.results[0]

    @property
    def region(self) -> Region:
        """The only region."""
        return self.regions[0]

    def has(self, trait: Trait) -> bool:
        """Whether the operation's declaration has the trait."""
        return trait in self.operator.declaration.traits

    def replace_with(self, values: Sequence[Value]) -> None:
        """Every use of the results reads `values` instead; the operation is erased."""
        for result, value in zip(self.results, values, strict=True):
            result.replace_all_uses_with(value)
        self.erase()

    def erase(self) -> None:
        """Remove the operation from its block and its uses from its operands. Its results must be unused."""
        for result in self.results:
            if result.users:
                raise ValueError(f"{self.name} is erased but its result is still used")
        for region in self.regions:
            for block in region.blocks:
                for inner in reversed(list(block)):
                    for result in inner.results:
                        result.users.clear()
                    inner.erase()
        self.operands = ()
        if self.parent is not None:
            self.parent.remove(self)

    def walk(self) -> Iterator[Operation]:
        """This operation and all inside it, outer before inner, in order."""
        stack: list[Operation] = [self]
        while stack:
            operation = stack.pop()
            yield operation
            for region in reversed(operation.regions):
                for block in reversed(region.blocks):
                    stack.extend(reversed(list(block)))

    def __repr__(self) -> str:
        return f"<{self.name} at {self.location}>"


class Block:
    """A straight line of operations with arguments; the last operation is the terminator."""

    __slots__ = ("arguments", "first", "last", "parent")

    def __init__(self, argument_types: Sequence[Type] = (), names: Sequence[str] = ()) -> None:
        self.arguments: list[Value] = []
        for position, type in enumerate(argument_types):
            self.add_argument(type, names[position] if names else "")
        self.parent: Region | None = None
        self.first: Operation | None = None
        self.last: Operation | None = None

    def add_argument(self, type: Type, name: str = "") -> Value:
        """Append a block argument."""
        value = Value(type, self, len(self.arguments), name)
        self.arguments.append(value)
        return value

    def append(self, operation: Operation) -> Operation:
        """Add at the end."""
        return self.insert_before(operation, None)

    def insert_before(self, operation: Operation, anchor: Operation | None) -> Operation:
        """Add before `anchor` (None: at the end)."""
        if operation.parent is not None:
            operation.parent.remove(operation)
        operation.parent = self
        previous = self.last if anchor is None else anchor.previous
        operation.previous = previous
        operation.next = anchor
        if previous is None:
            self.first = operation
        else:
            previous.next = operation
        if anchor is None:
            self.last = operation
        else:
            anchor.previous = operation
        return operation

    def remove(self, operation: Operation) -> None:
        """Unlink; the operation keeps its operands and may be inserted elsewhere."""
        if operation.previous is None:
            self.first = operation.next
        else:
            operation.previous.next = operation.next
        if operation.next is None:
            self.last = operation.previous
        else:
            operation.next.previous = operation.previous
        operation.parent = operation.next = operation.previous = None

    def erase(self, operations: Sequence[Operation]) -> None:
        """Remove operations, none of which has regions, and whose results nothing else reads."""
        for operation in operations:
            for operand in operation._operands:
                operand.users.pop(operation, None)
            operation._operands = ()
            self.remove(operation)

    @property
    def terminator(self) -> Operation:
        """The last operation."""
        if self.last is None:
            raise ValueError("the block is empty and has no terminator")
        return self.last

    def __iter__(self) -> Iterator[Operation]:
        operation = self.first
        while operation is not None:
            following = operation.next
            yield operation
            operation = following

    def __reversed__(self) -> Iterator[Operation]:
        operation = self.last
        while operation is not None:
            preceding = operation.previous
            yield operation
            operation = preceding


class Region:
    """The blocks that belong to an operation."""

    __slots__ = ("blocks", "parent")

    def __init__(self, blocks: Sequence[Block] = ()) -> None:
        self.blocks = list(blocks)
        for block in self.blocks:
            block.parent = self
        self.parent: Operation | None = None

    @property
    def block(self) -> Block:
        """The only block."""
        return self.blocks[0]


def _no_results(attributes: Attributes, *operands: Type) -> tuple[Type, ...]:
    return ()


_FUNCTION = """\
func @square(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.mul %x, %x : tensor<4xf32>
  return %0 : tensor<4xf32>
}
"""

module: Declaration = Declaration(
    "builtin.module", _no_results, traits=(), example=_FUNCTION, doc="The top of the IR: a list of functions and kernels."
)
func: Declaration = Declaration(
    "builtin.func",
    _no_results,
    attributes=("name",),
    traits=(),
    example=_FUNCTION,
    doc="A program over tensors: block arguments in, `builtin.return` out.",
)
return_: Declaration = Declaration(
    "builtin.return",
    _no_results,
    traits=(Trait.TERMINATOR,),
    example=_FUNCTION,
    doc="Ends a function; the operands are its results.",
)


def new_module() -> Operation:
    """An empty module."""
    return Operation(module.operator(), regions=[Region([Block()])])


def new_func(name: str, argument_types: Sequence[Type], names: Sequence[str] = ()) -> Operation:
    """A function without a body yet; append operations and a `builtin.return` to `.region.block`."""
    return Operation(func.operator(name=name), regions=[Region([Block(argument_types, names)])])


class IRBuilder:
    """An insertion point: operations are added to `block` before `anchor` (None: at its end), with `location`."""

    __slots__ = ("anchor", "block", "location")

    def __init__(self, block: Block, anchor: Operation | None = None, location: Location = UNKNOWN) -> None:
        self.block = block
        self.anchor = anchor
        self.location = location

    def emit(self, operator: Operator, operands: Sequence[Value]) -> Any:
        """Add an operation with inferred result types; its result, or the tuple of its results."""
        operation = Operation(operator, operands, location=self.location)
        self.block.insert_before(operation, self.anchor)
        return operation.results[0] if len(operation.results) == 1 else operation.results

    def insert(self, operation: Operation) -> Operation:
        """Add a ready-made operation (one with regions, say)."""
        if operation.location is UNKNOWN:
            operation.location = self.location
        return self.block.insert_before(operation, self.anchor)

    def constant(self, value: Any, like: Value) -> Value:
        """A constant of `like`'s element type: a rank-0 tensor beside tensors, a scalar or vector inside kernels."""
        type = like.type
        constant_type: Type = TensorType(type.dtype, ()) if isinstance(type, TensorType) else type
        result: Value = declaration_named("arith.constant").build(self, value=value, type=constant_type)
        return result

    def scalar(self, value: Any, type: ScalarType) -> Value:
        """A scalar constant inside a kernel."""
        result: Value = declaration_named("arith.constant").build(self, value=value, type=type)
        return result


class _Current(threading.local):
    builder: IRBuilder | None = None


_current = _Current()


def current_builder() -> IRBuilder:
    """The insertion point of this thread. Raises RuntimeError outside of `inserting`."""
    builder = _current.builder
    if builder is None:
        raise RuntimeError("no insertion point: wrap the code in `with inserting(builder):`")
    return builder


@contextmanager
def inserting(builder: IRBuilder) -> Iterator[IRBuilder]:
    """Make `builder` the insertion point within the block."""
    before = _current.builder
    _current.builder = builder
    try:
        yield builder
    finally:
        _current.builder = before
