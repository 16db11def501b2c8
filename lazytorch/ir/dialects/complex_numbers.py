"""`complex`: complex numbers and the pairs of real ones that they are.

Kernels know real numbers only. A complex tensor lies in memory as pairs (real part, imaginary part), so it is the same as a
real one with a trailing dimension of 2: the pass `split_complex` rewrites what it can to operations on pairs. What it has
no rule for is a step of the host.

Gradients follow torch: that of a real loss L by z is dL/d(real part) + i dL/d(imaginary part). For a holomorphic function
it is the cotangent times the conjugate of the derivative; the plain rules of operations are turned into that where a
signature is complex (`Trait.WIRTINGER` marks operations whose own rules say it already).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example, leading
from lazytorch.ir.dialects import arith, math, tensor
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.types import TensorType

REAL_OF = {dtypes.complex64: dtypes.float32, dtypes.complex128: dtypes.float64}
COMPLEX_OF = {real: whole for whole, real in REAL_OF.items()}
_TRAITS = (Trait.PURE, Trait.WIRTINGER)


def _infer_to_pairs(attributes: Attributes, z: TensorType) -> TensorType:
    if z.dtype not in REAL_OF:
        raise RuntimeError(f"view_as_real is only supported for complex tensors, but got a {z.dtype.title} tensor")
    return TensorType(REAL_OF[z.dtype], (*z.shape, 2))


def _infer_of_pairs(attributes: Attributes, x: TensorType) -> TensorType:
    if x.dtype not in COMPLEX_OF:
        raise RuntimeError(f"view_as_complex is only supported for floating point tensors, but got a tensor of {x.dtype}")
    if not x.shape or x.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    return TensorType(COMPLEX_OF[x.dtype], x.shape[:-1])


def _reference_to_pairs(attributes: Attributes, z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], axis=-1)


def _reference_of_pairs(attributes: Attributes, x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).view(np.result_type(x.dtype, np.complex64))[..., 0]


to_pairs: Declaration = Declaration(
    "complex.to_pairs",
    _infer_to_pairs,
    traits=(*_TRAITS, Trait.LINEAR, Trait.ADDITIVE),
    vjp=(lambda op, g: of_pairs(g),),
    batch=leading(),
    reference=_reference_to_pairs,
    gradient_name="ViewAsReal",
    example=example("tensor<2x3xcomplex<f32>>"),
    doc="real and imaginary part along a new trailing dimension of 2",
)
of_pairs: Declaration = Declaration(
    "complex.of_pairs",
    _infer_of_pairs,
    traits=(*_TRAITS, Trait.LINEAR, Trait.ADDITIVE),
    vjp=(lambda op, g: to_pairs(g),),
    batch=leading(),
    reference=_reference_of_pairs,
    gradient_name="ViewAsComplex",
    example=example("tensor<3x2xf32>"),
    doc="the complex numbers of which the trailing dimension, of size 2, holds real and imaginary part",
)


@to_pairs.canonicalization
def pairs_of_complex(operation: Any, rewriter: Any) -> bool:
    """to_pairs(of_pairs(x)) → x"""
    inner = operation.operands[0].defining_op(of_pairs)
    if inner is None:
        return False
    rewriter.replace(operation, inner.operands[0])
    return True


@of_pairs.canonicalization
def complex_of_pairs(operation: Any, rewriter: Any) -> bool:
    """of_pairs(to_pairs(z)) → z"""
    inner = operation.operands[0].defining_op(to_pairs)
    if inner is None:
        return False
    rewriter.replace(operation, inner.operands[0])
    return True


def _infer_conj(attributes: Attributes, z: TensorType) -> TensorType:
    if z.dtype not in REAL_OF:
        raise RuntimeError(f"expected a complex tensor, but got a {z.dtype.title} tensor")
    return z


def _decompose_conj(op: Any) -> Any:
    p = to_pairs(op.operands[0])
    return of_pairs(joined(p, arith.neg(p)))


conj: Declaration = Declaration(
    "complex.conj",
    _infer_conj,
    traits=(*_TRAITS, Trait.COMPOSITE, Trait.LINEAR),
    vjp=(lambda op, g: conj(g),),
    reference=lambda attributes, z: np.conj(z),
    decompose=_decompose_conj,
    gradient_name="Conj",
    example=example("tensor<2x3xcomplex<f32>>"),
    doc="the complex conjugate",
)


def part(p: Any, index: int) -> Any:
    """Real (0) or imaginary (1) part of pairs, with a trailing dimension of 1."""
    shape = p.type.shape
    zeros = (0,) * (len(shape) - 1)
    return tensor.slice_(p, starts=(*zeros, index), sizes=(*shape[:-1], 1), steps=(1,) * len(shape))


def joined(real: Any, imaginary: Any) -> Any:
    """Pairs of parts that broadcast to them."""
    number = positions(real, 2, dtypes.int64)
    return arith.select(arith.compare(number, 0, predicate="eq"), real, imaginary)


def _without_pair(x: Any) -> Any:
    return tensor.reshape(x, shape=x.type.shape[:-1])


def _size(z: Any) -> Any:
    p = to_pairs(z)
    return _without_pair(math.hypot(part(p, 0), part(p, 1)))


def _abs_rule(op: Any, g: Any) -> Any:
    """The cotangent in the number's direction; 0 at 0, as torch."""
    z = op.operands[0]
    size = op.result
    scale = arith.select(arith.compare(size, 0.0, predicate="eq"), size, arith.div(g, size))
    return of_pairs(arith.mul(to_pairs(z), tensor.reshape(scale, shape=(*scale.type.shape, 1))))


def _infer_abs(attributes: Attributes, z: TensorType) -> TensorType:
    return TensorType(REAL_OF[_infer_conj(attributes, z).dtype], z.shape)


abs_: Declaration = Declaration(
    "complex.abs",
    _infer_abs,
    traits=(*_TRAITS, Trait.COMPOSITE),
    vjp=(_abs_rule,),
    reference=lambda attributes, z: np.abs(z),
    decompose=lambda op: _size(op.operands[0]),
    gradient_name="Abs",
    example=example("tensor<2x3xcomplex<f32>>"),
    doc="the distance from 0",
)
