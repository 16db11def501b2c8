"""Functions of one tensor, selection and tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from lazytorch import dtypes
from lazytorch.ir.declaration import Declaration, Trait, example
from lazytorch.ir.dialects import arith, complex_numbers, math, nn, tensor
from lazytorch.ir.trace import STATE, record_node
from lazytorch.ops.elementwise import ADD, MUL
from lazytorch.ops.promotion import common_type
from lazytorch.ops.recording import (
    FUNCTIONS,
    NUMBERS,
    apply,
    attach,
    c_name,
    cast,
    emit,
    floating,
    in_place,
    named,
    node_of,
    on_device,
    place,
    result,
    rounding_once,
    torch_function,
)
from lazytorch.tensor import Tensor, caller, value


def _real_function(declaration: Declaration, *names: str, label: str = "") -> None:
    """A function of real numbers: integers compute in the default floating type."""
    operator = declaration.operator(label)

    def function(input: Tensor) -> Tensor:
        trace = STATE.trace
        trace.place = caller()
        node = value(input)
        if node.type.dtype.kind != "f":
            node = cast(node, floating(input))
        return result(record_node(trace, operator, (node,)), input)

    function.__name__ = names[0]
    function.__doc__ = f"Elementwise: {declaration.documentation}."
    torch_function(*names, inplace=True)(function)


for _declaration, _names in (
    (math.exp, ("exp",)),
    (math.expm1, ("expm1",)),
    (math.exp2, ("exp2",)),
    (math.log, ("log",)),
    (math.log1p, ("log1p",)),
    (math.log2, ("log2",)),
    (math.log10, ("log10",)),
    (math.sin, ("sin",)),
    (math.cos, ("cos",)),
    (math.tan, ("tan",)),
    (math.asin, ("asin", "arcsin")),
    (math.acos, ("acos", "arccos")),
    (math.atan, ("atan", "arctan")),
    (math.sinh, ("sinh",)),
    (math.cosh, ("cosh",)),
    (math.tanh, ("tanh",)),
    (math.asinh, ("asinh", "arcsinh")),
    (math.acosh, ("acosh", "arccosh")),
    (math.atanh, ("atanh", "arctanh")),
    (math.erf, ("erf",)),
    (math.erfc, ("erfc",)),
    (math.erfinv, ("erfinv",)),
    (math.lgamma, ("lgamma",)),
    (math.digamma, ("digamma",)),
    (math.sigmoid, ("sigmoid",)),
    (arith.sqrt, ("sqrt",)),
    (arith.rsqrt, ("rsqrt",)),
    (arith.reciprocal, ("reciprocal",)),
):
    _real_function(_declaration, *_names)


@torch_function("polygamma", method=False)
def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma. Raises RuntimeError for negative n."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n == 0:
        return FUNCTIONS["digamma"](input)
    return apply(math.polygamma.operator(n=n), cast(value(input), floating(input)))


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    return polygamma(n, self)


attach("polygamma", _polygamma_method)
attach("polygamma_", in_place(_polygamma_method, "polygamma"))


def _divided(self: Tensor, other: Any) -> Any:
    """other / self, as torch forms it: the reciprocal times the number."""
    if not isinstance(other, NUMBERS) and not hasattr(other, "__array__"):
        return NotImplemented
    inverse = FUNCTIONS["reciprocal"](self)
    return MUL.call(inverse, other) if isinstance(other, (*NUMBERS, Tensor)) else inverse * other


attach("__rtruediv__", _divided)
attach("__rdiv__", _divided)


def _refuse_bool(input: Tensor, declaration: Declaration, name: str) -> None:
    if input.dtype is not dtypes.bool_ or declaration is arith.sign:
        return
    if declaration is arith.neg:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` "
            "or `logical_not()` operator instead."
        )
    kernel = f"{name}_cpu" if declaration is arith.abs_ else f"{name}_vml_cpu"
    raise NotImplementedError(f"\"{kernel}\" not implemented for 'Bool'")


def _whole_function(declaration: Declaration, *names: str) -> None:
    """A function that keeps the element type."""
    operator = declaration.operator()

    def function(input: Tensor) -> Tensor:
        _refuse_bool(input, declaration, names[0])
        if declaration is arith.abs_ and input.dtype.is_complex:
            return apply(complex_numbers.abs_.operator(), value(input))
        if input.dtype.kind in "uib" and declaration not in (arith.neg, arith.abs_, arith.sign):
            return FUNCTIONS["clone"](input)
        return apply(operator, value(input))

    function.__name__ = names[0]
    function.__doc__ = f"Elementwise: {declaration.documentation}."
    torch_function(*names, inplace=True, out="same")(function)


for _declaration, _aliases in (
    (arith.neg, ("neg", "negative")),
    (arith.abs_, ("abs", "absolute")),
    (arith.sign, ("sign", "sgn")),
    (arith.floor, ("floor",)),
    (arith.ceil, ("ceil",)),
    (arith.trunc, ("trunc", "fix")),
):
    _whole_function(_declaration, *_aliases)

attach("__neg__", inspect.unwrap(FUNCTIONS["neg"]))
attach("__abs__", inspect.unwrap(FUNCTIONS["abs"]))


def _positive(self: Tensor) -> Tensor:
    if self.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return self


attach("__pos__", _positive)


@torch_function("round", inplace=True, out="same")
def round_(input: Tensor, *, decimals: int = 0) -> Tensor:
    """To the nearest whole number (or decimal), ties to even."""
    _refuse_bool(input, arith.round_even, "round")
    if input.dtype.kind in "uib":
        return FUNCTIONS["clone"](input)
    if decimals == 0:
        return apply(arith.round_even.operator(), value(input))
    place()
    scale = node_of(float(10 ** abs(decimals)), input.dtype)
    x = value(input)
    scaled = emit(arith.mul if decimals > 0 else arith.div, x, scale)
    rounded = emit(arith.round_even, scaled)
    return result(emit(arith.div if decimals > 0 else arith.mul, rounded, scale, label="Round1"))


@torch_function("square", inplace=True)
def square(input: Tensor) -> Tensor:
    """input * input"""
    if input.dtype is dtypes.bool_:
        return FUNCTIONS["pow"](input, 2)
    x = value(input)
    return apply(arith.mul.operator("Pow"), x, x)


@torch_function("bitwise_not", inplace=True, out="same")
def bitwise_not(input: Tensor) -> Tensor:
    """~input"""
    if input.dtype.kind in "fc":
        raise NotImplementedError(f"\"bitwise_not_cpu\" not implemented for '{input.dtype.title}'")
    return apply(arith.bit_not.operator(), value(input))


def _inverted(self: Tensor) -> Tensor:
    if self.dtype.kind in "fc":
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return bitwise_not(self)


attach("__invert__", _inverted)


@torch_function("logical_not", inplace=True)
def logical_not(input: Tensor) -> Tensor:
    """True where input is 0"""
    place()
    return result(emit(arith.bit_not, cast(value(input), dtypes.bool_)), input)


@torch_function("relu", inplace=True)
def relu(input: Tensor) -> Tensor:
    """max(input, 0); nan stays."""
    return apply(nn.relu.operator(), value(input))


@torch_function("clamp", "clip", inplace=True)
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Limit every element to [min, max]."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    place()
    dtype = value(input).type.dtype
    for bound in (min, max):
        if isinstance(bound, Tensor):
            dtype = common_type(dtype, len(input.shape), bound.dtype, len(bound.shape))
        elif bound is not None and dtype.kind != "f":
            dtype = ADD.operands(input, bound)[0].type.dtype
    x = cast(value(input), dtype)
    label = "Clamp0" if isinstance(min, Tensor) or isinstance(max, Tensor) else "Clamp1"
    if STATE.trace.grad_enabled and any(isinstance(bound, Tensor) and bound.requires_grad for bound in (min, max)):
        return result(_chosen(x, min, max, label), input, min, max)
    inside = None
    out = x
    for bound, declaration, predicate in ((min, arith.maximum, "ge"), (max, arith.minimum, "le")):
        if bound is not None:
            limit = node_of(bound, dtype)
            fits = arith.compare(x, limit, predicate=predicate)
            inside = fits if inside is None else arith.bit_and(inside, fits)
            out = declaration(out, limit)
    if not x.history or not STATE.trace.grad_enabled:
        return result(out, input, min, max)
    assert inside is not None
    return result(emit(CLAMPED, x, out, inside, label=label), input, min, max)


def _chosen(x: Any, min: Any, max: Any, label: str) -> Any:
    """A clamp as choices between the element and its bounds, each of which has a gradient where it is the result."""
    dtype = x.type.dtype
    low, high = (None if bound is None else node_of(bound, dtype) for bound in (min, max))
    out = x
    if low is not None:
        out = emit(arith.select, arith.compare(x, low, predicate="lt"), low, x, label=label)
    if high is not None:
        above = arith.compare(x, high, predicate="gt")
        if low is not None:
            above = arith.bit_or(above, arith.compare(high, low, predicate="lt"))
        out = emit(arith.select, above, high, out, label=label)
    return out


def _clamped_gradient(op: Any, g: Any) -> Any:
    return arith.select(op.operands[2], g, 0.0)


CLAMPED = Declaration(
    "arith.clamped",
    lambda attributes, x, clamped, inside: x,
    traits=(*arith.ELEMENTWISE, Trait.COMPOSITE),
    vjp=(_clamped_gradient, None, None),
    reference=lambda attributes, x, clamped, inside: clamped,
    decompose=lambda op: op.operands[1],
    gradient_name="Clamp",
    saves=(0,),
    example=example("tensor<2x3xf32>", "tensor<2x3xf32>", "tensor<2x3xi1>"),
    doc="the second operand, with the derivative of a clamp of the first: 1 inside of the bounds",
)


@torch_function("clamp_min", inplace=True)
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """max(input, min)"""
    return named(clamp(input, min=min), "ClampMin")


@torch_function("clamp_max", inplace=True)
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """min(input, max)"""
    return named(clamp(input, max=max), "ClampMax")


@torch_function("where", method=False, out="same")
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other; with one argument the indices where it holds."""
    if input is None and other is None:
        return FUNCTIONS["nonzero"](condition, as_tuple=True)
    place()
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        dtype = ADD.common(*_number_types(input, other))
        a, b = node_of(input, dtype), node_of(other, dtype)
    else:
        a, b = ADD.operands(input, other)
    return result(emit(arith.select, value(condition), a, b), condition, input, other)


def _number_types(a: Any, b: Any) -> tuple[Any, int, Any, int]:
    return node_of(a).type, -1, node_of(b).type, -1


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    return where(condition, self, other)


attach("where", _where_method)


@torch_function("masked_fill", inplace=True)
def masked_fill(input: Tensor, mask: Tensor, value_: Any = None, **keywords: Any) -> Tensor:
    """`value` where the mask is true."""
    fill = keywords.pop("value", value_)
    if isinstance(fill, Tensor) and fill.shape:
        raise RuntimeError(
            f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {len(fill.shape)} dimension(s)."
        )
    place()
    x = value(input)
    return result(emit(arith.select, value(mask), node_of(fill, x.type.dtype), x, label="MaskedFill"))


def _test(name: str, test: Callable[[Any], Any]) -> None:
    def function(input: Tensor) -> Tensor:
        place()
        x = value(input)
        return result(test(x if x.type.dtype.kind in "fc" else cast(x, dtypes.float32)), input)

    function.__name__, function.__doc__ = name, f"Whether each element is {name[2:]}."
    torch_function(name, out=False)(function)


_test("isnan", lambda x: arith.compare(x, x, predicate="ne"))
_test("isinf", lambda x: arith.compare(arith.abs_(x), float("inf"), predicate="eq"))
_test("isfinite", lambda x: arith.compare(arith.abs_(x), float("inf"), predicate="lt"))


@torch_function("nan_to_num", inplace=True, out="same")
def nan_to_num(input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Replace nan and the infinities by numbers."""
    import numpy as np

    place()
    x = value(input)
    if x.type.dtype.kind != "f":
        return FUNCTIONS["clone"](input)
    largest = float(np.finfo(x.type.dtype.numpy).max)
    for test, replacement in (
        (lambda y: arith.compare(y, y, predicate="ne"), nan),
        (lambda y: arith.compare(y, float("inf"), predicate="eq"), largest if posinf is None else posinf),
        (lambda y: arith.compare(y, float("-inf"), predicate="eq"), -largest if neginf is None else neginf),
    ):
        x = emit(arith.select, test(x), node_of(replacement, x.type.dtype), x, label="NanToNum")
    return result(x)


@torch_function("lerp", inplace=True)
@rounding_once
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input), from the end's side for weights of 0.5 and more, as torch."""
    if end.dtype is not input.dtype:
        raise RuntimeError(f"expected dtype {c_name(input.dtype)} for `end` but got dtype {c_name(end.dtype)}")
    place()
    a, b = value(input), value(end)
    if a.type.dtype.kind not in "fc":
        kernel = "lerp_kernel_tensor" if isinstance(weight, Tensor) else "lerp_kernel_scalar"
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{a.type.dtype.title}'")
    w = node_of(weight, a.type.dtype)
    difference = arith.sub(b, a)
    low = arith.add(a, arith.mul(w, difference))
    high = arith.sub(b, arith.mul(difference, arith.sub(1.0, w)))
    near = arith.compare(arith.abs_(w), 0.5, predicate="lt")
    return result(
        emit(arith.select, near, low, high, label="Lerp1" if isinstance(weight, Tensor) else "Lerp0"), input, end, weight
    )


@torch_function("addcmul", inplace=True)
@rounding_once
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2"""
    input, tensor1, tensor2 = in_common_type(input, tensor1, tensor2)
    out = input + tensor1 * tensor2 if value == 1 else input + (tensor1 * value) * tensor2
    return named(out, "Addcmul")


@torch_function("addcdiv", inplace=True)
@rounding_once
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2"""
    input, tensor1, tensor2 = in_common_type(input, tensor1, tensor2)
    out = input + tensor1 / tensor2 if value == 1 else input + (tensor1 * value) / tensor2
    return named(out, "Addcdiv")


def in_common_type(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All tensors in the element type that they promote to together."""
    dtype, rank = tensors[0].dtype, len(tensors[0].shape)
    for x in tensors[1:]:
        dtype, rank = common_type(dtype, rank, x.dtype, len(x.shape)), max(rank, len(x.shape))
    return tuple([x if x.dtype is dtype else x.to(dtype) for x in tensors])


# -- copies and conversions


@torch_function("clone")
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with its own storage."""
    place()
    node = emit(tensor.alias, value(input), label="Clone")
    return result(node) if memory_format == "torch.contiguous_format" else result(node, input)


def _convert(self: Tensor, dtype: Any, copy: bool = False) -> Tensor:
    if self.dtype is dtype:
        return clone(self) if copy else self
    return apply(arith.cast.operator("ToCopy", dtype=dtype), value(self))


def cast_to(x: Tensor, dtype: Any) -> Tensor:
    """The tensor in an element type."""
    return _convert(x, dtype)


def _to(self: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
    """Conversion to an element type or device: `to(dtype)`, `to(device, dtype)`, `to(other)`."""
    dtype, device = keywords.get("dtype"), keywords.get("device")
    copy = bool(keywords.get("copy", False))
    for argument in arguments:
        if isinstance(argument, dtypes.DType):
            dtype = argument
        elif isinstance(argument, Tensor):
            dtype, device = argument.dtype, argument.device
        elif not isinstance(argument, bool) and argument is not None:
            device = argument
    moved = self if device is None else on_device(self, device)
    return _convert(moved, dtype or self.dtype, copy and moved is self)


attach("to", _to)


def _conversion(name: str, dtype: Any) -> None:
    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        return _convert(self, dtype)

    method.__name__, method.__doc__ = name, f"Conversion to {dtype}."
    setattr(Tensor, name, method)


for _name, _dtype in (
    ("float", dtypes.float32),
    ("double", dtypes.float64),
    ("half", dtypes.float16),
    ("bfloat16", dtypes.bfloat16),
    ("long", dtypes.int64),
    ("int", dtypes.int32),
    ("short", dtypes.int16),
    ("char", dtypes.int8),
    ("byte", dtypes.uint8),
    ("bool", dtypes.bool_),
):
    _conversion(_name, _dtype)


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    return _convert(self, other.dtype)


def _view_as(self: Tensor, other: Tensor) -> Tensor:
    return self.view(other.shape)


attach("type_as", _type_as)
attach("view_as", _view_as)
