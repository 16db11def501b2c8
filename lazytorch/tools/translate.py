"""`lazytorch-translate`: IR text to LLVM IR, assembly, PTX or StableHLO text.

    lazytorch-translate FILE --to=llvm            the kernels of a function, or a module of kernels in loop form
    lazytorch-translate FILE --to=asm --target=x86-64-v3
    lazytorch-translate FILE --to=ptx --target=sm_90
    lazytorch-translate FILE --to=stablehlo       a function of tensor operations, as `main` of a module

Exit status: 0; 1 where the text does not parse or verify or has no such form; 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lazytorch.codegen import stablehlo
from lazytorch.codegen.gpu_target import GpuTarget, gpu_target
from lazytorch.codegen.target import Target, current_target, target_named
from lazytorch.errors import LazytorchError
from lazytorch.ir.core import Operation, func
from lazytorch.ir.dialects import loop
from lazytorch.ir.parser import parse_module
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.printer import print_ir
from lazytorch.ir.verifier import verify
from lazytorch.runtime.engine import engine
from lazytorch.runtime.functions import kernel_module_text
from lazytorch.runtime.stages import function_text
from lazytorch.tools.arguments import ArgumentError
from lazytorch.tools.opt import failed, read_text

_FORMS = ("llvm", "asm", "ptx", "stablehlo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (None: the process's own); the exit status."""
    parser = _command_line()
    options = parser.parse_args(arguments)
    try:
        module = parse_module(read_text(options.file), options.file)
        verify(module)
        body = chosen_body(module, options.function)
        text = to_stablehlo(body) if options.to == "stablehlo" else stage_of(module, body, options.to, options.target)
    except ArgumentError as error:
        parser.error(str(error))
    except (LazytorchError, OSError, ValueError) as error:
        return failed(error)
    if options.output:
        Path(options.output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


def chosen_body(module: Operation, name: str) -> Operation:
    """The function or kernel of that name, by default the only one. Raises ArgumentError."""
    bodies = [body for body in module.region.block if body.declaration in (func, loop.kernel)]
    chosen = [body for body in bodies if name in ("", body.attributes.name)]
    if len(chosen) != 1:
        there = ", ".join(f"@{body.attributes.name}" for body in bodies) or "none"
        raise ArgumentError(f"--function={name or '?'}: expected the name of a function or kernel; there are {there}")
    return chosen[0]


def stage_of(module: Operation, body: Operation, stage: str, target: str = "") -> str:
    """What a function becomes at a stage, or the whole module for a kernel of it; either is taken apart for it.

    target: the name of a CPU or GPU. Raises ArgumentError for a stage that a kernel does not have.
    """
    chosen = _target(target, stage)
    if body.declaration is func:
        return function_text(body, stage, chosen)
    if stage == "loop":
        return print_ir(module)
    if stage not in ("llvm", "asm", "ptx"):
        raise ArgumentError(f"a kernel has no stage {stage}; it has loop, llvm, asm and ptx")
    text = kernel_module_text(module, chosen)
    if stage == "llvm":
        return text
    return engine().ptx(text, chosen) if isinstance(chosen, GpuTarget) else engine().assembly(text, chosen)


def _target(name: str, stage: str) -> Target | GpuTarget:
    """The target of that name; by default this machine's CPU, for PTX some GPU. Raises ValueError."""
    if name.startswith("sm_") or stage == "ptx":
        return gpu_target(name or "sm_80")
    return target_named(name) if name else current_target()


def to_stablehlo(body: Operation) -> str:
    """A function of tensor operations in StableHLO; it is decomposed for it. Raises ArgumentError for a kernel."""
    if body.declaration is not func:
        raise ArgumentError("StableHLO has no kernels: expected a function of tensors")
    PassManager("decompose{longest=0},cse,dce").run_on_func(body)
    return stablehlo.translate(body)


def _command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lazytorch-translate", description="IR text in another language.")
    parser.add_argument("file", metavar="FILE", help="IR in the readable form; - for standard input")
    parser.add_argument("--to", choices=_FORMS, required=True, help="the language")
    parser.add_argument("--function", default="", metavar="NAME", help="which function or kernel (default: the only one)")
    parser.add_argument(
        "--target", default="", metavar="CPU", help="the CPU to compile for, as LAZYTORCH_TARGET, or a GPU (sm_80)"
    )
    parser.add_argument("-o", dest="output", metavar="FILE", help="where to write (default: standard output)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
