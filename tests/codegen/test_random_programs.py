"""Random programs of tensor operations: fused or not, on any target and number of threads, the bits are the meaning's."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lazytorch import dtypes
from lazytorch.runtime.buffer import Buffer
from tests.fuzz.tensor_drawing import programs
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


def one(name: str, *inputs: Input, **attributes: object) -> TensorProgram:
    """A program of one operation."""
    return TensorProgram(inputs, (Step(name, tuple(range(len(inputs))), attributes),), (len(inputs),))


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
