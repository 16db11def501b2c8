"""IR from MLIR's generic form: the inverse of `ir/generic_printer.py`."""

from __future__ import annotations

import struct
from typing import Any

from lazytorch import dtypes
from lazytorch.errors import ParseError
from lazytorch.ir.core import Block, Operation, Region, Value, func, module, new_module, return_
from lazytorch.ir.declaration import Declaration, declaration_named
from lazytorch.ir.lexer import Token, TooManyErrors
from lazytorch.ir.location import UNKNOWN, Location
from lazytorch.ir.statement_parser import Follows, StatementParser
from lazytorch.ir.type_parser import parse_integer, parse_number, parse_string, parse_type, parse_types, rest_of_list
from lazytorch.ir.types import Type

_RENAMED: dict[str, Declaration] = {"func.func": func, "func.return": return_}
_ELEMENT_TYPES = {f"lazytorch.{dtype.torch_name}": dtype for dtype in dtypes.ALL}
_WORDS = {"true": True, "false": False, "unit": None}


class GenericParser(StatementParser):
    """One module, or functions one after the other."""

    def module(self) -> Operation:
        """Everything up to the end of the text; what is wrong is noted in the lexer's errors and left out."""
        whole = new_module()
        top = Block()
        try:
            while self.lexer.token.kind != "end":
                self._top(top)
        except TooManyErrors:
            return whole
        found = list(top)
        if len(found) == 1 and found[0].declaration is module:
            return found[0]
        for operation in found:
            whole.region.block.append(operation)
        return whole

    def _top(self, block: Block) -> None:
        start = self.lexer.position
        try:
            block.append(self.operation())
        except (ParseError, Follows) as error:
            if isinstance(error, ParseError):
                self.lexer.note(error)
            self.lexer.skip_statement(start, self.tops)
            if self.lexer.position == start or self.lexer.at("}"):
                self.lexer.take()

    def operation(self) -> Operation:
        """`results = "name"(operands) ({regions}) {attributes} : (types) -> types loc(…)`"""
        lexer = self.lexer
        names: list[Token] = []
        if lexer.token.kind == "value":
            names.append(lexer.take())
            while lexer.accept(","):
                names.append(lexer.expect_kind("value", "a result"))
            lexer.expect("=")
        start = lexer.token
        declaration = self._declaration()
        lexer.expect("(")
        operands: list[Value] = []
        while not lexer.accept(")"):
            if operands:
                lexer.expect(",")
            operands.append(self._operand())
        regions = self._regions()
        attributes, label = self._attributes(declaration, regions, start)
        lexer.expect(":")
        colon = lexer.token
        if parse_types(lexer) != [operand.type for operand in operands]:
            lexer.fail("the types are not those of the operands", colon.start)
        if lexer.token.kind != "arrow":
            lexer.missing("'->'")
        lexer.take()
        types = parse_types(lexer)
        if len(types) != len(names):
            lexer.fail(f"{declaration.name} has {len(types)} results here but {len(names)} are named", start.start)
        operation = Operation(declaration.operator(label, **attributes), operands, types, regions, self._location())
        for token, result in zip(names, operation.results, strict=True):
            self._define(token, result)
        return operation

    def _declaration(self) -> Declaration:
        token = self.lexer.token
        if token.kind != "string":
            self.lexer.fail(f"expected an operation's name in quotes but found {token}")
        name = parse_string(self.lexer)
        try:
            return _RENAMED[name] if name in _RENAMED else declaration_named(name)
        except KeyError:
            self.lexer.fail(f"there is no operation {name!r}", token.start)

    def _regions(self) -> list[Region]:
        lexer = self.lexer
        regions: list[Region] = []
        if not lexer.accept("("):
            return regions
        with lexer.nested():
            while not lexer.accept(")"):
                if regions:
                    lexer.expect(",")
                lexer.expect("{")
                block = Block()
                if lexer.accept("^"):
                    self._block_arguments(block)
                while not lexer.at("}"):
                    if lexer.token.kind == "end":
                        if lexer.errors:
                            raise Follows
                        lexer.fail(f"expected '}}' but found {lexer.token}")
                    self._statement(block)
                lexer.expect("}")
                regions.append(Region([block]))
        return regions

    def _block_arguments(self, block: Block) -> None:
        """`bb0(%x: type, …):`"""
        self.lexer.expect_kind("word", "a block's name")
        self._typed_arguments(block)
        self.lexer.expect(":")

    def _attributes(self, declaration: Declaration, regions: list[Region], start: Token) -> tuple[dict[str, Any], str]:
        """`{name = value, …}`, and the label among them."""
        lexer = self.lexer
        values: dict[str, Any] = {}
        if lexer.accept("{"):
            while not lexer.accept("}"):
                if values:
                    lexer.expect(",")
                token = lexer.expect_kind("word", "an attribute's name")
                lexer.expect("=")
                values[token.text] = self._function_type() if token.text == "function_type" else self._attribute()
        label = values.pop("label", "") if "label" not in declaration.attribute_names else ""
        if declaration is func:
            values["name"] = values.pop("sym_name", None)
            self._check_function_type(values.pop("function_type", None), regions, start)
        given, known = set(values), set(declaration.attribute_names)
        if not isinstance(label, str) or given - known or known - given - set(declaration.defaults):
            there = ", ".join(declaration.attribute_names) or "none"
            lexer.fail(
                f"{declaration.name} has the attributes {there}, not {', '.join(sorted(given)) or 'none'}", start.start
            )
        return values, label

    def _function_type(self) -> tuple[list[Type], list[Type]]:
        arguments = parse_types(self.lexer)
        if self.lexer.token.kind != "arrow":
            self.lexer.missing("'->'")
        self.lexer.take()
        return arguments, parse_types(self.lexer)

    def _check_function_type(self, type: object, regions: list[Region], start: Token) -> None:
        if self.lexer.errors or len(regions) != 1 or regions[0].block.last is None:
            return
        block = regions[0].block
        have = ([x.type for x in block.arguments], [x.type for x in block.terminator.operands])
        if type is not None and type != have:
            self.lexer.fail("the function's type is not that of its arguments and of what it returns", start.start)

    def _attribute(self) -> Any:
        lexer = self.lexer
        token = lexer.token
        if token.kind == "number":
            return self._number()
        if token.kind == "string":
            return parse_string(lexer)
        if token.text in _WORDS and token.kind == "word":
            lexer.take()
            return _WORDS[token.text]
        if lexer.accept("["):
            return rest_of_list(lexer, self._attribute)
        if lexer.accept("#"):
            name = lexer.expect_kind("word", "an element type")
            if name.text not in _ELEMENT_TYPES:
                lexer.fail(f"there is no element type #{name.text}", name.start)
            return _ELEMENT_TYPES[name.text]
        if lexer.accept("{"):
            return self._complex()
        return parse_type(lexer)

    def _number(self) -> int | float:
        """`1 : i64`, `1.0 : f64`, or the bits of a float: `0x7FF8000000000000 : f64`"""
        lexer = self.lexer
        token = lexer.token
        number: int | float
        if token.text.startswith("0x"):
            lexer.take()
            if len(token.text) != 18:
                lexer.fail("the bits of a float are 16 hexadecimal digits", token.start)
            (number,) = struct.unpack("<d", struct.pack("<Q", int(token.text, 16)))
        else:
            number = parse_number(lexer)
        lexer.expect(":")
        kind = lexer.expect_kind("word", "the number's type").text
        if kind not in (("f64",) if isinstance(number, float) else ("i64", "i128")):
            lexer.fail(f"a number of type {kind} has another form", token.start)
        return number

    def _complex(self) -> complex:
        """`re = x, im = y}`"""
        parts = []
        for name, end in (("re", ","), ("im", "}")):
            self.lexer.expect(name)
            self.lexer.expect("=")
            parts.append(self._number())
            self.lexer.expect(end)
        return complex(*parts)

    def _location(self) -> Location:
        """`loc("file":line:column)`, for a backward operation `loc(fused<"grad">["file":line:column])`"""
        lexer = self.lexer
        if not lexer.at("loc"):
            return UNKNOWN
        lexer.take()
        lexer.expect("(")
        gradient = lexer.accept("fused")
        if gradient:
            lexer.expect("<")
            parse_string(lexer)
            lexer.expect(">")
            lexer.expect("[")
        file = parse_string(lexer)
        lexer.expect(":")
        line = parse_integer(lexer)
        lexer.expect(":")
        parse_integer(lexer)
        if gradient:
            lexer.expect("]")
        lexer.expect(")")
        return Location(file, line, gradient)
