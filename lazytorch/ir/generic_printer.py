"""IR as text in MLIR's generic form, for other MLIR tools; `ir/generic_parser.py` reads it back.

Functions become `func.func`; types that MLIR does not have are dialect types (`!loop.buffer<f32, [?, 1]>`).
"""

from __future__ import annotations

import json
import struct
from typing import Any

from lazytorch.dtypes import DType
from lazytorch.ir.core import Block, Operation, func, module, return_
from lazytorch.ir.location import UNKNOWN, Location
from lazytorch.ir.printer import ValueNames
from lazytorch.ir.types import BufferType, Type


def print_generic(operation: Operation, *, locations: bool = False) -> str:
    """The generic form of an operation and all inside it."""
    printer = _GenericPrinter(locations)
    printer.operation(operation)
    return "\n".join(printer.lines) + "\n"


def mlir_type(type: Type) -> str:
    """The type as MLIR writes it."""
    return f"!loop.{type}" if isinstance(type, BufferType) else str(type)


def mlir_attribute(value: Any) -> str:
    """An attribute's value as MLIR writes it."""
    if value is None:
        return "unit"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{int(value)} : i64" if -(1 << 63) <= value < 1 << 63 else f"{int(value)} : i128"
    if isinstance(value, float):
        return f"{_float(value)} : f64"
    if isinstance(value, complex):
        return f"{{re = {mlir_attribute(value.real)}, im = {mlir_attribute(value.imag)}}}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(mlir_attribute, value)) + "]"
    if isinstance(value, DType):
        return f"#lazytorch.{value.torch_name}"
    if isinstance(value, Type):
        return mlir_type(value)
    raise TypeError(f"an attribute of type {type(value).__name__} has no text: {value!r}")


def _float(value: float) -> str:
    """A literal with the point MLIR demands; nan and infinity by their bits."""
    if value != value or value in (float("inf"), float("-inf")):
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    digits, exponent, power = repr(value).partition("e")
    return (digits if "." in digits else digits + ".0") + exponent + power


class _GenericPrinter:
    def __init__(self, locations: bool) -> None:
        self.lines: list[str] = []
        self._locations = locations
        self._indent = ""
        self._names = ValueNames()

    def operation(self, operation: Operation) -> None:
        """Append the lines of an operation."""
        operands = self._names.list(operation.operands)
        results = ", ".join([self._names.define(result) for result in operation.results])
        head = f'{results} = "{_name(operation)}"({operands})' if results else f'"{_name(operation)}"({operands})'
        tail = f"{_attributes(operation)} : {_signature(operation)}"
        if self._locations and operation.location != UNKNOWN:
            tail += f" {_location(operation.location)}"
        if not operation.regions:
            self.lines.append(self._indent + head + tail)
            return
        self.lines.append(self._indent + head + " ({")
        for position, region in enumerate(operation.regions):
            if position:
                self.lines.append(self._indent + "}, {")
            self._body(region.block)
        self.lines.append(self._indent + "})" + tail)

    def _body(self, block: Block) -> None:
        if block.arguments:
            listed = [f"{self._names.define(argument)}: {mlir_type(argument.type)}" for argument in block.arguments]
            self.lines.append(f"{self._indent}^bb0({', '.join(listed)}):")
        outer, self._indent = self._indent, self._indent + "  "
        for operation in block:
            self.operation(operation)
        self._indent = outer


def _location(location: Location) -> str:
    place = f"{json.dumps(location.file, ensure_ascii=False)}:{location.line}:1"
    return f'loc(fused<"grad">[{place}])' if location.gradient else f"loc({place})"


def _name(operation: Operation) -> str:
    return {func: "func.func", return_: "func.return"}.get(operation.declaration, operation.name)


def _signature(operation: Operation) -> str:
    operands = ", ".join(mlir_type(operand.type) for operand in operation.operands)
    results = ", ".join(mlir_type(result.type) for result in operation.results)
    return f"({operands}) -> {results}" if len(operation.results) == 1 else f"({operands}) -> ({results})"


def _attributes(operation: Operation) -> str:
    if operation.declaration is func:
        block = operation.region.block
        arguments = ", ".join(mlir_type(argument.type) for argument in block.arguments)
        results = ", ".join(mlir_type(operand.type) for operand in block.terminator.operands)
        return f" {{sym_name = {mlir_attribute(operation.attributes.name)}, function_type = ({arguments}) -> ({results})}}"
    if operation.declaration is module:
        return ""
    shown = [f"{name} = {mlir_attribute(value)}" for name, value in operation.attributes.items()]
    if operation.operator.label:
        shown.append(f"label = {mlir_attribute(operation.operator.label)}")
    return f" {{{', '.join(shown)}}}" if shown else ""
