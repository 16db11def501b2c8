"""Random programs of tensor operations, run in every way the compiler knows: all must agree to the bit.

A program is plain data, so that a failing one shrinks and prints as something that can be pasted into a test. Its meaning
is the NumPy reference of every operation; only the functions of the `math` dialect, which have no exact reference, are
taken from a program of that one operation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.codegen.schedules import map as map_schedule
from lazytorch.config import config
from lazytorch.ir.declaration import Operator, Trait, declaration_named
from lazytorch.ir.interpreter import apply_reference
from lazytorch.ir.trace import RECORDER, STATE, Node, leaf
from lazytorch.ir.types import TensorType, TupleType
from lazytorch.runtime import session
from lazytorch.runtime.buffer import Buffer


@dataclass(frozen=True)
class Input:
    """An argument: `fill` is "normal" or "special" (zeros of both signs, infinities, nan, tiny and huge numbers)."""

    dtype: str
    shape: tuple[int, ...]
    fill: str = "normal"

    @property
    def type(self) -> TensorType:
        return TensorType(dtypes.named(self.dtype), self.shape)


@dataclass(frozen=True)
class Step:
    """One operation on earlier values, which are numbered: the inputs first, then the steps' results."""

    name: str
    operands: tuple[int, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    result: int = 0
    """Which of the operation's results is the step's value."""

    @property
    def operator(self) -> Operator:
        return declaration_named(self.name).operator(**self.attributes)

    def types(self, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
        """The types of the operation's results."""
        type = self.operator.signature(*operands).result_type
        return type.types if isinstance(type, TupleType) else (type,)

    @property
    def is_exact(self) -> bool:
        """Whether the NumPy meaning has the compiled code's bits: functions of `math`, and what is made of them, do not."""
        declaration = declaration_named(self.name)
        return declaration.has(Trait.HOST) or (
            self.name.startswith(("arith.", "tensor.", "integers.")) and not declaration.has(Trait.COMPOSITE)
        )


@dataclass(frozen=True)
class TensorProgram:
    """Inputs, steps, and the numbers of the values that are asked for."""

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def __repr__(self) -> str:
        steps = "".join(f"\n    {step!r},  # {len(self.inputs) + i}" for i, step in enumerate(self.steps))
        return f"TensorProgram({self.inputs!r}, ({steps}\n  ), {self.outputs!r})"


SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, math.inf, -math.inf, math.nan, 1e-45, 3e38, 1e16, -7.25, 2.0**-1074, 1e300)
GUARD = 256
"""Bytes on both sides of every buffer that a kernel must leave alone."""


def arrays_of(program: TensorProgram, seed: int = 0) -> list[np.ndarray]:
    """Values for the inputs."""
    random = np.random.default_rng(seed)
    arrays = []
    for argument in program.inputs:
        dtype, shape = argument.type.dtype, argument.shape
        if dtype.kind == "b":
            array = random.integers(0, 2, shape) > 0
        elif dtype.kind in "ui":
            bounds = np.iinfo(dtype.numpy)
            low, high = (bounds.min, bounds.max) if argument.fill == "special" else (max(bounds.min, -9), 10)
            array = random.integers(low, high, shape, dtype=dtype.numpy, endpoint=True)
        elif argument.fill == "special":
            with np.errstate(over="ignore"):
                array = random.choice(np.array(SPECIAL), shape).astype(dtype.numpy)
        else:
            array = np.where(random.random(shape) < 0.1, 0.0, random.standard_normal(shape) * 3)
        arrays.append(np.asarray(array).astype(dtype.numpy).reshape(shape))
    return arrays


@contextmanager
def guarded() -> Iterator[None]:
    """Within the block all new memory is full of rubbish and lies between guard bands, which are checked at the end."""
    original = Buffer.__init__
    made: list[Buffer] = []

    def make(self: Buffer, nbytes: int) -> None:
        whole = Buffer.__new__(Buffer)
        original(whole, nbytes + 2 * GUARD)
        whole.numpy(np.uint8, (whole.nbytes,))[...] = 0xFF  # nan, -1 and true
        made.append(whole)
        self.owner, self.ptr, self.nbytes, self.shared = whole, whole.ptr + GUARD, nbytes, False

    Buffer.__init__ = make
    try:
        yield
    finally:
        Buffer.__init__ = original
    for whole in made:
        memory = whole.numpy(np.uint8, (whole.nbytes,))
        for name, band in (("before", memory[:GUARD]), ("after", memory[-GUARD:])):
            assert (band == 0xFF).all(), f"a kernel wrote {name} a buffer of {whole.nbytes - 2 * GUARD} bytes"


@contextmanager
def small_grain() -> Iterator[None]:
    """Within the block small loops are divided among threads too, and no program planned outside of it is used."""
    before = map_schedule.SERIAL_WORK
    map_schedule.SERIAL_WORK = 2
    session._programs.clear()
    try:
        yield
    finally:
        map_schedule.SERIAL_WORK = before
        session._programs.clear()


def run(program: TensorProgram, arrays: Sequence[np.ndarray], *, every: int = 0, **settings: Any) -> list[np.ndarray]:
    """The outputs as compiled under these settings; `every=3` asks for a value after every third operation."""
    trace = STATE.trace
    with small_grain(), guarded(), config(**settings):
        nodes = [_input(argument, array) for argument, array in zip(program.inputs, arrays, strict=True)]
        given = list(nodes)
        for number, step in enumerate(program.steps, 1):
            made = RECORDER.emit(step.operator, [nodes[operand] for operand in step.operands])
            nodes.append(made[step.result] if isinstance(made, tuple) else made)
            if every and number % every == 0:
                session.synchronize(trace, (nodes[-1],), "differential test")
        wanted = [nodes[number] for number in program.outputs]
        session.synchronize(trace, wanted, "differential test")
        for node, array in zip(given, arrays, strict=True):
            assert array.tobytes() == _array(node).tobytes(), "a kernel wrote to an input"
        return [_array(node).copy() for node in wanted]


def _input(argument: Input, array: np.ndarray) -> Node:
    buffer = Buffer(max(array.nbytes, 1))
    buffer.numpy(array.dtype, array.shape)[...] = array
    return leaf(argument.type, buffer)


def _array(node: Node) -> np.ndarray:
    return node.buffer.numpy(node.type.dtype.numpy, node.type.shape)


def meaning(program: TensorProgram, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs by the operations' NumPy meanings; what has no exact one, as the compiled operation alone."""
    values = list(arrays)
    types = [argument.type for argument in program.inputs]
    for step in program.steps:
        operands = [np.ascontiguousarray(values[number]).reshape(types[number].shape) for number in step.operands]
        operand_types = [types[number] for number in step.operands]
        results = step.types(operand_types)
        types.append(results[step.result])
        if step.is_exact or types[-1].dtype.kind != "f":
            with np.errstate(all="ignore"):
                outcome = apply_reference(step.operator, operand_types, results, operands)
            values.append(np.asarray(outcome[step.result]))
        else:
            inputs = tuple([Input(type.dtype.name, type.shape) for type in operand_types])
            alone = TensorProgram(inputs, (replace(step, operands=tuple(range(len(inputs)))),), (len(inputs),))
            values += run(alone, operands, num_threads=1, fuse=False)
    return [np.ascontiguousarray(values[n], types[n].dtype.numpy).reshape(types[n].shape) for n in program.outputs]


WAYS: dict[str, dict[str, Any]] = {
    "fused": {"num_threads": 2},
    "without fusion": {"num_threads": 2, "fuse": False},
    "one by one": {"num_threads": 1, "every": 1},
    "in parts": {"num_threads": 2, "every": 3},
    "on one thread": {"num_threads": 1},
    "for x86-64-v3": {"num_threads": 2, "target": "x86-64-v3"},
}


def check(program: TensorProgram, seed: int = 0) -> None:
    """Raises AssertionError when some way to run the program gives other bits than its meaning."""
    arrays = arrays_of(program, seed)
    expected = meaning(program, arrays)
    for way, settings in WAYS.items():
        for number, want, got in zip(program.outputs, expected, run(program, arrays, **settings), strict=True):
            assert same_bits(want, got), f"{way}: value {number} differs: {difference(want, got)}"


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to the bit, but for which nan a nan is."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    return bool(np.all((np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b)))))


def difference(want: np.ndarray, got: np.ndarray) -> str:
    """Where two arrays of one shape differ first."""
    for index in np.ndindex(*want.shape):
        if not same_bits(np.asarray(want[index]), np.asarray(got[index])):
            return f"at {index} it should be {want[index]!r} but is {got[index]!r}"
    return f"{want.dtype}{list(want.shape)} and {got.dtype}{list(got.shape)}"
