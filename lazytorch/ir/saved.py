"""Which values the derivative of an operation reads, and whether one of them was written over since.

Recorded values never change, so a gradient could be computed whatever was written meanwhile. PyTorch raises there, because
such a program rarely means what it says; so does this. Recording pays nothing for it: a write marks the value that it
replaces (`Node.storage`), and the backward walk looks at the operands and the result of the operations it differentiates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lazytorch.ir.declaration import RESULT, Operator, Signature, Trait
from lazytorch.ir.dialects.composite import OperationView
from lazytorch.ir.location import from_frame_place
from lazytorch.ir.trace import Node, Place, gradient_name
from lazytorch.ir.types import TupleType


class Shared(NamedTuple):
    """In `Node.storage`: this value is a view, it has the storage of its first operand. `strides` are those that torch
    reports, None where they are as for a tensor in row-major order (`SHARED`)."""

    strides: tuple[int, ...] | None


SHARED = Shared(None)


Written = tuple[int, Place | None]
"""In `Node.storage`: the storage holds another value by now. How often it had been written before, and where it was then."""


def written(node: Node) -> Written | None:
    """The write that replaced this value in its storage (views: in the storage they are views of)."""
    while type(node.storage) is Shared and node.operands:
        node = node.operands[0]
    mark = node.storage
    return mark if type(mark) is tuple else None


def check_unmodified(node: Node) -> None:
    """Raise torch's RuntimeError if the operation's rules read a value whose storage was written to.

    The operation of an in-place call may read what this call replaced.
    """
    if node.storage is None:
        for operand in node.operands:
            if operand.storage is not None:
                break
        else:
            return
    marks = {}
    for position, operand in enumerate(node.operands):
        mark = written(operand)
        if mark is not None and mark[1] is not node.place:
            marks[position] = mark
    mark = written(node)
    if mark is not None:
        marks[RESULT] = mark
    if not marks or node.signature is None or node.signature.vjp is not node.signature.operator.declaration.vjp:
        return
    needed = reads(node.signature)
    for operand, positions in zip(node.operands, needed, strict=True):
        for position in positions if operand.history is not None else ():
            if position in marks:
                raise RuntimeError(_message(node if position == RESULT else node.operands[position], marks[position]))


def check_saved(value: Node) -> None:
    """Raise torch's RuntimeError if the value's storage was written to since."""
    mark = written(value)
    if mark is not None:
        raise RuntimeError(_message(value, mark))


def _message(value: Node, mark: Written) -> str:
    version, place = mark
    maker = f", which is output 0 of {gradient_name(value)}," if value.history is True else ""
    return (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[torch.{value.type.dtype.title}Tensor {list(value.type.shape)}]{maker} is at version {version + 1}; expected "
        f"version {version} instead. It was written at {from_frame_place(place)}."
    )


_reads: dict[Signature, tuple[frozenset[int], ...]] = {}


def reads(signature: Signature) -> tuple[frozenset[int], ...]:
    """For the gradient of each operand, the operands (by position) and results (`RESULT`) whose values it reads."""
    found = _reads.get(signature)
    if found is None:
        found = _reads[signature] = _derive(signature)
    return found


class _Value:
    """A value of a rule's dry run: a type, and which of the operation's values it was computed from."""

    __slots__ = ("sources", "type")

    def __init__(self, type: Any, sources: frozenset[int]) -> None:
        self.type = type
        self.sources = sources

    @property
    def builder(self) -> _DryRun:
        return _DRY_RUN


class _DryRun:
    """A builder that infers types and keeps nothing but what each value was computed from."""

    def emit(self, operator: Operator, operands: Sequence[_Value]) -> Any:
        declaration = operator.declaration
        if declaration.has(Trait.COMPOSITE) and declaration.decompose is not None:
            return declaration.decompose(OperationView(operands, operator.attributes))
        type = operator.signature(*[operand.type for operand in operands]).result_type
        sources = frozenset().union(*[operand.sources for operand in operands])
        if isinstance(type, TupleType):
            return tuple([_Value(part, sources) for part in type.types])
        return _Value(type, sources)

    def constant(self, value: Any, like: _Value) -> _Value:
        return _Value(like.type.with_shape(()), frozenset())


_DRY_RUN = _DryRun()


def _derive(signature: Signature) -> tuple[frozenset[int], ...]:
    declaration = signature.operator.declaration
    rules = declaration.vjp
    assert rules is not None
    if declaration.saves is not None:
        return (frozenset(declaration.saves),) * len(signature.operand_types)
    operands = [_Value(type, frozenset((position,))) for position, type in enumerate(signature.operand_types)]
    result = _Value(signature.result_type, frozenset((RESULT,)))
    view = OperationView(operands, signature.operator.attributes, result)
    cotangent = _Value(signature.result_type, frozenset())
    if callable(rules):
        made = rules(view, cotangent)
    else:
        made = [None if rule is None else rule(view, cotangent) for rule in rules]
    return tuple([frozenset() if part is None else part.sources for part in made])
