"""`fourier`: discrete Fourier transforms, host operations: NumPy's pocketfft is what torch calls without MKL."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytorch.ir.declaration import Attributes, Declaration, Trait, example, leading
from lazytorch.ir.types import TensorType


def _infer(attributes: Attributes, z: TensorType) -> TensorType:
    if not z.dtype.is_complex:
        raise RuntimeError(f"fourier.transform: not implemented for {z.dtype}")
    return z


def _reference(attributes: Attributes, z: np.ndarray) -> np.ndarray:
    # NumPy's "forward" leaves the factor of the inverse out.
    if attributes.inverse:
        return np.fft.ifftn(z, axes=attributes.dims, norm="forward").astype(z.dtype)
    return np.fft.fftn(z, axes=attributes.dims).astype(z.dtype)


def _rule(op: Any, g: Any) -> Any:
    """The matrix of a transform is symmetric."""
    return transform(g, **op.attributes.as_dict())


transform: Declaration = Declaration(
    "fourier.transform",
    _infer,
    attributes=("dims", "inverse"),
    traits=(Trait.PURE, Trait.HOST, Trait.EXPENSIVE, Trait.LINEAR, Trait.ADDITIVE),
    vjp=(_rule,),
    batch=leading(lambda a, size: {"dims": tuple([dim + 1 for dim in a.dims])}),
    reference=_reference,
    gradient_name="FftC2C",
    example=example("tensor<2x3xcomplex<f32>>", dims=(1,), inverse=False),
    doc="the sum over `dims` of elements times exp(-2 pi i jk / n), or exp(2 pi i jk / n) if `inverse`; no factor",
)
