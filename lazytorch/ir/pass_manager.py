"""Running passes in sequence, with verification, dumps, timing, statistics and reproducers in between."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from lazytorch.config import config
from lazytorch.errors import CompileError, PassError, VerificationError
from lazytorch.ir.core import Operation
from lazytorch.ir.passes.registry import Pass, counting
from lazytorch.ir.pipeline import Step, parse_pipeline
from lazytorch.ir.printer import print_ir
from lazytorch.ir.reproducer import Reproducer, changed_settings
from lazytorch.ir.validation import Validation
from lazytorch.ir.verifier import verify


class PassManager:
    """A pipeline: `PassManager("canonicalize,cse,dce").run(module)`.

    verify_each: check the IR before the first and after every pass (None: as `config.verify` says at each run).
    print_before_all, print_before, print_after_all, print_after: write the IR to `stream` (None: stderr) before or after
        every pass or those named.
    reproducer: where to write the reproducer of a crash (None: a file in the dump or temporary folder).
    `seconds` holds (pass, time) of the last run in order, `statistics` holds (pass, what it did, how often).

    A fault is raised as CompileError naming the pass that had it; PassError passes through.
    """

    def __init__(
        self,
        pipeline: str | Sequence[Pass],
        *,
        verify_each: bool | None = None,
        print_before_all: bool = False,
        print_after_all: bool = False,
        print_before: Sequence[str] = (),
        print_after: Sequence[str] = (),
        stream: TextIO | None = None,
        reproducer: Path | None = None,
    ) -> None:
        self.steps = parse_pipeline(pipeline) if isinstance(pipeline, str) else [Step(each) for each in pipeline]
        self.verify_each = verify_each
        self.print_before_all = print_before_all
        self.print_after_all = print_after_all
        self.print_before = frozenset(print_before)
        self.print_after = frozenset(print_after)
        self.stream = stream
        self.reproducer = reproducer
        self.seconds: list[tuple[str, float]] = []
        self.statistics: list[tuple[str, str, int]] = []

    def __str__(self) -> str:
        return ",".join(map(str, self.steps))

    def run(self, module: Operation, source: Callable[[], str] | None = None) -> None:
        """Run every pass on every function and kernel of a module, in place.

        `source` gives the text of the module as it was, for the reproducer that a crash then leaves behind.
        """
        self._run(module, list(module.region.block), source, None)

    def run_on_func(
        self, function: Operation, source: Callable[[], str] | None = None, validation: Validation | None = None
    ) -> None:
        """Run every pass on one function or kernel, in place; with `validation` check what it computes after each."""
        self._run(function, [function], source, validation)

    def _run(
        self,
        top: Operation,
        bodies: Sequence[Operation],
        source: Callable[[], str] | None,
        validation: Validation | None,
    ) -> None:
        self.seconds, self.statistics = [], []
        if self._verifying():
            verify(top)
        for step in self.steps:
            try:
                self._run_step(step, top, bodies)
                if self._verifying():
                    verify(top)
                if validation is not None:
                    validation.check(top)
            except PassError:
                raise
            except Exception as error:
                raise self._fault(step, error, source) from error

    def _run_step(self, step: Step, top: Operation, bodies: Sequence[Operation]) -> None:
        self._show("before", step, top, self.print_before_all, self.print_before)
        began = time.perf_counter()
        with counting() as counts:
            step.transformation.run_on([body for body in bodies if step.applies_to(body)])
        self.seconds.append((str(step), time.perf_counter() - began))
        self.statistics += [(str(step), what, number) for what, number in counts.items()]
        self._show("after", step, top, self.print_after_all, self.print_after)

    def _verifying(self) -> bool:
        return config.verify if self.verify_each is None else self.verify_each

    def _show(self, when: str, step: Step, top: Operation, every: bool, named: frozenset[str]) -> None:
        if every or step.transformation.name in named:
            stream = self.stream or sys.stderr
            stream.write(f"// ---- {when} {step} ----\n{print_ir(top)}\n")

    def _fault(self, step: Step, error: Exception, source: Callable[[], str] | None) -> CompileError:
        """The error to raise for a fault of a pass, or one that was found after it; leaves a reproducer behind."""
        reproduce = f"lazytorch-opt --passes={shlex.quote(str(step))} --verify-each FILE"
        if source is not None:
            written = Reproducer(source(), str(self), self._verifying(), changed_settings()).write(error, self.reproducer)
            reproduce = f"lazytorch-opt --run-reproducer {written}"
        if isinstance(error, CompileError):
            when = "after" if isinstance(error, VerificationError) or error.stage == "check" else "in"
            message, location = error.message, error.location
        else:
            when, message, location = "in", f"{type(error).__name__}: {error}", None
        return CompileError(message, stage=f"{when} pass '{step}'", location=location, reproduce=reproduce)

    def timing(self) -> str:
        """A table of the last run: milliseconds and share of each pass."""
        total = sum(seconds for _, seconds in self.seconds)
        rows = [*self.seconds, ("total", total)]
        return "\n".join(
            f"{1e3 * seconds:10.3f} ms {100 * seconds / total if total else 0:6.1f} %  {name}" for name, seconds in rows
        )

    def statistics_table(self) -> str:
        """A table of the last run: what each pass did how often."""
        return "\n".join(f"{number:10}  {what}  ({name})" for name, what, number in self.statistics)
