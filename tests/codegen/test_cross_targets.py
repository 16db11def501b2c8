"""Every kind of kernel for every target: an object file of the right machine, vector registers of the right width."""

from __future__ import annotations

import re
import struct

import pytest

from lazytorch import dtypes
from lazytorch.codegen.fusion import fuse
from lazytorch.codegen.launch import Launch, ScheduleContext
from lazytorch.codegen.schedules import schedule
from lazytorch.codegen.target import Target, target_named
from lazytorch.ir.core import IRBuilder, Operation, Value, new_func, return_
from lazytorch.ir.dialects import fused
from lazytorch.ir.pass_manager import PassManager
from lazytorch.runtime.engine import engine
from lazytorch.runtime.kernels import kernel_text
from lazytorch.runtime.planner import PIPELINE
from tests.fuzz.tensor_programs import Input, Step, TensorProgram

X = Input("f32", (40, 70))


def of(*steps: Step, inputs: tuple[Input, ...] = (X,)) -> TensorProgram:
    """A program whose last value is asked for."""
    return TensorProgram(inputs, steps, (len(inputs) + len(steps) - 1,))


def contraction(dtype: str, lhs: str = "mk", rhs: str = "kn", out: str = "mn") -> TensorProgram:
    sizes = {"m": 40, "k": 70, "n": 50, "b": 3}
    inputs = tuple([Input(dtype, tuple([sizes[letter] for letter in word])) for word in (lhs, rhs)])
    return of(Step("tensor.contract", (0, 1), {"lhs": lhs, "rhs": rhs, "out": out}), inputs=inputs)


WINDOW = Step("tensor.window", (0,), {"sizes": (3, 3), "strides": (1, 1), "dilations": (1, 1)})
INDEX = Input("i64", (9,))
VECTORIZED = {
    "map of f32": of(Step("arith.add", (0, 0)), Step("arith.mul", (1, 0))),
    "map of f64": of(Step("arith.sub", (0, 0)), inputs=(Input("f64", (999,)),)),
    "map of i32": of(Step("arith.add", (0, 0)), inputs=(Input("i32", (999,)),)),
    "map of i64 with a condition": of(
        Step("arith.compare", (0, 1), {"predicate": "lt"}),
        Step("arith.select", (2, 0, 1)),
        inputs=(Input("i64", (999,)), Input("i64", (999,))),
    ),
    "map of f16": of(Step("arith.mul", (0, 0)), inputs=(Input("f16", (999,)),)),
    "map of bf16": of(Step("arith.mul", (0, 0)), inputs=(Input("bf16", (999,)),)),
    "conversion of f64 to f16": of(Step("arith.cast", (0,), {"dtype": dtypes.float16}), inputs=(Input("f64", (999,)),)),
    "conversion of f64 to bf16": of(Step("arith.cast", (0,), {"dtype": dtypes.bfloat16}), inputs=(Input("f64", (999,)),)),
    "conversion of i64 to f16": of(Step("arith.cast", (0,), {"dtype": dtypes.float16}), inputs=(Input("i64", (999,)),)),
    "conversion of f64 to i8": of(Step("arith.cast", (0,), {"dtype": dtypes.int8}), inputs=(Input("f64", (999,)),)),
    "broadcast and transposed": of(
        Step("tensor.permute", (0,), {"order": (1, 0)}), Step("arith.add", (2, 1)), inputs=(X, Input("f32", (40,)))
    ),
    "exp": of(Step("math.exp", (0,))),
    "sin of f64": of(Step("math.sin", (0,)), inputs=(Input("f64", (999,)),)),
    "sum of rows": of(Step("tensor.reduce_sum", (0,), {"dims": (1,)})),
    "sum of a long row": of(Step("tensor.reduce_sum", (0,), {"dims": (0,)}), inputs=(Input("f32", (300_000,)),)),
    "largest of columns": of(Step("tensor.reduce_max", (0,), {"dims": (0,)})),
    "running sum of rows": of(Step("tensor.scan_sum", (0,), {"dim": 1})),
    "running product along columns": of(Step("tensor.scan_prod", (0,), {"dim": 0})),
    "sorted rows": of(Step("tensor.argsort", (0,), {"descending": True}), inputs=(Input("f32", (4, 50)),)),
    "long sorted rows": of(Step("tensor.argsort", (0,), {"descending": False})),
    "the first few of rows": of(Step("tensor.argsort", (0,), {"descending": False, "count": 3})),
    "product of f32": contraction("f32"),
    "product of f64, transposed": contraction("f64", "km", "nk"),
    "product of i32": contraction("i32"),
    "batch of products": contraction("f32", "bmk", "bkn", "bmn"),
    "convolution": of(
        WINDOW,
        Step("tensor.contract", (2, 1), {"lhs": "bchwij", "rhs": "ocij", "out": "bohw"}),
        inputs=(Input("f32", (2, 3, 20, 20)), Input("f32", (4, 3, 3, 3))),
    ),
    "attention": of(Step("nn.attention", (0, 1, 1), {"scale": 0.5, "causal": True}), inputs=(X, Input("f32", (50, 70)))),
    "cotangent of attention": of(
        Step("nn.attention_backward", (0, 0, 1, 1, 2, 2), {"scale": 0.5, "operand": 1}),
        inputs=(X, Input("f32", (50, 70)), Input("f32", (40,))),
    ),
    "gather": of(Step("tensor.gather", (0, 1)), inputs=(X, INDEX)),
    "gather of elements": of(Step("tensor.gather", (0, 1)), inputs=(Input("f32", (999,)), INDEX)),
    "scatter_add": of(Step("tensor.scatter_add", (0, 1, 2)), inputs=(X, INDEX, Input("f32", (9, 70)))),
    "pad": of(Step("tensor.pad", (0,), {"low": (1, 2), "high": (0, 3), "interior": (0, 0), "value": 0.0})),
    "concat": of(Step("tensor.concat", (0, 0), {"dim": 1})),
    "insert_slice": of(
        Step("tensor.insert_slice", (0, 1), {"starts": (1, 2), "steps": (1, 1)}), inputs=(X, Input("f32", (5, 40)))
    ),
}
SCALAR = {"argmax": of(Step("tensor.argmax", (0,), {"dim": 1}))}
MACHINES = {"x86-64-v2": 62, "x86-64-v3": 62, "x86-64-v4": 62, "aarch64": 183}
REGISTERS = {
    "x86-64-v2": r"%xmm\d",
    "x86-64-v3": r"%ymm\d",
    "x86-64-v4": r"%zmm\d",
    "aarch64": r"\bv\d+\.(4s|2d|8h|16b)|\bq\d+\b",
}
TOO_WIDE = {"x86-64-v2": r"%[yz]mm\d", "x86-64-v3": r"%zmm\d", "x86-64-v4": r"(?!)", "aarch64": r"%[xyz]mm\d"}


def launches(program: TensorProgram, target: Target) -> list[Launch]:
    """The kernels that the program becomes."""
    func = new_func("f", [argument.type for argument in program.inputs])
    block = func.region.block
    values: list[Value] = list(block.arguments)
    for step in program.steps:
        values.append(IRBuilder(block).emit(step.operator, [values[number] for number in step.operands]))
    block.append(Operation(return_.operator(), [values[number] for number in program.outputs], ()))
    PassManager(PIPELINE).run_on_func(func)
    fuse(func)
    context = ScheduleContext(target, 4)
    kernels = [operation for operation in block if operation.declaration is fused.kernel]
    return [launch for kernel in kernels for launch in schedule(kernel, context)]


def undefined_symbols(code: bytes) -> set[str]:
    """What an object file needs from elsewhere: the symbols of its ELF symbol table that belong to no section."""
    (start,) = struct.unpack_from("<Q", code, 40)
    size, count = struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, start + size * i) for i in range(count)]
    (table,) = [section for section in sections if section[1] == 2]  # SHT_SYMTAB
    names = sections[table[6]][4]
    found = set()
    for place in range(table[4], table[4] + table[5], 24):
        name, _, _, section = struct.unpack_from("<IBBH", code, place)
        if name and section == 0:
            found.add(code[names + name : code.index(0, names + name)].decode())
    return found


@pytest.mark.parametrize("name", [*VECTORIZED, *SCALAR])
@pytest.mark.parametrize("target_name", MACHINES)
def test_a_kernel_is_an_object_file_for_its_target_in_vectors_of_its_width(target_name: str, name: str) -> None:
    target = target_named(target_name)
    made = launches({**VECTORIZED, **SCALAR}[name], target)
    assert made
    assembly = ""
    for launch in made:
        text = kernel_text(launch, target)
        code = engine().compile(text, target)
        assert code[:4] == b"\x7fELF"
        assert int.from_bytes(code[18:20], "little") == MACHINES[target_name]
        # A function of the C library would make numbers depend on the machine, one of a compiler's could not be loaded.
        foreign = {symbol for symbol in undefined_symbols(code) if not symbol.startswith("lt_")}
        assert not foreign or not target.fma
        assembly += engine().assembly(text, target)
    assert made[0].symbol in assembly
    assert not re.search(TOO_WIDE[target_name], assembly)
    if name in VECTORIZED:
        assert re.search(REGISTERS[target_name], assembly)


def test_the_symbol_table_names_what_is_missing() -> None:
    target = target_named("x86-64-v3")
    program = of(Step("arith.remainder", (0, 0)))
    (launch,) = launches(program, target)
    assert "fmodf" in undefined_symbols(engine().compile(kernel_text(launch, target), target))
