"""Elementwise functions that are short compositions of others: tests, signs, scalings, logarithms of sums."""

from __future__ import annotations

import math as python_math
from collections.abc import Callable
from typing import Any

from lazytorch import dtypes
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, integers, math, tensor
from lazytorch.ir.trace import Node
from lazytorch.ops.elementwise import ADD, DIV, MUL, pow, require_first
from lazytorch.ops.recording import (
    FUNCTIONS,
    cast,
    emit,
    floating,
    node_of,
    place,
    result,
    rounding_once,
    takes_out,
    torch_function,
    without_slope,
)
from lazytorch.tensor import Tensor, value

_BITS = {2: dtypes.int16, 4: dtypes.int32, 8: dtypes.int64}


def _number(x: float, like: Node) -> Node:
    return node_of(x, like.type.dtype)


def _is_nan(x: Node) -> Node:
    node: Node = arith.compare(x, x, predicate="ne")
    return node


def _bits(x: Node) -> Node:
    node: Node = arith.bitcast(x, dtype=_BITS[x.type.dtype.itemsize])
    return node


def _is_negative(x: Node) -> Node:
    """Whether the sign is set; that of -0.0 is."""
    x = emit(tensor.detach, x)
    whole = _bits(x) if x.type.dtype.kind == "f" else x
    if whole.type.dtype.kind in "bu":
        whole = cast(whole, dtypes.int64)
    node: Node = arith.compare(whole, node_of(0, whole.type.dtype), predicate="lt")
    return node


@torch_function("positive", out=False)
def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@torch_function("signbit", out="same")
def signbit(input: Tensor) -> Tensor:
    """Whether the sign bit is set."""
    place()
    return result(_is_negative(value(input)))


@torch_function("isposinf", out="same")
def isposinf(input: Tensor) -> Tensor:
    """Whether each element is positive infinity."""
    place()
    return result(arith.compare(cast(value(input), floating(input)), python_math.inf, predicate="eq"))


@torch_function("isneginf", out="same")
def isneginf(input: Tensor) -> Tensor:
    """Whether each element is negative infinity."""
    place()
    return result(arith.compare(cast(value(input), floating(input)), -python_math.inf, predicate="eq"))


@torch_function("frac", inplace=True, out="same")
def frac(input: Tensor) -> Tensor:
    """The part after the point, with the sign of the number."""
    if input.dtype.kind != "f":
        raise NotImplementedError(f"\"frac_cpu\" not implemented for '{input.dtype.title}'")
    return input - FUNCTIONS["trunc"](input)


@torch_function("copysign", inplace=True)
def copysign(input: Tensor, other: Any) -> Tensor:
    """The magnitude of input with the sign of other."""
    require_first("copysign", input, other)
    place()
    a, b = DIV.operands(input, other)
    size = arith.abs_(a)
    signed = result(emit(arith.select, _is_negative(b), arith.neg(size), size, label="Copysign0"))
    return without_slope(signed, other)


def _ignoring_nan(name: str, predicate: str) -> None:
    def function(input: Tensor, other: Any) -> Tensor:
        place()
        a, b = ADD.operands(input, other)
        first = arith.compare(a, b, predicate=predicate)
        if a.type.dtype.kind == "f":
            first = arith.bit_or(first, _is_nan(b))
        return result(emit(arith.select, first, a, b, label=name.title()))

    function.__name__ = name
    function.__doc__ = f"The {'larger' if name == 'fmax' else 'smaller'} of two numbers; of a number and a nan the number."
    torch_function(name)(function)


_ignoring_nan("fmax", "ge")
_ignoring_nan("fmin", "le")


@torch_function("heaviside", inplace=True, out="same")
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below 0, 1 above, and the given values at 0."""
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    place()
    x, at_zero = value(input), value(values)
    zero = _number(0, x)
    step = cast(arith.compare(x, zero, predicate="gt"), x.type.dtype)
    return result(emit(tensor.detach, arith.select(arith.compare(x, zero, predicate="eq"), at_zero, step)))


def _scaling(name: str, factor: float, doc: str) -> None:
    def function(input: Tensor) -> Tensor:
        return MUL.call(input if input.dtype.kind == "f" else input.to(floating(input)), factor)

    function.__name__, function.__doc__ = name, doc
    torch_function(name, inplace=True)(function)


_scaling("rad2deg", 180.0 / python_math.pi, "Radians as degrees.")
_scaling("deg2rad", python_math.pi / 180.0, "Degrees as radians.")


@torch_function("ldexp", inplace=True)
def ldexp(input: Tensor, other: Any) -> Tensor:
    """input * 2 ** other"""
    exponent = other if isinstance(other, Tensor) else FUNCTIONS["tensor"](other)
    return input * FUNCTIONS["exp2"](exponent)


@torch_function("float_power")
def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent in float64."""
    wide = [x.to(dtypes.float64) if isinstance(x, Tensor) else float(x) for x in (input, exponent)]
    return pow(*wide)


def _of_integers(name: str, declaration: Declaration) -> None:
    def function(input: Tensor, other: Tensor) -> Tensor:
        place()
        return result(emit(declaration, *ADD.operands(input, other)))

    function.__name__, function.__doc__ = name, f"Elementwise: {declaration.documentation}."
    torch_function(name, inplace=True)(function)


_of_integers("gcd", integers.gcd)
_of_integers("lcm", integers.lcm)


def _log_of_sum(name: str, exp: Callable[[Any], Any], log: Callable[[Any], Any]) -> None:
    @rounding_once
    def function(input: Tensor, other: Tensor) -> Tensor:
        place()
        a, b = DIV.operands(input, other)
        peak = arith.maximum(a, b)
        out = arith.add(peak, log(exp(arith.neg(arith.abs_(arith.sub(a, b))))))
        endless = arith.bit_and(
            arith.compare(arith.abs_(a), python_math.inf, predicate="eq"), arith.compare(a, b, predicate="eq")
        )
        return result(emit(arith.select, endless, a, out, label=name.title()))

    function.__name__, function.__doc__ = name, f"The logarithm of the sum of the powers of two exponents (`{name}`)."
    torch_function(name)(function)


_log_of_sum("logaddexp", math.exp, math.log1p)
_log_of_sum("logaddexp2", math.exp2, lambda x: arith.mul(math.log1p(x), 1.0 / python_math.log(2.0)))


@torch_function("logit", inplace=True)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), of x clamped to [eps, 1 - eps] if asked for."""
    x = input if input.dtype.kind == "f" else input.to(floating(input))
    x = x if eps is None else FUNCTIONS["clamp"](x, eps, 1.0 - eps)
    place()
    node = value(x)
    return result(emit(math.log, arith.div(node, arith.sub(_number(1.0, node), node)), label="Logit"))


@torch_function("sinc", inplace=True)
@rounding_once
def sinc(input: Tensor) -> Tensor:
    """sin(pi x) / (pi x), and 1 at 0."""
    place()
    x = cast(value(input), floating(input))
    origin = arith.compare(x, 0.0, predicate="eq")
    one = _number(1.0, x)
    angle = arith.mul(arith.select(origin, one, x), python_math.pi)
    return result(emit(arith.select, origin, one, arith.div(math.sin(angle), angle), label="Sinc"))


def _times_log(input: Any, other: Any, logarithm: Declaration, bound: float, harmless: float, label: str) -> Tensor:
    """input times a logarithm of `other` that is finite above a bound; 0 where input is 0 (nan where other is)."""
    place()
    x, y = DIV.operands(input, other)
    zero = _number(0.0, x)
    outside = arith.bit_or(
        arith.compare(y, _number(bound, y), predicate="le"),
        arith.compare(y, _number(python_math.inf, y), predicate="eq"),
    )
    nothing = arith.bit_and(arith.compare(x, zero, predicate="eq"), outside)
    product = arith.mul(x, logarithm(arith.select(nothing, _number(harmless, y), y)))
    return result(emit(arith.select, nothing, zero, product, label=label))


@torch_function("xlogy", inplace=True)
def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), and 0 where input is 0 (nan where other is)."""
    return _times_log(input, other, math.log, 0.0, 1.0, "Xlogy0")


@takes_out
def xlog1py(input: Any, other: Any) -> Tensor:
    """input * log1p(other), and 0 where input is 0 (nan where other is). A function of torch.special."""
    return _times_log(input, other, math.log1p, -1.0, 0.0, "SpecialXlog1Py0")


@torch_function("mvlgamma", inplace=True)
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = input if input.dtype.kind == "f" else input.to(floating(input))
    total = FUNCTIONS["lgamma"](x)
    for j in range(1, p):
        total = total + FUNCTIONS["lgamma"](x - j / 2)
    return total + p * (p - 1) / 4 * python_math.log(python_math.pi)


@torch_function("nextafter", inplace=True)
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next number from input towards other."""
    place()
    a, b = ADD.operands(input, other)
    if a.type.dtype.kind != "f":
        raise NotImplementedError(f"\"nextafter_cpu\" not implemented for '{a.type.dtype.title}'")
    a, b = emit(tensor.detach, a), emit(tensor.detach, b)
    bits = _bits(a)
    whole = bits.type.dtype
    # The patterns of positive numbers ascend with them, those of negative ones descend.
    away = arith.compare(
        arith.compare(a, b, predicate="lt"), arith.compare(bits, node_of(0, whole), predicate="ge"), predicate="eq"
    )
    moved = arith.add(bits, arith.select(away, node_of(1, whole), node_of(-1, whole)))
    lowest = int(-(2 ** (8 * whole.itemsize - 1)))
    least = arith.select(_is_negative(b), node_of(lowest + 1, whole), node_of(1, whole))
    moved = arith.select(arith.compare(a, _number(0.0, a), predicate="eq"), least, moved)
    out = arith.select(arith.compare(a, b, predicate="eq"), b, arith.bitcast(moved, dtype=a.type.dtype))
    unknown = arith.bit_or(_is_nan(a), _is_nan(b))
    return result(arith.select(unknown, arith.add(a, b), out))
