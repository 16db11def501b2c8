"""`lazytorch-reduce`: make a module smaller for as long as a command finds it interesting, as mlir-reduce does.

    lazytorch-reduce FILE --test='lazytorch-run {} --compare 2>&1 | grep -q differs'

The command is run by the shell with the name of a file in the place of {} (without one: after it); exit status 0 says that
the module in it is interesting. The smallest such module is printed. Exit status: 0; 1 where the text does not parse or is
not interesting to begin with; 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lazytorch.errors import LazytorchError
from lazytorch.ir.parser import parse_module
from lazytorch.ir.reduction import Reducer
from lazytorch.tools.opt import failed, read_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (None: the process's own); the exit status."""
    options = _command_line().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lazytorch-reduce-") as folder:
        file = Path(folder, "module.mlir")

        def interesting(text: str) -> bool:
            file.write_text(text, encoding="utf-8")
            return _succeeds(options.test, file, options.timeout)

        try:
            text = read_text(options.file)
            reducer = Reducer(text, interesting)
            smallest = reducer.reduce()
        except (LazytorchError, OSError, ValueError) as error:
            return failed(error)
    before, after = (sum(1 for _ in parse_module(each).walk()) for each in (text, smallest))
    print(f"{before} operations became {after} in {reducer.tests} tests", file=sys.stderr)
    if options.output:
        Path(options.output).write_text(smallest, encoding="utf-8")
    else:
        print(smallest, end="")
    return 0


def _succeeds(command: str, file: Path, timeout: float) -> bool:
    """Whether the command exits with 0 within the time; one that takes longer does not."""
    name = shlex.quote(str(file))
    line = command.replace("{}", name) if "{}" in command else f"{command} {name}"
    try:
        done = subprocess.run(line, shell=True, timeout=timeout, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lazytorch-reduce", description="Make a module smaller for as long as a command finds it interesting."
    )
    parser.add_argument("file", metavar="FILE", help="IR in the readable form; - for standard input")
    parser.add_argument(
        "--test", required=True, metavar="COMMAND", help="exits with 0 if the module in file {} is interesting"
    )
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="of one test (default 60)")
    parser.add_argument("-o", dest="output", metavar="FILE", help="where to write (default: standard output)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
