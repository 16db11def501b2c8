"""The reference interpreters against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lazytorch.ir.bfloat16 import narrow, widen
from lazytorch.ir.interpreter import interpret
from lazytorch.ir.loop_interpreter import interpret_kernel
from lazytorch.ir.parser import parse_func, parse_module
from lazytorch.ir.verifier import verify


def _floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_layer_is_what_numpy_says() -> None:
    func = parse_func("""
        func @f(%x: tensor<2x3xf32>, %w: tensor<3x4xf32>, %b: tensor<4xf32>) -> (tensor<2x4xf32>, tensor<4xf32>) {
          %0 = tensor.contract %x, %w {lhs = "mk", rhs = "kn", out = "mn"} : tensor<2x4xf32>
          %1 = arith.add %0, %b : tensor<2x4xf32>
          %2 = arith.constant 0.0 : tensor<f32>
          %3 = arith.maximum %1, %2 : tensor<2x4xf32>
          %4 = tensor.reduce_sum %3 {dims = [0]} : tensor<4xf32>
          return %3, %4 : tensor<2x4xf32>, tensor<4xf32>
        }""")
    verify(func)
    x, w, b = _floats(2, 3), _floats(3, 4), _floats(4)
    hidden, total = interpret(func, [x, w, b])
    np.testing.assert_allclose(hidden, np.maximum(x @ w + b, 0), rtol=1e-6)
    np.testing.assert_allclose(total, hidden.sum(0), rtol=1e-6)
    assert hidden.dtype == total.dtype == np.float32


def test_wrong_arguments_are_refused() -> None:
    func = parse_func("func @f(%x: tensor<2xf32>) -> tensor<2xf32> {\n  return %x : tensor<2xf32>\n}")
    with pytest.raises(ValueError, match="takes 1 arguments but is given 2"):
        interpret(func, [_floats(2), _floats(2)])
    with pytest.raises(ValueError, match=r"argument 0 should be tensor<2xf32> but is float64\[2\]"):
        interpret(func, [np.zeros(2)])


def test_bfloat16_is_computed_in_float32_and_rounded_to_even() -> None:
    text = "func @f(%x: tensor<3xbf16>) -> tensor<3x{t}> {{\n  %0 = {op} : tensor<3x{t}>\n  return %0 : tensor<3x{t}>\n}}"
    numbers = torch.tensor([1.0, -2.5, float("nan")], dtype=torch.bfloat16)
    x = numbers.view(torch.uint16).numpy()

    def run(op: str, type: str = "bf16") -> np.ndarray:
        return interpret(parse_func(text.format(op=op, t=type)), [x])[0]

    assert run("tensor.flip %x {dims = [0]}").tolist() == x[::-1].tolist()
    assert run("arith.bitcast %x {dtype = i16}", "i16").tolist() == x.view(np.int16).tolist()
    assert run("arith.cast %x {dtype = f32}", "f32")[:2].tolist() == [1.0, -2.5]
    assert run("arith.neg %x")[:2].tolist() == (-numbers).view(torch.uint16).numpy()[:2].tolist()
    assert run("math.exp %x")[:2].tolist() == torch.exp(numbers).view(torch.uint16).numpy()[:2].tolist()
    assert run("arith.constant 0.1").tolist() == torch.full((3,), 0.1, dtype=torch.bfloat16).view(torch.uint16).tolist()


def test_rounding_to_bfloat16_is_torchs() -> None:
    random = np.random.default_rng(0)
    numbers = random.integers(0, 1 << 32, 100_000, np.uint32).view(np.float32)
    expected = torch.from_numpy(numbers).to(torch.bfloat16)
    same = narrow(numbers) == expected.view(torch.uint16).numpy()
    assert np.all(same | np.isnan(numbers))
    assert np.array_equal(widen(narrow(numbers)), expected.float().numpy(), equal_nan=True)


def test_an_index_out_of_range_is_an_error() -> None:
    func = parse_func("""
        func @f(%x: tensor<3xf32>, %i: tensor<2xi64>) -> tensor<2xf32> {
          %0 = tensor.gather %x, %i : tensor<2xf32>
          return %0 : tensor<2xf32>
        }""")
    x = _floats(3)
    np.testing.assert_array_equal(interpret(func, [x, np.array([-1, 0])])[0], x[[2, 0]])
    with pytest.raises(IndexError, match="index 3 is out of bounds for dimension 0 with size 3"):
        interpret(func, [x, np.array([0, 3])])


def _run(text: str, slots: list[Any], chunks: int = 1) -> None:
    module = parse_module(text)
    verify(module)
    interpret_kernel(module, "k", slots, chunks)


ROW_SUM = """
loop.kernel @k(%x: buffer<f32, [?, 1]>, %out: buffer<f32, [1]>, %m: index, %n: index) {
  %zero = arith.constant 0 : index
  %step = arith.constant 4 : index
  %0 = arith.constant 0.0 : vector<4xf32>
  loop.parallel %i = %zero to %m {
    %1 = loop.for %j = %zero to %n step %step carrying (%2: vector<4xf32> = %0) {
      %3 = arith.sub %n, %j : index
      %4 = loop.mask %3 {lanes = 4} : vector<4xi1>
      %5 = loop.masked_load %x, %i, %j, %4, %0 {lanes = 4} : vector<4xf32>
      %6 = arith.add %2, %5 : vector<4xf32>
      loop.yield %6
    }
    %7 = loop.shuffle %1, %1 {lanes = [2, 3, 0, 1]} : vector<4xf32>
    %8 = arith.add %1, %7 : vector<4xf32>
    %9 = loop.extract %8 {lane = 0} : f32
    %10 = loop.extract %8 {lane = 1} : f32
    %11 = arith.add %9, %10 : f32
    loop.store %11, %out, %i
  }
}"""


@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_vector_loops_with_masks_sum_rows(chunks: int) -> None:
    x, out = _floats(3, 7), np.zeros(3, np.float32)
    _run(ROW_SUM, [x, 7, out, 3, 7], chunks)
    np.testing.assert_allclose(out, x.sum(1), rtol=1e-6)
    assert out.dtype == np.float32


def test_an_access_outside_of_the_memory_is_found() -> None:
    x, out = _floats(3, 7), np.zeros(3, np.float32)
    with pytest.raises(IndexError, match=r"loop\.masked_load .* touches element 21 of a buffer of 21 elements"):
        _run(ROW_SUM, [x, 8, out, 3, 7])
    with pytest.raises(IndexError, match=r"loop\.store .* touches element 2 of a buffer of 2 elements"):
        _run(ROW_SUM, [x, 7, out[:2], 3, 7])


def test_slots_that_do_not_fit_are_refused() -> None:
    x, out = _floats(3, 7), np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="takes more than the 4 slots given"):
        _run(ROW_SUM, [x, 7, out, 3])
    with pytest.raises(ValueError, match="takes fewer than the 6 slots given"):
        _run(ROW_SUM, [x, 7, out, 3, 7, 1])
    with pytest.raises(ValueError, match="should be given as a contiguous array"):
        _run(ROW_SUM, [x.T, 7, out, 3, 7])
    with pytest.raises(ValueError, match="the module has no kernel @other"):
        interpret_kernel(parse_module(ROW_SUM), "other", [])


def test_a_memory_may_begin_at_a_byte_offset_and_be_of_any_type() -> None:
    memory = np.zeros(8 + 4 * 21, np.uint8)
    x, out = _floats(3, 7), np.zeros(3, np.float32)
    memory[8:] = x.reshape(-1).view(np.uint8)
    _run(ROW_SUM, [(memory, 8), 7, out, 3, 7])
    np.testing.assert_allclose(out, x.sum(1), rtol=1e-6)


def test_functions_scratch_memory_branches_and_gathers() -> None:
    x, index, out, status = _floats(5), np.array([4, 0, 9, 1]), np.zeros(4, np.float32), np.zeros(4, np.int64)
    _run(
        """
        loop.function @double(%o: buffer<f32, [1]>, %i: index) {
          %two = arith.constant 2.0 : f32
          %0 = loop.load %o, %i : f32
          %1 = arith.mul %0, %two : f32
          loop.store %1, %o, %i
        }
        loop.kernel @k(
            %x: buffer<f32, [1]>, %index: buffer<i64, [1]>, %out: buffer<f32, [1]>, %status: buffer<i64, [1]>
        ) {
          %zero = arith.constant 0 : index
          %one = arith.constant 1 : index
          %four = arith.constant 4 : index
          %nine = arith.constant 9 : i64
          %scratch = loop.local {dtype = f32, size = 4} : buffer<f32, [1]>
          %ids = loop.load %index, %zero {lanes = 4} : vector<4xi64>
          %nines = loop.broadcast %nine {lanes = 4} : vector<4xi64>
          %fine = arith.compare %ids, %nines {predicate = "lt"} : vector<4xi1>
          %0 = loop.gather_load %x, %ids, %fine : vector<4xf32>
          loop.store %0, %scratch, %zero
          loop.call %scratch, %one {callee = "double"}
          loop.for %i = %zero to %four step %one {
            %1 = loop.load %scratch, %i : f32
            loop.store %1, %out, %i
            %2 = loop.load %index, %i : i64
            %3 = arith.compare %2, %nine {predicate = "eq"} : i1
            loop.if %3 {
              loop.fail %status, %four, %i, %four
            }
          }
        }""",
        [x, index, out, status],
    )
    np.testing.assert_array_equal(out, [x[4], 2 * x[0], 0, x[1]])
    assert status.tolist() == [4, 2, 4, 0]


def test_strided_access_reads_and_writes_columns() -> None:
    x, out = _floats(4, 3), np.zeros((4, 3), np.float32)
    _run(
        """
        loop.kernel @k(%x: buffer<f32, [1, ?]>, %out: buffer<f32, [1, ?]>, %rows: index, %column: index) {
          %zero = arith.constant 0 : index
          %here = loop.offset %x, %column, %zero : buffer<f32, [1, ?]>
          %m = loop.mask %rows {lanes = 8} : vector<8xi1>
          %0 = loop.strided_load %here, %zero, %zero, %m {lanes = 8} : vector<8xf32>
          loop.strided_store %0, %m, %out, %column, %zero
        }""",
        [x, 3, out, 3, 4, 2],
    )
    np.testing.assert_array_equal(out[:, 2], x[:, 2])
    assert not out[:, :2].any()


def test_scratch_memory_that_was_not_written_is_nan() -> None:
    out = np.zeros(1, np.float32)
    _run(
        """
        loop.kernel @k(%out: buffer<f32, [1]>) {
          %zero = arith.constant 0 : index
          %scratch = loop.local {dtype = f32, size = 1} : buffer<f32, [1]>
          %0 = loop.load %scratch, %zero : f32
          loop.store %0, %out, %zero
        }""",
        [out],
    )
    assert np.isnan(out[0])


def test_integers_wrap_and_divide_as_in_c() -> None:
    out = np.zeros(3, np.int32)
    _run(
        """
        loop.kernel @k(%out: buffer<i32, [1]>) {
          %0 = arith.constant 0 : index
          %1 = arith.constant 1 : index
          %2 = arith.constant 2 : index
          %big = arith.constant 2147483647 : i32
          %seven = arith.constant -7 : i32
          %two = arith.constant 2 : i32
          %3 = arith.add %big, %two : i32
          %4 = arith.div %seven, %two : i32
          %5 = arith.remainder %seven, %two : i32
          loop.store %3, %out, %0
          loop.store %4, %out, %1
          loop.store %5, %out, %2
        }""",
        [out],
    )
    assert out.tolist() == [-2147483647, -3, -1]
