"""Elementwise functions and the operators. The binary operators are generated: one specialised function each."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from sys import _getframe
from typing import Any

from lazytorch import dtypes
from lazytorch.default_dtype import default_dtype
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, math, tensor
from lazytorch.ir.dialects.indirect import refuse
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.trace import STATE, Node, leaf, record2, record_node
from lazytorch.ir.types import TensorType
from lazytorch.ops.promotion import common_type, python_dtype
from lazytorch.ops.recording import (
    FUNCTIONS,
    LARGEST,
    NUMBERS,
    apply,
    attach,
    cast,
    emit,
    number_leaf,
    place,
    rank_of,
    result,
    rounded,
    rounding_once,
    torch_function,
    widened,
    write_into,
)
from lazytorch.runtime.session import synchronize
from lazytorch.tensor import Tensor, arranged, reread, value, wrap

TENSOR_TYPES: set[type] = {Tensor}
"""Tensor and its subclasses: what the operators take the fast way for."""


def _register_subclass(cls: type, **keywords: Any) -> None:
    TENSOR_TYPES.add(cls)


attach("__init_subclass__", classmethod(_register_subclass))


_REFUSED = {"bits": "fc", "numbers": "b", "integers": "bfc", "real": "buic"}
"""Kinds of element types that a rule has no meaning for."""


class Binary:
    """A binary elementwise function: its operation, and how its operands' element types are promoted.

    rule: "promote" (common type), "true" (true division: integers become floating), "compare" (common type, result bool),
    "bits" (no floating types), "numbers" (no bool), "integers", "real" (only floating types).
    """

    def __init__(self, name: str, declaration: Declaration, rule: str = "promote", **attributes: Any) -> None:
        self.name = name
        self.operator = declaration.operator(**attributes)
        self.rule = rule
        self.table: dict[Any, dict[Any, Any]] = {}
        self.numbers: dict[tuple[Any, type, bool], tuple[Any, TensorType, Any, float]] = {}

    def common(self, a: TensorType, rank_a: int, b: TensorType, rank_b: int) -> DType:
        """The element type that both operands are cast to."""
        dtype = common_type(a.dtype, rank_a, b.dtype, rank_b)
        if self.rule == "true" and dtype.kind not in "fc":
            dtype = default_dtype()
        if dtype.kind in _REFUSED.get(self.rule, ""):
            name = self.name if self.name == "pow" else f"{self.name}_cpu"
            raise NotImplementedError(f"\"{name}\" not implemented for '{dtype.title}'")
        if self.rule == "subtract" and a.dtype is dtypes.bool_ and b.dtype is dtypes.bool_:
            raise RuntimeError(
                "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` "
                "operator instead."
            )
        if self.rule == "subtract" and dtypes.bool_ in (a.dtype, b.dtype):
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, "
                "use the `~` or `logical_not()` operator instead."
            )
        return dtype

    def miss(self, a: TensorType, b: TensorType) -> Any:
        """Fill the table for two operand types: a signature, or the casts that have to come first."""
        dtype = self.common(a, len(a.shape), b, len(b.shape))
        signature = self.operator.signature(a.with_dtype(dtype), b.with_dtype(dtype))
        found = signature if a.dtype is dtype and b.dtype is dtype else (signature, dtype)
        self.table.setdefault(a, {})[b] = found
        return found

    def call(self, a: Any, b: Any) -> Tensor:
        """The function on tensors and numbers, from anywhere."""
        trace = STATE.trace
        place()
        na, nb = self.operands(a, b)
        return result(record_node(trace, self.operator, (na, nb)), a, b)

    def operands(self, a: Any, b: Any) -> tuple[Node, Node]:
        """Both operands as nodes of the common element type; a Python number becomes a run-time argument."""
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            na, nb = value(a), value(b)
            dtype = self.common(na.type, len(na.type.shape), nb.type, len(nb.type.shape))
            return cast(na, dtype), cast(nb, dtype)
        if isinstance(a, Tensor):
            na = value(a)
            dtype = self._with_number(na.type, b)
            return cast(na, dtype), number_leaf(b, dtype)
        if not isinstance(b, Tensor):
            raise TypeError(f"{self.name}(): argument 'input' (position 1) must be Tensor, not {type(a).__name__}")
        nb = value(b)
        dtype = self._with_number(nb.type, a)
        return number_leaf(a, dtype), cast(nb, dtype)

    def note_number(self, tensor: Node, number: Any, swapped: bool, operands: tuple[Node, Node]) -> None:
        """Keep what an operation on a value and a number of these types is, if it takes both as they are: the signature, the
        number's type, what makes a number of it, and which ones are too large."""
        same, argument = reversed(operands) if swapped else operands
        dtype = argument.type.dtype
        if same is tensor and argument.signature is None and dtype.kind in "fi" and type(argument.buffer) in (int, float):
            signature = self.operator.signature(operands[0].type, operands[1].type)
            convert = float if dtype.kind == "f" else int
            largest = LARGEST.get(dtype.itemsize, inf) if dtype.kind == "f" else inf
            self.numbers[tensor.type, type(number), swapped] = signature, argument.type, convert, largest

    def _with_number(self, type: TensorType, number: Any) -> DType:
        if not isinstance(number, NUMBERS):
            raise TypeError(f"{self.name}(): argument 'other' (position 2) must be Tensor, not {number.__class__.__name__}")
        like = TensorType(python_dtype(number), ())
        return self.common(type, len(type.shape), like, -1)


_OPERATOR = '''
def {name}(a, b):
    """{doc}"""
    if type(b) not in TENSOR_TYPES:
        return other(binary, a, b, False)
    na = a._node
    if a._base is not None and a._seen != a._base._version_count:
        na = reread(a)
    nb = b._node  # after that: b may be a
    if b._base is not None and b._seen != b._base._version_count:
        nb = reread(b)
    try:
        signature = table[na.type][nb.type]
    except KeyError:
        signature = miss(na.type, nb.type)
    trace = STATE.trace
    frame = _getframe(1)
    trace.place = (frame.f_code, frame.f_lasti)
    if type(signature) is tuple:
        signature, dtype = signature
        node = record2(trace, signature, cast(na, dtype), cast(nb, dtype), {history})
        return arranged(trace, node, (na, nb))
    node = record2(trace, signature, na, nb, {history})
    if na.storage is not None or nb.storage is not None:
        return arranged(trace, node, (na, nb))
    self = new(Tensor)
    self._node = node
    self._base = None
    self._version_count = 0
    self.grad = None
    trace.live.append(self)
    if node.number >= trace.limit:
        synchronize(trace, (), "the pending graph is long")
    return self
'''


def _other(binary: Binary, a: Tensor, b: Any, swapped: bool) -> Any:
    """The slower way of an operator: the other operand is a number (or something foreign)."""
    node = a._node
    known = binary.numbers.get((node.type, type(b), swapped))
    frame = _getframe(2)
    trace = STATE.trace
    if known is not None and a._base is None and node.storage is None and -known[3] <= b <= known[3]:
        trace.place = (frame.f_code, frame.f_lasti)
        signature, type_, convert, _ = known
        argument = leaf(type_, convert(b))
        history = True if trace.grad_enabled and node.history and signature.differentiable else None
        both = (argument, node) if swapped else (node, argument)
        return wrap(trace, record2(trace, signature, *both, history))
    if not isinstance(b, NUMBERS) and not isinstance(b, Tensor):
        array = getattr(b, "__array__", None)
        if array is None or isinstance(b, str):
            return NotImplemented
        b = b.item() if getattr(b, "shape", None) == () else FUNCTIONS["from_numpy"](b)
    trace.place = (frame.f_code, frame.f_lasti)
    operands = binary.operands(b, a) if swapped else binary.operands(a, b)
    if a._base is None:
        binary.note_number(node, b, swapped, operands)
    return result(record_node(trace, binary.operator, operands), a, b)


def define_operator(method: str, binary: Binary, differentiable: bool = True) -> None:
    """Generate one operator method, specialised (as dataclasses generates __init__)."""
    history = "True if trace.grad_enabled and (na.history or nb.history) else None" if differentiable else "None"
    source = _OPERATOR.format(name=method, doc=f"`{binary.name}` as an operator.", history=history)
    scope: dict[str, Any] = {
        "TENSOR_TYPES": TENSOR_TYPES,
        "Tensor": Tensor,
        "STATE": STATE,
        "_getframe": _getframe,
        "arranged": arranged,
        "binary": binary,
        "cast": cast,
        "miss": binary.miss,
        "new": object.__new__,
        "other": _other,
        "record2": record2,
        "reread": reread,
        "synchronize": synchronize,
        "table": binary.table,
        "__name__": __name__,
    }
    exec(compile(source, f"<operator {method}>", "exec"), scope)
    setattr(Tensor, method, scope[method])


def _swapped_operator(binary: Binary) -> Callable[[Tensor, Any], Any]:
    """`b OP a` as the method of a: what Python calls when b is a number (or a subclass of Tensor has its say)."""

    def operate(a: Tensor, b: Any) -> Any:
        return _other(binary, a, b, True)

    return operate


ADD = Binary("add", arith.add)
SUB = Binary("sub", arith.sub, "subtract")
POWER = Binary("pow", math.pow_, "numbers")
RSUB = Binary("sub", arith.sub, "subtract", label="Rsub1")
MUL = Binary("mul", arith.mul)
DIV = Binary("div", arith.div, "true")
AND, OR, XOR = (
    Binary(f"bitwise_{n}", d, "bits") for n, d in (("and", arith.bit_and), ("or", arith.bit_or), ("xor", arith.bit_xor))
)
COMPARISONS = {name: Binary(name, arith.compare, "compare", predicate=name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}
MAXIMUM, MINIMUM = Binary("maximum", arith.maximum), Binary("minimum", arith.minimum)
FMOD = Binary("fmod", arith.remainder, "numbers")
REMAINDER, FLOOR_DIVIDE = Binary("remainder", arith.remainder, "numbers"), Binary("div_floor", arith.div, "numbers")
TRUNCATE_DIVIDE = Binary("div_trunc", arith.div, "numbers")
LEFT, RIGHT = Binary("lshift", arith.shift_left, "integers"), Binary("rshift", arith.shift_right, "integers")
ATAN2, HYPOT = Binary("atan2", math.atan2, "true"), Binary("hypot", math.hypot, "real")

for _name, _binary, _differentiable in (
    ("add", ADD, True),
    ("sub", SUB, True),
    ("mul", MUL, True),
    ("truediv", DIV, True),
    ("and", AND, False),
    ("or", OR, False),
    ("xor", XOR, False),
    ("lshift", LEFT, False),
    ("rshift", RIGHT, False),
):
    define_operator(f"__{_name}__", _binary, _differentiable)
    if _name != "truediv":
        attach(f"__r{_name}__", _swapped_operator(RSUB if _name == "sub" else _binary))
for _name, _binary in COMPARISONS.items():
    define_operator(f"__{_name}__", _binary, False)


attach("__hash__", object.__hash__)  # by identity: `==` compares elements


def _scaled(binary: Binary, input: Any, other: Any, alpha: Any) -> Any:
    """alpha * other, in the element type of the result (of bools only sums have one)."""
    whole = all(x.dtype.kind in "uib" if isinstance(x, Tensor) else isinstance(x, int) for x in (input, other))
    if whole and isinstance(alpha, float):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if not isinstance(other, Tensor):
        return other * alpha
    if other.dtype is dtypes.bool_:
        dtype = FUNCTIONS["result_type"](input, other)
        if dtype is dtypes.bool_ or binary is not ADD:
            return MUL.call(other, bool(alpha))
        other = other.to(dtype)
    return MUL.call(other, alpha)


def _combined(binary: Binary, input: Any, other: Any, alpha: Any) -> Tensor:
    """The sum or difference of input and alpha * other."""
    if type(alpha) is int and alpha == 1:
        return binary.call(input, other)
    if isinstance(other, Tensor) and other.dtype.opmath is not other.dtype:
        alpha = result(number_leaf(alpha, other.dtype))  # torch rounds it, too
    return _multiple_added(input, other, alpha, binary=binary)


@rounding_once
def _multiple_added(input: Any, other: Any, alpha: Any, *, binary: Binary) -> Tensor:
    return binary.call(input, _scaled(binary, input, other, alpha))


@torch_function("result_type", method=False, out=False)
def result_type(*operands: Any) -> DType:
    """The element type of an operation on two tensors or numbers."""
    if len(operands) != 2 or not all(isinstance(x, Tensor | int | float | complex) for x in operands):
        kinds = ", ".join(type(x).__name__ for x in operands)
        raise TypeError(f"result_type() received an invalid combination of arguments - got ({kinds})")
    known = [(x.dtype, len(x.shape)) if isinstance(x, Tensor) else (python_dtype(x), -1) for x in operands]
    return common_type(*known[0], *known[1])


@torch_function("can_cast", method=False, out=False)
def can_cast(from_: DType, to: DType) -> bool:
    """Whether numbers of a type may be written to another: categories may only rise."""
    return rank_of(from_) <= rank_of(to)


@torch_function("add", inplace=True)
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other"""
    return _combined(ADD, input, other, alpha)


@torch_function("sub", "subtract", inplace=True)
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other"""
    return _combined(SUB, input, other, alpha)


@torch_function("rsub")
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input"""
    require_first("rsub", input, other)
    return _combined(SUB, other, input, alpha)


@torch_function("mul", "multiply", inplace=True)
def mul(input: Any, other: Any) -> Tensor:
    """input * other"""
    return MUL.call(input, other)


@torch_function("div", "divide", "true_divide", inplace=True)
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, rounded toward zero ("trunc") or minus infinity ("floor") if asked for."""
    if rounding_mode is None:
        return DIV.call(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '" + rounding_mode + "'"
        )
    place()
    na, nb = TRUNCATE_DIVIDE.operands(input, other)
    quotient = emit(arith.div, na, _divisor(na, nb))
    return result(emit(arith.trunc, quotient) if quotient.type.dtype.kind == "f" else quotient)


def _divisor(na: Node, nb: Node) -> Node:
    """The divisor of integers: RuntimeError if it is 0, at once for a Python number, else when the values are there."""
    dtype, shape = nb.type.dtype, nb.type.shape
    if dtype.kind not in "iu" or na.type.numel == 0:
        return nb
    if nb.signature is None and type(nb.buffer) is int:
        if nb.buffer % (1 << 8 * dtype.itemsize) == 0:  # what is left of it in that type
            raise RuntimeError("ZeroDivisionError")
        return nb
    # Every element picked by its own place, which a 0 makes one that is out of range.
    count = nb.type.numel
    own = tensor.reshape(positions(nb, count, dtypes.int64), shape=shape)
    at = refuse(arith.compare(nb, 0, predicate="ne"), own, own)
    return emit(tensor.gather, emit(tensor.reshape, nb, shape=(count,)), at, fault="zero")


@torch_function("floor_divide", inplace=True)
def floor_divide(input: Any, other: Any) -> Tensor:
    """floor(input / other)"""
    place()
    na, nb = FLOOR_DIVIDE.operands(input, other)
    if na.type.dtype.kind == "f":
        rest = arith.remainder(na, nb)
        quotient = arith.div(arith.sub(na, rest), nb)
        quotient = arith.round_even(arith.select(_other_side(rest, nb), arith.sub(quotient, 1.0), quotient))
        quotient = arith.select(arith.compare(nb, 0.0, predicate="eq"), arith.div(na, nb), quotient)
        return result(quotient, input, other)
    nb = _divisor(na, nb)
    quotient = arith.div(na, nb)
    wrong = _other_side(arith.remainder(na, nb), nb)
    return result(arith.select(wrong, arith.sub(quotient, 1), quotient), input, other)


def _other_side(rest: Node, divisor: Node) -> Node:
    """Whether the remainder of a division that truncates is not 0 and has another sign than the divisor."""
    zero = 0.0 if rest.type.dtype.kind == "f" else 0
    signs = arith.compare(rest, zero, predicate="lt"), arith.compare(divisor, zero, predicate="lt")
    node: Node = arith.bit_and(arith.compare(rest, zero, predicate="ne"), arith.compare(*signs, predicate="ne"))
    return node


def _modulo(na: Node, nb: Node, label: str) -> Node:
    """Python's %: the sign of the divisor."""
    rest = arith.remainder(na, nb)
    return emit(arith.select, _other_side(rest, nb), arith.add(rest, nb), rest, label=label)


@torch_function("remainder", inplace=True)
def remainder(input: Any, other: Any) -> Tensor:
    """Python's input % other"""
    place()
    na, nb = REMAINDER.operands(input, other)
    label = "Remainder1" if isinstance(other, Tensor) else "Remainder0"
    return result(_modulo(na, _divisor(na, nb), label), input, other)


@torch_function("pow", inplace=True)
def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent; small whole exponents multiply, as torch does. Whole numbers are exact, and wrap."""
    if isinstance(input, Tensor) and isinstance(exponent, int | float) and not isinstance(exponent, bool):
        if input.dtype is dtypes.bool_:
            input = cast_tensor(input, dtypes.int64 if isinstance(exponent, int) else default_dtype())
        special = _special_power(input, exponent)
        if special is not None:
            return special
    place()
    na, nb = POWER.operands(input, exponent)
    if na.type.dtype.kind in "iu":
        if isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return result(_whole_powers(na, nb), input, exponent)
    label = "Pow0" if not isinstance(exponent, Tensor) else "Pow1" if isinstance(input, Tensor) else "Pow2"
    return result(emit(math.pow_, na, nb, label=label), input, exponent)


def _whole_powers(base: Node, exponent: Node) -> Node:
    """Whole numbers to whole powers, by squaring; to negative powers only 1 and -1 are not 0."""
    dtype = base.type.dtype
    total: Node = arith.add(arith.mul(base, 0), 1)
    square = base
    bits = 8 * dtype.itemsize - (dtype.kind == "i")
    for bit in range(bits):
        chosen = arith.bit_and(arith.shift_right(exponent, bit), 1)
        total = arith.select(arith.compare(chosen, 0, predicate="ne"), arith.mul(total, square), total)
        if bit < bits - 1:
            square = arith.mul(square, square)
    if dtype.kind == "u":
        return total
    odd = arith.bit_and(exponent, 1)
    alternating = arith.sub(1, arith.mul(odd, 2))
    inverse = arith.select(arith.compare(base, -1, predicate="eq"), alternating, 0)
    inverse = arith.select(arith.compare(base, 1, predicate="eq"), 1, inverse)
    node: Node = arith.select(arith.compare(exponent, 0, predicate="lt"), inverse, total)
    return node


def _special_power(input: Tensor, exponent: float) -> Tensor | None:
    if exponent == 2:
        return _power_of_two(input)
    if input.dtype.kind != "f":
        return _whole_power(input, exponent) if isinstance(exponent, int) and 0 <= exponent <= 8 else None
    if exponent == 3:
        place()
        x = widened(value(input))
        return result(rounded(emit(arith.mul, emit(arith.mul, x, x), x, label="Pow"), input.dtype))
    if exponent == 0.5:
        place()
        root = emit(arith.sqrt, value(input), label="Pow")
        return result(emit(tensor.alias, root, label="Pow"))  # a root keeps its result for the derivative, a power does not
    if exponent == 1:
        return apply(arith.mul.operator("Pow"), value(input), number_leaf(1.0, input.dtype))
    if exponent == -1:
        place()
        return result(emit(arith.div, number_leaf(1.0, input.dtype), value(input), label="Pow"))
    return None


def cast_tensor(x: Tensor, dtype: DType) -> Tensor:
    """The tensor in another element type."""
    return apply(arith.cast.operator("ToCopy", dtype=dtype), value(x))


def _power_of_two(input: Tensor) -> Tensor:
    x = cast(value(input), dtypes.int64 if input.dtype is dtypes.bool_ else None)
    return apply(arith.mul.operator("Pow"), x, x)


def _whole_power(input: Tensor, exponent: int) -> Tensor:
    place()
    x = value(input)
    total = emit(arith.add, emit(arith.mul, x, number_leaf(0, x.type.dtype)), number_leaf(1, x.type.dtype))
    for _ in range(exponent):
        total = emit(arith.mul, total, x)
    return result(total)


def _takes(other: Any) -> bool:
    """Whether an operator may try its luck with the other operand: tensors, numbers, arrays."""
    return isinstance(other, Tensor | int | float | complex) or (hasattr(other, "__array__") and not isinstance(other, str))


def _operator_of(function: Callable[..., Tensor], swapped: bool) -> Callable[..., Any]:
    def operate(a: Tensor, b: Any) -> Any:
        if not _takes(b):
            return NotImplemented
        return function(b, a) if swapped else function(a, b)

    return operate


for _method, _function, _swapped in (
    ("pow", pow, False),
    ("floordiv", floor_divide, False),
    ("mod", remainder, False),
    ("rpow", pow, True),
    ("rfloordiv", floor_divide, True),
    ("rmod", remainder, True),
):
    setattr(Tensor, f"__{_method}__", _operator_of(_function, _swapped))


def _binary_function(name: str, binary: Binary, *aliases: str, inplace: bool = True) -> None:
    first = binary.rule == "compare"  # of a number only an operator's second operand is made

    def function(input: Any, other: Any) -> Tensor:
        if first:
            require_first(name, input, other)
        return binary.call(input, other)

    function.__name__, function.__doc__ = name, f"Elementwise `{name}`."
    torch_function(name, *aliases, inplace=inplace)(function)


def require_first(name: str, input: Any, other: Any) -> None:
    """Raise torch's TypeError of a function that has a form for a number as second operand only."""
    if not isinstance(input, Tensor):
        kinds = ", ".join(type(x).__name__ for x in (input, other))
        raise TypeError(f"{name}() received an invalid combination of arguments - got ({kinds})")


def require_tensors(name: str, *operands: Any) -> None:
    """Raise torch's TypeError of a function of one or two tensors that got something else."""
    for position, (parameter, given) in enumerate(zip(("input", "other"), operands, strict=False), 1):
        if not isinstance(given, Tensor):
            kind = type(given).__name__
            raise TypeError(f"{name}(): argument '{parameter}' (position {position}) must be Tensor, not {kind}")


def _function_of_tensors(binary: Binary, *aliases: str, inplace: bool = True) -> None:
    """A binary function that takes no Python numbers."""
    name = binary.name

    def function(input: Tensor, other: Tensor) -> Tensor:
        require_tensors(name, input, other)
        return binary.call(input, other)

    function.__name__, function.__doc__ = name, f"Elementwise: {binary.operator.declaration.documentation}."
    torch_function(name, *aliases, inplace=inplace)(function)


_function_of_tensors(MAXIMUM, inplace=False)
_function_of_tensors(MINIMUM, inplace=False)
_function_of_tensors(ATAN2, "arctan2")
_function_of_tensors(HYPOT)
for _name, _binary in COMPARISONS.items():
    _binary_function(
        _name,
        _binary,
        *{
            "ne": ("not_equal",),
            "gt": ("greater",),
            "lt": ("less",),
            "ge": ("greater_equal",),
            "le": ("less_equal",),
        }.get(_name, ()),
    )
for _name, _binary in (
    ("bitwise_and", AND),
    ("bitwise_or", OR),
    ("bitwise_xor", XOR),
    ("bitwise_left_shift", LEFT),
    ("bitwise_right_shift", RIGHT),
):
    _binary_function(_name, _binary)


@torch_function("fmod", inplace=True)
def fmod(input: Any, other: Any) -> Tensor:
    """input - other * trunc(input / other): the sign of the input."""
    require_first("fmod", input, other)
    place()
    na, nb = FMOD.operands(input, other)
    return result(emit(arith.remainder, na, _divisor(na, nb)), input, other)


def _logical(name: str, declaration: Declaration) -> None:
    def function(input: Tensor, other: Tensor) -> Tensor:
        require_tensors(function.__name__, input, other)
        place()
        a, b = cast(value(input), dtypes.bool_), cast(value(other), dtypes.bool_)
        return result(emit(declaration, a, b), input, other)

    function.__name__, function.__doc__ = name, f"Elementwise `{name}`: anything but 0 is true."
    torch_function(name, inplace=True)(function)


for _name, _declaration in (("and", arith.bit_and), ("or", arith.bit_or), ("xor", arith.bit_xor)):
    _logical(f"logical_{_name}", _declaration)


def _inplace_operator(name: str, function: Callable[..., Tensor]) -> None:
    def write(self: Tensor, other: Any) -> Any:
        return write_into(self, function(self, other)) if _takes(other) else NotImplemented

    setattr(Tensor, f"__i{name}__", write)


for _name, _function in (
    ("add", add),
    ("sub", sub),
    ("mul", mul),
    ("truediv", div),
    ("floordiv", floor_divide),
    ("mod", remainder),
    ("pow", pow),
    ("and", FUNCTIONS["bitwise_and"]),
    ("or", FUNCTIONS["bitwise_or"]),
    ("xor", FUNCTIONS["bitwise_xor"]),
    ("lshift", FUNCTIONS["bitwise_left_shift"]),
    ("rshift", FUNCTIONS["bitwise_right_shift"]),
):
    _inplace_operator(_name, _function)
