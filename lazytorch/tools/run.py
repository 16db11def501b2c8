"""`lazytorch-run`: compile or interpret a function or kernel of IR text and print its results.

    lazytorch-run FILE --input='[1, 2, 3]' --input=weights.npy      results of the only function
    lazytorch-run FILE --function=f --compare                        compiled against interpreted
    LAZYTORCH_CUDA=emulator lazytorch-run FILE --device=cuda:0       on another device
    lazytorch-run FILE --stage=loop                                  what it becomes: tensor, fused, loop, llvm, asm
    lazytorch-run FILE --function=k --input='random(4x8)' --input='zeros(4)' --input=4 --input=8      a loop.kernel

A kernel prints its buffers as it leaves them. Exit status: 0; 1 where the text does not parse or verify, the program
raises or the comparison fails; 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lazytorch.dtypes import DType
from lazytorch.errors import LazytorchError
from lazytorch.ir.core import Operation, func
from lazytorch.ir.interpreter import interpret
from lazytorch.ir.loop_interpreter import interpret_kernel
from lazytorch.ir.parser import parse_module
from lazytorch.ir.types import BufferType
from lazytorch.ir.validation import difference
from lazytorch.ir.verifier import verify
from lazytorch.runtime.functions import run_function, run_function_on, run_kernel
from lazytorch.runtime.stages import STAGES
from lazytorch.tools.arguments import SYNTAX, ArgumentError, array_text, function_arguments, kernel_slots
from lazytorch.tools.opt import failed, read_text
from lazytorch.tools.translate import chosen_body, stage_of

Results = list[tuple[str, np.ndarray, DType]]
"""Names of results (or buffers), their numbers and element types."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (None: the process's own); the exit status."""
    parser = _command_line()
    options = parser.parse_args(arguments)
    try:
        text = read_text(options.file)
        module = parse_module(text, options.file)
        verify(module)
        body = chosen_body(module, options.function)
        if options.stage:
            print(stage_of(module, body, options.stage), end="")
            return 0
        return _run(text, body, options)
    except ArgumentError as error:
        parser.error(str(error))
    except (LazytorchError, OSError, AssertionError, IndexError, RuntimeError, NotImplementedError, ValueError) as error:
        return failed(error)


def _run(text: str, body: Operation, options: argparse.Namespace) -> int:
    interpreted = _results(text, body, options, True) if options.interpret or options.compare else None
    compiled = None if options.interpret else _results(text, body, options, False)
    results = compiled if compiled is not None else interpreted
    assert results is not None
    for name, array, dtype in results:
        print(f"{name} = {array_text(array, dtype)}")
    if options.save:
        for number, (_, array, _) in enumerate(results):
            np.save(Path(f"{options.save}{number}.npy"), array)
    if not options.compare or interpreted is None or compiled is None:
        return 0
    wrong = [
        f"{name} {problem}"
        for (name, got, dtype), (_, want, _) in zip(compiled, interpreted, strict=True)
        if (problem := difference(got, want, dtype))
    ]
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


def _results(text: str, body: Operation, options: argparse.Namespace, interpreted: bool) -> Results:
    """Run a fresh copy of the function or kernel, since compiling takes it apart."""
    module = parse_module(text, options.file)
    fresh = next(other for other in module.region.block if other.attributes.name == body.attributes.name)
    if body.declaration is func:
        arrays = function_arguments(fresh, options.input, options.seed)
        types = [value.type for value in fresh.region.block.terminator.operands]
        if interpreted:
            outcomes = interpret(fresh, arrays)
        elif options.device == "cpu":
            outcomes = run_function(fresh, arrays)
        else:
            outcomes = run_function_on(fresh, arrays, options.device)
        return [(f"result {i}: {type}", x, type.dtype) for i, (type, x) in enumerate(zip(types, outcomes, strict=True))]
    if options.device != "cpu":
        raise ArgumentError(f"--device={options.device} runs functions of tensors; a kernel is made for one device")
    slots = copy.deepcopy(kernel_slots(fresh, options.input, options.seed))
    run = interpret_kernel if interpreted else run_kernel
    run(module, fresh.attributes.name, slots, options.chunks)
    buffers = [argument for argument in fresh.region.block.arguments if isinstance(argument.type, BufferType)]
    memories = [slot for slot in slots if isinstance(slot, np.ndarray)]
    return [(str(buffer), x, buffer.type.dtype) for buffer, x in zip(buffers, memories, strict=True)]


def _command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lazytorch-run", description="Compile or interpret a function or kernel of IR text."
    )
    parser.add_argument("file", metavar="FILE", help="IR in the readable form; - for standard input")
    parser.add_argument("--function", default="", metavar="NAME", help="which function or kernel (default: the only one)")
    parser.add_argument("--input", action="append", default=[], metavar="VALUE", help=SYNTAX)
    parser.add_argument("--seed", type=int, default=0, help="of random arguments (default 0)")
    parser.add_argument("--interpret", action="store_true", help="by the reference meaning of every operation, in NumPy")
    parser.add_argument("--compare", action="store_true", help="compile and interpret, and fail if the results differ")
    parser.add_argument("--chunks", type=int, default=1, help="into how many pieces a kernel's parallel loop is divided")
    parser.add_argument("--device", default="cpu", help="where a function is run: cpu (the default) or cuda:0")
    parser.add_argument("--stage", choices=STAGES, help="run nothing, print what the function becomes")
    parser.add_argument("--save", metavar="PREFIX", help="also write the results to PREFIX0.npy, PREFIX1.npy, …")
    return parser


if __name__ == "__main__":
    sys.exit(main())
