"""Tokens of IR text, the errors that point into it, and where to go on after one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from lazytorch.errors import ParseError

_TOKEN = re.compile(
    r"""(?:[^\S\n]+|//[^\n]*)*(?:
    (?P<line>\n)
    |(?P<end>\Z)
    |(?P<value>%[A-Za-z_0-9][\w]*)
    |(?P<symbol>@[A-Za-z_][\w.$-]*|@"(?:[^"\\\n]|\\.)*")
    |(?P<type>(?:!loop\.)?(?:tensor|vector|buffer|complex)<)
    |(?P<number>0x[0-9A-Fa-f]+|-?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|inf\b|nan\b))
    |(?P<word>[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)*)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<arrow>->)
    |(?P<punctuation>[(){}\[\]<>=:,?^\#])
    )""",
    re.VERBOSE,
)
_SPACE = re.compile(r"(?:[^\S\n]+|//[^\n]*)*")
_DEEPEST = 64
_MOST_ERRORS = 20
_CONTINUATIONS = frozenset(("as", "else", "loc"))


class Token(NamedTuple):
    """A piece of the text: its kind, what it says, where it begins, whether it is the first of its line.

    At the end: kind `end`, an empty text. A character that begins no token: kind `wrong`.
    """

    kind: str
    text: str
    start: int
    leads: bool

    def __str__(self) -> str:
        return "the end of the text" if self.kind == "end" else repr(self.text)


class TooManyErrors(Exception):
    """Nothing is gained by reading on."""


class Lexer:
    """The tokens of a text, one ahead; `file` names it in errors; `errors` are those found so far."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.errors: list[ParseError] = []
        self._depth = 0
        self._last_wrong_line: int | None = None
        self._tokens = self._split()
        self.position = 0
        self.token = self._tokens[0]

    def _split(self) -> list[Token]:
        tokens: list[Token] = []
        position, text, leads = 0, self.text, True
        match_token, append = _TOKEN.match, tokens.append
        while True:
            match = match_token(text, position)
            if match is None:
                position = _SPACE.match(text, position).end()  # type: ignore[union-attr]
                append(self._wrong(f"unexpected character {text[position]!r}", position, leads))
                position, leads = position + 1, False
                continue
            kind = match.lastgroup or ""
            start, end = match.span(kind)
            if kind == "line":
                position, leads = end, True
                continue
            if kind == "end":
                append(Token("end", "", start, True))
                return tokens
            if kind == "type":
                found = self._end_of_type(end)
                if found is None:
                    append(self._wrong("the type is not closed by '>'", start, leads))
                    position, leads = self._last_of_line(end), False
                    continue
                end = found
            append(Token(kind, text[start:end], start, leads))
            position, leads = end, False

    def _wrong(self, message: str, position: int, leads: bool) -> Token:
        """Note what begins no token, at most once per line."""
        if len(self.errors) < _MOST_ERRORS:
            line_before = self.text.rfind("\n", 0, position)
            if line_before != self._last_wrong_line:
                self._last_wrong_line = line_before
                self.errors.append(self.error(message, position))
        return Token("wrong", self.text[position], position, leads)

    def _last_of_line(self, position: int) -> int:
        """Where the line ends, or the brace that opens a body at its end."""
        end = self.text.find("\n", position)
        line = self.text[position : end if end >= 0 else len(self.text)].rstrip()
        return position + len(line) - line.endswith("{")

    def _end_of_type(self, position: int) -> int | None:
        """Where a type that opens an angle bracket just before `position` ends; None if its line ends first."""
        depth = 1
        for match in _TYPE_ENDS.finditer(self.text, position):
            if match[0] == "\n":
                return None
            depth += 1 if match[0] == "<" else -1
            if not depth:
                return match.end()
        return None

    def error(self, message: str, at: int) -> ParseError:
        """An error at a position."""
        line = self.text.count("\n", 0, at) + 1
        begin = self.text.rfind("\n", 0, at) + 1
        end = self.text.find("\n", at)
        return ParseError(message, self.file, line, at - begin + 1, self.text[begin : end if end >= 0 else len(self.text)])

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        """Raise ParseError at a position (None: at the present token)."""
        raise self.error(message, self.token.start if position is None else position)

    def missing(self, what: str) -> NoReturn:
        """Raise ParseError: `what` should stand here, at the end of the line before if the present token is on a new one."""
        place = self.token.start
        if self.token.leads and self.position:
            previous = self._tokens[self.position - 1]
            place = previous.start + len(previous.text)
        self.fail(f"expected {what} but found {self.token}", place)

    def note(self, error: ParseError) -> None:
        """Keep an error, if it is the first of its line, to report it later. Raises TooManyErrors when there are enough."""
        if all(known.line != error.line for known in self.errors):
            self.errors.append(error)
        if len(self.errors) >= _MOST_ERRORS:
            raise TooManyErrors

    def report(self) -> None:
        """Raise the errors found, if any, as one."""
        if self.errors:
            first, *others = sorted(self.errors, key=lambda error: (error.line, error.column))
            raise ParseError(first.message, first.file, first.line, first.column, first.source, tuple(others))

    @contextmanager
    def nested(self) -> Iterator[None]:
        """A level of nesting: of bodies or of lists. Fails where the text has more of them than programs have."""
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                self.fail(f"this is nested more than {_DEEPEST} levels deep")
            yield
        finally:
            self._depth -= 1

    def skip_statement(self, start: int, ends: frozenset[str]) -> list[Token]:
        """Go from the token numbered `start` to where the next statement begins; the tokens passed over.

        That is a value or a word at the beginning of a line, outside of braces opened since, or the brace that closes the
        body; in any case one of `ends` at the beginning of a line.
        """
        depth, position, tokens = 0, start, self._tokens
        while tokens[position].kind != "end":
            token = tokens[position]
            if token.leads and position > start:
                if token.text in ends:
                    break
                if not depth and token.kind in ("value", "word", "string") and token.text not in _CONTINUATIONS:
                    break
            if token.text == "{":
                depth += 1
            elif token.text == "}":
                if not depth:
                    break
                depth -= 1
            position += 1
        self.position = position
        self.token = tokens[position]
        return tokens[start:position]

    def skip_to(self, words: frozenset[str], start: int) -> None:
        """Go on to the first of these words after the token numbered `start` that begins a line, or to the end."""
        position, tokens = start + 1, self._tokens
        while position < len(tokens) - 1 and not (tokens[position].leads and tokens[position].text in words):
            position += 1
        self.position = min(position, len(tokens) - 1)
        self.token = tokens[self.position]

    def take(self) -> Token:
        """The present token; the next one becomes present."""
        token = self.token
        if token.kind != "end":
            self.position += 1
            self.token = self._tokens[self.position]
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
            self.missing(repr(text))
        return self.take()

    def expect_kind(self, kind: str, what: str) -> Token:
        """Take a token of this kind, or fail saying that `what` was expected."""
        if self.token.kind != kind:
            self.missing(what)
        return self.take()


_TYPE_ENDS = re.compile(r"[<>\n]")
