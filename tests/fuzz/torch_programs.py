"""Random programs of torch calls: views, writes through them, autograd, values asked for in between; run by both libraries.

A program is a list of statements, text, over a module `t`, variables and a list `seen` of observed values. It is drawn with
the oracle running along, so every statement is known to be possible, or to raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch as oracle
from hypothesis import strategies as st

import lazytorch

TOLERANCE = {"float16": 4e-3, "float32": 2e-4, "float64": 1e-10}
"""Relative to the largest number of a tensor, where float64 does not say more."""
ROUNDING = {"float16": 2e-3, "float32": 2e-6}
"""Relative to the largest number: what no one looks at twice. What differs by more is measured by what float64 gives: it
must not be more than four times as far from it as torch is."""

Exact = Callable[[], np.ndarray | None]
"""What float64 gives, where it gives something of the kind."""


@dataclass(frozen=True)
class Statement:
    """One line, and the name of the exception that it raises in torch ("" if none)."""

    text: str
    raises: str = ""


@dataclass(frozen=True)
class TorchProgram:
    """The lines of a program."""

    statements: tuple[Statement, ...]

    def __repr__(self) -> str:
        lines = [f"{s.text}  # raises {s.raises}" if s.raises else s.text for s in self.statements]
        return "TorchProgram of\n    " + "\n    ".join(lines)


def execute(text: str, scope: dict[str, Any]) -> str:
    """Run a statement; the name of the exception that it raised, or ""."""
    try:
        exec(text, scope)
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        scope["error"] = str(error)
        return type(error).__name__
    return ""


def new_scope(t: Any) -> dict[str, Any]:
    return {"t": t, "np": np, "seen": []}


def check(program: TorchProgram) -> None:
    """Raises AssertionError where lazytorch differs from torch in a value, shape, type, stride, gradient or exception."""
    want, got = (_run(program, t) for t in (oracle, lazytorch))
    wide = _Wide(program)
    for number, (a, b) in enumerate(zip(want["seen"], got["seen"], strict=True)):
        a, b = (x if isinstance(x, np.ndarray) else np.asarray(x, np.float32) for x in (a, b))
        exact = wide.seen(number)
        assert _close(a, b, exact), f"seen[{number}] is {b}, should be {a}"
    for name in sorted(want):
        if isinstance(want[name], oracle.Tensor):
            compare(name, want[name], got[name], wide)


def _run(program: TorchProgram, t: Any) -> dict[str, Any]:
    scope = new_scope(t)
    for statement in program.statements:
        raised = execute(statement.text, scope)
        assert raised == statement.raises, f"{statement.text} raised {raised}: {scope.get('error')}"
    return scope


class _Wide:
    """The program with all floating-point numbers in float64, by torch; it is run when it is first asked for."""

    def __init__(self, program: TorchProgram) -> None:
        self.program = program

    @cached_property
    def scope(self) -> dict[str, Any]:
        scope = new_scope(oracle)
        for statement in self.program.statements:
            execute(re.sub(r"t\.float(16|32)", "t.float64", statement.text), scope)
        return scope

    def seen(self, number: int) -> Exact:
        """What is seen there."""
        return lambda: np.asarray(self.scope["seen"][number], np.float64) if number < len(self.scope["seen"]) else None

    def value(self, name: str, gradient: bool = False) -> Exact:
        """A variable, or its gradient."""

        def exact() -> np.ndarray | None:
            x = self.scope.get(name)
            x = x.grad if gradient and isinstance(x, oracle.Tensor) else x
            return x.detach().double().numpy() if isinstance(x, oracle.Tensor) else None

        return exact


def compare(name: str, want: Any, got: Any, wide: _Wide) -> None:
    """Raises AssertionError where two tensors differ."""
    assert tuple(got.shape) == tuple(want.shape), f"{name} has shape {tuple(got.shape)}, should be {tuple(want.shape)}"
    assert str(got.dtype) == str(want.dtype), f"{name} is {got.dtype}, should be {want.dtype}"
    for property_ in ("requires_grad", "is_leaf"):
        if not want.numel():
            continue  # torch's gradient of an expanded empty tensor is a new one, which has no history
        a, b = getattr(want, property_), getattr(got, property_)
        assert a == b, f"{name}.{property_} is {b}, should be {a}"
    if want.numel() > 1:
        a, b = strides(want), strides(got)
        assert a == b, f"{name} has strides {b}, should have {a}"
    a, b = want.detach().numpy(), got.detach().numpy()
    assert _close(a, b, wide.value(name)), f"{name} is\n{b}\nshould be\n{a}"
    if want.is_leaf:
        assert (want.grad is None) == (got.grad is None), f"{name}.grad is {got.grad}, should be {want.grad}"
        if want.grad is not None:
            a, b = want.grad.numpy(), got.grad.numpy()
            assert _close(a, b, wide.value(name, True)), f"{name}.grad is\n{b}\nshould be\n{a}"


def strides(x: Any) -> tuple[int, ...]:
    """Strides of the dimensions that have more than one element."""
    return tuple([stride for size, stride in zip(x.shape, x.stride(), strict=True) if size != 1])


def _close(a: np.ndarray, b: np.ndarray, exact: Exact) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    name = a.dtype.name
    size = float(np.abs(a[np.isfinite(a)]).max(initial=1.0))

    def within(tolerance: float) -> bool:
        return np.allclose(a, b, rtol=tolerance, atol=tolerance * size, equal_nan=True)

    if name not in ROUNDING or within(ROUNDING[name]):
        return within(TOLERANCE[name])
    truth = exact()
    if truth is None or truth.shape != a.shape or not np.array_equal(np.isfinite(truth), np.isfinite(a)):
        return within(TOLERANCE[name])
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    theirs, ours = (float(np.abs(x[finite] - truth[finite]).max(initial=0.0)) for x in (a, b))
    return ours <= 4 * theirs + 4 * ROUNDING[name] * size


# -- drawing them ------------------------------------------------------------

SIZES = (1, 2, 3, 4, 5, 0, 8, 17)
DTYPES = ("float64", "float32", "float32", "int64", "int32", "bool", "uint8", "float16")
UNARY = ("neg", "abs", "sign", "tanh", "sigmoid", "relu", "square", "floor", "ceil", "exp", "sin", "sqrt", "logical_not")
BINARY = ("add", "sub", "mul", "maximum", "minimum", "eq", "lt", "ge", "div", "logical_and", "atan2", "remainder", "fmod")
WRITES = ("add_", "sub_", "mul_", "div_", "copy_", "clamp_min_", "maximum_", "remainder_")
REDUCTIONS = ("sum", "mean", "amax", "amin", "prod", "any", "all", "var", "std", "logsumexp", "norm")

# Refusals of other kinds are compared function by function elsewhere, or stem from what lazytorch's values, which never
# change, have no need of.
REFUSALS = ("leaf Variable", "does not require grad", "more than one element", "second time")


class _Draft:
    """A program while it is drawn, with the oracle's variables."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.scope = new_scope(oracle)
        self.statements: list[Statement] = []
        self.count = 0
        self.read_only: dict[int, Any] = {}
        """By id, kept alive so that no value gets it again. Not written to: views by `detach`, which in torch have an
        autograd history of their own, and by `expand`, parts of which torch lets one write to."""

    def variables(self, test: Any = None) -> list[str]:
        found = [n for n, x in self.scope.items() if n.startswith("v") and isinstance(x, oracle.Tensor)]
        return [n for n in found if test is None or test(self.scope[n])][::-1]

    def any_variable(self, test: Any = None) -> str | None:
        found = self.variables(test)
        return self.draw(st.sampled_from(found)) if found else None

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def below(self, limit: int) -> int:
        return self.draw(st.integers(0, max(limit, 0)))

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def partner(self, x: str) -> str:
        """A variable that broadcasts with x, or a number."""
        shape = self.scope[x].shape
        near = self.variables(lambda y: _broadcasts(shape, y.shape))
        return self.draw(st.sampled_from([*near, "2", "0.5", "-3"]))

    def say(self, text: str) -> None:
        """Append a statement if the oracle takes it, or refuses it for a reason that autograd has."""
        raised = execute(text, self.scope)
        if raised and not any(words in self.scope["error"] for words in REFUSALS):
            return
        if any(isinstance(x, oracle.Tensor) and x.numel() > 3000 for x in self.scope.values()):
            self.scope = {n: x for n, x in self.scope.items() if not (isinstance(x, oracle.Tensor) and x.numel() > 3000)}
            return
        self.statements.append(Statement(text, raised))

    def define(self, expression: str) -> None:
        """A new variable; what is no view is made contiguous, as every such value is in lazytorch."""
        name = self.fresh()
        raised = execute(f"{name} = {expression}", self.scope)
        made = self.scope.get(name)
        if not raised and made is not None and (made._base is None and not made.is_contiguous()):
            expression = f"({expression}).contiguous()"
        self.say(f"{name} = {expression}")
        parents = [x for n, x in self.scope.items() if id(x) in self.read_only and re.search(rf"\b{n}\b", expression)]
        if parents or any(word in expression for word in (".detach()", ".data", ".expand(")):
            made = self.scope.get(name)
            self.read_only[id(made)] = made

    def dim(self, x: Any) -> int:
        return self.draw(st.integers(-x.ndim, x.ndim - 1)) if x.ndim else 0


def _broadcasts(a: Sequence[int], b: Sequence[int]) -> bool:
    return all(x == y or x == 1 or y == 1 for x, y in zip(reversed(a), reversed(b), strict=False))


def _new(d: _Draft) -> None:
    shape = d.draw(st.lists(st.sampled_from(SIZES), max_size=3))
    dtype = d.pick(*DTYPES)
    count = int(np.prod(shape))
    values = f"t.arange({count}).reshape({shape})"
    if dtype == "bool":
        d.define(f"{values} % 3 == {d.below(2)}")
    elif d.flag():
        d.define(f"({values} * {d.pick(3, 5, 7)} % 11).to(t.{dtype})")
    else:
        d.define(f"({values} * 0.25 - 1).to(t.{dtype})")


def _leaf(d: _Draft) -> None:
    # A view that is older than its base's requires_grad says that it requires grad too in torch, but passes none on.
    bases = [id(x._base) for x in d.scope.values() if isinstance(x, oracle.Tensor) and x._base is not None]
    x = d.any_variable(lambda x: x.is_floating_point() and x.is_leaf and id(x) not in bases and x._base is None)
    if x:
        d.say(f"{x}.requires_grad_()")


def _view_expression(d: _Draft, name: str) -> str:
    x = d.scope[name]
    rank, a, b = x.ndim, d.dim(x), d.dim(x)
    matrix = f"{name}.mT" if rank > 1 else f"{name}[None]"
    choice = d.below(14)
    if choice == 0:
        return f"{name}.transpose({a}, {b})"
    if choice == 1:
        return f"{name}.permute({list(d.draw(st.permutations(range(rank))))})"
    if choice in (2, 3, 4):
        return f"{name}[{_basic_index(d, x)}]"
    if choice == 5:
        return f"{name}.unsqueeze({a})"
    if choice == 6:
        return f"{name}.squeeze({d.pick('', str(a))})"
    if choice == 7:
        return f"{name}.reshape({d.pick('-1', str(_factored(d, x.numel())))})"
    if choice == 8:
        return f"{name}.view({d.pick('-1', str(_factored(d, x.numel())))})"
    if choice == 9:
        start = d.below(x.shape[a] if rank else 0)
        return f"{name}.narrow({a}, {start}, {d.below(x.shape[a] - start if rank else 0)})"
    if choice == 10:
        return f"{name}.select({a}, {d.below(3) - 1})"
    if choice == 11:
        return f"{name}.expand({[d.pick(2, 3), *x.shape]})"
    if choice == 12:
        return f"{name}.flatten({d.pick('', '1', '0, 1')})"
    if choice == 13:
        return d.pick(f"{name}.detach()", f"{name}.view_as({name})", f"{name}.data")
    return d.pick(
        f"{name}.split(2, {a})[0].clone()", f"({name}.chunk(2, {a})[-1] + 1)", f"({name}.unbind({a})[0] * 2)", matrix
    )


def _factored(d: _Draft, count: int) -> list[int]:
    shape = []
    while count > 1 and len(shape) < 3:
        part = d.pick(count, *[n for n in (2, 3, 4, 5) if count % n == 0])
        shape.append(part)
        count //= part
    return [*shape, count]


def _basic_index(d: _Draft, x: Any) -> str:
    parts = []
    for size in x.shape[: d.below(x.ndim)] if x.ndim else []:
        kind = d.below(5)
        if kind == 0:
            parts.append(str(d.below(size) - 1))
        elif kind == 1:
            parts.append(f"{d.below(2)}:{d.below(size + 1)}")
        elif kind == 2:
            parts.append(f"::{d.pick(2, 3)}")
        elif kind == 3:
            parts.append(f"{-d.below(3) or ''}:")
        else:
            parts.append(":")
    if d.below(5) == 0:
        parts.insert(d.below(len(parts)), d.pick("None", "..."))
    return ", ".join(parts) or "..."


def _view(d: _Draft) -> None:
    x = d.any_variable()
    if x:
        d.define(_view_expression(d, x))


def _unary(d: _Draft) -> None:
    x = d.any_variable()
    if x:
        d.define(f"{x}.{d.pick(*UNARY)}()")


def _binary(d: _Draft) -> None:
    x = d.any_variable()
    if x:
        y = d.partner(x)
        if d.flag():
            d.define(f"{x} {d.pick('+', '-', '*', '/', '>', '<=', '==', '%', '&')} {y}")
        else:
            d.define(f"t.{d.pick(*BINARY[:-3])}({x}, {y})")


def _reduce(d: _Draft) -> None:
    x = d.any_variable()
    if x:
        value = d.scope[x]
        keep = d.pick("", ", keepdim=True")
        name = d.pick(*REDUCTIONS)
        if d.below(3) == 0:
            d.define(f"{x}.{d.pick('sum', 'mean', 'max', 'min', 'argmax', 'prod', 'any')}()")
        elif d.below(4) == 0:
            d.define(f"{x}.{d.pick('max', 'min')}({d.dim(value)}{keep})[{d.below(1)}]")
        elif d.below(4) == 0:
            d.define(f"{x}.{d.pick('argmax', 'argmin', 'softmax', 'log_softmax')}({d.dim(value)})")
        else:
            d.define(f"{x}.{name}(dim={d.dim(value)}{keep})")


def _shape(d: _Draft) -> None:
    x = d.any_variable()
    if not x:
        return
    value = d.scope[x]
    alike = d.variables(lambda y: y.shape == value.shape)
    y, dim = d.draw(st.sampled_from(alike)), d.dim(value)
    d.define(
        d.pick(
            f"t.cat([{x}, {y}], {dim})",
            f"t.stack([{x}, {y}], {dim})",
            f"{x}.flip({dim})",
            f"{x}.roll(1, {dim})",
            f"{x}.repeat({[2, *[1] * value.ndim]})",
            f"{x}.clone()",
            f"{x}.contiguous()",
            f"{x}.to(t.{d.pick(*DTYPES)})",
            f"t.where({x} > 1, {x}, {y})",
            f"{x}.masked_fill({y} > 1, 2)",
            f"{x}.clamp(-1, {d.pick('1.5', '2')})",
            f"{x}.tril()",
            f"t.zeros_like({x})",
            f"{x} @ {y}.mT",
            f"{x}.index_select({dim}, t.tensor([0, -0]))",
            f"{x}[t.tensor([0, 0, -1])]",
            f"{x}[{y} > 1]",
            f"t.gather({x}, {dim}, t.zeros_like({y}).to(t.int64))",
        )
    )


def _write(d: _Draft) -> None:
    x = d.any_variable(lambda x: 0 not in x.stride() and id(x) not in d.read_only)
    if not x:
        return
    value = d.scope[x]
    y = d.partner(x)
    index = _basic_index(d, value)
    statement = d.pick(
        f"{x}.{d.pick('add_', 'sub_', 'mul_', 'div_')}({y})",
        f"{x} {d.pick('+=', '-=', '*=', '/=')} {y}",
        f"{x}[{index}] = {d.pick('7', '-1.5', y)}",
        f"{x}[{index}] {d.pick('+=', '*=')} {d.pick('2', y)}",
        f"{x}[{index}] = {x}[{index}] * 2",
        f"{x}.{d.pick('zero_()', 'fill_(3)', 'neg_()', 'relu_()', 'clamp_(-1, 2)', 'tanh_()', 'abs_()')}",
        f"{x}.copy_({y})" if y.startswith("v") else f"{x}.fill_({y})",
        f"{x}.add_({y}, alpha=2)",
        f"t.add({x}, {y}, out={d.any_variable(lambda z: z.shape == value.shape)})",
        f"t.mul({x}, 2, out={x})",
        f"{x}[{x} > 1] = 5",
        f"{x}[t.tensor([0, 0])] = 4",
        f"{x}[t.tensor([0, -1])] += 1",
        f"{x}.masked_fill_({x} > 0, -2)",
        f"{_view_expression(d, x)}.{d.pick('mul_(2)', 'add_(1)')}",
        f"{x}.index_add_(0, t.tensor([0, 0]), {x}[:2])",
        f"{x}.data.mul_(3)",
        f"{x}.detach()[{index}] = 6",
    )
    if d.below(5) == 0:
        statement = f"with t.no_grad(): {statement}"
    d.say(statement)


def _backward(d: _Draft) -> None:
    x = d.any_variable(lambda x: x.requires_grad) or d.any_variable()
    if x:
        d.say(
            d.pick(
                f"{x}.sum().backward()",
                f"({x} * {x}).sum().backward(retain_graph=True)",
                f"{x}.backward(t.ones_like({x}), retain_graph=True)",
                f"({x} * {x}).mean().backward()",
                f"{x}.grad = None",
                f"if {x}.is_leaf and {x}.grad is not None: {x}.grad.zero_()",
            )
        )


def _grad(d: _Draft) -> None:
    x = d.any_variable(lambda x: x.requires_grad and x.is_leaf)
    y = d.any_variable(lambda x: x.requires_grad)
    if x and y:
        create = d.pick("", ", create_graph=True")
        d.define(f"t.autograd.grad(({y} * {y}).sum(), {x}, retain_graph=True{create})[0].contiguous()")


def _look(d: _Draft) -> None:
    x = d.any_variable()
    if x:
        d.say(
            d.pick(
                f"seen.append({x}.tolist())",
                f"seen.append({x}.detach().numpy().copy())",
                f"str({x})",
                f"seen.append({x}.sum().item())",
                f"seen.append([{x}.storage_offset()])"
                if d.scope[x]._base is not None and d.scope[x].numel()
                else f"seen.append({x}.tolist())",
                f"{x}.detach().numpy()[...] = 2",
                f"del {x}",
            )
        )


STEPS = (
    _new,
    _leaf,
    *(_view,) * 5,
    _unary,
    *(_binary,) * 2,
    _reduce,
    _shape,
    _shape,
    *(_write,) * 6,
    _backward,
    _grad,
    _look,
    _look,
)


@st.composite
def programs(draw: st.DrawFn, most_steps: int = 16) -> TorchProgram:
    """Programs in which everything is drawn."""
    d = _Draft(draw)
    _new(d)
    if draw(st.booleans()):
        _leaf(d)
    for _ in range(draw(st.integers(1, most_steps))):
        draw(st.sampled_from(STEPS))(d)
    return TorchProgram(tuple(d.statements))
