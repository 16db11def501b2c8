"""Pipelines of passes as text: `canonicalize{max-rewrites=5},cse,loop.kernel(cse,dce)`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lazytorch.ir.core import Operation
from lazytorch.ir.core import func as func_
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import loop
from lazytorch.ir.passes import canonicalize, cse, dce, decompose, differentiate, jvp, split_complex, vmap
from lazytorch.ir.passes.registry import Pass, make_pass

BUILT_IN = (canonicalize, cse, dce, decompose, differentiate, jvp, split_complex, vmap)
"""The files whose passes are known by name once this one is imported."""

ANCHORS: dict[str, Declaration] = {"func": func_, "loop.kernel": loop.kernel, "loop.function": loop.function}
"""What a nested pipeline may be for, and at the same time all that a module holds."""

_WORD = re.compile(r"\s*([\w.-]+)\s*")
_OPTIONS = re.compile(r"\{([^{}]*)\}\s*")


@dataclass(frozen=True)
class Step:
    """A pass, and the name of the only kind of operation it is run on (empty: of every kind)."""

    transformation: Pass
    anchor: str = ""

    def applies_to(self, body: Operation) -> bool:
        """Whether the pass is run on this function or kernel."""
        return body.declaration is ANCHORS[self.anchor] if self.anchor else body.declaration in ANCHORS.values()

    def __str__(self) -> str:
        return f"{self.anchor}({self.transformation})" if self.anchor else str(self.transformation)


def parse_pipeline(text: str) -> list[Step]:
    """The steps of a text: `pass`, `pass{option=value option=value}` or `kind(pipeline)`, with commas between them.

    A kind is func, loop.kernel or loop.function: the passes in its parentheses see no other. Raises ValueError naming
    the part that is not understood.
    """
    return _PipelineParser(text).steps()


class _PipelineParser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def steps(self) -> list[Step]:
        steps = self._list("") if self.text.strip() else []
        if self.position < len(self.text.rstrip()):
            self._fail("expected a comma")
        return steps

    def _fail(self, expected: str) -> None:
        raise ValueError(f"pipeline {self.text!r}: {expected} at {self.text[self.position :]!r}")

    def _accept(self, character: str) -> bool:
        if not self.text.startswith(character, self.position):
            return False
        self.position += len(character)
        self.position += len(self.text) - self.position - len(self.text[self.position :].lstrip())
        return True

    def _list(self, anchor: str) -> list[Step]:
        steps = self._item(anchor)
        while self._accept(","):
            steps += self._item(anchor)
        return steps

    def _item(self, anchor: str) -> list[Step]:
        word = _WORD.match(self.text, self.position)
        if word is None:
            self._fail("expected a pass name")
        assert word is not None
        name = word[1]
        if self.text.startswith("(", word.end()):
            if anchor or name not in ANCHORS:
                self._fail(f"a nested pipeline is for one of {', '.join(ANCHORS)}, not within another")
            self.position = word.end()
            self._accept("(")
            inner = self._list(name)
            if not self._accept(")"):
                self._fail("expected ')'")
            return inner
        self.position = word.end()
        return [Step(make_pass(name, self._options()), anchor)]

    def _options(self) -> dict[str, str]:
        options: dict[str, str] = {}
        braces = _OPTIONS.match(self.text, self.position)
        if braces is None:
            return options
        for option in braces[1].split():
            name, equals, value = option.partition("=")
            if not equals:
                self._fail(f"expected name=value but got {option!r}")
            options[name] = value
        self.position = braces.end()
        return options
