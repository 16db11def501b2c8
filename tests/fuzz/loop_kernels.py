"""Random kernels in loop form: what LLVM makes of them must be, to the bit, what the interpreter of kernels makes of them.

A kernel is drawn as text. Its iterations run in any order on any number of threads, so each writes its own row of the
output; every index is drawn together with the range that it can have, so that no access leaves its memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lazytorch import dtypes
from lazytorch.codegen.math import expand_math
from lazytorch.config import config
from lazytorch.dtypes import DType
from lazytorch.ir.equivalence import equivalent
from lazytorch.ir.loop_interpreter import interpret_kernel
from lazytorch.ir.parser import parse_module
from lazytorch.ir.printer import print_ir
from lazytorch.ir.types import INDEX, ScalarType, Type, VectorType
from lazytorch.ir.verifier import verify
from lazytorch.runtime.functions import run_kernel
from tests.fuzz.tensor_programs import SPECIAL

COLUMNS = 40
"""Elements of a row of every buffer."""


@dataclass(frozen=True)
class LoopKernel:
    """A module with the kernel @k over matrices of these dtypes, the last of which is written, and its number of rows."""

    text: str
    buffers: tuple[str, ...]
    rows: int

    def __repr__(self) -> str:
        return f"LoopKernel of {self.rows} rows\n{self.text}"


def arrays_of(kernel: LoopKernel) -> list[np.ndarray]:
    """Values for the buffers: special ones among them; flags are 0 or 1."""
    random = np.random.default_rng(0)
    shape = (kernel.rows, COLUMNS)
    arrays = []
    for name in kernel.buffers:
        dtype = dtypes.named(name)
        if dtype.kind == "f":
            values = np.where(
                random.random(shape) < 0.1, random.choice(np.array(SPECIAL), shape), random.normal(0, 3, shape)
            )
        else:
            values = random.integers(0, 2, shape) if dtype.kind == "b" else random.integers(-100, 100, shape)
        with np.errstate(over="ignore"):
            arrays.append(values.astype(dtype.numpy))
    return arrays


def _slots(kernel: LoopKernel, arrays: list[np.ndarray]) -> list[Any]:
    return [slot for array in arrays for slot in (array, COLUMNS)] + [kernel.rows, COLUMNS - 3]


def check(kernel: LoopKernel) -> None:
    """Raises AssertionError where compiled code differs from the interpreter, and for text that does not read back."""
    module = parse_module(kernel.text)
    verify(module)
    assert equivalent(module, parse_module(print_ir(module)))
    expand_math(module)
    verify(module)
    expected = arrays_of(kernel)
    with np.errstate(all="ignore"):
        interpret_kernel(module, "k", _slots(kernel, expected), 2)
    for target in ("", "x86-64-v3"):
        for chunks in (1, 3):
            arrays = arrays_of(kernel)
            with config(target=target):
                run_kernel(parse_module(kernel.text), "k", _slots(kernel, arrays), chunks)
            for want, got in zip(expected, arrays, strict=True):
                same = (want == got) & (np.signbit(want) == np.signbit(got)) if want.dtype.kind == "f" else want == got
                same |= (want != want) & (got != got)
                assert same.all(), (
                    f"{target or 'this machine'}, {chunks} chunks: {got[~same][:4]} should be {want[~same][:4]}"
                )


# -- drawing them ------------------------------------------------------------

DTYPES = ("f32", "f64", "i32", "i64", "i8", "i1")
LANES = (1, 4, 8, 16)
LARGEST = 4000
"""Statements that a kernel may run for one row: those in loops count as often as they run."""


@dataclass(frozen=True)
class Index:
    """An `index` value and the numbers it can be."""

    name: str
    low: int
    high: int


class _Draft:
    """A kernel while it is drawn: the lines so far, and what the place that is written to can see."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.depth = 1
        self.runs = 1
        self.count = 0
        self.values: list[tuple[str, Type]] = []
        self.indices: list[Index] = []
        self.buffers: dict[str, DType] = {}

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def name(self) -> str:
        self.count += 1
        return f"%v{self.count}"

    def define(self, text: str, type: Type) -> str:
        """A line with one result."""
        name = self.name()
        self.line(f"{name} = {text} : {type}")
        self.values.append((name, type))
        return name

    def constant(self, value: Any, type: Type) -> str:
        return self.define(f"arith.constant {_literal(value)}", type)

    def index(self, value: int) -> Index:
        name = self.name()
        self.line(f"{name} = arith.constant {value} : index")
        return Index(name, value, value)

    def any_of(self, test: Any) -> tuple[str, Type]:
        """A value whose type passes, or a new constant of the first type that does."""
        fitting = [value for value in self.values if test(value[1])]
        if fitting:
            return self.draw(st.sampled_from(fitting[::-1]))
        type = next(type for type in TYPES if test(type))
        return self.constant(1.5 if type.dtype.kind == "f" else True if type.dtype.kind == "b" else 3, type), type

    def of(self, type: Type) -> str:
        return self.any_of(lambda other: other is type)[0]

    def column(self, lanes: int) -> Index:
        """An index at which `lanes` elements of a row can be touched."""
        fitting = [index for index in self.indices if index.low >= 0 and index.high + lanes <= COLUMNS]
        return self.draw(st.sampled_from(fitting[::-1])) if fitting else self.index(0)

    def enter(self) -> tuple[int, int]:
        """Begin a body; what `leave` needs to forget what was defined in it."""
        self.depth += 1
        return len(self.values), len(self.indices)

    def leave(self, mark: tuple[int, int], yielded: str = "") -> None:
        if yielded:
            self.line(f"loop.yield {yielded}")
        del self.values[mark[0] :], self.indices[mark[1] :]
        self.depth -= 1


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "inf" if value == math.inf else repr(value)


def _type(name: str, lanes: int) -> Type:
    dtype = dtypes.named(name)
    return ScalarType(dtype) if lanes == 1 else VectorType(dtype, lanes)


TYPES = [_type(name, lanes) for name in DTYPES for lanes in LANES]


def _lanes(type: Type) -> int:
    return type.lanes if isinstance(type, VectorType) else 1


def _arithmetic(d: _Draft) -> None:
    x, type = d.any_of(lambda type: type.dtype.kind != "b")
    y = d.of(type)
    if type.dtype.kind == "f":
        wide = type.dtype.itemsize > 2
        choice = d.pick("binary", "unary", "fma", "math") if wide else "binary"
        if choice == "unary":
            d.define(f"arith.{d.pick('neg', 'abs', 'sqrt', 'floor', 'ceil', 'trunc', 'round_even', 'sign')} {x}", type)
        elif choice == "fma":
            d.define(f"arith.fma {x}, {y}, {d.of(type)}", type)
        elif choice == "math":
            d.define(f"math.{d.pick('exp', 'log', 'tanh', 'sin', 'erf', 'expm1')} {x}", type)
        else:
            names = ("add", "sub", "mul", "div", "maximum", "minimum", "copysign")
            d.define(f"arith.{d.pick(*names)} {x}, {y}", type)
    elif d.flag():
        d.define(f"arith.{d.pick('add', 'sub', 'mul', 'maximum', 'minimum', 'bit_and', 'bit_or', 'bit_xor')} {x}, {y}", type)
    else:
        number = d.constant(d.pick(1, 2, 3, 7), type)
        d.define(f"arith.{d.pick('div', 'remainder', 'shift_left', 'shift_right')} {x}, {number}", type)


def _logic(d: _Draft) -> None:
    x, type = d.any_of(lambda type: type.dtype.kind == "b")
    if d.flag():
        d.define(f"arith.bit_not {x}", type)
    else:
        d.define(f"arith.{d.pick('bit_and', 'bit_or', 'bit_xor')} {x}, {d.of(type)}", type)


def _compare(d: _Draft) -> None:
    x, type = d.any_of(lambda type: type.dtype.kind != "b")
    flags = type.with_dtype(dtypes.bool_)
    predicate = d.pick("eq", "ne", "lt", "le", "gt", "ge")
    condition = d.define(f'arith.compare {x}, {d.of(type)} {{predicate = "{predicate}"}}', flags)
    if d.flag():
        d.define(f"arith.select {condition}, {x}, {d.of(type)}", type)


def _cast(d: _Draft) -> None:
    x, type = d.any_of(lambda type: True)
    name = d.pick(*[name for name in DTYPES if dtypes.named(name) is not type.dtype])
    d.define(f"arith.cast {x} {{dtype = {name}}}", type.with_dtype(dtypes.named(name)))


def _lane_work(d: _Draft) -> None:
    x, type = d.any_of(lambda type: isinstance(type, VectorType))
    lanes = _lanes(type)
    choice = d.pick("extract", "shuffle", "broadcast", "ids", "mask", "any")
    if choice == "extract":
        d.define(f"loop.extract {x} {{lane = {d.pick(*range(lanes))}}}", ScalarType(type.dtype))
    elif choice == "shuffle":
        count = d.pick(*LANES[1:])
        chosen = d.draw(st.lists(st.integers(0, 2 * lanes - 1), min_size=count, max_size=count))
        d.define(f"loop.shuffle {x}, {d.of(type)} {{lanes = {chosen}}}", VectorType(type.dtype, count))
    elif choice == "broadcast":
        y, scalar = d.any_of(lambda type: isinstance(type, ScalarType))
        d.define(f"loop.broadcast {y} {{lanes = {lanes}}}", VectorType(scalar.dtype, lanes))
    elif choice == "ids":
        name = d.pick("i32", "i64")
        d.define(f"loop.lane_ids {{lanes = {lanes}, dtype = {name}}}", VectorType(dtypes.named(name), lanes))
    elif choice == "mask":
        d.define(f"loop.mask {d.column(1).name} {{lanes = {lanes}}}", VectorType(dtypes.bool_, lanes))
    else:
        flags = d.of(VectorType(dtypes.bool_, lanes))
        d.define(f"loop.any {flags}", ScalarType(dtypes.bool_))


def _index_work(d: _Draft) -> None:
    """Another index, and its range."""
    a, b, name = d.column(1), d.column(1), d.name()
    choice = d.pick("add", "mul", "sub", "minimum", "remainder")
    if choice == "remainder":
        number = d.pick(3, 8)
        d.line(f"{name} = arith.remainder {a.name}, {d.index(number).name} : index")
        d.indices.append(Index(name, 0, number - 1))
        return
    ends = {
        "add": (a.low + b.low, a.high + b.high),
        "mul": (a.low * b.low, a.high * b.high),
        "sub": (a.low - b.high, a.high - b.low),
        "minimum": (min(a.low, b.low), min(a.high, b.high)),
    }[choice]
    d.line(f"{name} = arith.{choice} {a.name}, {b.name} : index")
    d.indices.append(Index(name, *ends))


def _read(d: _Draft) -> None:
    buffer = d.pick(*list(d.buffers)[:-1])
    lanes = d.pick(*LANES)
    type = _type(d.buffers[buffer].name, lanes)
    choice = d.pick("load", "masked", "strided", "gather") if lanes > 1 else "load"
    flags = VectorType(dtypes.bool_, lanes)
    if choice == "load":
        width = "" if lanes == 1 else f" {{lanes = {lanes}}}"
        d.define(f"loop.load {buffer}, %i, {d.column(lanes).name}{width}", type)
    elif choice == "gather":
        place = d.column(1)
        flat = d.name()
        d.line(f"{flat} = loop.flatten {buffer} : buffer<{type.dtype.name}, [1]>")
        ids = d.define(f"loop.lane_ids {{lanes = {lanes}, dtype = i64}}", VectorType(dtypes.int64, lanes))
        mask = d.define(f"loop.mask {place.name} {{lanes = {lanes}}}", flags)
        d.define(f"loop.gather_load {flat}, {ids}, {mask}", type)
    else:
        # A mask of what is left of the row, beginning anywhere.
        place = d.column(1)
        left = d.name()
        d.line(f"{left} = arith.sub %n, {place.name} : index")
        mask = d.define(f"loop.mask {left} {{lanes = {lanes}}}", flags)
        if choice == "masked":
            other = d.of(type)
            d.define(f"loop.masked_load {buffer}, %i, {place.name}, {mask}, {other} {{lanes = {lanes}}}", type)
        else:
            d.define(f"loop.strided_load {buffer}, %i, {place.name}, {mask} {{lanes = {lanes}}}", type)


def _write(d: _Draft) -> None:
    """Into the iteration's own row of the last buffer."""
    out = list(d.buffers)[-1]
    x, type = d.any_of(lambda type: type.dtype is d.buffers[out])
    lanes = _lanes(type)
    if lanes == 1 or d.flag():
        d.line(f"loop.store {x}, {out}, %i, {d.column(lanes).name}")
        return
    place, left = d.column(1), d.name()
    d.line(f"{left} = arith.sub %n, {place.name} : index")
    mask = d.define(f"loop.mask {left} {{lanes = {lanes}}}", VectorType(dtypes.bool_, lanes))
    d.line(f"loop.{d.pick('masked_store', 'strided_store')} {x}, {mask}, {out}, %i, {place.name}")


def _loop(d: _Draft) -> None:
    """A loop over columns with up to two carried values."""
    count = d.pick(0, 1, 3, 5, 9)
    if d.depth > 4 or d.runs * count > LARGEST:
        return
    step = d.pick(1, 4)
    carried = [d.any_of(lambda type: True) for _ in range(d.pick(0, 1, 2))]
    low, high, by = d.index(0), d.index(count * step), d.index(step)
    names = [d.name() for _ in carried]
    inner = [d.name() for _ in carried]
    head = f"loop.for %j{d.count} = {low.name} to {high.name} step {by.name}"
    index = Index(f"%j{d.count}", 0, max((count - 1) * step, 0))
    if carried:
        parts = [f"{a}: {type} = {x}" for a, (x, type) in zip(inner, carried, strict=True)]
        head = f"{', '.join(names)} = {head} carrying ({', '.join(parts)})"
    d.line(f"{head} {{")
    mark, before = d.enter(), d.runs
    d.runs *= max(count, 1)
    d.indices.append(index)
    d.values += [(a, type) for a, (_, type) in zip(inner, carried, strict=True)]
    _statements(d, 5)
    d.leave(mark, ", ".join([d.of(type) for _, type in carried]))
    d.runs = before
    d.line("}")
    d.values += [(name, type) for name, (_, type) in zip(names, carried, strict=True)]


def _branch(d: _Draft) -> None:
    if d.depth > 4:
        return
    condition = d.of(ScalarType(dtypes.bool_))
    d.line(f"loop.if {condition} {{")
    mark = d.enter()
    _statements(d, 3)
    d.leave(mark)
    if d.flag():
        d.line("} else {")
        mark = d.enter()
        _statements(d, 3)
        d.leave(mark)
    d.line("}")


def _scratch(d: _Draft) -> None:
    """Written whole, and read."""
    type = _type(d.pick("f32", "f64", "i32"), d.pick(4, 8))
    x, zero, name = d.of(type), d.index(0), d.name()
    d.line(f"{name} = loop.local {{dtype = {type.dtype.name}, size = {_lanes(type)}}} : buffer<{type.dtype.name}, [1]>")
    d.line(f"loop.store {x}, {name}, {zero.name}")
    d.define(f"loop.load {name}, {d.index(d.pick(*range(_lanes(type)))).name}", ScalarType(type.dtype))


def _call(d: _Draft) -> None:
    """The function @f, on the iteration's own row."""
    out = list(d.buffers)[-1]
    row, zero = d.name(), d.index(0)
    d.line(f"{row} = loop.offset {out}, %i, {zero.name} : buffer<{d.buffers[out].name}, [?, 1]>")
    d.line(f'loop.call {row}, {d.column(1).name} {{callee = "f"}}')


STEPS = (
    *(_arithmetic,) * 5, _logic, _compare, _compare, _cast, _lane_work, _lane_work, _index_work,
    *(_read,) * 3, *(_write,) * 3, _loop, _loop, _branch, _scratch, _call,
)  # fmt: skip


def _statements(d: _Draft, most: int) -> None:
    for _ in range(d.draw(st.integers(1, most))):
        d.draw(st.sampled_from(STEPS))(d)


FUNCTION = """\
loop.function @f(%row: buffer<{0}, [?, 1]>, %j: index) {{
  %0 = arith.constant 0 : index
  %1 = loop.load %row, %0, %j : {0}
  loop.store %1, %row, %0, %0
  loop.return
}}
"""


@st.composite
def kernels(draw: st.DrawFn) -> LoopKernel:
    """Kernels in which everything is drawn."""
    d = _Draft(draw)
    dtype = {f"%x{number}": dtypes.named(d.pick(*DTYPES)) for number in range(d.pick(1, 2, 3))}
    d.buffers = {**dtype, "%out": dtypes.named(d.pick(*DTYPES))}
    taken = ", ".join(f"{name}: buffer<{dtype.name}, [?, 1]>" for name, dtype in d.buffers.items())
    d.line("%zero = arith.constant 0 : index")
    d.line("loop.parallel %i = %zero to %rows {")
    d.depth += 1
    _statements(d, 14)
    _write(d)
    d.depth -= 1
    d.line("}")
    head = [FUNCTION.format(d.buffers["%out"].name) + f"loop.kernel @k({taken}, %rows: {INDEX}, %n: {INDEX}) {{"]
    text = "\n".join([*head, *d.lines, "}", ""])
    return LoopKernel(text, tuple([dtype.name for dtype in d.buffers.values()]), d.pick(1, 2, 3))
