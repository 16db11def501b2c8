"""`lazytorch-opt`: run compiler passes over IR text.

    lazytorch-opt FILE --passes='differentiate{func=f inputs=x},func(canonicalize,cse,dce)' --print-after-all --timing

Reads the readable form (`-`: standard input), verifies it, runs the passes on every function and kernel, verifies the
outcome and prints it. Where a pass fails, the input, the pipeline and the settings are saved in one file, which
`--run-reproducer` runs again. Exit status: 0; 1 where the text does not parse, a rule is broken or a pass fails; 2 for
a wrong command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from lazytorch.codegen import passes
from lazytorch.config import Config, config
from lazytorch.errors import LazytorchError, ParseError
from lazytorch.ir.generic_printer import print_generic
from lazytorch.ir.parser import parse_module
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.passes.registry import all_passes
from lazytorch.ir.printer import print_ir
from lazytorch.ir.reproducer import Reproducer, read_reproducer
from lazytorch.ir.verifier import verify

PASSES = passes
"""The file whose passes are known by name, beside those of the IR, once it is imported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (None: the process's own); the exit status."""
    parser = _command_line()
    options = parser.parse_args(arguments)
    if options.list_passes:
        print(describe_passes())
        return 0
    if options.file is None:
        parser.error("the following arguments are required: FILE")
    try:
        text = read_text(options.file)
        reproducer = read_reproducer(text) if options.run_reproducer else Reproducer(text, options.passes)
        if options.run_reproducer:
            _restore(reproducer.environment)
        manager = _manager(options, reproducer)
    except ValueError as error:
        parser.error(str(error))
    except (ParseError, OSError) as error:
        return failed(error)
    try:
        module = parse_module(text, "<stdin>" if options.file == "-" else options.file)
        verify(module)
        manager.run(module, source=lambda: text)
        verify(module)
    except LazytorchError as error:
        return failed(error)
    show = print_generic if options.generic else print_ir
    sys.stdout.write(show(module, locations=options.locations))
    sys.stdout.flush()
    if options.timing:
        print(manager.timing(), file=sys.stderr)
    if options.statistics:
        print(manager.statistics_table(), file=sys.stderr)
    return 0


def read_text(file: str) -> str:
    """The text of a file, or of the standard input for `-`. Raises ParseError where it is not UTF-8."""
    content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise ParseError("this byte is no UTF-8 text", file, line, column) from None


def failed(error: Exception) -> int:
    """Report an error on stderr; the exit status."""
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 1


def _manager(options: argparse.Namespace, reproducer: Reproducer) -> PassManager:
    return PassManager(
        reproducer.pipeline,
        verify_each=options.verify_each or reproducer.verify_each,
        print_before_all=options.print_before_all,
        print_after_all=options.print_after_all,
        print_before=options.print_before,
        print_after=options.print_after,
        reproducer=Path(options.crash_reproducer) if options.crash_reproducer else None,
    )


def _restore(environment: Sequence[tuple[str, str]]) -> None:
    """Set the settings of a reproducer, save those that only say where files go."""
    settings = Config.from_environment(dict(environment))
    for setting in dataclasses.fields(Config):
        if setting.name not in ("cache_dir", "dump"):
            setattr(config, setting.name, getattr(settings, setting.name))


def describe_passes() -> str:
    """One line per pass: its name, its options with their defaults, what it does."""
    lines = []
    for name, pass_class in all_passes().items():
        options = " ".join(
            f"{option.name.replace('_', '-')}={str(option.default).lower() if option.type == 'bool' else option.default}"
            for option in dataclasses.fields(pass_class)
        )
        meaning = (pass_class.__doc__ or "").partition("\n")[0]
        lines.append(f"{name + (f'{{{options}}}' if options else ''):24} {meaning}")
    return "\n".join(lines)


def _command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lazytorch-opt", description="Run compiler passes over IR text.")
    parser.add_argument("file", nargs="?", metavar="FILE", help="IR in the readable form; - for standard input")
    parser.add_argument(
        "--passes", default="", metavar="A,B,…", help="the pipeline: names, options in braces, kinds: a{n=3},func(b,c)"
    )
    parser.add_argument("--list-passes", action="store_true", help="list the passes and their options")
    parser.add_argument("--verify-each", action="store_true", help="verify after every pass, not only at the end")
    parser.add_argument("--print-before-all", action="store_true", help="write the IR to stderr before every pass")
    parser.add_argument(
        "--print-before", action="append", default=[], metavar="PASS", help="write the IR to stderr before this pass"
    )
    parser.add_argument("--print-after-all", action="store_true", help="write the IR to stderr after every pass")
    parser.add_argument(
        "--print-after", action="append", default=[], metavar="PASS", help="write the IR to stderr after this pass"
    )
    parser.add_argument("--timing", action="store_true", help="write the time of every pass to stderr")
    parser.add_argument("--statistics", action="store_true", help="write what every pass did to stderr")
    parser.add_argument("--crash-reproducer", metavar="FILE", help="where to save what reproduces a failing pass")
    parser.add_argument("--run-reproducer", action="store_true", help="FILE is such a file: run its pipeline again")
    parser.add_argument("--generic", action="store_true", help="print MLIR's generic form")
    parser.add_argument("--locations", action="store_true", help="print source locations")
    return parser


if __name__ == "__main__":
    sys.exit(main())
