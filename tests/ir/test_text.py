"""The readable form of IR: what it looks like, that it reads back exactly, and what its errors say."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytorch import dtypes
from lazytorch.errors import ParseError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith
from lazytorch.ir.equivalence import equivalent
from lazytorch.ir.generic_printer import mlir_attribute, print_generic
from lazytorch.ir.lexer import Lexer
from lazytorch.ir.parser import parse_func, parse_module
from lazytorch.ir.printer import attribute_text, print_ir
from lazytorch.ir.type_parser import parse_attribute, parse_type
from lazytorch.ir.types import BufferType, ScalarType, TensorType, Type, VectorType
from lazytorch.ir.verifier import verify
from tests.fuzz.damaged_text import DamagedText, check, texts

TENSOR_LEVEL = """\
func @program(%x: tensor<64x784xf32>, %w: tensor<784x10xf32>, %b: tensor<10xf32>) -> (tensor<64x10xi1>, tensor<f32>) {
  %0 = tensor.contract %x, %w {lhs = "mk", rhs = "kn", out = "mn"} : tensor<64x10xf32>   loc("train.py":12)
  %1 = arith.add %0, %b : tensor<64x10xf32>   loc("train.py":12)
  %2 = arith.constant -0.0 : tensor<f32>
  %3 = arith.compare %1, %2 {predicate = "gt"} : tensor<64x10xi1>   loc(grad("train.py":12))
  %4 = tensor.reduce_sum %1 {dims = [0, 1]} as "mean" : tensor<f32>
  return %3, %4 : tensor<64x10xi1>, tensor<f32>
}
"""

FUSED_LEVEL = """\
func @program(%x: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<3x2xf32> {
  %0, %1 = fused.kernel @bias_exp(%2 = %x, %3 = %b) {schedule = "map"} : (tensor<2x3xf32>, tensor<3x2xf32>) {
    %4 = arith.add %2, %3 : tensor<2x3xf32>
    %5 = tensor.permute %4 {order = [1, 0]} : tensor<3x2xf32>
    fused.yield %4, %5
  }   loc("train.py":3)
  return %1 : tensor<3x2xf32>
}
"""

LOOP_LEVEL = """\
loop.function @fill(%o: buffer<f32, [1]>, %n: index) {
  %0 = arith.constant nan : f32
  loop.store %0, %o, %n
}

loop.kernel @row_sum(%x: buffer<f32, [?, 1]>, %out: buffer<f32, [1]>, %m: index, %n: index) {
  %0 = arith.constant 0 : index
  %1 = arith.constant 16 : index
  loop.parallel %i = %0 to %m {
    %2 = arith.constant 0.0 : vector<16xf32>
    %3 = loop.for %j = %0 to %n step %1 carrying (%4: vector<16xf32> = %2) {
      %5 = arith.sub %n, %j : index
      %6 = loop.mask %5 {lanes = 16} : vector<16xi1>
      %7 = loop.masked_load %x, %i, %j, %6, %2 {lanes = 16} : vector<16xf32>
      %8 = arith.add %4, %7 : vector<16xf32>
      loop.yield %8
    }
    %9 = loop.extract %3 {lane = 0} : f32
    %10 = arith.compare %i, %0 {predicate = "eq"} : i1
    %11 = loop.if %10 : f32 {
      loop.yield %9
    } else {
      %12 = arith.neg %9 : f32
      loop.yield %12
    }
    loop.store %11, %out, %i {streaming = true}
    loop.if %10 {
      loop.call %out, %i {callee = "fill"}
    }
  }
}
"""


@pytest.mark.parametrize("name", ["f.1-$", "", "1", "two words", 'a"b\\', "\n", "é"])
def test_a_name_of_any_kind_reads_back(name: str) -> None:
    func = parse_func("func @f() {\n  return\n}")
    func.operator = func.declaration.operator(name=name)
    module = parse_module(print_ir(func))
    assert module.region.block.first is not None and module.region.block.first.attributes.name == name
    verify(module)
    again = parse_module(print_generic(module))
    assert equivalent(module, again)


def test_a_value_that_only_equals_the_default_is_written() -> None:
    text = (
        "func @f(%x: tensor<4x3xf32>, %y: tensor<4xi64>) -> tensor<f32> {\n"
        "  %0 = nn.cross_entropy %x, %y {label_smoothing = -0.0} : tensor<f32>\n  return %0 : tensor<f32>\n}\n"
    )
    assert print_ir(parse_func(text)) == text
    assert "label_smoothing" not in print_ir(parse_func(text.replace("-0.0", "0.0")))


NUMBERS = st.one_of(st.booleans(), st.integers(), st.floats(), st.complex_numbers(allow_nan=False))
LEAVES = st.one_of(NUMBERS, st.none(), st.text(), st.sampled_from(dtypes.ALL))
ATTRIBUTES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@pytest.mark.parametrize("text", [TENSOR_LEVEL, FUSED_LEVEL, LOOP_LEVEL], ids=["tensor", "fused", "loop"])
def test_text_of_every_level_reads_back_as_itself(text: str) -> None:
    module = parse_module(text)
    verify(module)
    assert print_ir(module, locations=True) == text
    assert equivalent(module, parse_module(print_ir(module, locations=True)), locations=True)


@pytest.mark.parametrize("text", [TENSOR_LEVEL, FUSED_LEVEL, LOOP_LEVEL], ids=["tensor", "fused", "loop"])
def test_the_generic_form_of_every_level_reads_back_as_itself(text: str) -> None:
    module = parse_module(text)
    generic = print_generic(module, locations=True)
    again = parse_module(generic)
    assert print_generic(again, locations=True) == generic
    assert equivalent(module, again, locations=True)
    assert print_ir(again.region.block.first or again).partition("\n")[0] == text.partition("\n")[0]


@given(ATTRIBUTES)
def test_every_attribute_reads_back_from_the_generic_form(value: Any) -> None:
    number = f'"func.func"() ({{\n  %0 = "arith.constant"() {{value = {mlir_attribute(value)}, type = f32}} : () -> f32\n'
    module = parse_module(number + '  "func.return"() : () -> ()\n}) {sym_name = "f"} : () -> ()')
    first = module.region.block.first
    assert first is not None and first.region.block.first is not None
    operator = first.region.block.first.operator
    assert operator is arith.constant.operator(value=value, type=ScalarType(dtypes.float32))


GENERIC = """\
"func.func"() ({
^bb0(%x: tensor<2xf32>):
  "builtin.nothing"() : () -> ()
  %0 = "arith.neg"(%y) : (tensor<2xf32>) -> tensor<2xf32>
  %1 = "arith.neg"(%0) : (tensor<2xf32>) -> tensor<2xf32>
  %2 = "arith.neg"(%x) : (tensor<3xf32>) -> tensor<2xf32>
  %3 = "tensor.flip"(%x) {dim = [0 : i64]} : (tensor<2xf32>) -> tensor<2xf32>
  %4 = "tensor.iota"() {dtype = #lazytorch.f32, size = 3 : i64} : () -> tensor<3xf32>
  %5 = "arith.constant"() {value = 0x7F : f64, type = f32} : () -> f32
  %6 = "arith.constant"() {value = 1.0 : i64, type = f32} : () -> f32
  "func.return"(%1) : (tensor<2xf32>) -> ()
}) {sym_name = "f"} : () -> ()
"func.func"() ({
  "func.return"() : () -> ()
}) {sym_name = "g", function_type = (f32) -> ()} : () -> ()
"""


def test_all_errors_of_a_generic_text_are_reported() -> None:
    with pytest.raises(ParseError) as caught:
        parse_module(GENERIC)
    assert [(error.line, error.message) for error in (caught.value, *caught.value.others)] == [
        (3, "there is no operation 'builtin.nothing'"),
        (4, "%y is used before it is defined"),
        (6, "the types are not those of the operands"),
        (7, "tensor.flip has the attributes dims, not dim"),
        (8, "there is no element type #lazytorch.f32"),
        (9, "the bits of a float are 16 hexadecimal digits"),
        (10, "a number of type i64 has another form"),
    ]
    with pytest.raises(ParseError, match="the function's type is not that of its arguments and of what it returns"):
        parse_module(GENERIC[GENERIC.index('"func.func"', 1) :])


def test_locations_are_left_out_unless_asked_for() -> None:
    assert "loc(" not in print_ir(parse_module(TENSOR_LEVEL))


def test_comments_and_white_space_do_not_matter() -> None:
    text = "// a comment\nfunc @f ( %x :tensor<f32> )\n->tensor<f32>{return %x:tensor<f32>// the end\n}"
    assert print_ir(parse_func(text)) == "func @f(%x: tensor<f32>) -> tensor<f32> {\n  return %x : tensor<f32>\n}\n"


def test_names_that_occur_twice_are_told_apart() -> None:
    func = parse_func("func @f(%x: tensor<f32>, %y: tensor<f32>) -> tensor<f32> {\n  return %y : tensor<f32>\n}")
    func.region.block.arguments[1].name = "x"
    assert "return %x_1 : tensor<f32>" in print_ir(func)
    assert equivalent(func, parse_func(print_ir(func)))


@given(ATTRIBUTES)
def test_every_attribute_reads_back_as_itself_to_the_bit(value: Any) -> None:
    lexer = Lexer(attribute_text(value), "<test>")
    again = parse_attribute(lexer)
    assert lexer.token.kind == "end"
    # operators are interned by the identity of their attributes: nan is nan, -0.0 is not 0.0, 1 is not 1.0
    type = TensorType(dtypes.float32, ())
    assert arith.constant.operator(value=value, type=type) is arith.constant.operator(value=again, type=type)


def test_a_value_without_text_is_refused() -> None:
    with pytest.raises(TypeError, match="an attribute of type dict has no text"):
        attribute_text({})


@pytest.mark.parametrize(
    "type",
    [
        TensorType(dtypes.float32, ()),
        TensorType(dtypes.complex64, (2, 0, 3)),
        TensorType(dtypes.index, (4,)),
        VectorType(dtypes.bool_, 16),
        ScalarType(dtypes.uint64),
        ScalarType(dtypes.complex128),
        BufferType(dtypes.bfloat16, (None, 0, 1)),
        BufferType(dtypes.float64, ()),
        BufferType(dtypes.complex64, (-1,)),
    ],
    ids=str,
)
def test_every_type_reads_back_as_itself(type: Type) -> None:
    lexer = Lexer(str(type), "<test>")
    assert parse_type(lexer) is type
    assert lexer.token.kind == "end"
    nested = Lexer(attribute_text((type,)), "<test>")
    assert parse_attribute(nested) == (type,)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e22, 0.1, 1 << 70, -1])
def test_constants_keep_their_number_exactly(number: float) -> None:
    type = TensorType(dtypes.float64, (2,))
    func = parse_func(f"func @f() {{\n  %0 = arith.constant {number!r} : tensor<2xf64>\n  return\n}}")
    first = func.region.block.first
    assert first is not None and first.operator is arith.constant.operator(value=number, type=type)
    assert equivalent(func, parse_func(print_ir(func)))


BODY = "func @f(%x: tensor<2xf32>) -> tensor<2xf32> {{\n  {}\n  return %x : tensor<2xf32>\n}}"


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("%0 = arith.nonsense %x : f32", 8, "there is no operation 'arith.nonsense'"),
        ("%0 = arith.neg %y : tensor<2xf32>", 18, "%y is used before it is defined"),
        ("%x = arith.neg %x : tensor<2xf32>", 3, "%x is defined twice"),
        ("%0 = arith.neg %x : tensor<2xf33>", 23, "there is no element type 'f33'"),
        ("%0 = arith.neg %x : tensor<2xf32", 23, "the type is not closed by '>'"),
        ("%0 = arith.neg %x", 20, "expected ':' and the type of every result but found 'return'"),
        ("%0 = arith.neg %x : (tensor<2xf32>, f32)", 8, "arith.neg has 2 results here but 1 are named"),
        ("arith.neg %x : tensor<2xf32>", 3, "arith.neg has 1 results here but 0 are named"),
        ("%0 = tensor.flip %x {dim = 1} : tensor<2xf32>", 24, "tensor.flip takes no attribute 'dim' here (dims)"),
        ("%0 = tensor.flip %x {dims = } : tensor<2xf32>", 31, "expected an attribute's value but found '}'"),
        ('%0 = arith.neg %x as "\\q" : tensor<2xf32>', 24, "the string has an escape that is not understood"),
        ("%0 = arith.neg %x ; tensor<2xf32>", 21, "unexpected character ';'"),
        ("loop.for %i = %x to %x {", 26, "expected 'step' but found '{'"),
        ("%0 = arith.constant : f32", 23, "expected an attribute's value but found ':'"),
        ("3", 3, "expected an operation but found '3'"),
    ],
)
def test_an_error_points_at_its_place(line: str, column: int, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_func(BODY.format(line), "file.mlir")
    error = caught.value
    assert (error.message, error.file, error.line, error.column) == (message, "file.mlir", 2, column)
    assert str(error) == f"file.mlir:2:{column}: error: {message}\n    {line}\n  {' ' * (column - 1)}^"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("func @f(", "expected an argument but found the end of the text"),
        ("func @f() {", "expected '}' but found the end of the text"),
        ("module {}", "expected one of func, loop.kernel, loop.function but found 'module'"),
        ("", "expected one function or kernel but there are 0"),
        ("func @f() -> f32 {\n  return\n}", "the function's result types are not those of what it returns"),
        ("func @f(%x: f32) -> f32 {\n  return %x : f64\n}", "the types are not those of the operands"),
        ("func @f() {\n  tensor.flip\n}", "tensor.flip needs the attribute 'dims'"),
    ],
)
def test_incomplete_text_says_what_is_missing(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_func(text)
    assert caught.value.message == message


def test_a_kernel_body_does_not_see_the_function_around_it() -> None:
    text = FUSED_LEVEL.replace("arith.add %2, %3", "arith.add %2, %b")
    with pytest.raises(ParseError, match="%b is used before it is defined"):
        parse_func(text)


def test_equivalence_tells_operands_attributes_and_types_apart() -> None:
    text = "func @f(%x: tensor<2xf32>, %y: tensor<2xf32>) -> tensor<2xf32> {{\n  %0 = {}\n  return %0 : tensor<2xf32>\n}}"
    variants = [
        "arith.sub %x, %y : tensor<2xf32>",
        "arith.sub %y, %x : tensor<2xf32>",
        "arith.add %x, %y : tensor<2xf32>",
        "arith.neg %x : tensor<2xf32>",
        "tensor.flip %x {dims = [0]} : tensor<2xf32>",
        "tensor.flip %x {dims = []} : tensor<2xf32>",
    ]
    functions: list[Operation] = [parse_func(text.format(variant)) for variant in variants]
    for i, a in enumerate(functions):
        for j, b in enumerate(functions):
            assert equivalent(a, b) == (i == j)


def test_an_operation_on_its_own_shows_outer_values_as_unknown() -> None:
    func = parse_func(TENSOR_LEVEL)
    first = func.region.block.first
    assert first is not None
    outer: Value = first.operands[0]
    assert outer.name == "x"
    assert print_ir(first).startswith("%0 = tensor.contract %?, %? ")


SEVERAL = """\
func @f(%x: tensor<2xf32>, %n: index) -> tensor<2xf32> {
  %0 = arith.nonsense %x : tensor<2xf32>
  %1 = arith.add %0, %x : tensor<2xf32>
  %2 = arith.neg %1 $ $ : tensor<2xf32>
  %3 = arith.neg %unknown : tensor<2xf32>
  loop.for %i = %n to %n {
    %4 = arith.neg %also_unknown : index
  }
  loop.for %i = %n to %n step %n {
    %5 = arith.neg %i
    %6 = arith.neg %5 : index
    %7 = arith.neg %7 : index
  }
  return %3 : tensor<2xf32>
}
func @g(%x tensor<2xf32>) {
  %0 = arith.neg %y : tensor<2xf32>
}
loop.kernel @k(%x: buffer<f32, [q]>) {
}
func @h() -> tensor<3xf32> {
  return
}
"""


def test_all_errors_of_a_text_are_reported_and_none_that_follows_from_another() -> None:
    with pytest.raises(ParseError) as caught:
        parse_module(SEVERAL)
    found = [(error.line, error.message) for error in (caught.value, *caught.value.others)]
    assert found == [
        (2, "there is no operation 'arith.nonsense'"),
        (4, "unexpected character '$'"),
        (5, "%unknown is used before it is defined"),
        (6, "expected 'step' but found '{'"),
        (10, "expected ':' and the type of every result but found '%6'"),
        (12, "%7 is used before it is defined"),
        (16, "expected ':' but found 'tensor<2xf32>'"),
        (19, "a stride is a number or '?', not 'q'"),
    ]
    assert str(caught.value).count("^") == 8 and "text>:12:20: error: %7 is used" in str(caught.value)


def test_at_most_20_errors_are_reported() -> None:
    with pytest.raises(ParseError) as caught:
        parse_module("func @f() {\n" + "  nonsense\n" * 100 + "}")
    assert len(caught.value.others) == 19


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%0 = tensor.flip %x {dims = " + "[" * 5000 + "]" * 5000 + "} : tensor<2xf32>", "more than 64 levels deep"),
        ("fused.kernel @k() {schedule = \"map\"} : () {\n" * 3000 + "}" * 3000, "more than 64 levels deep"),
        ("%0 = arith.constant " + "9" * 5000 + " : i64", "a number has 5000 digits, which is too many"),
        ("%0 = arith.constant 0 : tensor<" + "9" * 5000 + "xf32>", "a number has 5000 digits, which is too many"),
        ("%0 = arith.constant 0 : tensor<" + "9" * 20 + "xf32>", "does not fit into 64 bits"),
        ("%0 = arith.constant 0 : vector<0xf32>", "a vector has one size, which is not 0"),
        ('%0 = arith.constant "\\ud800" : f32', "the string has an escape that is not understood"),
        ("%0 = arith.neg %x : tensor<2xf32> loc(\"a\":inf)", "expected a whole number but found inf"),
        ("tensor<" * 30_000, "the type is not closed by '>'"),
        ("%0 = arith.constant 0 : buffer<" + "," * 100_000 + ">", "expected buffer<dtype, [stride, ...]>"),
    ],
    ids=range(10),
)  # fmt: skip
def test_excess_is_an_error_and_takes_no_time(text: str, message: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ParseError) as caught:
        parse_func(BODY.format(text))
    assert any(message in error.message for error in (caught.value, *caught.value.others))
    assert len(str(caught.value)) < 20_000
    assert time.perf_counter() - began < 5


@given(texts())
@settings(max_examples=300)
def test_no_damaged_text_crashes_parser_verifier_or_printer(damaged: DamagedText) -> None:
    check(damaged)


def test_10_000_operations_are_read_written_and_verified_in_a_second_each() -> None:
    """Processor time, the best of three: other programs run here too."""
    forms = [
        "arith.add %{0}, %x",
        "nn.relu %{0}",
        'tensor.contract %{0}, %w {{lhs = "mk", rhs = "kn", out = "mn"}}',
        "arith.mul %{0}, %{0}",
    ]
    lines = ["func @f(%x: tensor<64x10xf32>, %w: tensor<10x10xf32>) -> tensor<64x10xf32> {"]
    lines.append('  %0 = arith.neg %x : tensor<64x10xf32>   loc("train.py":1)')
    for i in range(1, 10_000):
        lines.append(f'  %{i} = {forms[i % 4].format(i - 1)} : tensor<64x10xf32>   loc("train.py":{i})')
    text = "\n".join([*lines, "  return %9999 : tensor<64x10xf32>", "}", ""])
    parsing, printing, verifying = [], [], []
    for _ in range(3):
        began = time.process_time()
        module = parse_module(text)
        read = time.process_time()
        again = print_ir(module, locations=True)
        written = time.process_time()
        verify(module)
        parsing.append(read - began)
        printing.append(written - read)
        verifying.append(time.process_time() - written)
        assert again == text
    assert min(parsing) + min(printing) < 1 and min(verifying) < 1
