"""The rules of IR: each is broken once."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from types import ModuleType

import pytest

from lazytorch import dtypes
from lazytorch.errors import VerificationError
from lazytorch.ir import loop_verifier, verifier
from lazytorch.ir.core import Block, Operation, return_
from lazytorch.ir.dialects import arith, fused
from lazytorch.ir.location import Location
from lazytorch.ir.parser import parse_func, parse_module
from lazytorch.ir.types import TensorType
from lazytorch.ir.verifier import verify


def _function() -> Operation:
    return parse_func("""
        func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
          %0 = arith.neg %x : tensor<4xf32> loc("train.py":12)
          %1 = arith.add %0, %x : tensor<4xf32>
          return %1 : tensor<4xf32>
        }""")


def _rejects(operation: Operation, message: str) -> VerificationError:
    with pytest.raises(VerificationError, match=re.escape(message)) as caught:
        verify(operation)
    return caught.value


def test_what_follows_the_rules_passes() -> None:
    verify(_function())


def test_a_use_before_the_definition_is_found() -> None:
    func = _function()
    first, second, _ = func.region.block
    func.region.block.remove(first)
    func.region.block.insert_before(first, second.next)
    _rejects(func, "arith.add(%1: tensor<4xf32>, %x: tensor<4xf32>): operand 0 is used before (or outside of)")


def test_the_error_names_the_line_and_the_operation() -> None:
    func = _function()
    first = func.region.block.first
    assert first is not None
    first.results[0].type = TensorType(dtypes.float32, (5,))
    error = _rejects(
        func, "%0 = arith.neg(%x: tensor<4xf32>): result types are (tensor<5xf32>) but should be (tensor<4xf32>)"
    )
    assert error.location == Location("train.py", 12)
    assert "[train.py:12]" in str(error)


def test_operands_that_inference_refuses_are_found() -> None:
    func = _function()
    func.region.block.arguments[0].type = TensorType(dtypes.float64, (4,))
    first = func.region.block.first
    assert first is not None
    _rejects(func, "result types are")
    first.results[0].type = TensorType(dtypes.float32, (4,))
    first.operands = ()
    _rejects(func, "operands do not fit")


def test_a_function_must_return_and_only_at_its_end() -> None:
    func = _function()
    terminator = func.region.block.terminator
    func.region.block.remove(terminator)
    _rejects(func, "its body must end in builtin.return")
    func = _function()
    func.region.block.insert_before(Operation(return_.operator(), (), ()), func.region.block.first)
    _rejects(func, "a terminator must be the last operation of its block")


def test_a_wrong_use_count_is_found() -> None:
    func = _function()
    func.region.block.arguments[0].users.clear()
    _rejects(func, "does not count this use among its users")


def test_a_value_of_another_function_is_found() -> None:
    func, other = _function(), _function()
    second = func.region.block.terminator.operands[0].owner
    assert isinstance(second, Operation)
    second.operands = (other.region.block.arguments[0], second.operands[1])
    _rejects(func, "operand 0 is used before (or outside of) its definition")


def test_names_in_a_module_are_unique_and_functions_are_all_there_is() -> None:
    text = "func @f() {\n  return\n}\n"
    _rejects(parse_module(text + text), "the module defines @f twice")
    module = parse_module(text)
    module.region.block.append(Operation(arith.constant.operator(value=1.0, type=TensorType(dtypes.float32, ()))))
    _rejects(module, "a module holds functions and kernels only")


FUSED = """
func @f(%x: tensor<4xf32>) -> tensor<4xf32> {{
  %0 = fused.kernel @k(%1 = %x) {{schedule = "map"}} : {type} {{
    %2 = arith.neg %1 : tensor<4xf32>
    {yielded}
  }}
  return %x : tensor<4xf32>
}}"""


def test_a_fused_kernel_yields_its_results() -> None:
    verify(parse_func(FUSED.format(type="tensor<4xf32>", yielded="fused.yield %2")))
    message = "its body yields (tensor<4xf32>) but should yield (tensor<5xf32>)"
    _rejects(parse_func(FUSED.format(type="tensor<5xf32>", yielded="fused.yield %2")), message)
    _rejects(parse_func(FUSED.format(type="tensor<4xf32>", yielded="")), "its body must end in fused.yield")


def test_a_kernel_body_is_isolated() -> None:
    func = parse_func(FUSED.format(type="tensor<4xf32>", yielded="fused.yield %2"))
    kernel = func.region.block.first
    assert kernel is not None and kernel.region.block.first is not None
    kernel.region.block.first.operands = (func.region.block.arguments[0],)
    _rejects(func, "operand 0 is used before (or outside of) its definition")


KERNEL = """
loop.function @g(%n: index) {{
}}
loop.kernel @k(%x: buffer<f32, [?, 1]>, %s: buffer<f32, [?]>, %d: buffer<f64, [1]>, %n: index) {{
  %i = arith.constant 0 : index
  %f = arith.constant 1.0 : f32
  %v = arith.constant 1.0 : vector<4xf32>
  %p = arith.constant 0 : vector<4xi64>
  %m = loop.mask %n {{lanes = 4}} : vector<4xi1>
  %w = loop.mask %n {{lanes = 8}} : vector<8xi1>
  %c = arith.compare %i, %n {{predicate = "lt"}} : i1
  {}
}}"""


KERNEL_RULES = [
        ("%0 = loop.load %x, %i : f32", "buffer<f32, [?, 1]> takes 2 indices but is given 1"),
        ("%0 = loop.load %x, %i, %f : f32", "indices must be of type index but one is f32"),
        ("%0 = loop.load %s, %i {lanes = 4} : vector<4xf32>", "a vector access needs a last stride of 1"),
        ("%0 = loop.load %x, %i, %i {lanes = 4} : f32", "result types are (f32) but should be (vector<4xf32>)"),
        ("loop.store %f, %d, %i", "a f32 cannot be stored in buffer<f64, [1]>"),
        ("loop.store %v, %s, %i", "a vector access needs a last stride of 1"),
        ("loop.masked_store %v, %w, %x, %i, %i", "the mask should be vector<4xi1> but is vector<8xi1>"),
        ("%0 = loop.masked_load %x, %i, %i, %m, %f {lanes = 4} : vector<4xf32>", "should be vector<4xf32> but is f32"),
        ("%0 = loop.extract %v {lane = 4} : f32", "lane 4 is not one of vector<4xf32>"),
        ("%0 = loop.shuffle %v, %v {lanes = [0, 8]} : vector<2xf32>", "are not among those of two vector<4xf32>"),
        ("%0 = loop.any %v : i1", "expected a vector of i1 but got vector<4xf32>"),
        ("%0 = loop.mask %f {lanes = 4} : vector<4xi1>", "expected an index but got f32"),
        ("loop.if %f {\n}", "the condition should be i1 but is f32"),
        ("loop.for %j = %i to %n step %f {\n}", "bounds and step should be of type index"),
        ("loop.if %c {\n loop.parallel %j = %i to %n {\n}\n}", "is only allowed at the top level of a kernel"),
        ("loop.call %n {callee = \"h\"}", "the module has no function @h"),
        ("loop.call %f {callee = \"g\"}", "@g takes [index] but is given [f32]"),
        ("loop.fail %d, %i, %i, %i", "expected a buffer of i64 and three numbers"),
        ("%0 = loop.for %j = %i to %n step %n carrying (%k: f32 = %f) {\n}", "yields () but should yield (f32)"),
        ("%0 = loop.if %c : f32 {\n loop.yield %f\n} else {\n}", "its body yields () but should yield (f32)"),
        ("loop.if %c {\n %j = arith.neg %f : f32\n}\n%0 = arith.neg %j : f32", "used before (or outside of)"),
        ("loop.prefetch %i, %i", "expected a buffer but got index"),
        ("%0 = loop.gather_load %x, %p, %m : vector<4xf32>", "expected a buffer of rank 1 but got buffer<f32, [?, 1]>"),
        ("%0 = loop.gather_load %s, %v, %m : vector<4xf32>", "positions should be a vector of"),
        ("%0 = loop.shuffle %v, %p {lanes = [0]} : vector<1xf32>", "expected two equal vectors but got vector<4xf32> and"),
        ("%0 = loop.extract %v {lane = \"first\"} : f32", "attributes do not fit: '<=' not supported"),
        ("%0 = loop.any %v : i1", "expected a vector of i1 but got vector<4xf32>"),
    ("%0 = loop.load %x, %i, %i {lanes = 0} : vector<1xf32>", "result types are"),
    ]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), KERNEL_RULES)
def test_a_kernel_that_breaks_a_rule_is_refused(line: str, message: str) -> None:
    verify(parse_module(KERNEL.format("")))
    _rejects(parse_module(KERNEL.format(line)), message)


def _module() -> Operation:
    return parse_module(FUSED.format(type="tensor<4xf32>", yielded="fused.yield %2") + KERNEL.format("loop.if %c {\n}"))


def _find(module: Operation, name: str) -> Operation:
    return next(operation for operation in module.walk() if operation.name == name)


def _twice(module: Operation) -> None:
    module.region.block.append(parse_func("func @f() {\n  return\n}"))


def _not_a_function(module: Operation) -> None:
    module.region.block.append(Operation(arith.constant.operator(value=1.0, type=TensorType(dtypes.float32, ()))))


def _use_before(module: Operation) -> None:
    neg = _find(module, "arith.neg")
    neg.operands = (neg.result,)


def _lose_use(module: Operation) -> None:
    _find(module, "arith.neg").operands[0].users.clear()


def _lose_owner(module: Operation) -> None:
    _find(module, "arith.neg").result.owner = _find(module, "fused.yield")


def _two_terminators(module: Operation) -> None:
    end = _find(module, "fused.yield")
    assert end.parent is not None
    end.parent.insert_before(Operation(fused.yield_.operator(), (), ()), end)


def _lose_region(module: Operation) -> None:
    _find(module, "fused.kernel").regions = ()


def _wrong_operand(module: Operation) -> None:
    neg = _find(module, "arith.neg")
    neg.operands = (neg.operands[0], neg.operands[0])


def _wrong_result(module: Operation) -> None:
    _find(module, "arith.neg").result.type = TensorType(dtypes.float32, (9,))


def _one_region_less(module: Operation) -> None:
    branch = _find(module, "loop.if")
    branch.regions = branch.regions[:1]


def _region_of_another(module: Operation) -> None:
    _find(module, "loop.if").region.parent = module


def _two_blocks(module: Operation) -> None:
    _find(module, "loop.if").region.blocks.append(Block())


def _block_of_another(module: Operation) -> None:
    _find(module, "loop.if").region.block.parent = module.region


def _wrong_link(module: Operation) -> None:
    _find(module, "fused.yield").previous = None


def _wrong_last(module: Operation) -> None:
    neg = _find(module, "arith.neg")
    assert neg.parent is not None
    neg.parent.last = neg


def _no_terminator(module: Operation) -> None:
    _find(module, "fused.yield").erase()


def _more_arguments(module: Operation) -> None:
    _find(module, "fused.kernel").region.block.add_argument(TensorType(dtypes.float32, ()))


def _wrong_yield(module: Operation) -> None:
    end = _find(module, "fused.yield")
    end.operands = (end.operands[0], end.operands[0])


def _wrong_name(module: Operation) -> None:
    kernel = _find(module, "fused.kernel")
    kernel.operator = kernel.declaration.operator(name=3, schedule="map")


DAMAGES = [
    (_wrong_name, "its name is 3, not a string"),
    (_twice, "the module defines @f twice"),
    (_not_a_function, "a module holds functions and kernels only"),
    (_use_before, "operand 0 is used before (or outside of) its definition"),
    (_lose_use, "operand 0 does not count this use among its users"),
    (_lose_owner, "result 0 says that another operation owns it"),
    (_two_terminators, "a terminator must be the last operation of its block"),
    (_lose_region, "has no region"),
    (_wrong_operand, "operands do not fit: arith.neg: takes 1 operands but is given 2"),
    (_wrong_result, "result types are (tensor<9xf32>) but should be (tensor<4xf32>)"),
    (_one_region_less, "has 1 regions but should have 2"),
    (_region_of_another, "its region says that another operation owns it"),
    (_two_blocks, "a region has 2 blocks but should have one"),
    (_block_of_another, "its block says that another region owns it"),
    (_wrong_link, "is not linked properly into the body of fused.kernel"),
    (_wrong_last, "its block's last operation is not the end of the chain"),
    (_no_terminator, "its body must end in fused.yield"),
    (_more_arguments, "body arguments are (tensor<4xf32>, tensor<f32>) but should be (tensor<4xf32>)"),
    (_wrong_yield, "its body yields (tensor<4xf32>, tensor<4xf32>) but should yield (tensor<4xf32>)"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damaged_structure_is_found(damage: Callable[[Operation], None], message: str) -> None:
    module = _module()
    verify(module)
    damage(module)
    _rejects(module, message)


def _diagnostics(module: ModuleType) -> list[str]:
    """What a verifier's source can say: the texts given to `fault` and returned by checks, as patterns."""
    found: list[str] = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        texts: list[ast.expr | None] = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "fault":
            texts = [node.args[1]]
        elif isinstance(node, ast.FunctionDef) and node.returns is not None and ast.unparse(node.returns) == "str | None":
            texts = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return)]
        for text in texts:
            choices = [text.body, text.orelse] if isinstance(text, ast.IfExp) else [text]
            for choice in choices:
                if isinstance(choice, ast.JoinedStr):
                    parts = [re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in choice.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(choice, ast.Constant) and isinstance(choice.value, str):
                    found.append(re.escape(choice.value))
    return found


def test_every_diagnostic_of_the_verifier_is_provoked_here() -> None:
    messages = []
    for damage, message in DAMAGES:
        module = _module()
        damage(module)
        messages.append(_rejects(module, message).message)
    for line, message in KERNEL_RULES:
        messages.append(_rejects(parse_module(KERNEL.format(line)), message).message)
    patterns = _diagnostics(verifier) + _diagnostics(loop_verifier)
    assert len(patterns) > 35
    assert not [pattern for pattern in patterns if not any(re.search(pattern, message) for message in messages)]
