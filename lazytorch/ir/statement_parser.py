"""What the parsers of both text forms share: values by name, and going on after an error."""

from __future__ import annotations

from lazytorch.errors import ParseError
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.lexer import Lexer, Token
from lazytorch.ir.type_parser import parse_type
from lazytorch.ir.types import Type


class Follows(Exception):
    """Something is wrong that follows from an error already noted."""


class StatementParser:
    """Reads operations one by one; a subclass says how one looks (`operation`) and what begins a new function (`tops`)."""

    tops: frozenset[str] = frozenset()

    def __init__(self, lexer: Lexer) -> None:
        self.lexer = lexer
        self._values: dict[str, Value | None] = {}  # None: a result of a statement that is wrong

    def operation(self) -> Operation:
        """The next operation. Raises ParseError."""
        raise NotImplementedError

    def _statement(self, block: Block) -> None:
        """One operation; where it is wrong, its results are known to be, and reading goes on after it."""
        start, values = self.lexer.position, self._values
        try:
            block.append(self.operation())
        except (ParseError, Follows) as error:
            if isinstance(error, ParseError):
                self.lexer.note(error)
            self._values = values
            for token in self.lexer.skip_statement(start, self.tops):
                if token.kind == "value":
                    values.setdefault(token.text, None)
                elif token.text != ",":
                    break

    def _define(self, token: Token, value: Value) -> None:
        if self._values.get(token.text) is not None:
            self.lexer.fail(f"{token.text} is defined twice", token.start)
        self._values[token.text] = value
        name = token.text[1:]
        value.name = "" if name.isdigit() else name

    def _typed_arguments(self, block: Block) -> None:
        """`(%x: type, …)`, as the block's arguments."""
        self.lexer.expect("(")
        while not self.lexer.accept(")"):
            if block.arguments:
                self.lexer.expect(",")
            token = self.lexer.expect_kind("value", "an argument")
            self.lexer.expect(":")
            self._define_argument(block, token, parse_type(self.lexer))

    def _define_argument(self, block: Block, token: Token, type: Type) -> None:
        self._define(token, block.add_argument(type))

    def _operand(self) -> Value:
        token = self.lexer.expect_kind("value", "a value")
        value = self._values.get(token.text)
        if value is None:
            if token.text in self._values:
                raise Follows
            self.lexer.fail(f"{token.text} is used before it is defined", token.start)
        return value
