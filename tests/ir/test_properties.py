"""What holds for any function: text reads back as itself, passes keep every bit, the generic form is MLIR."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytorch import dtypes
from lazytorch.ir.core import IRBuilder, Operation, Value, inserting, new_func, new_module, return_
from lazytorch.ir.dialects import arith, fused, tensor
from lazytorch.ir.dialects import math as math_dialect
from lazytorch.ir.equivalence import equivalent
from lazytorch.ir.generic_printer import print_generic
from lazytorch.ir.interpreter import interpret
from lazytorch.ir.location import Location
from lazytorch.ir.parser import parse_func
from lazytorch.ir.pass_manager import PassManager
from lazytorch.ir.printer import print_ir
from lazytorch.ir.types import TensorType
from lazytorch.ir.verifier import verify

DTYPES = (dtypes.float32, dtypes.float64, dtypes.int64, dtypes.bool_)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 0.1, math.inf, -math.inf, math.nan, 1e-45, 3.5e38, 1e16, 2.0**-1074)


@st.composite
def functions(draw: st.DrawFn) -> Operation:
    """A verified function over small tensors, with dead code, repetition, constants and views."""
    shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
    types = [TensorType(draw(st.sampled_from(DTYPES)), draw(shapes)) for _ in range(draw(st.integers(1, 3)))]
    func = new_func("f", types, [f"x{i}" if i else "" for i in range(len(types))])
    block = func.region.block
    values: list[Value] = list(block.arguments)
    for number in range(draw(st.integers(1, 12))):
        line = draw(st.integers(1, 5))
        location = Location("train.py", line, gradient=draw(st.booleans()))
        with inserting(IRBuilder(block, location=location)):
            step = draw(st.sampled_from(STEPS))
            values.append(step(draw, draw(st.sampled_from(values)), values, number))
    returned = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    block.append(Operation(return_.operator(), returned, ()))
    verify(func)
    return func


def _constant(draw: st.DrawFn, x: Value, values: list[Value], number: int) -> Value:
    kind = x.type.dtype.kind
    options: Any = st.sampled_from(FLOATS) if kind == "f" else st.booleans() if kind == "b" else st.integers(-3, 3)
    shape = draw(st.sampled_from([(), x.type.shape]))
    result: Value = arith.constant.build(x.builder, value=draw(options), type=TensorType(x.type.dtype, shape))
    return result


def _binary(draw: st.DrawFn, x: Value, values: list[Value], number: int) -> Any:
    fitting = [y for y in values if y.type.dtype is x.type.dtype and _broadcasts(x, y)]
    operands = (x, draw(st.sampled_from(fitting)))
    if draw(st.booleans()):
        operands = operands[::-1]
    if draw(st.integers(0, 4)) == 0:
        return arith.compare(*operands, predicate=draw(st.sampled_from(sorted(arith.PREDICATES))))
    if x.type.dtype.kind == "b":
        return draw(st.sampled_from([arith.bit_and, arith.bit_or, arith.bit_xor]))(*operands)
    floating = [arith.div] if x.type.dtype.kind == "f" else []
    return draw(st.sampled_from([arith.add, arith.sub, arith.mul, *floating]))(*operands)


def _broadcasts(x: Value, y: Value) -> bool:
    return all(a == b or a == 1 or b == 1 for a, b in zip(reversed(x.type.shape), reversed(y.type.shape), strict=False))


def _by_constant(draw: st.DrawFn, x: Value, values: list[Value], number: int) -> Any:
    if x.type.dtype.kind == "b":
        return arith.bit_not(x)
    value = draw(st.sampled_from([0.0, -0.0, 1.0])) if x.type.dtype.kind == "f" else draw(st.sampled_from([0, 1]))
    declaration = draw(st.sampled_from([arith.add, arith.sub, arith.mul]))
    return declaration(x, value) if draw(st.booleans()) else declaration(value, x)


def _unary(draw: st.DrawFn, x: Value, values: list[Value], number: int) -> Any:
    if x.type.dtype.kind == "b":
        return arith.bit_not(x)
    floating = [math_dialect.exp, arith.sqrt] if x.type.dtype.kind == "f" else []
    return draw(st.sampled_from([arith.neg, arith.abs_, arith.neg, *floating]))(x)


def _cast(draw: st.DrawFn, x: Value, values: list[Value], number: int) -> Any:
    # a float that no integer holds has no defined cast
    targets = [d for d in DTYPES if x.type.dtype.kind != "f" or d.kind in "fb"]
    return arith.cast(x, dtype=draw(st.sampled_from(targets)))


def _select(draw: st.DrawFn, x: Value, values: list[Value], number: int) -> Any:
    conditions = [y for y in values if y.type.dtype is dtypes.bool_ and _broadcasts(x, y)]
    if not conditions:
        return _binary(draw, x, values, number)
    others = [x, *[y for y in values if y.type is x.type]]
    return arith.select(draw(st.sampled_from(conditions)), x, draw(st.sampled_from(others)))


def _view(draw: st.DrawFn, x: Value, values: list[Value], number: int) -> Any:
    shape = x.type.shape
    choice = draw(st.integers(0, 6))
    if choice == 0:
        return tensor.permute(x, order=tuple(draw(st.permutations(range(len(shape))))))
    if choice == 1:
        return tensor.reshape(x, shape=draw(st.sampled_from([(math.prod(shape),), (1, *shape), shape])))
    if choice == 2:
        wide = tuple([draw(st.integers(1, 3)) if size == 1 else size for size in shape])
        return tensor.expand(x, shape=draw(st.sampled_from([wide, (2, *wide), (1, *shape)])))
    if choice == 3:
        starts = tuple([draw(st.integers(0, size)) for size in shape])
        sizes = tuple([draw(st.integers(0, size - start)) for size, start in zip(shape, starts, strict=True)])
        return tensor.slice_(x, starts=starts, sizes=sizes, steps=(1,) * len(shape))
    if choice == 4:
        return tensor.flip(x, dims=tuple(sorted(draw(st.sets(st.sampled_from(range(len(shape))))))) if shape else ())
    return draw(st.sampled_from([tensor.alias, tensor.detach]))(x)


def _shape(draw: st.DrawFn, x: Value, values: list[Value], number: int) -> Any:
    rank = len(x.type.shape)
    if rank and draw(st.booleans()):
        alike = [y for y in values if y.type is x.type]
        return tensor.concat(*draw(st.lists(st.sampled_from(alike), min_size=1, max_size=2)), dim=rank - 1)
    low, high, interior = (tuple([draw(st.integers(0, 1)) for _ in range(rank)]) for _ in range(3))
    value = {"f": -0.0, "b": True, "i": 7}[x.type.dtype.kind]
    return tensor.pad(x, low=low, high=high, interior=interior, value=value)


def _reduce(draw: st.DrawFn, x: Value, values: list[Value], number: int) -> Any:
    if x.type.dtype.kind == "b":
        return tensor.reduce_any(x, dims=tuple(range(len(x.type.shape))))
    dims = draw(st.sets(st.sampled_from(range(len(x.type.shape))))) if x.type.shape else ()
    return tensor.reduce_sum(x, dims=tuple(sorted(dims)))


STEPS = (_constant, _binary, _by_constant, _unary, _cast, _select, _view, _view, _shape, _reduce)


def _arguments(func: Operation, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    arrays = []
    for argument in func.region.block.arguments:
        dtype, shape = argument.type.dtype, argument.type.shape
        source = FLOATS if dtype.kind == "f" else (False, True) if dtype.kind == "b" else (-2, -1, 0, 1, 2, 3)
        with np.errstate(over="ignore"):
            arrays.append(random.choice(np.asarray(source), shape).astype(dtype.numpy).reshape(shape))
    return arrays


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to the bit, but for which nan a nan is."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    return bool(np.all((np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b)))))


@settings(max_examples=150, deadline=None)
@given(functions())
def test_text_reads_back_as_the_same_function(func: Operation) -> None:
    for locations in (False, True):
        text = print_ir(func, locations=locations)
        again = parse_func(text)
        verify(again)
        assert equivalent(func, again, locations=locations)
        assert print_ir(again, locations=locations) == text


@settings(max_examples=200, deadline=None)
@given(functions(), st.integers(0, 2**32))
def test_simplification_changes_no_bit(func: Operation, seed: int) -> None:
    arrays = _arguments(func, seed)
    before = interpret(func, arrays)
    text = print_ir(func)
    PassManager("canonicalize,cse,dce", verify_each=True).run_on_func(func)
    for expected, actual in zip(before, interpret(func, arrays), strict=True):
        assert _same_bits(expected, actual), f"{text}\nbecame\n{print_ir(func)}"


@settings(max_examples=50, deadline=None)
@given(functions())
def test_simplification_reaches_a_fixed_point(func: Operation) -> None:
    PassManager("canonicalize,cse,canonicalize,cse,dce").run_on_func(func)
    text = print_ir(func)
    PassManager("canonicalize,cse,dce").run_on_func(func)
    assert print_ir(func) == text


@settings(max_examples=50, deadline=None)
@given(functions(), st.integers(0, 2**32))
def test_a_fused_kernel_means_what_its_body_means(func: Operation, seed: int) -> None:
    arrays = _arguments(func, seed)
    expected = interpret(func, arrays)
    whole = _as_one_kernel(func)
    verify(whole)
    assert equivalent(whole, parse_func(print_ir(whole)))
    assert all(map(_same_bits, expected, interpret(whole, arrays)))


def _as_one_kernel(func: Operation) -> Operation:
    region = func.region
    block = region.block
    terminator = block.terminator
    outcomes = terminator.operands
    terminator.erase()
    block.append(Operation(fused.yield_.operator(), outcomes, ()))
    types = [argument.type for argument in block.arguments]
    whole = new_func("whole", types)
    arguments = whole.region.block.arguments
    operator = fused.kernel.operator(name="k", schedule="map")
    kernel = Operation(operator, arguments, [value.type for value in outcomes], [region])
    whole.region.block.append(kernel)
    whole.region.block.append(Operation(return_.operator(), kernel.results, ()))
    return whole


@settings(max_examples=50, deadline=None)
@given(functions())
def test_the_generic_form_is_mlir(func: Operation) -> None:
    from xdsl.context import Context
    from xdsl.dialects.builtin import Builtin
    from xdsl.dialects.func import Func
    from xdsl.parser import Parser
    from xdsl.printer import Printer

    context = Context(allow_unregistered=True)
    context.load_dialect(Builtin)
    context.load_dialect(Func)
    module = new_module()
    module.region.block.append(func)
    parsed = Parser(context, print_generic(module)).parse_module()
    parsed.verify()
    assert sum(1 for _ in parsed.walk()) == sum(1 for _ in module.walk())
    stream = io.StringIO()
    Printer(stream, print_generic_format=True).print_op(parsed)
    assert '"func.func"' in stream.getvalue()
