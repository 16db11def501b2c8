"""A use of every operation, from the declarations: for the reference, and where tests of every operation begin."""

from __future__ import annotations

import string

from lazytorch.errors import VerificationError
from lazytorch.ir.core import Block, Operation, Region, func, new_module, return_
from lazytorch.ir.declaration import Declaration, Example, all_declarations
from lazytorch.ir.dialects import load_all, loop
from lazytorch.ir.lexer import Lexer
from lazytorch.ir.parser import parse_module
from lazytorch.ir.type_parser import parse_type
from lazytorch.ir.verifier import verify

_BACKWARD = "_backward"
_TYPES = ("tensor<2x3xf32>", "tensor<2x3xi64>", "tensor<2x3xi1>", "tensor<3x3xf32>")
_KERNEL_TYPES = ("vector<4xf32>", "vector<4xi1>", "index")


def documented_operations() -> list[Declaration]:
    """Every operation there is in every program, by name: not those of the recording alone, nor a user's own."""
    load_all()
    return [declaration for declaration in all_declarations() if not declaration.name.startswith(("trace.", "autograd."))]


def example_module(declaration: Declaration) -> Operation:
    """A module that uses the operation. Raises ValueError for one that declares no example and needs one."""
    if isinstance(declaration.example, str):
        return parse_module(declaration.example, declaration.name)
    for example in _candidates(declaration):
        try:
            module = _module_of(declaration, example)
            verify(module)
            return module
        except (VerificationError, TypeError, RuntimeError, ValueError, IndexError, AttributeError):
            if example is declaration.example:
                raise
    raise ValueError(
        f"{declaration.name} needs an example: example=example(types of operands, attributes) in its declaration"
    )


def example_operation(declaration: Declaration) -> Operation:
    """The operation within its example."""
    return next(operation for operation in example_module(declaration).walk() if operation.declaration is declaration)


def _candidates(declaration: Declaration) -> list[Example]:
    if isinstance(declaration.example, Example):
        return [declaration.example]
    forward = _forward_of(declaration)
    if forward is not None:
        operation = example_operation(forward)
        operands = tuple([str(value.type) for value in (*operation.results, *operation.operands)])
        return [Example(operands, {**operation.attributes.as_dict(), "operand": 0})]
    if set(declaration.attribute_names) - set(declaration.defaults):
        return []
    types = _KERNEL_TYPES if declaration.name.startswith("loop.") else _TYPES
    return [Example((type,) * count, {}) for type in types for count in (1, 2, 3)]


def _forward_of(declaration: Declaration) -> Declaration | None:
    """The composite whose cotangent the operation is."""
    name = declaration.name.removesuffix(_BACKWARD)
    if name == declaration.name:
        return None
    return next((other for other in all_declarations() if other.name == name), None)


def _module_of(declaration: Declaration, example: Example) -> Operation:
    """The operation alone in a function whose arguments are its operands: of tensors, or of what kernels have."""
    types = [parse_type(Lexer(text, declaration.name)) for text in example.operands]
    block = Block(types, string.ascii_lowercase)
    block.append(Operation(declaration.operator(**example.attributes), block.arguments))
    in_kernel = declaration.name.startswith("loop.")
    if in_kernel:
        block.append(Operation(loop.return_.operator(), ()))
    else:
        block.append(Operation(return_.operator(), block.terminator.results))
    module = new_module()
    module.region.block.append(
        Operation((loop.function if in_kernel else func).operator(name="example"), (), (), [Region([block])])
    )
    return module
