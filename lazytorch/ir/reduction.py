"""Making a module smaller for as long as it stays interesting: delta debugging of IR, as mlir-reduce does.

Every step edits a fresh copy of the text; what does not verify is dropped, what verifies and is still interesting replaces
it. Operations are taken out in ever smaller groups (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing
input", 2002): in a function their results become arguments, in a kernel constants or values of the same type. Functions,
results and arguments go too, loops and branches around what stays, locations and labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from lazytorch.errors import LazytorchError
from lazytorch.ir.core import Block, Operation, Value, func, return_
from lazytorch.ir.declaration import Trait
from lazytorch.ir.dialects import arith, loop
from lazytorch.ir.location import UNKNOWN
from lazytorch.ir.parser import parse_module
from lazytorch.ir.printer import print_ir
from lazytorch.ir.types import ScalarType, TensorType, VectorType
from lazytorch.ir.verifier import verify

Interesting = Callable[[str], bool]
"""Whether a module's text still shows what is looked for."""

Edit = Callable[[Operation], bool]
"""Change a module in place; whether anything was changed."""


class Reducer:
    """`Reducer(text, interesting).reduce()`. Raises ValueError where the text is not interesting to begin with.

    `tests` counts the calls of `interesting`; a text is never tried twice.
    """

    def __init__(self, text: str, interesting: Interesting) -> None:
        self.text = print_ir(parse_module(text), locations=True)
        self.tests = 0
        self._interesting = interesting
        self._known: dict[str, bool] = {}
        if not self._test(self.text):
            raise ValueError("the module is not interesting as it is: the test must hold for it")

    def reduce(self) -> str:
        """The smallest text found: no single step makes it smaller."""
        self._try(_forget_locations)
        before = ""
        while before != self.text:
            before = self.text
            self._each(_functions, lambda module, position: _remove_body(module, position))
            self._remove_operations()
            self._each(_returned, _drop_result)
            self._each(_arguments, _drop_argument)
            self._each(_arguments, _merge_argument)
            self._each(_removable, _bypass)
            self._each(_removable, _unwrap)
        return self.text

    def _test(self, text: str) -> bool:
        known = self._known.get(text)
        if known is None:
            self.tests += 1
            known = self._known[text] = self._interesting(text)
        return known

    def _try(self, edit: Edit) -> bool:
        """Keep an edit if the outcome verifies and is interesting."""
        module = parse_module(self.text)
        try:
            if not edit(module):
                return False
            verify(module)
        except (LazytorchError, ValueError):
            return False
        text = print_ir(module, locations=True)
        if text == self.text or not self._test(text):
            return False
        self.text = text
        return True

    def _each(self, places: Callable[[Operation], Sequence[object]], edit: Callable[[Operation, int], bool]) -> None:
        """Try an edit at every place, last first, so that the numbers of those before stay as they are."""
        for position in reversed(range(len(places(parse_module(self.text))))):
            self._try(_at(edit, position))

    def _remove_operations(self) -> None:
        size = max(1, len(_removable(parse_module(self.text))) // 2)
        while True:
            position = len(_removable(parse_module(self.text)))
            while position > 0:
                first = max(0, position - size)
                self._try(partial(_remove, first=first, last=position))
                position = first
            if size == 1:
                return
            size //= 2


def _at(edit: Callable[[Operation, int], bool], position: int) -> Edit:
    return lambda module: edit(module, position)


def _functions(module: Operation) -> list[Operation]:
    return list(module.region.block)


def _remove_body(module: Operation, position: int) -> bool:
    _functions(module)[position].erase()
    return True


def _removable(module: Operation) -> list[Operation]:
    """The operations inside of functions and kernels that are no terminators."""
    return [
        operation for body in module.region.block for operation in body.walk()
        if operation is not body and not operation.has(Trait.TERMINATOR)
    ]  # fmt: skip


def _remove(module: Operation, first: int, last: int) -> bool:
    """Take operations out, last first; what else reads their results gets something of the same type."""
    for operation in reversed(_removable(module)[first:last]):
        if operation.parent is None:
            continue
        for result in operation.results:
            if result.users:
                substitute = _substitute(operation, result)
                if substitute is None:
                    return False
                result.replace_all_uses_with(substitute)
        operation.erase()
    return True


def _substitute(operation: Operation, result: Value) -> Value | None:
    body = _body_of(operation)
    if body.declaration is func and operation.parent is body.region.block:
        return body.region.block.add_argument(result.type)
    same = next((operand for operand in operation.operands if operand.type is result.type), None)
    if same is not None or not isinstance(result.type, ScalarType | VectorType | TensorType):
        return same
    if operation.declaration is arith.constant and operation.attributes.value == 1:
        return None
    constant = Operation(arith.constant.operator(value=1 if result.type.dtype.kind != "b" else True, type=result.type))
    assert operation.parent is not None
    operation.parent.insert_before(constant, operation)
    return constant.result


def _body_of(operation: Operation) -> Operation:
    """The function or kernel around an operation of a module."""
    around = [operation]
    while around[-1].parent is not None and around[-1].parent.parent is not None:
        outer = around[-1].parent.parent.parent
        assert outer is not None
        around.append(outer)
    return around[-2]


def _bypass(module: Operation, position: int) -> bool:
    """Let an operation's users read its operand of the same type."""
    operation = _removable(module)[position]
    if len(operation.results) != 1:
        return False
    for operand in operation.operands:
        if operand.type is operation.result.type:
            operation.replace_with((operand,))
            return True
    return False


def _unwrap(module: Operation, position: int) -> bool:
    """Let the body of a loop, a branch or a fused kernel stand in the place of the operation, once."""
    operation = _removable(module)[position]
    if not operation.regions:
        return False
    body = operation.regions[0].block
    bounds = len(operation.operands) - len(body.arguments) + 1 if operation.declaration is loop.for_ else 0
    given = (operation.operands[0], *operation.operands[bounds:]) if bounds else operation.operands
    assert operation.parent is not None
    for argument, value in zip(body.arguments, given, strict=False):
        argument.replace_all_uses_with(value)
    terminator = body.terminator
    yielded = terminator.operands
    terminator.erase()
    for inner in list(body):
        operation.parent.insert_before(inner, operation)
    operation.replace_with(yielded)
    return True


def _returned(module: Operation) -> list[tuple[Operation, int]]:
    """The results of all functions."""
    found = []
    for body in module.region.block:
        if body.declaration is func:
            found += [(body, number) for number in range(len(body.region.block.terminator.operands))]
    return found


def _drop_result(module: Operation, position: int) -> bool:
    body, number = _returned(module)[position]
    terminator = body.region.block.terminator
    if terminator.declaration is not return_:
        return False
    terminator.operands = terminator.operands[:number] + terminator.operands[number + 1 :]
    return True


def _arguments(module: Operation) -> list[Value]:
    """The arguments of all functions and kernels."""
    return [argument for body in module.region.block for argument in body.region.block.arguments]


def _drop_argument(module: Operation, position: int) -> bool:
    argument = _arguments(module)[position]
    if argument.users:
        return False
    _take_out(argument)
    return True


def _merge_argument(module: Operation, position: int) -> bool:
    """Read another argument of the same type instead."""
    argument = _arguments(module)[position]
    assert isinstance(argument.owner, Block)
    for other in argument.owner.arguments[: argument.index]:
        if other.type is argument.type:
            argument.replace_all_uses_with(other)
            _take_out(argument)
            return True
    return False


def _take_out(argument: Value) -> None:
    assert isinstance(argument.owner, Block)
    arguments = argument.owner.arguments
    arguments.remove(argument)
    for index, other in enumerate(arguments):
        other.index = index


def _forget_locations(module: Operation) -> bool:
    for operation in module.walk():
        operation.location = UNKNOWN
        if operation.operator.label:
            operation.operator = operation.declaration.operator(**operation.attributes.as_dict())
    return True
