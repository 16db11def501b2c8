"""LAZYTORCH_CHECK: the first pass or kernel that changes a result is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import lazytorch as torch
from lazytorch import dtypes
from lazytorch.codegen.llvm import emitter
from lazytorch.config import config
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation
from lazytorch.ir.dialects import arith
from lazytorch.ir.parser import parse_func
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.passes.dce import DeadCodeElimination
from lazytorch.ir.passes.registry import Pass
from lazytorch.ir.validation import Validation, difference
from lazytorch.runtime import planner
from lazytorch.runtime.memory_plan import Lifetime


@dataclasses.dataclass(frozen=True)
class _Subtracting(Pass):
    """Reads every sum as a difference."""

    name = "subtracting"

    def run(self, func: Operation) -> None:
        """Change the operators, which no verifier can object to."""
        for operation in list(func.region.block):
            if operation.declaration is arith.add:
                operation.operator = arith.sub.operator()


SUM = """
func @f(%x: tensor<3xf32>, %y: tensor<3xf32>) -> (tensor<3xf32>, tensor<3xf32>) {
  %0 = arith.neg %x : tensor<3xf32>   loc("train.py":3)
  %1 = arith.add %x, %y : tensor<3xf32>   loc("train.py":4)
  return %0, %1 : tensor<3xf32>, tensor<3xf32>
}
"""


def test_the_first_pass_that_changes_a_result_is_named_with_the_line() -> None:
    func = parse_func(SUM)
    arrays = [np.ones(3, np.float32), np.arange(3, dtype=np.float32)]
    manager = PassManager([DeadCodeElimination(), _Subtracting(), DeadCodeElimination()], verify_each=True)
    with pytest.raises(CompileError) as caught:
        manager.run_on_func(func, validation=Validation(func, arrays))
    assert str(caught.value).startswith(
        "after pass 'subtracting': result 1 differs from the reference in 2 of 3 elements: at [1] it is 0.0 and not 2.0"
    )
    assert "[train.py:4]" in str(caught.value)


def test_a_pass_that_is_wrong_is_found_in_a_users_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeadCodeElimination, "run", _Subtracting.run)
    with config(check=True), pytest.raises(CompileError, match=r"after pass 'dce': result 0 differs .*test_checking.py"):
        (torch.rand(5) + torch.rand(5)).tolist()


def test_the_first_kernel_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(f: Any, op: Operation) -> None:
        f.set(op, f"fadd {f.typed(op.operands[0])}, {f[op.operands[0]]}")

    x = torch.rand(4, 8).realize()
    with config(check=True, cache=False):
        (x * (x - 1.5)).sum().tolist()
        monkeypatch.setitem(emitter.RULES, arith.sqrt, wrong)
        with pytest.raises(CompileError, match=r"check: kernel @\w+: result 0 differs .*test_checking.py"):
            torch.sqrt(x * 7).tolist()


def test_a_capture_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = planner.evaluate
    monkeypatch.setattr(planner, "evaluate", lambda *arguments: [x + 1 for x in original(*arguments)])
    with config(check=True), pytest.raises(CompileError, match=r"check: result 0 differs .*test_checking.py"):
        (torch.rand(3) * 2 + 1).tolist()


def test_memory_that_is_overwritten_too_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """All temporaries in one place: what the first kernel computed is gone when the last one reads it."""

    def crowded(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
        return [0] * len(lifetimes), max([life.nbytes for life in lifetimes], default=0)

    x = torch.rand(8, 8).realize()
    monkeypatch.setattr(planner, "plan_arena", crowded)
    with config(check=True, fuse=False), pytest.raises(CompileError, match=r"kernel @\w+: operand \d is overwritten before"):
        (torch.exp(x) + torch.sin(x).sum(0)).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64", "bool"])
def test_programs_of_every_element_type_agree_with_the_reference(dtype: str) -> None:
    kind = getattr(torch, dtype)
    x = torch.arange(12).reshape(3, 4).to(kind)
    with config(check=True):
        y = (x[:, 1:] * x[:, :-1]).flip(0).tolist()
        if kind.is_floating_point:
            (torch.exp(-x) @ x.t() + x[:, :3]).sum(1).tolist()
    assert len(y) == 3


def test_a_result_is_as_exact_as_what_it_was_computed_from() -> None:
    x = torch.tensor([1.5, -2.0, 0.0, 3.0])
    with config(check=True):
        numbers = x.softmax(0).double().tolist()
        nothing = torch.nn.functional.layer_norm(torch.zeros(0, 3), (3,)).tolist()
    assert abs(sum(numbers) - 1) < 1e-6 and nothing == []


def test_an_index_out_of_range_stays_the_programs_error() -> None:
    x, at = torch.rand(4, 2).realize(), torch.tensor([0, 4])
    with config(check=True), pytest.raises(IndexError, match=r"index 4 is out of bounds .*test_checking.py"):
        (x[at] + 1).tolist()


def test_a_difference_is_judged_by_the_size_of_the_result() -> None:
    want = np.array([1000.0, 0.0], np.float32)
    assert not difference(want + np.float32(1e-3), want, dtypes.float32)
    assert "in 1 of 2 elements: at [1]" in difference(np.array([1000.0, 1.0], np.float32), want, dtypes.float32)
    assert "is float64[2] where" in difference(want.astype(np.float64), want, dtypes.float32)
    assert difference(np.array([1]), np.array([2]), dtypes.int64)
    assert difference(np.array([np.nan], np.float32), np.array([1], np.float32), dtypes.float32)
