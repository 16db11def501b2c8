"""StableHLO text in MLIR's generic form: one rule per primitive operation."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.errors import CompileError
from lazytorch.ir.bfloat16 import narrow
from lazytorch.ir.core import Operation, Value, return_
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.types import TensorType

_PATTERN = {"f16": "<e", "f32": "<f", "f64": "<d"}


@dataclass(frozen=True)
class Term:
    """A value of the StableHLO program: its name and type."""

    name: str
    type: TensorType


Rule = Callable[["Emitter", Operation, list[Term]], Term]
_RULES: dict[Declaration, Rule] = {}


def rule(*declarations: Declaration) -> Callable[[Rule], Rule]:
    """Decorator: what an operation becomes, given its operands."""

    def register(function: Rule) -> Rule:
        for declaration in declarations:
            _RULES[declaration] = function
        return function

    return register


def translate(func: Operation) -> str:
    """The module whose function `main` computes what the function does. It must hold primitive operations only.

    Results may differ in the last bits: XLA sums in its own order and has its own functions. Indices that are out of
    range are clamped, or not written, where lazytorch raises IndexError. Raises CompileError for an operation that has
    no StableHLO form.
    """
    emitter = Emitter()
    block = func.region.block
    arguments = [Term(f"%arg{number}", tensor_type(argument)) for number, argument in enumerate(block.arguments)]
    terms: dict[Value, Term] = dict(zip(block.arguments, arguments, strict=True))
    for operation in block:
        operands = [terms[value] for value in operation.operands]
        if operation.declaration is return_:
            break
        found = _RULES.get(operation.declaration)
        if found is None:
            message = f"{operation.name} has no StableHLO form"
            raise CompileError(message, stage="stablehlo", location=str(operation.location))
        terms[operation.result] = found(emitter, operation, operands)
    taken = ", ".join(f"{term.name}: {term.type}" for term in arguments)
    types = ", ".join(str(term.type) for term in operands)
    returned = f"    func.return {', '.join(term.name for term in operands)} : {types}" if operands else "    func.return"
    head = [f"module @{func.attributes.name} {{", f"  func.func public @main({taken}) -> ({types}) {{"]
    return "\n".join([*head, *emitter.lines, returned, "  }", "}", ""])


def tensor_type(value: Value) -> TensorType:
    """The type of a value of the tensor level."""
    assert isinstance(value.type, TensorType)
    return value.type


class Emitter:
    """The lines of a function so far, and the ways to add one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def op(
        self, name: str, operands: Sequence[Term], type: TensorType, attributes: str = "", region: Sequence[str] = ()
    ) -> Term:
        """One operation of one result."""
        (result,) = self.several(name, operands, [type], attributes, region)
        return result

    def several(
        self,
        name: str,
        operands: Sequence[Term],
        types: Sequence[TensorType],
        attributes: str = "",
        region: Sequence[str] = (),
    ) -> list[Term]:
        """One operation; its results. The line "}, {" parts two regions."""
        self._count += 1
        names = [f"%v{self._count}_{number}" for number in range(len(types))] if len(types) > 1 else [f"%v{self._count}"]
        inside = f" ({{\n{chr(10).join('      ' + line for line in region)}\n    }})" if region else ""
        braces = f" {{{attributes}}}" if attributes else ""
        given = ", ".join(term.name for term in operands)
        signature = f"({', '.join(str(term.type) for term in operands)}) -> ({', '.join(map(str, types))})"
        self.lines.append(f'    {", ".join(names)} = "{name}"({given}){inside}{braces} : {signature}')
        return [Term(name, type) for name, type in zip(names, types, strict=True)]

    def constant(self, value: Any, type: TensorType) -> Term:
        """A number in every element."""
        return self.op("stablehlo.constant", [], type, f"value = dense<{literal(value, type.dtype)}> : {type}")

    def broadcast(self, term: Term, shape: tuple[int, ...]) -> Term:
        """The term broadcast as in NumPy."""
        if term.type.shape == shape:
            return term
        dims = range(len(shape) - len(term.type.shape), len(shape))
        return self.op(
            "stablehlo.broadcast_in_dim", [term], term.type.with_shape(shape), f"broadcast_dimensions = {array(dims)}"
        )

    def reshape(self, term: Term, shape: tuple[int, ...]) -> Term:
        """The same elements in another shape."""
        return term if term.type.shape == shape else self.op("stablehlo.reshape", [term], term.type.with_shape(shape))

    def compare(self, direction: str, a: Term, b: Term) -> Term:
        """EQ, NE, GE, GT, LE or LT, element by element."""
        return self.op(
            "stablehlo.compare",
            [a, b],
            a.type.with_dtype(dtypes.bool_),
            f"comparison_direction = #stablehlo<comparison_direction {direction}>",
        )

    def select(self, condition: Term, a: Term, b: Term) -> Term:
        """a where the condition holds, else b."""
        return self.op("stablehlo.select", [condition, a, b], a.type)


def compared(result: str, direction: str, a: str, b: str, type: TensorType) -> str:
    """A line of a region that compares two values: EQ, NE, GE, GT, LE or LT."""
    attribute = f"comparison_direction = #stablehlo<comparison_direction {direction}>"
    return f'  {result} = "stablehlo.compare"({a}, {b}) {{{attribute}}} : ({type}, {type}) -> tensor<i1>'


def array(numbers: Sequence[int] | range) -> str:
    """An attribute of 64-bit numbers."""
    return f"array<i64: {', '.join(map(str, numbers))}>" if len(numbers) else "array<i64>"


def literal(value: Any, dtype: DType) -> str:
    """A number as the text of a dense constant: floats by their bits."""
    if dtype is dtypes.bool_:
        return "true" if value else "false"
    if dtype.kind in "uix":
        return str(int(np.asarray(int(value)).astype(dtype.numpy)))
    if dtype.kind == "c":
        part = dtypes.float32 if dtype is dtypes.complex64 else dtypes.float64
        return f"({literal(complex(value).real, part)}, {literal(complex(value).imag, part)})"
    if dtype is dtypes.bfloat16:
        return f"0x{int(narrow(np.asarray(value, np.float32))):04X}"
    number = float(np.asarray(value, dtype.numpy))
    bits = struct.pack(_PATTERN[dtype.name], number)
    return f"0x{int.from_bytes(bits, 'little'):0{2 * len(bits)}X}"
