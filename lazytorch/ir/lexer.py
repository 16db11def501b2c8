"""Tokens of the readable IR text, and the errors that point into it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from lazytorch.errors import ParseError

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<value>%[A-Za-z_0-9][\w]*)
    |(?P<symbol>@[A-Za-z_][\w.$-]*|@"(?:[^"\\]|\\.)*")
    |(?P<type>(?:tensor|vector|buffer|complex)<)
    |(?P<number>-?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf\b|nan\b))
    |(?P<word>[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)*)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<arrow>->)
    |(?P<punctuation>[(){}\[\]=:,?])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text: its kind, what it says, where it begins. At the end: kind `end`, an empty text."""

    kind: str
    text: str
    start: int

    def __str__(self) -> str:
        return "the end of the text" if self.kind == "end" else repr(self.text)


class Lexer:
    """The tokens of a text, one ahead; `file` names it in errors."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self._tokens = self._split()
        self._position = 0
        self.token = self._tokens[0]

    def _split(self) -> list[Token]:
        tokens: list[Token] = []
        position, text = 0, self.text
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                self.fail(f"unexpected character {text[position]!r}", position)
            kind = match.lastgroup or ""
            end = match.end()
            if kind == "type":
                end = self._end_of_type(match.start(), end)
            if kind != "space":
                tokens.append(Token(kind, text[position:end], position))
            position = end
        tokens.append(Token("end", "", len(text)))
        return tokens

    def _end_of_type(self, start: int, position: int) -> int:
        """Where a type that opens an angle bracket just before `position` ends."""
        depth = 1
        while depth:
            if position == len(self.text) or self.text[position] == "\n":
                self.fail("the type is not closed by '>'", start)
            depth += {"<": 1, ">": -1}.get(self.text[position], 0)
            position += 1
        return position

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        """Raise ParseError at a position (None: at the present token)."""
        at = self.token.start if position is None else position
        line = self.text.count("\n", 0, at) + 1
        begin = self.text.rfind("\n", 0, at) + 1
        end = self.text.find("\n", at)
        source = self.text[begin : end if end >= 0 else len(self.text)]
        raise ParseError(message, self.file, line, at - begin + 1, source)

    def take(self) -> Token:
        """The present token; the next one becomes present."""
        token = self.token
        if token.kind != "end":
            self._position += 1
            self.token = self._tokens[self._position]
        return token

    def at(self, text: str) -> bool:
        """Whether the present token is this punctuation or word."""
        return self.token.text == text and self.token.kind != "string"

    def accept(self, text: str) -> bool:
        """Take the present token if it is this one."""
        if self.at(text):
            self.take()
            return True
        return False

    def expect(self, text: str) -> Token:
        """Take this token, or fail."""
        if not self.at(text):
            self.fail(f"expected {text!r} but found {self.token}")
        return self.take()

    def expect_kind(self, kind: str, what: str) -> Token:
        """Take a token of this kind, or fail saying that `what` was expected."""
        if self.token.kind != kind:
            self.fail(f"expected {what} but found {self.token}")
        return self.take()
