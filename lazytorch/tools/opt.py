"""`lazytorch-opt`: run compiler passes over IR text.

    lazytorch-opt FILE --passes=canonicalize,cse,dce --print-after-all --timing

Reads the readable form (`-`: standard input), verifies it, runs the passes on every function and kernel, verifies the
outcome and prints it. Exit status: 0; 1 where the text does not parse, a rule is broken or a pass fails; 2 for a wrong
command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from lazytorch.errors import LazytorchError
from lazytorch.ir.generic_printer import print_generic
from lazytorch.ir.parser import parse_module
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.passes.registry import all_passes
from lazytorch.ir.printer import print_ir
from lazytorch.ir.verifier import verify


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
        manager = PassManager(
            options.passes,
            verify_each=options.verify_each,
            print_after_all=options.print_after_all,
            print_after=options.print_after,
        )
    except ValueError as error:
        parser.error(str(error))
    try:
        text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text(encoding="utf-8")
        module = parse_module(text, "<stdin>" if options.file == "-" else options.file)
        verify(module)
        manager.run(module)
        verify(module)
    except (LazytorchError, OSError, UnicodeDecodeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    show = print_generic if options.generic else print_ir
    sys.stdout.write(show(module, locations=options.locations))
    if options.timing:
        print(manager.timing(), file=sys.stderr)
    return 0


def describe_passes() -> str:
    """One line per pass: its name, its options with their defaults, what it does."""
    lines = []
    for name, pass_class in all_passes().items():
        options = " ".join(f"{option.name}={option.default}" for option in dataclasses.fields(pass_class))
        meaning = (pass_class.__doc__ or "").partition("\n")[0]
        lines.append(f"{name + (f'{{{options}}}' if options else ''):24} {meaning}")
    return "\n".join(lines)


def _command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lazytorch-opt", description="Run compiler passes over IR text.")
    parser.add_argument("file", nargs="?", metavar="FILE", help="IR in the readable form; - for standard input")
    parser.add_argument(
        "--passes", default="", metavar="A,B,…", help="the pipeline: names, options in braces: a,b{limit=3},c"
    )
    parser.add_argument("--list-passes", action="store_true", help="list the passes and their options")
    parser.add_argument("--verify-each", action="store_true", help="verify after every pass, not only at the end")
    parser.add_argument("--print-after-all", action="store_true", help="write the IR to stderr after every pass")
    parser.add_argument(
        "--print-after", action="append", default=[], metavar="PASS", help="write the IR to stderr after this pass"
    )
    parser.add_argument("--timing", action="store_true", help="write the time of every pass to stderr")
    parser.add_argument("--generic", action="store_true", help="print MLIR's generic form")
    parser.add_argument("--locations", action="store_true", help="print source locations")
    return parser


if __name__ == "__main__":
    sys.exit(main())
