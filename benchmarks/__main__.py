"""`python -m benchmarks [--only TEXT] [--against torch,inductor,jax] …`, and the other commands below."""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "run": "time workloads in turn with other libraries (the command if none is named)",
    "history": "how the ratios of stored runs went",
    "kernels": "where the native time of training steps goes",
    "record": "what recording costs",
    "gpu": "one report of a machine with an NVIDIA GPU",
    "start": "a process from its start to its first trained step",
}


def main() -> int:
    """Run the named command."""
    arguments = sys.argv[1:]
    if not arguments or (arguments[0] not in COMMANDS and arguments[0] not in ("-h", "--help")):
        arguments = ["run", *arguments]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    modules = {}
    for name, description in COMMANDS.items():
        if name in arguments[:1] or arguments[0] in ("-h", "--help"):
            modules[name] = importlib.import_module(f"benchmarks.{name}")
            modules[name].add_arguments(commands.add_parser(name, help=description, description=modules[name].__doc__))
    options = parser.parse_args(arguments)
    modules[options.command].main(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
