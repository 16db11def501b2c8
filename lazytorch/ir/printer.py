"""IR as text: the readable form, which `ir/parser.py` reads back, and the generic form, which is MLIR.

Readable: `%2 = arith.add %0, %1 {name = value} : tensor<64x10xf32>   loc("train.py":12)`. Attributes that have their
default are left out, and so are the empty terminators of loops and kernels. Floats are written so that they read back
exactly.

Generic: `%2 = "arith.add"(%0, %1) : (tensor<64x10xf32>, tensor<10xf32>) -> tensor<64x10xf32>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.dtypes import DType
from lazytorch.ir.core import Block, Operation, Value, func, module, return_
from lazytorch.ir.declaration import Declaration, attribute_key
from lazytorch.ir.dialects import arith, fused, loop
from lazytorch.ir.location import UNKNOWN, Location
from lazytorch.ir.types import Type

_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_SYMBOL = re.compile(r"[A-Za-z_][\w.$-]*\Z")


def print_ir(operation: Operation, *, locations: bool = False) -> str:
    """The readable form of a module, a function, a kernel or any other operation."""
    printer = _ReadablePrinter(locations)
    printer.operation(operation)
    return "\n".join(printer.lines) + "\n"


def number_text(value: complex) -> str:
    """A number that reads back as itself, type and bits (save a nan's payload): `1`, `1.0`, `-0.0`, `inf`, `true`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    return f"complex({number_text(value.real)}, {number_text(value.imag)})"


def attribute_text(value: Any) -> str:
    """An attribute's value in the readable form. Raises TypeError for a value that has no text."""
    if value is None:
        return "none"
    if isinstance(value, bool | int | float | complex):
        return number_text(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(attribute_text, value)) + "]"
    if isinstance(value, DType):
        return value.name
    if isinstance(value, Type):
        return f"type({value})"
    raise TypeError(f"an attribute of type {type(value).__name__} has no text: {value!r}")


def symbol_text(name: str) -> str:
    """`@name`, in quotes where it is no identifier."""
    return f"@{name}" if _SYMBOL.match(name) else f"@{json.dumps(name, ensure_ascii=False)}"


def location_text(location: Location) -> str:
    """`loc("train.py":12)`, for a backward operation `loc(grad("train.py":12))`."""
    place = f"{json.dumps(location.file, ensure_ascii=False)}:{location.line}"
    return f"loc(grad({place}))" if location.gradient else f"loc({place})"


class ValueNames:
    """`%name` for every value: its own name where it is unique so far, else a number."""

    def __init__(self) -> None:
        self._names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._next = 0

    def define(self, value: Value) -> str:
        """Name a value at its definition."""
        if value.name and _NAME.match(value.name):
            name, suffix = value.name, 0
            while name in self._taken:
                suffix += 1
                name = f"{value.name}_{suffix}"
        else:
            name = str(self._next)
            self._next += 1
        self._taken.add(name)
        self._names[value] = f"%{name}"
        return self._names[value]

    def __getitem__(self, value: Value) -> str:
        """The name at a use; a value from outside of the text is shown as `%?` (such text does not parse)."""
        return self._names.get(value, "%?")

    def list(self, values: Sequence[Value]) -> str:
        """The names at uses, with commas."""
        return ", ".join([self[value] for value in values])


class _ReadablePrinter:
    def __init__(self, locations: bool) -> None:
        self.lines: list[str] = []
        self._locations = locations
        self._indent = ""
        self._names = ValueNames()
        self._special: dict[Declaration, Callable[[Operation], None]] = {
            module: self._module,
            func: self._function,
            return_: self._return,
            arith.constant: self._constant,
            fused.kernel: self._fused_kernel,
            loop.kernel: self._function,
            loop.function: self._function,
            loop.parallel: self._parallel,
            loop.for_: self._for,
            loop.if_: self._if,
        }

    def operation(self, operation: Operation) -> None:
        """Append the lines of an operation."""
        special = self._special.get(operation.operator.declaration)
        if special is not None:
            special(operation)
            return
        operands = self._names.list(operation.operands)
        types = _types(operation.results)
        text = operation.name + (f" {operands}" if operands else "") + self._attributes(operation)
        self._line(f"{self._results(operation)}{text}" + (f" : {types}" if types else ""), operation)

    def _line(self, text: str, located: Operation | None = None) -> None:
        if self._locations and located is not None and located.location != UNKNOWN:
            text += f"   {location_text(located.location)}"
        self.lines.append(self._indent + text)

    def _results(self, operation: Operation) -> str:
        names = ", ".join([self._names.define(result) for result in operation.results])
        return f"{names} = " if names else ""

    def _attributes(self, operation: Operation, hidden: Sequence[str] = ()) -> str:
        """` {name = value, …} as "label"`, without what has its default."""
        defaults = operation.declaration.defaults
        shown = [
            f"{name} = {attribute_text(value)}"
            for name, value in operation.attributes.items()
            if name not in hidden and not (name in defaults and attribute_key(value) == attribute_key(defaults[name]))
        ]
        text = f" {{{', '.join(shown)}}}" if shown else ""
        label = operation.operator.label
        return text + (f" as {attribute_text(label)}" if label else "")

    def _body(self, block: Block) -> None:
        outer, self._indent = self._indent, self._indent + "  "
        for operation in block:
            if operation.next is not None or not self._implied(operation):
                self.operation(operation)
        self._indent = outer

    def _implied(self, terminator: Operation) -> bool:
        """Whether the parser adds this terminator by itself."""
        if terminator.operands or terminator.declaration not in (loop.yield_, loop.return_):
            return False
        return not self._locations or terminator.location == UNKNOWN

    def _module(self, operation: Operation) -> None:
        for position, inner in enumerate(operation.region.block):
            if position:
                self.lines.append("")
            self._names = ValueNames()
            self.operation(inner)

    def _function(self, operation: Operation) -> None:
        block = operation.region.block
        arguments = ", ".join(f"{self._names.define(argument)}: {argument.type}" for argument in block.arguments)
        keyword = "func" if operation.declaration is func else operation.name
        attributes = self._attributes(operation, ("name",))
        returned = ""
        if operation.declaration is func and block.last is not None and block.last.declaration is return_:
            returned = f" -> {_types(block.last.operands) or '()'}"
        self._line(f"{keyword} {symbol_text(operation.attributes.name)}({arguments}){returned}{attributes} {{")
        self._body(block)
        self._line("}", operation)

    def _return(self, operation: Operation) -> None:
        types = ", ".join(str(operand.type) for operand in operation.operands)
        self._line(f"return {self._names.list(operation.operands)} : {types}" if types else "return", operation)

    def _constant(self, operation: Operation) -> None:
        value = attribute_text(operation.attributes.value)
        attributes = self._attributes(operation, ("value", "type"))
        type = operation.results[0].type
        self._line(f"{self._results(operation)}arith.constant {value}{attributes} : {type}", operation)

    def _fused_kernel(self, operation: Operation) -> None:
        results = self._results(operation)
        pairs = zip(operation.region.block.arguments, operation.operands, strict=True)
        arguments = ", ".join(f"{self._names.define(inner)} = {self._names[outer]}" for inner, outer in pairs)
        attributes = self._attributes(operation, ("name",))
        types = _types(operation.results) or "()"
        self._line(f"{results}fused.kernel {symbol_text(operation.attributes.name)}({arguments}){attributes} : {types} {{")
        self._body(operation.region.block)
        self._line("}", operation)

    def _parallel(self, operation: Operation) -> None:
        low, high = operation.operands
        index = self._names.define(operation.region.block.arguments[0])
        self._line(f"loop.parallel {index} = {self._names[low]} to {self._names[high]} {{")
        self._body(operation.region.block)
        self._line("}", operation)

    def _for(self, operation: Operation) -> None:
        low, high, step, *initial = operation.operands
        results = self._results(operation)
        index, *carried = operation.region.block.arguments
        text = f"{results}loop.for {self._names.define(index)} = {self._names[low]} to {self._names[high]}"
        text += f" step {self._names[step]}"
        if initial:
            pairs = zip(carried, initial, strict=True)
            listed = [f"{self._names.define(inner)}: {inner.type} = {self._names[outer]}" for inner, outer in pairs]
            text += f" carrying ({', '.join(listed)})"
        self._line(text + " {")
        self._body(operation.region.block)
        self._line("}", operation)

    def _if(self, operation: Operation) -> None:
        types = _types(operation.results)
        results = self._results(operation)
        suffix = f" : {types}" if types else ""
        self._line(f"{results}loop.if {self._names[operation.operands[0]]}{suffix} {{")
        then, otherwise = operation.regions
        self._body(then.block)
        if otherwise.block.first is not otherwise.block.last or not self._implied(otherwise.block.terminator):
            self._line("} else {")
            self._body(otherwise.block)
        self._line("}", operation)


def _types(values: Sequence[Value]) -> str:
    """The types of values: nothing, one type, or a list in parentheses."""
    if len(values) == 1:
        return str(values[0].type)
    return "(" + ", ".join(str(value.type) for value in values) + ")" if values else ""
