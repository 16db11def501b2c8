"""The pass manager, and what every pass says about itself."""

from __future__ import annotations

import dataclasses
import inspect
import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytorch.codegen import passes as codegen_passes
from lazytorch.config import config
from lazytorch.errors import CompileError, PassError, VerificationError
from lazytorch.ir.accumulation import innermost_group
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait, all_declarations
from lazytorch.ir.dialects import load_all
from lazytorch.ir.equivalence import equivalent
from lazytorch.ir.interpreter import interpret
from lazytorch.ir.parser import parse_func, parse_module
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.passes.registry import Pass, all_passes, register
from lazytorch.ir.pipeline import parse_pipeline
from lazytorch.ir.printer import print_ir
from lazytorch.ir.reproducer import read_reproducer
from lazytorch.ir.types import TensorType
from lazytorch.ir.verifier import verify
from lazytorch.tools import opt

load_all()
assert codegen_passes

CHAIN = """
func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.neg %x : tensor<4xf32>
  %1 = arith.neg %0 : tensor<4xf32>
  %2 = math.exp %0 : tensor<4xf32>
  return %1 : tensor<4xf32>
}
"""


@pytest.mark.parametrize("name", all_passes())
def test_the_example_in_a_pass_docstring_is_what_the_pass_does(name: str) -> None:
    documentation = inspect.getdoc(all_passes()[name]) or ""
    assert "Before:" in documentation and "After:" in documentation
    example = re.search(r"\n(    (?:func|loop.kernel) @.*?)// ->(.*)", documentation, re.DOTALL)
    assert example, f"the docstring of {name} has no example"
    body = parse_func(example[1])
    PassManager(name, verify_each=True).run_on_func(body)
    described = re.match(r" \(operations of (\w+) between", example[2])
    if described:
        inner = list(body.region.block)[1:-2]
        assert {operation.name.partition(".")[0] for operation in inner} == {described[1]}
    else:
        assert equivalent(body, parse_func(example[2])), print_ir(body)


@dataclasses.dataclass(frozen=True)
class _Breaking(Pass):
    """Loses the first operation's result type."""

    name = "breaking"
    limit: int = 3
    fast: bool = False

    def run(self, func: Operation) -> None:
        """Put a wrong type on the first result."""
        first = func.region.block.first
        assert first is not None
        wrong = first.results[0]
        wrong.type = TensorType(wrong.type.dtype, (5,))


def test_a_pass_that_breaks_a_rule_is_named_when_each_is_verified() -> None:
    with pytest.raises(CompileError, match=r"after pass 'breaking'.*result types are \(tensor<5xf32>\)") as caught:
        PassManager([_Breaking()], verify_each=True).run_on_func(parse_func(CHAIN))
    assert "lazytorch-opt --passes=breaking" in str(caught.value)
    with config(verify=True), pytest.raises(CompileError):
        PassManager([_Breaking()]).run_on_func(parse_func(CHAIN))
    PassManager([_Breaking()], verify_each=False).run_on_func(parse_func(CHAIN))


def test_a_pass_prints_its_options_as_a_pipeline_writes_them() -> None:
    assert str(_Breaking()) == "breaking"
    assert str(_Breaking(limit=4, fast=True)) == "breaking{limit=4 fast=true}"


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("cse,nonsense", "there is no pass 'nonsense'"),
        ("cse{limit=3}", "pass 'cse' has no option 'limit'"),
        ("cse{limit}", "expected name=value"),
        ("cse;dce", "expected a comma at ';dce'"),
        ("cse,", "expected a pass name at ''"),
        ("cse{limit=3", r"expected a comma at '\{limit=3'"),
        ("func()", r"expected a pass name at '\)'"),
        ("func(cse))", r"expected a comma at '\)'"),
        ("canonicalize{max-rewrites=few}", "expected a whole number"),
        ("fuse{single=1}", "expected true or false"),
    ],
)
def test_a_wrong_pipeline_says_what_is_wrong(pipeline: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_pipeline(pipeline)


def test_a_pipeline_is_a_list_of_names() -> None:
    assert [str(each) for each in parse_pipeline(" canonicalize, cse ,dce")] == ["canonicalize", "cse", "dce"]
    assert [str(each) for each in parse_pipeline("func( cse , dce ) , loop.kernel(dce)")] == [
        "func(cse)",
        "func(dce)",
        "loop.kernel(dce)",
    ]
    assert parse_pipeline("") == []


@given(st.recursive(st.sampled_from(["cse", "dce"]), lambda names: st.lists(names, min_size=1).map(",".join)))
def test_a_pipeline_reads_back_as_itself(text: str) -> None:
    steps = parse_pipeline(f"func({text}),{text}")
    assert parse_pipeline(",".join(map(str, steps))) == steps


def test_the_ir_after_each_pass_and_its_time_can_be_seen() -> None:
    stream = io.StringIO()
    manager = PassManager("canonicalize,dce", print_after_all=True, stream=stream)
    manager.run(parse_module(CHAIN))
    shown = stream.getvalue()
    assert shown.index("after canonicalize") < shown.index("after dce")
    assert "math.exp" in shown.partition("after dce")[0] and "math.exp" not in shown.partition("after dce")[2]
    assert [name for name, _ in manager.seconds] == ["canonicalize", "dce"]
    assert "total" in manager.timing()


def test_passes_run_on_every_function_of_a_module() -> None:
    module = parse_module(CHAIN + CHAIN.replace("@f", "@g"))
    PassManager("canonicalize,dce").run(module)
    assert print_ir(module).count("return %x") == 2


def test_chains_of_100_000_operations_are_simplified_without_recursion() -> None:
    lines = ["func @f(%x: tensor<f32>) -> tensor<f32> {", "  %0 = arith.neg %x : tensor<f32>"]
    lines += [f"  %{i} = arith.neg %{i - 1} : tensor<f32>" for i in range(1, 100_000)]
    func = parse_func("\n".join([*lines, "  return %99999 : tensor<f32>", "}"]))
    PassManager("cse,canonicalize,dce").run_on_func(func)
    verify(func)
    assert sum(1 for _ in func.region.block) == 1


def test_equal_operations_recorded_under_different_names_are_one() -> None:
    func = parse_func("""
        func @f(%x: tensor<f32>) -> (tensor<f32>, tensor<f32>) {
          %0 = arith.neg %x as "negative" : tensor<f32>
          %1 = arith.neg %x : tensor<f32>
          return %0, %1 : tensor<f32>, tensor<f32>
        }""")
    PassManager("cse").run_on_func(func)
    first, second = func.region.block.terminator.operands
    assert first is second


@pytest.mark.parametrize(
    ("shape", "dims", "inner"),
    [
        ((2, 3, 4), (0, 1, 2), (0, 1, 2)),
        ((2, 3, 4), (0, 2), (2,)),
        ((2, 3, 4), (0, 1), (0, 1)),
        ((2, 1, 4), (0, 2), (0, 2)),
        ((1, 3, 4), (0, 2), (0, 2)),
        ((2, 3, 1), (0, 2), (0, 2)),
        ((2, 3, 4, 5), (0, 2, 3), (2, 3)),
        ((1, 3, 1), (0, 2), (0, 2)),
    ],
)
def test_the_innermost_group_ignores_dimensions_of_size_1(
    shape: tuple[int, ...], dims: tuple[int, ...], inner: tuple[int, ...]
) -> None:
    assert innermost_group(shape, dims) == inner


def test_reductions_in_steps_reduce_the_same_elements() -> None:
    func = parse_func("""
        func @f(%x: tensor<2x3x4x5xi64>) -> tensor<3xi64> {
          %0 = tensor.reduce_sum %x {dims = [0, 2, 3]} : tensor<3xi64>
          return %0 : tensor<3xi64>
        }""")
    x = np.arange(120).reshape(2, 3, 4, 5)
    PassManager("decompose", verify_each=True).run_on_func(func)
    assert [op.attributes.dims for op in func.region.block if op.has(Trait.REDUCTION)] == [(2, 3), (0,)]
    np.testing.assert_array_equal(interpret(func, [x])[0], x.sum((0, 2, 3)))


def test_composite_operations_say_what_they_are_made_of() -> None:
    for declaration in all_declarations():
        expanded = declaration.has(Trait.COMPOSITE) or declaration.has(Trait.TILED)
        assert expanded == (declaration.decompose is not None), declaration.name


def test_a_decomposition_of_another_type_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    func = parse_func("""
        func @f(%x: tensor<3x2xf32>) -> tensor<4xf32> {
          %0 = tensor.fold_windows %x {shape = [4], strides = [1], dilations = [1]} : tensor<4xf32>
          return %0 : tensor<4xf32>
        }""")
    first = func.region.block.first
    assert first is not None

    def wrong(operation: Operation) -> Value:
        return operation.operands[0]

    monkeypatch.setattr(first.declaration, "decompose", wrong)
    with pytest.raises(
        CompileError,
        match=r"in pass 'decompose': TypeError: .*tensor.fold_windows makes tensor<3x2xf32> where tensor<4xf32> is due",
    ):
        PassManager("decompose").run_on_func(func)


def test_the_verifier_runs_before_the_first_pass_too() -> None:
    func = parse_func(CHAIN)
    _Breaking().run(func)
    with pytest.raises(VerificationError):
        PassManager("dce", verify_each=True).run_on_func(func)


@register
@dataclasses.dataclass(frozen=True)
class _Crashing(Pass):
    """Before: anything. After: nothing, it raises. Known by name, so that a reproducer can run it again."""

    name = "crash-in-tests"
    marker: str = ""

    def run(self, func: Operation) -> None:
        """Lose an operation, then find that something is missing."""
        first = func.region.block.first
        assert first is not None
        func.region.block.remove(first)
        raise KeyError(self.marker)


def test_a_crash_leaves_a_reproducer_that_fails_in_the_same_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "crash.mlir"
    manager = PassManager("cse,func(crash-in-tests{marker=here})", verify_each=True, reproducer=where)
    module = parse_module(CHAIN)
    text = print_ir(module)
    with config(fuse=False, num_threads=3), pytest.raises(CompileError) as caught:
        manager.run(module, source=lambda: text)
    assert caught.value.reproduce == f"lazytorch-opt --run-reproducer {where}"
    found = read_reproducer(where.read_text())
    assert (found.pipeline, found.verify_each) == ("cse,func(crash-in-tests{marker=here})", True)
    assert ("LAZYTORCH_FUSE", "0") in found.environment and ("LAZYTORCH_NUM_THREADS", "3") in found.environment
    assert equivalent(parse_module(where.read_text()), parse_module(CHAIN))
    with config(fuse=True):
        assert opt.main(["--run-reproducer", str(where), "--crash-reproducer", str(tmp_path / "again.mlir")]) == 1
        assert not config.fuse
    config.num_threads = 0
    assert "in pass 'func(crash-in-tests{marker=here})': KeyError: 'here'" in capsys.readouterr().err
    assert (tmp_path / "again.mlir").read_text().partition("\nfunc")[2] == text.partition("func")[2]


def test_a_reproducer_is_written_without_being_asked_for(tmp_path: Path) -> None:
    with config(dump=str(tmp_path)), pytest.raises(CompileError, match="--run-reproducer") as caught:
        PassManager("crash-in-tests").run_on_func(parse_func(CHAIN), source=lambda: CHAIN)
    assert Path(caught.value.reproduce.rpartition(" ")[2]).parent == tmp_path


@pytest.mark.parametrize(
    ("text", "message"), [("func @f() {", "not a reproducer"), ("// lazytorch reproducer", "no pipeline")]
)
def test_a_file_that_is_no_reproducer_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_reproducer(text)


def test_a_pass_error_is_the_callers_and_leaves_no_reproducer(tmp_path: Path) -> None:
    where = tmp_path / "none.mlir"
    with pytest.raises(PassError, match="there is no function @g"):
        PassManager("differentiate{func=g}", reproducer=where).run(parse_module(CHAIN), source=lambda: CHAIN)
    assert not where.exists()


def test_passes_count_what_they_do() -> None:
    manager = PassManager("canonicalize,dce")
    manager.run(parse_module(CHAIN))
    assert manager.statistics == [("canonicalize", "operations rewritten", 1), ("dce", "operations erased", 2)]
    assert "2  operations erased  (dce)" in manager.statistics_table()


@pytest.mark.parametrize("ones", ["true", "false"])
def test_a_differentiated_function_computes_its_gradient(ones: str) -> None:
    func = parse_func("""
        func @f(%x: tensor<3x4xf64>, %y: tensor<4xf64>, %n: tensor<2xi64>) -> (tensor<3x4xf64>, tensor<2xi64>) {
          %0 = math.sin %x : tensor<3x4xf64>
          %1 = arith.mul %0, %y : tensor<3x4xf64>
          return %1, %n : tensor<3x4xf64>, tensor<2xi64>
        }""")
    random = np.random.default_rng(0)
    x, y, n = random.standard_normal((3, 4)), random.standard_normal(4), np.arange(2)
    cotangent = np.ones((3, 4)) if ones == "true" else random.standard_normal((3, 4))
    PassManager(f"differentiate{{ones={ones} inputs=y,0}}", verify_each=True).run_on_func(func)
    arrays = [x, y, n] if ones == "true" else [x, y, n, cotangent]
    out, _, dy, dx = interpret(func, arrays)
    np.testing.assert_array_equal(out, np.sin(x) * y)
    np.testing.assert_allclose(dx, cotangent * y * np.cos(x))
    np.testing.assert_allclose(dy, (cotangent * np.sin(x)).sum(0))


def test_an_input_without_influence_has_a_gradient_of_zeros() -> None:
    func = parse_func("func @f(%x: tensor<2xf32>, %y: tensor<3xf32>) -> tensor<2xf32> {\n  return %x : tensor<2xf32>\n}")
    PassManager("differentiate{ones=true}", verify_each=True).run_on_func(func)
    _, dx, dy = interpret(func, [np.zeros(2, np.float32), np.zeros(3, np.float32)])
    assert dx.tolist() == [1, 1] and dy.tolist() == [0, 0, 0]
