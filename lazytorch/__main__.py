"""`python -m lazytorch run SCRIPT [args]`, `info`, and the tools for IR text: `opt`, `run-ir`, `translate`, `reduce`."""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import platform
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from lazytorch import version
from lazytorch.codegen.target import host_target
from lazytorch.config import config
from lazytorch.runtime.cuda.device import devices, why_none
from lazytorch.runtime.thread_count import get_num_threads

TOOLS = {
    "opt": ("lazytorch.tools.opt", "run passes on IR text"),
    "run-ir": ("lazytorch.tools.run", "compile or interpret a function of IR text"),
    "translate": ("lazytorch.tools.translate", "write IR text as LLVM IR, assembly, PTX or StableHLO"),
    "reduce": ("lazytorch.tools.reduce", "make IR text smaller for as long as a command finds it interesting"),
}
"""Commands that load the compiler, so each is imported when it is asked for: its module, what it does."""


class TorchAlias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Resolves `torch` and everything below it to lazytorch."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        if fullname == "torch" or fullname.startswith("torch."):
            return importlib.machinery.ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        name = "lazytorch" + spec.name[len("torch") :]
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name == name:
                raise ModuleNotFoundError(f"lazytorch has no module {spec.name} (yet)", name=spec.name) from None
            raise

    def exec_module(self, module: ModuleType) -> None:
        """The module was executed when it was imported under its own name."""


def run(script: str, arguments: Sequence[str]) -> None:
    """Run a PyTorch script with `torch` resolved to lazytorch."""
    sys.meta_path.insert(0, TorchAlias())
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(script).rpartition("/")[0] or ".")
    runpy.run_path(script, run_name="__main__")


def info() -> str:
    """What the compiler found on this machine."""
    target = host_target()
    return "\n".join(
        [
            f"lazytorch {version.package} on Python {platform.python_version()}",
            f"target    {target.cpu} ({target.triple}), {target.vector_bits}-bit vectors",
            f"threads   {get_num_threads()}",
            f"cache     {config.cache_folder() if config.cache else 'off'}",
            *(_cuda_lines() or [f"cuda      none: {why_none()}"]),
        ]
    )


def _cuda_lines() -> list[str]:
    """A line per CUDA device."""
    return [
        f"{device.name:<9} {device.driver.name} ({device.target.name}), {device.driver.processors} multiprocessors, "
        f"{device.driver.total_memory >> 20} MiB"
        for device in devices()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] in TOOLS:
        return int(importlib.import_module(TOOLS[arguments[0]][0]).main(arguments[1:]))
    parser = argparse.ArgumentParser(prog="python -m lazytorch", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run a PyTorch script with torch resolved to lazytorch")
    running.add_argument("--check", action="store_true", help="run nothing: list the torch names that lazytorch lacks")
    running.add_argument("script")
    running.add_argument("arguments", nargs=argparse.REMAINDER)
    commands.add_parser("info", help="what the compiler found on this machine")
    for name, (_, meaning) in TOOLS.items():
        commands.add_parser(name, help=f"{meaning} (see python -m lazytorch {name} --help)")
    options = parser.parse_args(arguments)
    if options.command == "run" and options.check:
        return int(importlib.import_module("lazytorch.tools.check").check(options.script))
    if options.command == "run":
        run(options.script, options.arguments)
    else:
        print(info())
    return 0


if __name__ == "__main__":
    sys.exit(main())
