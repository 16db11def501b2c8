"""What random programs of tensor operations are drawn from: every operation there is, on whatever values there are."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.dialects import arith
from lazytorch.ir.examples import documented_operations, example_operation
from lazytorch.ir.types import TensorType
from tests.fuzz.tensor_programs import Input, Step, TensorProgram

FLOATS = ("f32", "f64", "f16")
DTYPES = ("f32", "f32", "f32", "f64", "i64", "i32", "i1", "ui8", "i8", "i16", "f16")
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 0)
LARGEST = 30_000
UNARY = ("neg", "abs", "sign", "floor", "ceil", "trunc")
UNARY_FLOAT = ("arith.sqrt", "arith.round_even")
FUNCTIONS = ("exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "tanh", "erf", "sigmoid")


class _Draft:
    """A program while it is drawn."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.inputs: list[Input] = []
        self.types: list[TensorType] = []
        self.steps: list[Step] = []
        self.wide = False
        """Whether operations are drawn on f64 whose examples are of f32."""

    def add(self, name: str, *operands: int, **attributes: Any) -> int:
        """Append an operation if its result is not too large; the number of its result, else of its first operand."""
        return self.add_step(Step(name, operands, attributes))

    def add_step(self, step: Step) -> int:
        results = step.types([self.types[number] for number in step.operands])
        if any(type.numel > LARGEST for type in results):
            return step.operands[0]
        self.steps.append(step)
        self.types.append(results[step.result])
        return len(self.types) - 1

    def constant(self, value: Any, dtype: DType, shape: tuple[int, ...] = ()) -> int:
        return self.add("arith.constant", value=value, type=TensorType(dtype, shape))

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def below(self, limit: int) -> int:
        """0 ... limit"""
        return self.draw(st.integers(0, limit))

    def any_value(self, kinds: str = "") -> int | None:
        fitting = [n for n, type in enumerate(self.types) if not kinds or type.dtype.kind in kinds]
        return self.draw(st.sampled_from(fitting[::-1])) if fitting else None

    def partner(self, x: int, dtype: DType | None = None) -> int:
        """A value of x's element type that broadcasts with it."""
        type = self.types[x]
        dtype = dtype or type.dtype
        near = [n for n, other in enumerate(self.types) if _broadcasts(type.shape, other.shape)]
        n = self.draw(st.sampled_from(near[::-1]))
        return n if self.types[n].dtype is dtype else self.add("arith.cast", n, dtype=dtype)

    def partner_of_shape(self, x: int) -> int:
        """A value of x's type: another one of its type, or x itself, backwards."""
        alike = [n for n, type in enumerate(self.types) if type == self.types[x]]
        y = self.draw(st.sampled_from(alike[::-1]))
        return y if y != x else self.add("tensor.flip", x, dims=self.dims(self.types[x].rank))

    def fitted(self, type: TensorType) -> int:
        """A value of this type made of some value; whole numbers are 0 or 1, which are indices everywhere."""
        x = self.any_value()
        assert x is not None
        if self.types[x].numel == 0:
            x = self.constant(self.pick(0, 1), self.types[x].dtype, (1,))
        if type.dtype.kind not in "fb":
            x = self.add("arith.cast", x, dtype=dtypes.bool_)
        if self.types[x].dtype is not type.dtype:
            x = self.add("arith.cast", x, dtype=type.dtype)
        count = self.types[x].numel
        x = self.add("tensor.reshape", x, shape=(count,))
        if count < type.numel:
            places = self.add("tensor.iota", size=type.numel, dtype=dtypes.int64)
            x = self.add("tensor.gather", x, self.add("arith.remainder", places, self.constant(count, dtypes.int64)))
        x = self.add("tensor.slice", x, starts=(0,), sizes=(type.numel,), steps=(1,))
        return self.add("tensor.reshape", x, shape=type.shape)

    def dims(self, rank: int) -> tuple[int, ...]:
        return tuple(sorted(self.draw(st.sets(st.integers(0, rank - 1))))) if rank else ()


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(x == y or x == 1 or y == 1 for x, y in zip(reversed(a), reversed(b), strict=False))


def _unary(d: _Draft, x: int) -> None:
    kind = d.types[x].dtype.kind
    if kind == "b":
        d.add("arith.bit_not", x)
    elif kind == "f":
        d.add(d.pick(*[f"arith.{name}" for name in UNARY], *UNARY_FLOAT), x)
    else:
        d.add(d.pick("arith.neg", "arith.abs", "arith.sign", "arith.bit_not"), x)


def _function(d: _Draft, x: int) -> None:
    if d.types[x].dtype.name not in ("f32", "f64"):
        x = d.add("arith.cast", x, dtype=dtypes.named(d.pick("f32", "f64")))
    d.add(f"math.{d.pick(*FUNCTIONS)}", x)


def _binary(d: _Draft, x: int) -> None:
    y = d.partner(x)
    a, b = (x, y) if d.flag() else (y, x)
    kind = d.types[x].dtype.kind
    if kind == "b":
        d.add(d.pick("arith.bit_and", "arith.bit_or", "arith.bit_xor", "arith.maximum", "arith.minimum"), a, b)
        return
    names = ["add", "sub", "mul", "maximum", "minimum", "add", "mul"]
    names += ["div", "remainder"] if kind == "f" else ["bit_and", "bit_or", "bit_xor", "div", "remainder"]
    d.add(f"arith.{d.pick(*names)}", a, b)


def _by_constant(d: _Draft, x: int) -> None:
    dtype = d.types[x].dtype
    if dtype.kind == "b":
        return
    values = (0.5, 2.0, -1.0, 0.0, -0.0, 3.25) if dtype.kind == "f" else (1, 2, 3, 0)
    constant = d.constant(d.pick(*values), dtype)
    a, b = (x, constant) if d.flag() else (constant, x)
    d.add(d.pick("arith.add", "arith.mul", "arith.sub", "arith.maximum"), a, b)


def _compare(d: _Draft, x: int) -> None:
    d.add("arith.compare", x, d.partner(x), predicate=d.pick(*sorted(arith.PREDICATES)))


def _select(d: _Draft, x: int) -> None:
    y = d.partner(x)
    both = _broadcast(d.types[x].shape, d.types[y].shape)
    conditions = [n for n, t in enumerate(d.types) if t.dtype.kind == "b" and _broadcasts(both, t.shape)]
    if conditions:
        d.add("arith.select", d.pick(*conditions[::-1]), x, y)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return arith.broadcast_shapes(a, b)


def _fma(d: _Draft, x: int) -> None:
    if d.types[x].dtype.name in ("f32", "f64"):
        y = d.partner(x)
        if _broadcast(d.types[x].shape, d.types[y].shape) == d.types[x].shape:
            d.add("arith.fma", x, y, d.partner(x)) if d.flag() else d.add("arith.fma", y, y, x)


def _cast(d: _Draft, x: int) -> None:
    d.add("arith.cast", x, dtype=dtypes.named(d.pick(*DTYPES)))


def _permute(d: _Draft, x: int) -> None:
    d.add("tensor.permute", x, order=tuple(d.draw(st.permutations(range(d.types[x].rank)))))


def _reshape(d: _Draft, x: int) -> None:
    count, shape = d.types[x].numel, []
    if count == 0:
        d.add("tensor.reshape", x, shape=d.pick((0,), (3, 0), (0, 1, 2)))
        return
    while count > 1 and len(shape) < 4:
        divisors = [n for n in (2, 3, 4, 5, 7, 8, 9, 16, 31) if count % n == 0]
        part = d.pick(count, *divisors)
        shape.append(part)
        count //= part
    shape.append(count)
    if d.flag():
        shape.insert(d.below(len(shape)), 1)
    d.add("tensor.reshape", x, shape=tuple(shape))


def _expand(d: _Draft, x: int) -> None:
    shape = d.types[x].shape
    wide = tuple([d.pick(1, 2, 3, 9, 17) if size == 1 else size for size in shape])
    d.add("tensor.expand", x, shape=(d.pick(1, 2, 5), *wide) if d.flag() and len(wide) < 5 else wide)


def _slice(d: _Draft, x: int) -> None:
    starts, sizes, steps = [], [], []
    for size in d.types[x].shape:
        step = d.pick(1, 1, 2, 3)
        start = d.below(min(size, 4))
        sizes.append(max(-(-(size - start) // step) - d.pick(0, 0, 1, 2), 0))
        starts.append(start)
        steps.append(step)
    d.add("tensor.slice", x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))


def _flip(d: _Draft, x: int) -> None:
    d.add("tensor.flip", x, dims=d.dims(d.types[x].rank))


def _window(d: _Draft, x: int) -> None:
    shape = d.types[x].shape
    spatial = d.pick(1, 2)
    if len(shape) < spatial or len(shape) + spatial > 5:
        return
    sizes, strides, dilations = [], [], []
    for extent in shape[len(shape) - spatial :]:
        size, dilation = d.pick(1, 2, 3), d.pick(1, 1, 2)
        if dilation * (size - 1) + 1 > extent:
            return
        sizes.append(size)
        strides.append(d.pick(1, 1, 2, 3))
        dilations.append(dilation)
    d.add("tensor.window", x, sizes=tuple(sizes), strides=tuple(strides), dilations=tuple(dilations))


def _same_view(d: _Draft, x: int) -> None:
    d.add(d.pick("tensor.alias", "tensor.detach"), x)


def _pad(d: _Draft, x: int) -> None:
    rank, kind = d.types[x].rank, d.types[x].dtype.kind
    low, high, interior = (tuple([d.pick(0, 0, 1, 3) for _ in range(rank)]) for _ in range(3))
    value = {"f": d.pick(0.0, -0.0, 1.5, math.inf), "b": True}.get(kind, 7)
    d.add("tensor.pad", x, low=low, high=high, interior=interior, value=value)


def _concat(d: _Draft, x: int) -> None:
    type = d.types[x]
    if not type.rank:
        return
    dim = d.below(type.rank - 1)
    fitting = [
        n
        for n, other in enumerate(d.types)
        if other.dtype is type.dtype and other.rank == type.rank
        if all(a == b for i, (a, b) in enumerate(zip(type.shape, other.shape, strict=True)) if i != dim)
    ]
    d.add("tensor.concat", x, *d.draw(st.lists(st.sampled_from(fitting), max_size=3)), dim=dim)


def _insert(d: _Draft, x: int) -> None:
    """A slice of the value, changed, back into it at the same or another place."""
    shape = d.types[x].shape
    starts = tuple([d.below(min(size, 2)) for size in shape])
    steps = tuple([d.pick(1, 1, 2) for _ in shape])
    sizes = tuple([-(-(size - start) // step) for size, start, step in zip(shape, starts, steps, strict=True)])
    part = d.add("tensor.slice", x, starts=starts, sizes=sizes, steps=steps)
    if d.flag():
        part = d.add("tensor.flip", part, dims=d.dims(len(shape)))
    d.add("tensor.insert_slice", x, part, starts=starts, steps=steps)


def _reduce(d: _Draft, x: int) -> None:
    type = d.types[x]
    dims = d.dims(type.rank)
    is_bool = type.dtype.kind == "b"
    names = ["tensor.reduce_any", "tensor.reduce_all"] if is_bool else ["tensor.reduce_sum", "tensor.reduce_prod"]
    if all(type.shape[dim] for dim in dims):
        names += ["tensor.reduce_max"] if is_bool else ["tensor.reduce_max", "tensor.reduce_min", "tensor.reduce_sum"]
    d.add(d.pick(*names), x, dims=dims)


def _argument(d: _Draft, x: int) -> None:
    dims = [dim for dim, size in enumerate(d.types[x].shape) if size]
    if dims:
        d.add(d.pick("tensor.argmax", "tensor.argmin"), x, dim=d.pick(*dims))


def _contract(d: _Draft, x: int) -> None:
    """The other operand is made of a drawn value: letters matched to sizes, everything else in random order."""
    if d.types[x].dtype.name not in ("f32", "f64", "i64", "i32"):
        x = d.add("arith.cast", x, dtype=dtypes.float32)
    type = d.types[x]
    y = d.any_value()
    assert y is not None
    if max(type.rank, d.types[y].rank) > 5:
        return
    if d.types[y].dtype is not type.dtype:
        y = d.add("arith.cast", y, dtype=type.dtype)
    lhs = "abcde"[: type.rank]
    free, rhs = dict(zip(lhs, type.shape, strict=True)), ""
    for size, fresh in zip(d.types[y].shape, "vwxyz", strict=False):
        same = [letter for letter, extent in free.items() if extent == size]
        letter = d.pick(*same, fresh) if same else fresh
        free.pop(letter, None)
        rhs += letter
    shared = [letter for letter in lhs if letter in rhs]
    summed = set(d.draw(st.lists(st.sampled_from(shared)))) if shared else set()
    kept = [letter for letter in dict.fromkeys(lhs + rhs) if letter not in summed]
    out = "".join(d.draw(st.permutations(kept)))
    if len(out) > 6:
        return
    sizes = {**dict(zip(lhs, type.shape, strict=True)), **dict(zip(rhs, d.types[y].shape, strict=True))}
    if math.prod(sizes.values()) <= 20 * LARGEST:
        d.add("tensor.contract", x, y, lhs=lhs, rhs=rhs, out=out)


def _index(d: _Draft, size: int, count: int | None = None) -> int | None:
    """A value of valid indices, negative ones among them."""
    if size == 0:
        return None
    n = d.any_value()
    assert n is not None
    if d.types[n].dtype is not dtypes.int64:
        n = d.add("arith.cast", n, dtype=dtypes.int64)
    if count is not None and d.types[n].numel > count:
        n = d.add("tensor.iota", size=d.pick(0, 1, 3, 8, 17), dtype=dtypes.int64)
    return d.add("arith.remainder", n, d.constant(size, dtypes.int64))


def _gather(d: _Draft, x: int) -> None:
    type = d.types[x]
    index = _index(d, type.shape[0]) if type.rank else None
    if index is not None and d.types[index].rank + type.rank <= 6:
        d.add("tensor.gather", x, index)


def _scatter(d: _Draft, x: int) -> None:
    type = d.types[x]
    index = _index(d, type.shape[0], 300) if type.rank else None
    if index is None or d.types[index].rank + type.rank > 6:
        return
    rows = d.add("tensor.gather", x, index)
    if rows == x:
        return
    if type.dtype.kind == "b":
        d.add("tensor.scatter", x, index, d.add("arith.bit_not", rows))
        return
    rows = d.add("arith.add", rows, d.constant(0.25 if type.dtype.kind == "f" else 1, type.dtype))
    d.add(
        d.pick("tensor.scatter", *[f"tensor.scatter_{kind}" for kind in ("add", "add", "mul", "max", "min")]), x, index, rows
    )


def _scan(d: _Draft, x: int) -> None:
    type = d.types[x]
    if not type.rank or type.dtype.kind == "b":
        return
    dim = d.below(type.rank - 1)
    if type.dtype.kind == "f" and d.flag():
        d.add("tensor.scan_linear", x, d.partner_of_shape(x), dim=dim)
    else:
        d.add(f"tensor.scan_{d.pick('sum', 'prod', 'max', 'min')}", x, dim=dim)


def _sort(d: _Draft, x: int) -> None:
    type = d.types[x]
    if type.rank:
        size = type.shape[-1]
        d.add("tensor.argsort", x, descending=d.flag(), count=d.pick(-1, d.below(size)))


def _search(d: _Draft, x: int) -> None:
    """Places in sorted numbers: a scan of largest numbers is sorted."""
    type = d.types[x]
    if type.rank and type.dtype.kind != "b":
        values = d.partner_of_shape(x)
        table = d.add("tensor.scan_max", x, dim=type.rank - 1)
        d.add("tensor.searchsorted", table, values, right=d.flag())


def _diagonal(d: _Draft, x: int) -> None:
    if d.types[x].rank >= 2:
        d.add("tensor.diagonal", x, offset=d.pick(0, 1, -1, 3, -5))


def _strided(d: _Draft, x: int) -> None:
    """A view by strides, of places that may overlap."""
    shape, strides, last = [], [], d.types[x].numel - 1
    for _ in range(d.below(3)):
        stride = d.pick(0, 1, 2, 5)
        size = min(d.pick(1, 2, 3, 9), last // stride + 1 if stride else 9)
        shape.append(size)
        strides.append(stride)
        last -= stride * (size - 1)
    if last >= 0:
        flat = d.add("tensor.reshape", x, shape=(d.types[x].numel,))
        d.add("tensor.as_strided", flat, shape=tuple(shape), strides=tuple(strides), offset=d.below(min(last, 4)))


LEFT_OUT = ("builtin.", "fused.", "loop.", "gpu.", "linalg.", "random.", "tensor.transfer", "complex.", "fourier.")
"""Of other levels; of matrices that must be regular, by NumPy itself; by rejection; between devices; complex."""
REGISTERED = [d for d in documented_operations() if not d.name.startswith(LEFT_OUT) and not isinstance(d.example, str)]
WITH_DERIVATIVE = [d for d in REGISTERED if d.vjp is not None and d.name not in ("arith.bitcast", "arith.cast")]


def _registered(d: _Draft, x: int) -> None:
    """Any operation there is, with its example's attributes and shapes."""
    declaration = d.pick(*(WITH_DERIVATIVE if d.wide else REGISTERED))
    example = example_operation(declaration)
    types = [operand.type for operand in example.operands]
    if d.wide:
        types = [type.with_dtype(dtypes.float64) if type.dtype is dtypes.float32 else type for type in types]
    operands = [d.fitted(type) for type in types]
    result = d.below(len(example.results) - 1)
    d.add_step(Step(declaration.name, tuple(operands), example.attributes.as_dict(), result))


def _iota(d: _Draft, x: int) -> None:
    d.add("tensor.iota", size=d.pick(*SIZES), dtype=dtypes.named(d.pick("i64", "i32", "f32", "f64")))


def _spread(d: _Draft, x: int) -> None:
    """A reduction subtracted from what it reduced, as in a softmax."""
    type = d.types[x]
    if type.dtype.kind == "b" or not type.rank or 0 in type.shape:
        return
    dims = d.dims(type.rank)
    total = d.add(d.pick("tensor.reduce_max", "tensor.reduce_sum"), x, dims=dims)
    kept = tuple([1 if dim in dims else size for dim, size in enumerate(type.shape)])
    d.add("arith.sub", x, d.add("tensor.reshape", total, shape=kept))


STEPS = (
    *(_binary,) * 4, *(_by_constant,) * 2, _unary, _function, _compare, _select, _fma, _cast,
    _permute, _permute, _reshape, _reshape, _expand, _slice, _slice, _flip, _window, _same_view,
    _pad, _concat, _insert, _reduce, _reduce, _reduce, _argument, _contract, _contract, _gather, _scatter, _iota, _spread,
    _scan, _scan, _sort, _search, _diagonal, _strided, *(_registered,) * 4,
)  # fmt: skip


@st.composite
def programs(draw: st.DrawFn, most_steps: int = 14) -> TensorProgram:
    """Programs in which everything is drawn: a few inputs, operations on whatever there is so far, several outputs."""
    d = _Draft(draw)
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.lists(st.sampled_from(SIZES), max_size=4).map(tuple))
        if math.prod(shape) > LARGEST:
            shape = shape[:2]
        if d.below(19) == 19:
            shape = d.pick((4097,), (2, 5000), (9001,), (300, 33), (70, 129))
        d.inputs.append(Input(d.pick(*DTYPES), shape, d.pick("normal", "normal", "normal", "special")))
        d.types.append(d.inputs[-1].type)
    for _ in range(draw(st.integers(1, most_steps))):
        x = d.any_value()
        assert x is not None
        draw(st.sampled_from(STEPS))(d, x)
    last = len(d.types) - 1
    outputs = draw(st.lists(st.integers(0, last).map(lambda n: last - n), min_size=1, max_size=4, unique=True))
    return TensorProgram(tuple(d.inputs), tuple(d.steps), tuple(outputs))


SMOOTH = (
    *(_binary,) * 3, _by_constant, _unary, _function, _function, _compare, _select, _fma, _permute, _reshape, _expand,
    _slice, _flip, _window, _pad, _concat, _insert, _reduce, _reduce, _contract, _gather, _scatter, _scan, _sort, _diagonal,
    _strided, _spread, *(_registered,) * 8,
)  # fmt: skip


@st.composite
def differentiable_programs(draw: st.DrawFn, most_steps: int = 6) -> TensorProgram:
    """Small programs of f64, all of whose last value is asked for."""
    d = _Draft(draw)
    d.wide = True
    for _ in range(draw(st.integers(1, 2))):
        d.inputs.append(Input("f64", draw(st.lists(st.sampled_from((1, 2, 3, 4, 5)), max_size=3).map(tuple))))
        d.types.append(d.inputs[-1].type)
    for _ in range(draw(st.integers(1, most_steps))):
        x = d.any_value()
        assert x is not None
        draw(st.sampled_from(SMOOTH))(d, x)
    floats = [n for n, type in enumerate(d.types) if type.dtype is dtypes.float64]
    return TensorProgram(tuple(d.inputs), tuple(d.steps), (floats[-1],))
