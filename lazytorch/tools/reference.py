"""The page docs/operations.md: every operation, from the declarations (`make docs` writes it)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from lazytorch import dtypes
from lazytorch.ir.core import Operation
from lazytorch.ir.declaration import Declaration, Trait
from lazytorch.ir.examples import documented_operations, example_module, example_operation
from lazytorch.ir.printer import attribute_text, print_ir

_HEAD = """# Operations

Every operation of the IR, from its declaration in `lazytorch/ir/dialects` (`make docs` writes this page, a test checks that
it is up to date). How to read the text: [ir.md](ir.md). How to add one: [adding-an-op.md](adding-an-op.md).

*Types* are those of the example, whose operands are called `%a`, `%b` and so on in their order. *Element types* are those
that inference accepts in the place of the example's. *Derivative* says which operands have one, by their rules in the
declaration. Elementwise operations broadcast tensors as NumPy does and work on vectors and scalars inside kernels too.
"""


def describe_operations() -> str:
    """The page."""
    declarations = documented_operations()
    parts = [_HEAD, _index(declarations)]
    shown: dict[str, str] = {}
    for dialect, members in groupby(declarations, lambda declaration: declaration.name.partition(".")[0]):
        parts.append(f"## {dialect}\n")
        parts += [_entry(declaration, shown) for declaration in members]
    return "\n".join(parts)


def _index(declarations: Iterable[Declaration]) -> str:
    lines = []
    for dialect, members in groupby(declarations, lambda declaration: declaration.name.partition(".")[0]):
        names = [declaration.name for declaration in members]
        links = ", ".join(f"[{name.partition('.')[2]}](#{name.replace('.', '')})" for name in names)
        lines.append(f"* `{dialect}` ({len(names)}): {links}")
    return "\n".join(lines) + "\n"


def _entry(declaration: Declaration, shown: dict[str, str]) -> str:
    operation = example_operation(declaration)
    facts = [f"Types: `{_signature(operation)}`"]
    if declaration.attribute_names:
        facts.append(f"Attributes: {', '.join(_attributes(declaration))}")
    types = _element_types(operation)
    if types:
        facts.append(f"Element types: {types}")
    traits = sorted(trait.value for trait in declaration.traits)
    facts.append(f"Traits: {', '.join(traits) or 'none'}")
    if not (declaration.name.startswith(("builtin.", "fused.", "loop."))):
        facts.append(f"Derivative: {_derivative(declaration, operation)}")
    text = print_ir(example_module(declaration))
    first = shown.setdefault(text, declaration.name)
    if first == declaration.name:
        example = f"```mlir\n{text}```\n"
    else:
        example = f"Example: that of [{first}](#{first.replace('.', '')}).\n"
    meaning = declaration.documentation
    return (
        f"### {declaration.name}\n\n{meaning.removesuffix('.')}.\n\n"
        + "".join(f"* {fact}\n" for fact in facts)
        + "\n"
        + example
    )


def _signature(operation: Operation) -> str:
    operands = ", ".join(str(value.type) for value in operation.operands)
    results = ", ".join(str(value.type) for value in operation.results)
    return f"({operands}) -> {results}" if len(operation.results) == 1 else f"({operands}) -> ({results})"


def _attributes(declaration: Declaration) -> list[str]:
    return [
        f"`{name}` (default `{attribute_text(declaration.defaults[name])}`)" if name in declaration.defaults else f"`{name}`"
        for name in declaration.attribute_names
    ]


def _element_types(operation: Operation) -> str:
    """The element types that inference accepts where the example has that of its last operand."""
    operands = [value.type for value in operation.operands]
    if not operands or operation.regions or operation.has(Trait.TERMINATOR) or operation.name.startswith("loop."):
        return ""
    replaced = operands[-1].dtype if operation.has(Trait.ELEMENTWISE) else operands[0].dtype
    accepted = []
    for dtype in dtypes.ALL:
        try:
            operation.operator.infer(*[type.with_dtype(dtype) if type.dtype is replaced else type for type in operands])
        except (RuntimeError, TypeError, IndexError, ValueError):
            continue
        if dtype is not dtypes.index:
            accepted.append(dtype.name)
    return ", ".join(f"`{name}`" for name in accepted)


def _derivative(declaration: Declaration, operation: Operation) -> str:
    rules = declaration.vjp
    if rules is None:
        return "no"
    if callable(rules):
        return "yes, one rule for all operands"
    having = [number for number, rule in enumerate(rules) if rule is not None]
    if len(having) == len(operation.operands):
        return "yes"
    return (
        "yes, for " + ", ".join(f"`%{chr(ord('a') + number)}`" for number in having) if having else "none: no gradient flows"
    )
