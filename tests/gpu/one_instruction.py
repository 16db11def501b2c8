"""Kernels of one instruction: one thread per row of operands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lazytorch.runtime.ptx_emulator import Emulator, LaunchReport

REGISTER = {1: "pred", 2: "b16", 4: "b32", 8: "b64"}
HEADER = ".version 8.6\n.target sm_100a\n.address_size 64\n"


def kernel(
    body: str, parameters: int = 1, shared: int = 0, registers: str = "", name: str = "k", threads: int | None = None
) -> str:
    """A kernel with pointers %p0, %p1, …, thread number %t (32 bits) and %t64, and some spare registers."""
    declared = ", ".join(f".param .u64 {name}_{number}" for number in range(parameters))
    pointers = "\n".join(f"ld.param.b64 %p{number}, [{name}_{number}];" for number in range(parameters))
    memory = f".shared .align 16 .b8 memory[{shared}];" if shared else ""
    attribute = f".reqntid {threads}" if threads else ""
    return f"""{HEADER}
.visible .entry {name}({declared}) {attribute}
{{
.reg .b64 %p<{parameters + 1}>; .reg .b64 %t64; .reg .b64 %rd<10>; .reg .b32 %t; .reg .b32 %r<20>;
.reg .b16 %h<10>; .reg .pred %q<8>;
{memory}
{registers}
{pointers}
mov.u32 %t, %tid.x;
cvt.u64.u32 %t64, %t;
{body}
ret;
}}
"""


def single(instruction: str, result: str, operands: Sequence[str], name: str = "k") -> str:
    """A kernel that executes `instruction`, from operands %a, %b, … to the result %d, for the row of each thread."""
    output = np.dtype(result)
    lines, registers = [], []
    for number, (letter, operand) in enumerate(zip("abcdef", operands, strict=False)):
        size = np.dtype(operand).itemsize
        registers.append(f".reg .{REGISTER[max(size, 2)]} %{letter};")
        lines += [f"mad.lo.u64 %rd0, %t64, {size}, %p{number + 1};", f"ld.global.b{8 * size} %{letter}, [%rd0];"]
    size = output.itemsize
    if output.kind == "b":
        registers.append(".reg .pred %d; .reg .b16 %o;")
        after = "selp.b16 %o, 1, 0, %d;\nadd.u64 %rd0, %t64, %p0;\nst.global.b8 [%rd0], %o;"
    else:
        registers.append(f".reg .{REGISTER[max(size, 2)]} %d;")
        after = f"mad.lo.u64 %rd0, %t64, {size}, %p0;\nst.global.b{8 * size} [%rd0], %d;"
    return kernel("\n".join([*lines, instruction, after]), len(operands) + 1, registers="\n".join(registers), name=name)


def run(instruction: str, result: str, *operands: np.ndarray) -> np.ndarray:
    """The results of an instruction for every row of its operands."""
    count = len(operands[0])
    text = single(instruction, result, [operand.dtype.str for operand in operands])
    return execute(text, [np.zeros(count, result), *operands], count)[0][0]


def execute(
    text: str, arrays: list[np.ndarray], threads: int, blocks: int = 1, device: Emulator | None = None
) -> tuple[list[np.ndarray], LaunchReport]:
    """Launch the only kernel of a module on copies of these arrays: their contents afterwards, and the report."""
    device = device or Emulator(1 << 22)
    addresses = [device.allocate(array.nbytes) for array in arrays]
    for address, array in zip(addresses, arrays, strict=True):
        device.write(address, array)
    module = device.load(text)
    report = module.kernel(module.kernels[0]).launch((blocks,), (threads,), addresses)
    found = [device.read(address, array.nbytes).view(array.dtype) for address, array in zip(addresses, arrays, strict=True)]
    return found, report
