"""IR from its text: the readable form here, the inverse of `ir/printer.py`; the generic one by `ir/generic_parser.py`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.errors import ParseError
from lazytorch.ir.core import Block, Operation, Region, Value, func, new_module, return_
from lazytorch.ir.declaration import Declaration, Operator, declaration_named
from lazytorch.ir.dialects import arith, fused, load_all, loop
from lazytorch.ir.generic_parser import GenericParser
from lazytorch.ir.lexer import Lexer, Token, TooManyErrors
from lazytorch.ir.location import UNKNOWN, Location
from lazytorch.ir.statement_parser import Follows, StatementParser
from lazytorch.ir.type_parser import parse_attribute, parse_integer, parse_string, parse_type, parse_types, string_value
from lazytorch.ir.types import INDEX, Type

_ATTRIBUTES = re.compile(r"\{\s*\w+\s*=")
_TOP = ("func", "loop.kernel", "loop.function")
_TOPS = frozenset(_TOP)


def parse_module(text: str, file: str = "<text>") -> Operation:
    """The module of the functions and kernels in a text, in either form.

    Raises ParseError naming file, line and column; after an error reading goes on at the next statement, so that one
    exception has all errors of the text (at most 20).
    """
    load_all()
    lexer = Lexer(text, file)
    generic = lexer.token.kind in ("string", "value")
    module = GenericParser(lexer).module() if generic else _Parser(lexer).module()
    lexer.report()
    return module


def parse_func(text: str, file: str = "<text>") -> Operation:
    """The only function or kernel of a text, on its own. Raises ParseError, also when there are several or none."""
    operations = list(parse_module(text, file).region.block)
    if len(operations) != 1:
        Lexer(text, file).fail(f"expected one function or kernel but there are {len(operations)}", len(text))
    block = operations[0].parent
    assert block is not None
    block.remove(operations[0])
    return operations[0]


class _Parser(StatementParser):
    tops = _TOPS

    def __init__(self, lexer: Lexer) -> None:
        super().__init__(lexer)
        self._special: dict[str, Callable[[Sequence[Token]], Operation]] = {
            "return": self._return,
            "arith.constant": self._constant,
            "fused.kernel": self._fused_kernel,
            "loop.parallel": self._parallel,
            "loop.for": self._for,
            "loop.if": self._if,
        }

    def module(self) -> Operation:
        """Everything up to the end of the text; what is wrong is noted in the lexer's errors and left out."""
        module = new_module()
        try:
            while self.lexer.token.kind != "end":
                self._top(module.region.block)
        except TooManyErrors:
            pass
        return module

    def _top(self, block: Block) -> None:
        start = self.lexer.position
        self._values = {}
        try:
            if self.lexer.token.text not in _TOPS:
                self.lexer.fail(f"expected one of {', '.join(_TOP)} but found {self.lexer.token}")
            block.append(self._function())
        except (ParseError, Follows) as error:
            if isinstance(error, ParseError):
                self.lexer.note(error)
            self.lexer.skip_to(_TOPS, max(start, self.lexer.position - 1))

    # -- functions and kernels ------------------------------------------------------------

    def _function(self) -> Operation:
        keyword = self.lexer.take().text
        declaration = func if keyword == "func" else declaration_named(keyword)
        name = self._symbol()
        block = Block()
        self._typed_arguments(block)
        results: list[Type] | None = None
        arrow = self.lexer.token
        if self.lexer.accept("->"):
            results = parse_types(self.lexer)
        operator = self._operator(declaration, {"name": name})
        self._body(block, loop.return_ if declaration is not func else None)
        if results is not None and not self.lexer.errors:
            self._check_results(block, results, arrow)
        return Operation(operator, (), (), [Region([block])], self._location())

    def _check_results(self, block: Block, results: list[Type], arrow: Token) -> None:
        terminator = block.last
        returned = [operand.type for operand in terminator.operands] if terminator is not None else []
        if terminator is None or terminator.declaration is not return_ or returned != results:
            self.lexer.fail("the function's result types are not those of what it returns", arrow.start)

    def _symbol(self) -> str:
        token = self.lexer.expect_kind("symbol", "a name beginning with @")
        return string_value(self.lexer, token.text[1:], token.start) if token.text[1] == '"' else token.text[1:]

    def _body(self, block: Block, implied: Declaration | None) -> None:
        """`{ operations }`; a terminator without operands may be left out."""
        self.lexer.expect("{")
        with self.lexer.nested():
            while not self.lexer.at("}"):
                if self.lexer.token.kind == "end" or (self.lexer.token.leads and self.lexer.token.text in _TOPS):
                    if self.lexer.errors:
                        raise Follows  # a brace was most likely lost where the error is
                    self.lexer.fail(f"expected '}}' but found {self.lexer.token}")
                self._statement(block)
        self.lexer.expect("}")
        if implied is not None and (block.last is None or block.last.declaration is not implied):
            block.append(Operation(implied.operator(), (), ()))

    # -- operations ------------------------------------------------------------

    def _operands(self) -> list[Value]:
        """Values with commas between them, possibly none."""
        operands: list[Value] = []
        if self.lexer.token.kind == "value":
            operands.append(self._operand())
            while self.lexer.accept(","):
                operands.append(self._operand())
        return operands

    def operation(self) -> Operation:
        """`results = name …`"""
        names: list[Token] = []
        if self.lexer.token.kind == "value":
            names.append(self.lexer.take())
            while self.lexer.accept(","):
                names.append(self.lexer.expect_kind("value", "a result"))
            self.lexer.expect("=")
        word = self.lexer.token
        if word.kind != "word":
            self.lexer.fail(f"expected an operation but found {word}")
        self.lexer.take()
        special = self._special.get(word.text)
        operation = special(names) if special is not None else self._ordinary(word, names)
        if len(operation.results) != len(names):
            made = len(operation.results)
            self.lexer.fail(f"{operation.name} has {made} results here but {len(names)} are named", word.start)
        for token, result in zip(names, operation.results, strict=True):
            self._define(token, result)
        return operation

    def _ordinary(self, word: Token, names: Sequence[Token]) -> Operation:
        """`name operands {attributes} : types`"""
        try:
            declaration = declaration_named(word.text)
        except KeyError:
            self.lexer.fail(f"there is no operation {word.text!r}", word.start)
        operands = self._operands()
        operator = self._operator(declaration, {})
        if names and not self.lexer.at(":"):
            self.lexer.missing("':' and the type of every result")
        types = parse_types(self.lexer) if self.lexer.accept(":") else []
        return Operation(operator, operands, types, (), self._location())

    def _operator(self, declaration: Declaration, given: dict[str, Any]) -> Operator:
        """`{name = value, …} as "label"`, joined with the attributes that are written elsewhere in the text."""
        attributes = dict(given)
        # a body's brace is followed by an operation or a result, attributes by `name =`
        if self.lexer.at("{") and self._attributes_follow():
            self.lexer.take()
            while not self.lexer.accept("}"):
                if len(attributes) > len(given):
                    self.lexer.expect(",")
                token = self.lexer.expect_kind("word", "an attribute's name")
                if token.text not in declaration.attribute_names or token.text in attributes:
                    known = ", ".join(declaration.attribute_names) or "none"
                    self.lexer.fail(f"{declaration.name} takes no attribute {token.text!r} here ({known})", token.start)
                self.lexer.expect("=")
                attributes[token.text] = parse_attribute(self.lexer)
        missing = [n for n in declaration.attribute_names if n not in attributes and n not in declaration.defaults]
        if missing:
            self.lexer.fail(f"{declaration.name} needs the attribute {missing[0]!r}")
        label = parse_string(self.lexer) if self.lexer.accept("as") else ""
        return declaration.operator(label, **attributes)

    def _attributes_follow(self) -> bool:
        return _ATTRIBUTES.match(self.lexer.text, self.lexer.token.start) is not None

    def _location(self) -> Location:
        if not self.lexer.at("loc"):
            return UNKNOWN
        self.lexer.take()
        self.lexer.expect("(")
        gradient = self.lexer.accept("grad")
        if gradient:
            self.lexer.expect("(")
        file = parse_string(self.lexer)
        self.lexer.expect(":")
        line = parse_integer(self.lexer)
        if gradient:
            self.lexer.expect(")")
        self.lexer.expect(")")
        return Location(file, line, gradient)

    def _return(self, names: Sequence[Token]) -> Operation:
        operands = self._operands()
        colon = self.lexer.token
        if self.lexer.accept(":"):
            types = [parse_type(self.lexer)]
            while self.lexer.accept(","):
                types.append(parse_type(self.lexer))
            if types != [operand.type for operand in operands]:
                self.lexer.fail("the types are not those of the operands", colon.start)
        return Operation(return_.operator(), operands, (), (), self._location())

    def _constant(self, names: Sequence[Token]) -> Operation:
        value = parse_attribute(self.lexer)
        label = parse_string(self.lexer) if self.lexer.accept("as") else ""
        self.lexer.expect(":")
        type = parse_type(self.lexer)
        return Operation(arith.constant.operator(label, value=value, type=type), (), [type], (), self._location())

    # -- operations with bodies ------------------------------------------------------------

    def _fused_kernel(self, names: Sequence[Token]) -> Operation:
        name = self._symbol()
        outer = self._values
        self._values = {}  # the body sees only its own arguments
        block = Block()
        operands: list[Value] = []
        self.lexer.expect("(")
        inner: dict[str, Value | None] = {}
        while not self.lexer.accept(")"):
            if operands:
                self.lexer.expect(",")
            token = self.lexer.expect_kind("value", "an argument")
            self.lexer.expect("=")
            self._values = outer
            operands.append(self._operand())
            self._values = inner
            self._define_argument(block, token, operands[-1].type)
        self._values = inner
        operator = self._operator(fused.kernel, {"name": name})
        self.lexer.expect(":")
        types = parse_types(self.lexer)
        self._body(block, None)
        self._values = outer
        return Operation(operator, operands, types, [Region([block])], self._location())

    def _parallel(self, names: Sequence[Token]) -> Operation:
        index = self.lexer.expect_kind("value", "the loop's index")
        self.lexer.expect("=")
        low = self._operand()
        self.lexer.expect("to")
        high = self._operand()
        block = Block()
        self._define_argument(block, index, INDEX)
        self._body(block, loop.yield_)
        return Operation(loop.parallel.operator(), [low, high], (), [Region([block])], self._location())

    def _for(self, names: Sequence[Token]) -> Operation:
        index = self.lexer.expect_kind("value", "the loop's index")
        self.lexer.expect("=")
        operands = [self._operand()]
        self.lexer.expect("to")
        operands.append(self._operand())
        self.lexer.expect("step")
        operands.append(self._operand())
        block = Block()
        carried: list[tuple[Token, Type]] = []
        if self.lexer.accept("carrying"):
            self.lexer.expect("(")
            while not self.lexer.accept(")"):
                if carried:
                    self.lexer.expect(",")
                token = self.lexer.expect_kind("value", "a carried value")
                self.lexer.expect(":")
                carried.append((token, parse_type(self.lexer)))
                self.lexer.expect("=")
                operands.append(self._operand())
        self._define_argument(block, index, INDEX)
        for token, type in carried:
            self._define_argument(block, token, type)
        self._body(block, loop.yield_)
        types = [type for _, type in carried]
        return Operation(loop.for_.operator(), operands, types, [Region([block])], self._location())

    def _if(self, names: Sequence[Token]) -> Operation:
        condition = self._operand()
        types = parse_types(self.lexer) if self.lexer.accept(":") else []
        then, otherwise = Block(), Block()
        self._body(then, loop.yield_)
        if self.lexer.accept("else"):
            self._body(otherwise, loop.yield_)
        else:
            otherwise.append(Operation(loop.yield_.operator(), (), ()))
        operator = loop.if_.operator(types=tuple(types))
        return Operation(operator, [condition], types, [Region([then]), Region([otherwise])], self._location())
