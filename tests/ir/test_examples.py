"""The example that every declaration has or implies: where tests of all operations begin, and the generated reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from lazytorch.errors import VerificationError
from lazytorch.ir.core import Block, Operation
from lazytorch.ir.declaration import Declaration, Trait, example
from lazytorch.ir.equivalence import equivalent
from lazytorch.ir.examples import documented_operations, example_module, example_operation
from lazytorch.ir.generic_printer import print_generic
from lazytorch.ir.parser import parse_module
from lazytorch.ir.printer import print_ir
from lazytorch.ir.types import ScalarType, TensorType, Type
from lazytorch.ir.verifier import verify
from lazytorch.tools.reference import describe_operations

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
OPERATIONS = documented_operations()
ALONE = [d for d in OPERATIONS if not isinstance(d.example, str)]


@pytest.mark.parametrize("declaration", OPERATIONS, ids=lambda d: d.name)
def test_the_example_of_every_operation_verifies_and_reads_back(declaration: Declaration) -> None:
    module = example_module(declaration)
    verify(module)
    assert equivalent(module, parse_module(print_ir(module, locations=True)))
    assert equivalent(module, parse_module(print_generic(module, locations=True)))
    assert example_operation(declaration).declaration is declaration


def test_the_reference_of_operations_is_what_the_declarations_generate() -> None:
    assert PAGE.read_text() == describe_operations(), "run `make docs`"


def test_an_operation_that_needs_an_example_says_so() -> None:
    def refuse(attributes: object, *types: Type) -> Type:
        raise RuntimeError("never")

    declaration = Declaration.__new__(Declaration)
    declaration.traits = frozenset()
    declaration.name, declaration.example, declaration.infer = "tests.refusing", None, refuse
    declaration._operators, declaration._plain, declaration.attribute_names, declaration.defaults = {}, None, (), {}
    with pytest.raises(ValueError, match=r"tests.refusing needs an example: example=example\("):
        example_module(declaration)
    declaration.attribute_names = ("n",)
    with pytest.raises(ValueError, match="needs an example"):
        example_module(declaration)
    declaration.example = example("tensor<f32>", n=1)
    with pytest.raises(RuntimeError, match="never"):
        example_module(declaration)


def _other(type: Type) -> Type:
    return TensorType(type.dtype, (*type.shape, 7)) if isinstance(type, TensorType) else TensorType(type.dtype, (7,))


def _breaks(module: Operation) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(module)
    return caught.value.message


@pytest.mark.parametrize("declaration", [d for d in ALONE if example_operation(d).results], ids=lambda d: d.name)
def test_a_result_of_another_type_is_refused(declaration: Declaration) -> None:
    operation = example_operation(declaration)
    operation.results[0].type = _other(operation.results[0].type)
    assert operation.parent is not None and operation.parent.parent is not None
    module = operation.parent.parent.parent
    assert module is not None
    assert "result types are" in _breaks(module) or "operands do not fit" in _breaks(module)


@pytest.mark.parametrize("declaration", [d for d in ALONE if example_operation(d).operands], ids=lambda d: d.name)
def test_operands_that_do_not_fit_are_refused(declaration: Declaration) -> None:
    """Some operand of another type, or one operand less, is refused; what the type of every operand may be is not said."""
    operation = example_operation(declaration)
    assert operation.parent is not None
    block: Block = operation.parent
    assert block.parent is not None and block.parent.parent is not None
    function = block.parent.parent
    before = [argument.type for argument in block.arguments]
    refused = 0
    for position, argument in enumerate(block.arguments):
        for other in (TensorType(before[position].dtype, (7, 1, 5)), ScalarType(before[position].dtype)):
            if other is not before[position]:
                argument.type = other
                refused += _is_refused(function)
        argument.type = before[position]
    operation.operands = operation.operands[:-1]
    refused += _is_refused(function)
    assert refused


def _is_refused(function: Operation) -> bool:
    try:
        verify(function)
    except VerificationError as error:
        assert "operands do not fit" in error.message or "should be" in error.message or "(" in error.message
        return True
    return False


@pytest.mark.parametrize(
    "declaration", [d for d in ALONE if d.attribute_names and not d.has(Trait.CONSTANT)], ids=lambda d: d.name
)
def test_attributes_that_are_missing_are_refused(declaration: Declaration) -> None:
    text = print_ir(example_module(declaration))
    operation = example_operation(declaration)
    obligatory = [name for name in declaration.attribute_names if name not in declaration.defaults]
    if not obligatory:
        pytest.skip("all attributes have defaults")
    start = text.index("{", text.index(operation.name))
    broken = text[:start] + text[text.index("}", start) + 1 :]
    with pytest.raises(Exception, match=f"{operation.name} needs the attribute '{obligatory[0]}'"):
        parse_module(broken)
