"""Numbers as fractions of powers of two, and powers in float64 in place."""

from __future__ import annotations

from typing import Any

from lazytorch import dtypes
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.trace import Node
from lazytorch.ops.compositions import float_power
from lazytorch.ops.recording import attach, cast, emit, in_place, place, result, rounded, torch_function, widened
from lazytorch.ops.return_types import structure
from lazytorch.tensor import Tensor, value

_LAYOUT = {4: (dtypes.int32, 23, 127), 8: (dtypes.int64, 52, 1023)}
"""By bytes: the integer type of the same size, the bits of the fraction, the exponent's bias."""
FrExp = structure("frexp", "mantissa", "exponent")


def _power(exponent: Node, dtype: Any) -> Node:
    """2 to a whole power in the range of normal numbers, exactly."""
    whole, digits, bias = _LAYOUT[dtype.itemsize]
    return emit(arith.bitcast, arith.shift_left(arith.add(cast(exponent, whole), bias), digits), dtype=dtype)


@torch_function("frexp")
def frexp(input: Tensor) -> Any:
    """(mantissa, exponent) with input = mantissa * 2^exponent and 0.5 <= |mantissa| < 1; itself and 0 for 0, inf and nan."""
    if input.dtype.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    place()
    x = widened(value(input))
    dtype = x.type.dtype
    whole, digits, bias = _LAYOUT[dtype.itemsize]
    size = arith.abs_(emit(tensor.detach, x))
    tiny = arith.compare(size, 2.0 ** (1 - bias), predicate="lt")
    size = arith.select(tiny, arith.mul(size, 2.0 ** (digits + 1)), size)
    bits = emit(arith.bitcast, size, dtype=whole)
    exponent = arith.sub(arith.shift_right(bits, digits), bias - 1)
    exponent = arith.select(tiny, arith.sub(exponent, digits + 1), exponent)
    endless = arith.compare(arith.sub(size, size), 0.0, predicate="ne")
    exponent = arith.select(
        arith.bit_or(arith.compare(size, 0.0, predicate="eq"), endless), arith.mul(exponent, 0), exponent
    )
    first = arith.neg(arith.shift_right(exponent, 1))
    rest = arith.sub(arith.neg(exponent), first)
    mantissa = arith.mul(arith.mul(x, _power(first, dtype)), _power(rest, dtype))
    return FrExp(result(rounded(mantissa, input.dtype)), result(cast(exponent, dtypes.int32)))


attach("float_power_", in_place(float_power, "float_power"))
