"""Complex tensors: made of real ones, taken apart, conjugated (torch.complex, polar, view_as_real ...)."""

from __future__ import annotations

import math as python_math

from lazytorch.ir.dialects import arith, complex_numbers, math, tensor
from lazytorch.ir.trace import Node
from lazytorch.ops.recording import apply, attach, cast, emit, floating, node_of, place, result, torch_function
from lazytorch.tensor import Tensor, value


@torch_function("view_as_real", out=False)
def view_as_real(input: Tensor) -> Tensor:
    """Real and imaginary part along a new last dimension of 2 (a copy: torch's is a view)."""
    return apply(complex_numbers.to_pairs.operator(), value(input))


@torch_function("view_as_complex", out=False)
def view_as_complex(input: Tensor) -> Tensor:
    """The complex numbers whose parts lie along the last dimension of size 2 (a copy: torch's is a view)."""
    return apply(complex_numbers.of_pairs.operator(), value(input))


def _combined(real: Node, imaginary: Node, label: str) -> Node:
    """Complex numbers of parts that broadcast against each other."""
    shape = (*arith.broadcast_shapes(real.type.shape, imaginary.type.shape), 1)
    parts = [tensor.expand(tensor.reshape(x, shape=(*x.type.shape, 1)), shape=shape) for x in (real, imaginary)]
    return emit(complex_numbers.of_pairs, complex_numbers.joined(*parts), label=label)


def _check_parts(first: Tensor, second: Tensor) -> None:
    left, right = first.dtype, second.dtype
    if left not in complex_numbers.COMPLEX_OF or right not in complex_numbers.COMPLEX_OF:
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {left.title} and {right.title}"
        )
    if left is not right:
        raise RuntimeError(
            f"Expected object of scalar type {left.title} but got scalar type {right.title} for second argument"
        )


@torch_function("complex", method=False)
def complex_(real: Tensor, imag: Tensor) -> Tensor:
    """real + i imag"""
    _check_parts(real, imag)
    place()
    return result(_combined(value(real), value(imag), "Complex"))


@torch_function("polar", method=False)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """abs (cos angle + i sin angle)"""
    _check_parts(abs, angle)
    place()
    size, turn = value(abs), value(angle)
    return result(_combined(arith.mul(size, math.cos(turn)), arith.mul(size, math.sin(turn)), "Polar"))


@torch_function("conj", "conj_physical", out=False)
def conj(input: Tensor) -> Tensor:
    """The complex conjugate; real numbers as they are."""
    return apply(complex_numbers.conj.operator(), value(input)) if input.dtype.is_complex else input


@torch_function("resolve_conj", "resolve_neg", out=False)
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: no conjugation (or negation) waits to be carried out."""
    return input


def _part(input: Tensor, index: int, label: str) -> Tensor:
    place()
    p = complex_numbers.part(complex_numbers.to_pairs(value(input)), index)
    return result(emit(tensor.reshape, p, shape=p.type.shape[:-1], label=label))


@torch_function("real", method=False, out=False)
def real(input: Tensor) -> Tensor:
    """The real parts; real numbers as they are."""
    return _part(input, 0, "Select") if input.dtype.is_complex else input


@torch_function("imag", method=False, out=False)
def imag(input: Tensor) -> Tensor:
    """The imaginary parts. Raises RuntimeError for real numbers."""
    if not input.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return _part(input, 1, "Select")


attach("real", property(real))
attach("imag", property(imag))


@torch_function("adjoint", out=False)
def adjoint(input: Tensor) -> Tensor:
    """The conjugate of the matrices turned over."""
    if not len(input.shape):
        return conj(input)
    return conj(input.transpose(-2, -1))


attach("mH", property(adjoint))


def _of_matrix(input: Tensor) -> Tensor:
    """The adjoint of one matrix. Raises RuntimeError for other ranks."""
    if len(input.shape) not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {len(input.shape)}-D tensor.")
    return adjoint(input)


attach("H", property(_of_matrix))


@torch_function("isreal", out=False)
def isreal(input: Tensor) -> Tensor:
    """Whether each number's imaginary part is 0."""
    if input.dtype.is_complex:
        return imag(input) == 0
    place()
    return result(arith.compare(value(input), value(input), predicate="eq")) | True


@torch_function("angle")
def angle(input: Tensor) -> Tensor:
    """The angle of the number in the plane: for real ones pi where negative, else 0; nan stays."""
    if input.dtype.is_complex:
        return result(math.atan2(value(imag(input)), value(real(input))))
    place()
    x = cast(value(input), floating(input))
    x = emit(tensor.detach, x)
    zero, half_turn = node_of(0.0, x.type.dtype), node_of(python_math.pi, x.type.dtype)
    turned = arith.select(arith.compare(x, zero, predicate="lt"), half_turn, zero)
    return result(arith.select(arith.compare(x, x, predicate="ne"), x, turned))
