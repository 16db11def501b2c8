"""The rules that IR obeys at every level. A broken rule is a fault of the compiler (or of hand-written text)."""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch.errors import VerificationError
from lazytorch.ir.core import Block, Operation, Value, func, module, return_
from lazytorch.ir.declaration import Declaration, Trait
from lazytorch.ir.dialects import fused, loop
from lazytorch.ir.location import UNKNOWN
from lazytorch.ir.loop_verifier import loop_rule_broken_by
from lazytorch.ir.types import INDEX, TupleType, Type

TERMINATORS: dict[Declaration, Declaration] = {
    func: return_,
    fused.kernel: fused.yield_,
    loop.kernel: loop.return_,
    loop.function: loop.return_,
    loop.parallel: loop.yield_,
    loop.for_: loop.yield_,
    loop.if_: loop.yield_,
}
"""What the body of each operation with regions ends in; a module's body has no terminator."""

ISOLATED = frozenset((module, func, fused.kernel, loop.kernel, loop.function))
"""Bodies that see no value from outside, only their own arguments."""


def verify(operation: Operation) -> None:
    """Check an operation and all inside it; raises VerificationError naming the operation, its line and the rule.

    Rules: every block that needs one ends in its terminator and has none before; operands are defined before their use
    and visible; result types are what inference says; links, owners and use counts agree; bodies have the arguments and
    yield the types that their operation needs; memory accesses fit their buffers; callees exist.
    """
    functions: dict[str, Operation] = {}
    if operation.declaration is module:
        functions = _symbols(operation)
    _check_operation(operation, set(), functions, isolated_outside=operation.parent is not None)


def fault(operation: Operation, rule: str) -> VerificationError:
    """The error for an operation that breaks a rule."""
    place = None if operation.location == UNKNOWN else operation.location
    return VerificationError(f"{describe(operation)}: {rule}", location=place)


def describe(operation: Operation) -> str:
    """One line that identifies an operation: `%1 = arith.add(%0: tensor<4xf32>, %x: tensor<5xf32>)`."""
    results = ", ".join(_short(value) for value in operation.results)
    operands = ", ".join(f"{_short(value)}: {value.type}" for value in operation.operands)
    return f"{results} = {operation.name}({operands})" if results else f"{operation.name}({operands})"


def _short(value: Value) -> str:
    """The value's name, else its operation's place in its block as the printer would number it within that block."""
    if value.name:
        return f"%{value.name}"
    if isinstance(value.owner, Block):
        return f"%arg{value.index}"
    number = 0
    before = value.owner.previous
    while before is not None:
        number += len(before.results)
        before = before.previous
    return f"%{number + value.index}"


def _symbols(top: Operation) -> dict[str, Operation]:
    symbols: dict[str, Operation] = {}
    for operation in top.region.block:
        if operation.declaration not in TERMINATORS or "name" not in operation.declaration.attribute_names:
            raise fault(operation, "a module holds functions and kernels only")
        name = operation.attributes.name
        if name in symbols:
            raise fault(operation, f"the module defines @{name} twice")
        symbols[name] = operation
    return symbols


def _check_operation(
    operation: Operation, visible: set[Value], functions: dict[str, Operation], isolated_outside: bool = False
) -> None:
    declaration = operation.declaration
    for position, operand in enumerate(operation.operands):
        if not isolated_outside and operand not in visible:
            raise fault(operation, f"operand {position} is used before (or outside of) its definition")
        if operand.users.get(operation) != operation.operands.count(operand):
            raise fault(operation, f"operand {position} does not count this use among its users")
    for result in operation.results:
        if result.owner is not operation:
            raise fault(operation, f"result {result.index} says that another operation owns it")
    _check_types(operation)
    try:
        broken = loop_rule_broken_by(operation, functions)
    except (TypeError, AttributeError) as error:  # an attribute of hand-written text that is no number, say
        raise fault(operation, f"attributes do not fit: {error}") from error
    if broken:
        raise fault(operation, broken)
    if declaration.has(Trait.TERMINATOR) and operation.next is not None:
        raise fault(operation, "a terminator must be the last operation of its block")
    if "name" in declaration.attribute_names and not isinstance(operation.attributes.name, str):
        raise fault(operation, f"its name is {operation.attributes.name}, not a string")
    if operation.regions:
        _check_regions(operation, visible, functions)
    elif declaration in TERMINATORS or declaration is module:
        raise fault(operation, "has no region")


def _check_types(operation: Operation) -> None:
    """Result types agree with inference. (A fused.kernel's are those of its yield instead.)"""
    if operation.declaration is fused.kernel:
        return
    try:
        inferred = operation.operator.infer(*[operand.type for operand in operation.operands])
    except Exception as error:  # inference raises torch's exceptions of all kinds, and TypeError for a wrong count
        raise fault(operation, f"operands do not fit: {error}") from error
    expected = inferred.types if isinstance(inferred, TupleType) else (inferred,)
    actual = tuple([result.type for result in operation.results])
    if actual != expected:
        raise fault(operation, f"result types are {_list(actual)} but should be {_list(expected)}")


def _check_regions(operation: Operation, visible: set[Value], functions: dict[str, Operation]) -> None:
    expected = 2 if operation.declaration is loop.if_ else 1
    if len(operation.regions) != expected:
        raise fault(operation, f"has {len(operation.regions)} regions but should have {expected}")
    for region in operation.regions:
        if region.parent is not operation:
            raise fault(operation, "its region says that another operation owns it")
        if len(region.blocks) != 1:
            raise fault(operation, f"a region has {len(region.blocks)} blocks but should have one")
        block = region.block
        if block.parent is not region:
            raise fault(operation, "its block says that another region owns it")
        _check_block(operation, block, set() if operation.declaration in ISOLATED else visible, functions)
        _check_body(operation, block)


def _check_block(operation: Operation, block: Block, visible: set[Value], functions: dict[str, Operation]) -> None:
    defined: list[Value] = list(block.arguments)
    visible.update(defined)
    previous: Operation | None = None
    for inner in block:
        if inner.parent is not block or inner.previous is not previous:
            raise fault(inner, f"is not linked properly into the body of {operation.name}")
        _check_operation(inner, visible, functions)
        visible.update(inner.results)
        defined += inner.results
        previous = inner
    if block.last is not previous:
        raise fault(operation, "its block's last operation is not the end of the chain")
    visible.difference_update(defined)
    due = TERMINATORS.get(operation.declaration)
    if due is not None and (previous is None or previous.declaration is not due):
        raise fault(operation, f"its body must end in {due.name}")


def _check_body(operation: Operation, block: Block) -> None:
    """The arguments of a body and what it yields fit the operation around it."""
    declaration = operation.declaration
    operands = [operand.type for operand in operation.operands]
    arguments = [argument.type for argument in block.arguments]
    results = [result.type for result in operation.results]
    due: list[Type]
    if declaration is fused.kernel:
        due = operands
    elif declaration is loop.for_:
        due = [INDEX, *operands[3:]]
    elif declaration is loop.parallel:
        due = [INDEX]
    elif declaration is loop.if_:
        due = []
    else:
        return
    if arguments != due:
        raise fault(operation, f"body arguments are {_list(arguments)} but should be {_list(due)}")
    yielded = [operand.type for operand in block.terminator.operands]
    if yielded != results:
        raise fault(operation, f"its body yields {_list(yielded)} but should yield {_list(results)}")


def _list(types: Sequence[Type]) -> str:
    return "(" + ", ".join(map(str, types)) + ")"
