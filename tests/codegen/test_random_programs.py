"""Random programs of tensor operations: fused or not, on any target and number of threads, the bits are the meaning's."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lazytorch import dtypes
from lazytorch.ir.parser import parse_module
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.functions import run_kernel
from tests.fuzz import derivatives, loop_kernels
from tests.fuzz.loop_kernels import LoopKernel, kernels
from tests.fuzz.tensor_drawing import differentiable_programs, programs
from tests.fuzz.tensor_programs import (
    WAYS,
    Input,
    Step,
    TensorProgram,
    arrays_of,
    check,
    guarded,
    run,
    same_bits,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(programs(), st.integers(0, 1000))
def test_every_way_to_run_a_program_gives_the_bits_of_its_meaning(program: TensorProgram, seed: int) -> None:
    check(program, seed)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(kernels())
def test_a_compiled_kernel_gives_the_bits_of_its_interpretation(kernel: LoopKernel) -> None:
    loop_kernels.check(kernel)


def test_a_kernel_that_is_compiled_wrongly_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
loop.kernel @k(%x0: buffer<f32, [?, 1]>, %out: buffer<f32, [?, 1]>, %rows: index, %n: index) {
  %zero = arith.constant 0 : index
  loop.parallel %i = %zero to %rows {
    %0 = loop.load %x0, %i, %zero : f32
    loop.store %0, %out, %i, %zero
  }
}
"""
    kernel = LoopKernel(text, ("f32", "f32"), 2)
    loop_kernels.check(kernel)
    wrong = parse_module(text.replace("load %x0", "load %out"))
    monkeypatch.setattr(loop_kernels, "run_kernel", lambda module, *rest: run_kernel(wrong, *rest))
    with pytest.raises(AssertionError, match="this machine, 1 chunks: "):
        loop_kernels.check(kernel)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(differentiable_programs())
def test_derivatives_are_those_of_differences(program: TensorProgram) -> None:
    derivatives.check(program)


def one(name: str, *inputs: Input, **attributes: object) -> TensorProgram:
    """A program of one operation."""
    return TensorProgram(inputs, (Step(name, tuple(range(len(inputs))), attributes),), (len(inputs),))


WITHOUT_SLOPE = {
    "a product and sum rounded once": one("arith.fma", *[Input("f64", (3,))] * 3),
    "a sign taken over": one("arith.copysign", *[Input("f64", (3,))] * 2),
    "a running maximum": one("tensor.scan_max", Input("f64", (4, 5)), dim=1),
    "a running minimum": one("tensor.scan_min", Input("f64", (4, 5)), dim=0),
    "a number into a number": one("tensor.insert_slice", *[Input("f64", ())] * 2, starts=(), steps=()),
}
"""Operations whose derivative was missing, or zero."""


@pytest.mark.parametrize("name", WITHOUT_SLOPE)
def test_a_derivative_that_was_wrong_once_is_right(name: str) -> None:
    derivatives.check(WITHOUT_SLOPE[name])


SPECIAL_F64 = Input("f64", (33,), "special")
FOUND = {
    "a reduction over no dimensions": one("tensor.reduce_sum", Input("f32", ()), dims=()),
    "a reduction around a kept dimension of size 1": one("tensor.reduce_sum", Input("f32", (2, 1, 4)), dims=(0, 2)),
    "reduced dimensions of size 1 around a wide one": one("tensor.reduce_max", Input("f32", (1, 3, 1)), dims=(0, 2)),
    "a reduced dimension of size 1 behind wide ones": one("tensor.reduce_sum", Input("f32", (2, 2, 3, 1)), dims=(0, 3)),
    "size 1 with the inner of two groups": one("tensor.reduce_sum", Input("f32", (1, 2, 2, 2)), dims=(0, 1, 3)),
    "the sum of one f16 zero": one("tensor.reduce_sum", Input("f16", (9,), "special"), dims=()),
    "the larger of two zeros": one("arith.maximum", Input("f32", (65,), "special"), Input("f32", (65,), "special")),
    "the largest of zeros": one("tensor.reduce_max", Input("f32", (5, 200), "special"), dims=(1,)),
    "f64 to f16": one("arith.cast", SPECIAL_F64, dtype=dtypes.float16),
    "floats that no i32 holds": one("arith.cast", SPECIAL_F64, dtype=dtypes.int32),
    "floats that no i8 holds": one("arith.cast", SPECIAL_F64, dtype=dtypes.int8),
    "products of infinities": one("tensor.contract", Input("f64", ()), SPECIAL_F64, lhs="", rhs="v", out="v"),
    "products that leave the range": one("tensor.contract", SPECIAL_F64, SPECIAL_F64, lhs="a", rhs="a", out=""),
    "summed letters that the operands have in different orders": TensorProgram(
        (Input("f32", (5, 7, 3, 2)), Input("f32", (7, 5, 4, 2))),
        (Step("tensor.contract", (0, 1), {"lhs": "abcd", "rhs": "baxd", "out": "dxc"}),),
        (2,),
    ),
    "the running maximum of zeros": one("tensor.scan_max", Input("f32", (90, 33), "special"), dim=1),
    "the running minimum of zeros": one("tensor.scan_min", Input("f64", (33, 90), "special"), dim=0),
    "a recurrence with infinite factors": one(
        "tensor.scan_linear", Input("f32", (3, 40), "special"), Input("f32", (3, 40), "special"), dim=1
    ),
    "a reduction, in another shape too, and what reads that": TensorProgram(
        (Input("f32", (65,)),),
        (
            Step("tensor.reduce_max", (0,), {"dims": (0,)}),
            Step("tensor.reshape", (1,), {"shape": (1,)}),
            Step("arith.sub", (0, 2)),
        ),
        (2, 3),
    ),
    "integers divided by zero": one("arith.div", Input("i64", (40,)), Input("i64", (40,))),
}
"""Programs that once gave wrong results, as small as they get."""


@pytest.mark.parametrize("name", FOUND)
def test_a_program_that_was_wrong_once_is_right(name: str) -> None:
    check(FOUND[name])


def test_the_guard_bands_notice_a_write_beside_a_buffer() -> None:
    with pytest.raises(AssertionError, match="wrote after a buffer of 12 bytes"), guarded():
        buffer = Buffer(12)
        ctypes.memset(buffer.ptr + 12, 0, 1)


SHAPES = [(1, 1, 1), (3, 5, 7), (13, 33, 300), (14, 31, 17), (64, 64, 64), (27, 65, 257), (1, 70, 9), (70, 1, 9)]


@pytest.mark.parametrize("dtype", ["f32", "f64", "i32"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("letters", [("mk", "kn", "mn"), ("km", "nk", "mn"), ("mk", "kn", "nm"), ("bmk", "bkn", "mbn")])
def test_a_contraction_writes_its_result_and_nothing_beside_it(
    shape: tuple[int, int, int], letters: tuple[str, str, str], dtype: str
) -> None:
    """`run` puts guard bands around every buffer; without fusion, and with an epilogue of two results."""
    sizes = {**dict(zip("mnk", shape, strict=True)), "b": 2}
    lhs, rhs, out = letters
    inputs = tuple([Input(dtype, tuple([sizes[letter] for letter in word])) for word in (lhs, rhs)])
    steps = (
        Step("tensor.contract", (0, 1), {"lhs": lhs, "rhs": rhs, "out": out}),
        Step("arith.add", (2, 2)),
        Step("arith.compare", (2, 3), {"predicate": "lt"}),
    )
    program = TensorProgram(inputs, steps, (2, 3, 4))
    arrays = arrays_of(program)
    results = [run(program, arrays, **settings) for settings in WAYS.values()]
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))
