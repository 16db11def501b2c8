"""Running passes in sequence, with verification, dumps and timing in between."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from lazytorch.config import config
from lazytorch.errors import CompileError, VerificationError
from lazytorch.ir.core import Operation, func
from lazytorch.ir.dialects import loop
from lazytorch.ir.passes import canonicalize, cse, dce, decompose
from lazytorch.ir.passes.registry import Pass, make_pass
from lazytorch.ir.printer import print_ir
from lazytorch.ir.verifier import verify

BUILT_IN = (canonicalize, cse, dce, decompose)
"""The files whose passes are known by name once this one is imported."""

_STAGE = re.compile(r"\s*([\w-]+)\s*(?:\{([^{}]*)\})?\s*(,|$)")


def parse_pipeline(text: str) -> list[Pass]:
    """The passes that a text like `canonicalize,cse,some-pass{limit=3 fast=true}` names.

    Raises ValueError naming the part that is not understood.
    """
    passes: list[Pass] = []
    position = 0
    while text[position:].strip():
        stage = _STAGE.match(text, position)
        if stage is None:
            raise ValueError(f"pipeline {text!r}: expected a pass name at {text[position:]!r}")
        options: dict[str, str] = {}
        for option in (stage[2] or "").split():
            name, equals, value = option.partition("=")
            if not equals:
                raise ValueError(f"pipeline {text!r}: expected name=value but got {option!r}")
            options[name] = value
        passes.append(make_pass(stage[1], options))
        position = stage.end()
    return passes


class PassManager:
    """A pipeline: `PassManager("canonicalize,cse,dce").run(module)`.

    verify_each: check the IR before the first and after every pass (None: as `config.verify` says at each run).
    print_after_all, print_after: write the IR to `stream` (None: stderr) after every pass or after those named.
    `seconds` holds (pass, time) of the last run in order.

    A fault is raised as CompileError naming the pass that had it.
    """

    def __init__(
        self,
        pipeline: str | Sequence[Pass],
        *,
        verify_each: bool | None = None,
        print_after_all: bool = False,
        print_after: Sequence[str] = (),
        stream: TextIO | None = None,
    ) -> None:
        self.passes = parse_pipeline(pipeline) if isinstance(pipeline, str) else list(pipeline)
        self.verify_each = verify_each
        self.print_after_all = print_after_all
        self.print_after = frozenset(print_after)
        self.stream = stream
        self.seconds: list[tuple[str, float]] = []

    def run(self, module: Operation) -> None:
        """Run every pass on every function and kernel of a module, in place."""
        bodies = [operation for operation in module.region.block if operation.declaration in _BODIES]
        self._run(module, bodies)

    def run_on_func(self, function: Operation) -> None:
        """Run every pass on one function or kernel, in place."""
        self._run(function, [function])

    def _run(self, top: Operation, bodies: Sequence[Operation]) -> None:
        verifying = config.verify if self.verify_each is None else self.verify_each
        self.seconds = []
        if verifying:
            verify(top)
        for each in self.passes:
            began = time.perf_counter()
            for body in bodies:
                each.run(body)
            self.seconds.append((str(each), time.perf_counter() - began))
            if self.print_after_all or each.name in self.print_after:
                stream = self.stream or sys.stderr
                stream.write(f"// ---- after {each} ----\n{print_ir(top)}\n")
            if verifying:
                _verify_after(each, top)

    def timing(self) -> str:
        """A table of the last run: milliseconds and share of each pass."""
        total = sum(seconds for _, seconds in self.seconds)
        rows = [*self.seconds, ("total", total)]
        return "\n".join(
            f"{1e3 * seconds:10.3f} ms {100 * seconds / total if total else 0:6.1f} %  {name}" for name, seconds in rows
        )


_BODIES = frozenset((func, loop.kernel, loop.function))


def _verify_after(each: Pass, top: Operation) -> None:
    try:
        verify(top)
    except VerificationError as error:
        raise CompileError(
            error.message,
            stage=f"after pass '{each}'",
            location=error.location,
            reproduce=f"lazytorch-opt --passes={each} --verify-each FILE",
        ) from error
