"""`arith`: exact elementwise operations, over tensors (operands broadcast as in NumPy), vectors and scalars alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.attribute_checks import element_type, number_of
from lazytorch.ir.declaration import Attributes, Declaration, Rule, Trait, example
from lazytorch.ir.fused_multiply_add import fused_multiply_add_f32, fused_multiply_add_f64
from lazytorch.ir.types import ScalarType, TensorType, Type, VectorType

ELEMENTWISE = (Trait.PURE, Trait.ELEMENTWISE)
ANY, NUMBERS, INTEGERS, BITS, FLOATING = "buifcx", "uifcx", "uix", "buix", "fc"
"""Kinds of element types (see `dtypes.DType`)."""
COMMUTATIVE = (Trait.PURE, Trait.ELEMENTWISE, Trait.COMMUTATIVE)


def broadcast_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcast of two shapes. Raises torch's RuntimeError where sizes do not match."""
    if a == b:
        return a
    rank = max(len(a), len(b))
    left = (1,) * (rank - len(a)) + a
    right = (1,) * (rank - len(b)) + b
    out = []
    for dimension in reversed(range(rank)):
        x, y = left[dimension], right[dimension]
        if x != y and x != 1 and y != 1:
            raise RuntimeError(
                f"The size of tensor a ({x}) must match the size of tensor b ({y}) at non-singleton dimension {dimension}"
            )
        out.append(y if x == 1 else x)
    return tuple(reversed(out))


def elementwise_type(*types: Type) -> Type:
    """The common type of elementwise operands, whatever their element types: broadcast tensors, or equal vectors."""
    first = types[0]
    if isinstance(first, TensorType):
        shape = first.shape
        for other in types[1:]:
            shape = broadcast_shapes(shape, other.shape)
        return TensorType(first.dtype, shape)
    for other in types[1:]:
        if type(other) is not type(first) or getattr(other, "lanes", 1) != getattr(first, "lanes", 1):
            raise TypeError(f"operand types differ: {first} and {other}")
    return first


def _same_dtype(name: str, types: Sequence[Type]) -> None:
    for other in types[1:]:
        if other.dtype is not types[0].dtype:
            raise RuntimeError(f"{name}: expected operands of one dtype but got {types[0].dtype} and {other.dtype}")


def _infer_same(name: str, kinds: str, arity: int) -> Callable[..., Type]:
    def infer(attributes: Attributes, *types: Type) -> Type:
        if len(types) != arity:
            raise TypeError(f"{name}: takes {arity} operands but is given {len(types)}")
        _same_dtype(name, types)
        if types[0].dtype.kind not in kinds:
            raise RuntimeError(f"{name}: not implemented for {types[0].dtype}")
        return elementwise_type(*types)

    return infer


def elementwise(
    name: str,
    reference: Callable[..., np.ndarray],
    *,
    vjp: Sequence[Rule | None] | None = None,
    commutative: bool = False,
    linear: bool = False,
    gradient_name: str = "",
    decompose: Rule | None = None,
    kinds: str = ANY,
    doc: str = "",
) -> Declaration:
    """Declare an elementwise operation whose operands and result have one element type, of one of the `kinds`."""
    arity = reference.nin if isinstance(reference, np.ufunc) else len(inspect.signature(reference).parameters)
    return Declaration(
        name,
        _infer_same(name, kinds, arity),
        traits=(*(COMMUTATIVE if commutative else ELEMENTWISE), *((Trait.LINEAR,) if linear else ())),
        reference=lambda attributes, *arrays: reference(*arrays),
        vjp=vjp,
        gradient_name=gradient_name,
        decompose=decompose,
        doc=doc,
    )


def _infer_constant(attributes: Attributes) -> Type:
    constant_type: Type = attributes.type
    number_of("arith.constant", attributes.value, constant_type.dtype)
    return constant_type


constant: Declaration = Declaration(
    "arith.constant",
    _infer_constant,
    attributes=("value", "type"),
    traits=(Trait.PURE, Trait.CONSTANT),
    reference=lambda attributes: np.full(attributes.type.shape, attributes.value, attributes.type.dtype.numpy),
    example=example(value=0.5, type=TensorType(dtypes.float32, (2, 3))),
    doc="One number, as a tensor of any shape (a splat), a scalar or a vector.",
)

add: Declaration = elementwise(
    "arith.add",
    np.add,
    vjp=(lambda op, g: g, lambda op, g: g),
    commutative=True,
    linear=True,
    gradient_name="Add",
    doc="a + b",
)
sub: Declaration = elementwise(
    "arith.sub",
    np.subtract,
    vjp=(lambda op, g: g, lambda op, g: neg(g)),
    linear=True,
    gradient_name="Sub",
    kinds=NUMBERS,
    doc="a - b",
)
mul: Declaration = elementwise(
    "arith.mul",
    np.multiply,
    vjp=(lambda op, g: mul(g, op.operands[1]), lambda op, g: mul(g, op.operands[0])),
    commutative=True,
    gradient_name="Mul",
    doc="a * b",
)


def zeros_like(x: Any) -> Any:
    """Zeros of a value's type, whatever it holds: x * 0 is nan where x is infinite."""
    return constant.build(x.builder, value=0.0, type=x.type)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind in "fc":
        return np.asarray(np.divide(a, b))
    b = np.where(b == 0, b.dtype.type(1), b)
    quotient = np.floor_divide(a, b)
    return np.asarray(quotient + ((np.remainder(a, b) != 0) & ((a < 0) != (b < 0))).astype(a.dtype))


div: Declaration = elementwise(
    "arith.div",
    _divide,
    vjp=(
        lambda op, g: div(g, op.operands[1]),
        lambda op, g: mul(neg(g), div(div(op.operands[0], op.operands[1]), op.operands[1])),
    ),
    gradient_name="Div",
    kinds=NUMBERS,
    doc="a / b; integers truncate toward zero, one divided by 0 is itself; index operands are never negative",
)
remainder: Declaration = elementwise(
    "arith.remainder",
    np.fmod,
    vjp=(lambda op, g: g, lambda op, g: neg(mul(g, trunc(div(*op.operands))))),
    gradient_name="Fmod",
    kinds=NUMBERS,
    doc="a - b * trunc(a / b), as C's fmod and %",
)
neg: Declaration = elementwise(
    "arith.neg", np.negative, vjp=(lambda op, g: neg(g),), linear=True, gradient_name="Neg", kinds=NUMBERS, doc="-a"
)
abs_: Declaration = elementwise(
    "arith.abs", np.abs, vjp=(lambda op, g: mul(g, sign(op.operands[0])),), gradient_name="Abs", doc="|a|"
)
sign: Declaration = elementwise(
    "arith.sign",
    lambda x: (x > 0).astype(x.dtype) if x.dtype.kind in "bu" else np.nan_to_num(np.sign(x), nan=0.0),
    vjp=(lambda op, g: zeros_like(g),),
    linear=True,
    gradient_name="Sign",
    doc="-1, 0 or 1; 0 for nan",
)


def _share(op: Any, g: Any, i: int, passed_over: str) -> Any:
    """The cotangent of one side of max or min: all unless the other was chosen, half where both are equal, as torch."""
    mine, other = op.operands[i], op.operands[1 - i]
    tied = compare(mine, other, predicate="eq")
    passed = compare(mine, other, predicate=passed_over)
    return select(tied, mul(g, 0.5), select(passed, 0.0, g))


def larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The meaning of maximum; which of two equal zeros np.maximum gives depends on the length of the array."""
    return np.where((a >= b) | (a != a), a, b)


def smaller(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The meaning of minimum."""
    return np.where((a <= b) | (a != a), a, b)


maximum: Declaration = elementwise(
    "arith.maximum",
    larger,
    vjp=(lambda op, g: _share(op, g, 0, "lt"), lambda op, g: _share(op, g, 1, "lt")),
    gradient_name="Maximum",
    doc="the larger; nan if either is nan; of equal zeros the first, so it does not commute",
)
minimum: Declaration = elementwise(
    "arith.minimum",
    smaller,
    vjp=(lambda op, g: _share(op, g, 0, "gt"), lambda op, g: _share(op, g, 1, "gt")),
    gradient_name="Minimum",
    doc="the smaller; nan if either is nan; of equal zeros the first, so it does not commute",
)


def _fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    if a.dtype == np.float32:
        return fused_multiply_add_f32(a, b, c)
    if a.dtype == np.float64:
        return fused_multiply_add_f64(a, b, c)
    # half precision: long double holds the sum of an exact product to far more than the digits kept
    wide = a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
    return wide.astype(a.dtype)


fma: Declaration = elementwise(
    "arith.fma",
    _fma,
    vjp=(lambda op, g: mul(g, op.operands[1]), lambda op, g: mul(g, op.operands[0]), lambda op, g: g),
    kinds=FLOATING,
    doc="a * b + c with one rounding",
)
floor: Declaration = elementwise(
    "arith.floor", np.floor, vjp=(lambda op, g: zeros_like(g),), linear=True, gradient_name="Floor", doc="toward -inf"
)
ceil: Declaration = elementwise(
    "arith.ceil", np.ceil, vjp=(lambda op, g: zeros_like(g),), linear=True, gradient_name="Ceil", doc="toward +inf"
)
trunc: Declaration = elementwise(
    "arith.trunc", np.trunc, vjp=(lambda op, g: zeros_like(g),), linear=True, gradient_name="Trunc", doc="toward zero"
)
round_even: Declaration = elementwise(
    "arith.round_even",
    np.rint,
    vjp=(lambda op, g: zeros_like(g),),
    linear=True,
    gradient_name="Round",
    kinds=FLOATING,
    doc="to nearest, ties to even",
)
sqrt: Declaration = elementwise(
    "arith.sqrt",
    np.sqrt,
    vjp=(lambda op, g: div(g, mul(op.result, 2.0)),),
    gradient_name="Sqrt",
    kinds=FLOATING,
    doc="square root, correctly rounded",
)


def _one(x: Any) -> Any:
    return constant.build(x.builder, value=1.0, type=type_of_constant(x.type.dtype, x.type))


def _inverse(name: str, reference: Callable[..., np.ndarray], divisor: Rule, slope: Rule, doc: str) -> Declaration:
    """1 / divisor(x), with a derivative from the result; of 16-bit floats in float32, rounded once."""

    def decompose(op: Any) -> Any:
        x = op.operands[0]
        dtype = x.type.dtype
        if dtype.opmath is dtype:
            return div(_one(x), divisor(x))
        wide = cast(x, dtype=dtype.opmath)
        return cast(div(_one(wide), divisor(wide)), dtype=dtype)

    return Declaration(
        f"arith.{name}",
        _infer_same(f"arith.{name}", FLOATING, 1),
        traits=(*ELEMENTWISE, Trait.COMPOSITE),
        vjp=(slope,),
        reference=lambda attributes, x: reference(x.astype(dtypes.of_numpy(x.dtype).opmath.numpy)).astype(x.dtype),
        decompose=decompose,
        gradient_name=name.title(),
        doc=doc,
    )


reciprocal: Declaration = _inverse(
    "reciprocal", lambda x: np.asarray(1 / x), lambda x: x, lambda op, g: mul(neg(g), mul(op.result, op.result)), "1 / x"
)
rsqrt: Declaration = _inverse(
    "rsqrt",
    lambda x: np.asarray(1 / np.sqrt(x)),
    lambda x: sqrt(x),
    lambda op, g: mul(mul(g, -0.5), mul(mul(op.result, op.result), op.result)),
    "1 / sqrt(x)",
)
copysign: Declaration = elementwise(
    "arith.copysign",
    np.copysign,
    vjp=(
        lambda op, g: select(compare(op.operands[0], 0.0, predicate="eq"), 0.0, mul(g, div(op.result, op.operands[0]))),
        lambda op, g: zeros_like(g),
    ),
    gradient_name="Copysign",
    kinds=FLOATING,
    doc="|a| with the sign of b",
)
bit_and: Declaration = elementwise(
    "arith.bit_and", np.bitwise_and, commutative=True, kinds=BITS, doc="a & b; logical and of i1"
)
bit_or: Declaration = elementwise("arith.bit_or", np.bitwise_or, commutative=True, kinds=BITS, doc="a | b; logical or of i1")
bit_xor: Declaration = elementwise(
    "arith.bit_xor", np.bitwise_xor, commutative=True, kinds=BITS, doc="a ^ b; logical xor of i1"
)
bit_not: Declaration = elementwise("arith.bit_not", np.invert, kinds=BITS, doc="~a; logical not of i1")


def _shift(shift: Callable[..., np.ndarray], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A shift by any amount: what is not in [0, bits) shifts everything out."""
    width = 8 * a.dtype.itemsize
    fits = (b >= 0) & (b < width)
    rest = -(a < 0).astype(a.dtype) if shift is np.right_shift and a.dtype.kind == "i" else np.zeros_like(a)
    return np.where(fits, shift(a, np.where(fits, b, 0).astype(b.dtype)), rest)


shift_left: Declaration = elementwise(
    "arith.shift_left",
    lambda a, b: _shift(np.left_shift, a, b),
    kinds=INTEGERS,
    doc="a << b; 0 where b is negative or not less than the width",
)
shift_right: Declaration = elementwise(
    "arith.shift_right",
    lambda a, b: _shift(np.right_shift, a, b),
    kinds=INTEGERS,
    doc="a >> b, arithmetic for signed, logical for unsigned; where b is negative or not less than the width only the sign "
    "stays",
)

PREDICATES: dict[str, Callable[..., np.ndarray]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


def _infer_compare(attributes: Attributes, *types: Type) -> Type:
    _same_dtype("arith.compare", types)
    if attributes.predicate not in PREDICATES or len(types) != 2:
        raise TypeError(f"arith.compare: {attributes.predicate!r} does not compare {len(types)} operands")
    return elementwise_type(*types).with_dtype(dtypes.bool_)


compare: Declaration = Declaration(
    "arith.compare",
    _infer_compare,
    attributes=("predicate",),
    traits=ELEMENTWISE,
    reference=lambda attributes, a, b: PREDICATES[attributes.predicate](a, b),
    example=example("tensor<2x3xf32>", "tensor<3xf32>", predicate="lt"),
    doc="a < b and so on as i1: eq ne lt le gt ge; with nan every predicate but ne is false",
)


def _infer_select(attributes: Attributes, condition: Type, a: Type, b: Type) -> Type:
    if condition.dtype is not dtypes.bool_:
        raise RuntimeError(f"arith.select: expected a bool condition but got {condition.dtype}")
    _same_dtype("arith.select", (a, b))
    return elementwise_type(condition, a, b).with_dtype(a.dtype)


select: Declaration = Declaration(
    "arith.select",
    _infer_select,
    traits=ELEMENTWISE,
    vjp=(
        None,
        lambda op, g: select(op.operands[0], g, 0.0),
        lambda op, g: select(op.operands[0], 0.0, g),
    ),
    reference=lambda attributes, condition, a, b: np.where(condition, a, b),
    gradient_name="Where",
    example=example("tensor<2x1xi1>", "tensor<2x3xf32>", "tensor<3xf32>"),
    doc="a where the condition holds, else b",
)


def integer_of_float(target: DType) -> DType:
    """The type a float is truncated to on its way to an integer type, of which narrower types keep the low bits."""
    return dtypes.int64 if target in (dtypes.int64, dtypes.uint64, dtypes.uint32, dtypes.index) else dtypes.int32


def convert(array: np.ndarray, source: DType, target: DType) -> np.ndarray:
    """`tensor.to(dtype)`: floats to integers truncate, and what does not fit is the smallest number of
    `integer_of_float`; 16-bit floats are rounded from f32; anything to bool is `!= 0`. bfloat16 is not stored here."""
    if target is dtypes.bool_:
        return np.asarray(array != 0)
    with np.errstate(invalid="ignore", over="ignore"):
        if source.kind == "c" and target.kind != "c":
            array = array.real
        if source.kind == "f" and target.kind in "ui":
            wide = integer_of_float(target).numpy
            limit = -float(np.iinfo(wide).min)
            whole = np.trunc(array.astype(np.float64))
            fits = (whole >= -limit) & (whole < limit)
            array = np.where(fits, np.where(fits, whole, 0).astype(wide), np.iinfo(wide).min)
        if target is dtypes.float16:
            array = array.astype(np.float32)
        return array.astype(target.numpy)


cast: Declaration = Declaration(
    "arith.cast",
    lambda attributes, x: x.with_dtype(element_type("arith.cast", attributes.dtype)),
    attributes=("dtype",),
    traits=(*ELEMENTWISE, Trait.LINEAR, Trait.ADDITIVE),
    vjp=(lambda op, g: cast(g, dtype=op.operands[0].type.dtype),),
    reference=lambda attributes, x: convert(x, dtypes.of_numpy(x.dtype), attributes.dtype),
    gradient_name="ToCopy",
    example=example("tensor<2x3xf32>", dtype=dtypes.int64),
    doc="conversion of the element type by value",
)


def _infer_bitcast(attributes: Attributes, x: Type) -> Type:
    if element_type("arith.bitcast", attributes.dtype).itemsize != x.dtype.itemsize:
        raise RuntimeError(f"arith.bitcast: {x.dtype} and {attributes.dtype} differ in size")
    return x.with_dtype(attributes.dtype)


bitcast: Declaration = Declaration(
    "arith.bitcast",
    _infer_bitcast,
    attributes=("dtype",),
    traits=ELEMENTWISE,
    reference=lambda attributes, x: x.view(attributes.dtype.numpy),
    example=example("tensor<2x3xf32>", dtype=dtypes.int32),
    doc="the same bits read as another element type of the same size",
)


def type_of_constant(dtype: DType, like: Type) -> Type:
    """The type a constant of `dtype` has beside a value of type `like`: rank-0 tensor, scalar or vector."""
    if isinstance(like, TensorType):
        return TensorType(dtype, ())
    if isinstance(like, VectorType):
        return VectorType(dtype, like.lanes)
    return ScalarType(dtype)
