"""Forward-mode derivatives of operations, from what their declarations say of reverse mode.

The rules of `vjp` are linear in the cotangent, and the Jacobian-vector product is the transpose of that linear map. For an
elementwise operation the map is diagonal, so it is its own transpose: the rule is applied to the tangent. In general the
rule is recorded for some cotangent and differentiated by it in reverse, which gives the transpose. An operation that is
linear itself (`Trait.ADDITIVE`) is applied to the tangents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch.ir.declaration import Operator, Trait
from lazytorch.ir.dialects import arith
from lazytorch.ir.dialects.composite import OperationView, Tape, TapedValue, conform, zeros_like
from lazytorch.ir.types import TensorType

Tangent = Any
"""A value of the type that it is the tangent of, or None for zero."""


def push_forward(
    operator: Operator, operands: Sequence[Any], results: Sequence[Any], tangents: Sequence[Tangent], rules: Any = None
) -> list[Tangent]:
    """The tangents of an operation's results, emitted beside its operands.

    operands, results: its values. tangents: one per operand. rules: what takes the place of the declaration's `vjp`.
    Raises NotImplementedError for an operation without a derivative.
    """
    declaration = operator.declaration
    differentiable = [value.type.dtype.kind in "fc" for value in results]
    moving = [t is not None and x.type.dtype.kind in "fc" for x, t in zip(operands, tangents, strict=True)]
    if not any(differentiable) or not any(moving):
        return [None] * len(results)
    rules = declaration.vjp if rules is None else rules
    if rules is None:
        raise NotImplementedError(f"derivative for {declaration.name} is not implemented")
    if declaration.has(Trait.WIRTINGER) and any(value.type.dtype.kind == "c" for value in (*operands, *results)):
        raise NotImplementedError(f"the forward derivative of {declaration.name} for complex numbers is not implemented")
    if declaration.has(Trait.ADDITIVE):
        return [_itself(operator, operands, tangents)]
    if not callable(rules):
        moving = [flows and rule is not None for flows, rule in zip(moving, rules, strict=True)]
        if not any(moving):
            return [None] * len(results)
    wanted = [position for position, flows in enumerate(moving) if flows]
    rule = _Rule(operator, operands, results, rules)
    if declaration.has(Trait.ELEMENTWISE):
        return [rule.diagonal(wanted, tangents)]
    return rule.transposed(wanted, tangents, differentiable)


def _itself(operator: Operator, operands: Sequence[Any], tangents: Sequence[Tangent]) -> Tangent:
    moved = []
    for x, tangent in zip(operands, tangents, strict=True):
        differentiable = x.type.dtype.kind in "fc"
        moved.append(x if not differentiable else zeros_like(x) if tangent is None else tangent)
    return operands[0].builder.emit(operator, tuple(moved))


class _Rule:
    """The vector-Jacobian product of one operation, recorded on a tape."""

    def __init__(self, operator: Operator, operands: Sequence[Any], results: Sequence[Any], rules: Any) -> None:
        self.tape = Tape(operands[0].builder)
        self.operands = [self.tape.value(value) for value in operands]
        self.results = results
        self.rules = rules
        result = self.tape.value(results[0]) if len(results) == 1 else None
        self.view = OperationView(self.operands, operator.attributes, result)

    def _apply(self, cotangent: Any, wanted: Sequence[int]) -> list[TapedValue | None]:
        """The contributions to the operands' cotangents."""
        if callable(self.rules):
            for position, operand in enumerate(self.operands):
                operand.history = True if position in wanted else None
            joint = self.rules(self.view, cotangent)
            return [joint[position] for position in wanted]
        return [self.rules[position](self.view, cotangent) for position in wanted]

    def diagonal(self, wanted: Sequence[int], tangents: Sequence[Tangent]) -> Tangent:
        """The rules of an elementwise operation, each on the tangent in the place of the cotangent."""
        (result,) = self.results
        total = None
        for position in wanted:
            arriving = self.tape.value(conform(tangents[position], result.type))
            (part,) = self._apply(arriving, (position,))
            if part is None:
                continue
            moved = conform(part.value, result.type)
            total = moved if total is None else arith.add(total, moved)
        return total

    def transposed(
        self, wanted: Sequence[int], tangents: Sequence[Tangent], differentiable: Sequence[bool]
    ) -> list[Tangent]:
        """The rules as functions of a cotangent, differentiated by it in the direction of the tangents."""
        probes = [
            self.tape.value(zeros_like(result)) if flows else None
            for result, flows in zip(self.results, differentiable, strict=True)
        ]
        outputs, seeds = [], []
        for position, part in zip(wanted, self._apply(probes[0] if len(probes) == 1 else probes, wanted), strict=True):
            if part is not None:
                outputs.append(_conformed(part, self.operands[position].type))
                seeds.append(tangents[position])
        found = iter(self.tape.pull_back(outputs, seeds, [probe for probe in probes if probe is not None]))
        return [None if probe is None else next(found) for probe in probes]


def _conformed(part: TapedValue, type: Any) -> TapedValue:
    assert isinstance(type, TensorType)
    made: TapedValue = conform(part, type)
    return made
