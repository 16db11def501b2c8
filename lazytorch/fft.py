"""Discrete Fourier transforms (torch.fft), differentiable; NumPy computes them.

`norm`: which factor a transform has. "backward" (the default): 1 / n the inverse one; "forward": 1 / n the forward one;
"ortho": 1 / sqrt(n) both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import lazytorch as torch
from lazytorch.ir.dialects import fourier
from lazytorch.ops.promotion import promote_types
from lazytorch.ops.recording import apply, dimension
from lazytorch.tensor import Tensor, value

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "hfft2",
    "hfftn",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "ihfft2",
    "ihfftn",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

Sizes = Sequence[int] | None


def _factor(norm: str | None, count: int, inverse: bool) -> float:
    """What a transform without a factor is multiplied by. Raises RuntimeError for an unknown norm."""
    if norm == "ortho":
        return 1.0 / math.sqrt(count)
    if norm not in (None, "backward", "forward"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    return 1.0 / count if inverse is (norm != "forward") else 1.0


def _complex(x: Tensor) -> Tensor:
    """A tensor as complex numbers; whole ones become floating first."""
    if x.dtype.is_complex:
        return x
    kind = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
    return x.to(promote_types(kind, torch.complex64))


def _sized(x: Tensor, dim: int, size: int) -> Tensor:
    """Cut off, or filled up with zeros, along a dimension. Raises RuntimeError for a size below 1."""
    if size < 1:
        raise RuntimeError(f"Invalid number of data points ({size}) specified")
    have = x.shape[dim]
    if size <= have:
        return x.narrow(dim, 0, size)
    missing = x.new_zeros((*x.shape[:dim], size - have, *x.shape[dim + 1 :]))
    return torch.cat([x, missing], dim)


def _places(x: Tensor, s: Sizes, dim: Sizes) -> tuple[list[int], list[int]]:
    """The dimensions of a transform and their sizes (-1: as it is)."""
    rank = len(x.shape)
    if dim is None:
        dims = list(range(rank - len(s) if s is not None else 0, rank))
    else:
        dims = [dimension(d, rank) for d in dim]
    if len(set(dims)) != len(dims):
        raise RuntimeError("FFT dims must be unique")
    if s is not None and len(s) != len(dims):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    return dims, list(s) if s is not None else [-1] * len(dims)


def _transformed(x: Tensor, sizes: Sizes, dims: Sizes, norm: str | None, inverse: bool) -> Tensor:
    places, wanted = _places(x, sizes, dims)
    z = _complex(x)
    for d, size in zip(places, wanted, strict=True):
        z = _sized(z, d, x.shape[d] if size == -1 else size)
    out = apply(fourier.transform.operator(dims=tuple(places), inverse=inverse), value(z))
    factor = _factor(norm, math.prod([z.shape[d] for d in places]), inverse)
    return out if factor == 1.0 else out * factor


def _half(x: Tensor, sizes: Sizes, dims: Sizes, norm: str | None) -> Tensor:
    """A transform of real numbers: the half of the last dimension that the rest follows from."""
    if x.dtype.is_complex:
        raise RuntimeError(f"rfft expects a real input tensor, but got {x.dtype.title}")
    places, _ = _places(x, sizes, dims)
    full = _transformed(x, sizes, dims, norm, False)
    return full.narrow(places[-1], 0, full.shape[places[-1]] // 2 + 1)


def _from_half(x: Tensor, sizes: Sizes, dims: Sizes, norm: str | None) -> Tensor:
    """The inverse of `_half`: real numbers, as many along the last dimension as its size says."""
    places, wanted = _places(x, sizes, dims)
    last = places[-1]
    count = wanted[-1] if wanted[-1] != -1 else 2 * (x.shape[last] - 1)
    if count < 1:
        raise RuntimeError(f"Invalid number of data points ({count}) specified")
    z = _complex(x)
    if len(places) > 1:
        z = _transformed(z, wanted[:-1], places[:-1], norm, True)
    half = _sized(z, last, count // 2 + 1)
    mirrored = half.narrow(last, 1, (count - 1) // 2).flip(last).conj()
    return _transformed(torch.cat([half, mirrored], last), None, [last], norm, True).real


def _conjugate(x: Tensor) -> Tensor:
    return _complex(x).conj()


def _exchanged(norm: str | None) -> str | None:
    """The norm whose factors the other direction has."""
    return {"forward": "backward", "backward": "forward", None: "forward"}.get(norm, norm)


_KINDS: dict[str, Callable[..., Tensor]] = {
    "fft": lambda x, s, dims, norm: _transformed(x, s, dims, norm, False),
    "ifft": lambda x, s, dims, norm: _transformed(x, s, dims, norm, True),
    "rfft": _half,
    "irfft": _from_half,
    "hfft": lambda x, s, dims, norm: _from_half(_conjugate(x), s, dims, _exchanged(norm)),
    "ihfft": lambda x, s, dims, norm: _half(x, s, dims, _exchanged(norm)).conj(),
}


def _declare(kind: str) -> list[Callable[..., Tensor]]:
    """A transform along one dimension, two, and any."""
    compute = _KINDS[kind]

    def one(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
        return compute(input, None if n is None else [n], [dim], norm)

    def two(input: Tensor, s: Sizes = None, dim: Sequence[int] = (-2, -1), norm: str | None = None) -> Tensor:
        return compute(input, s, dim, norm)

    def many(input: Tensor, s: Sizes = None, dim: Sizes = None, norm: str | None = None) -> Tensor:
        return compute(input, s, dim, norm)

    for function, suffix, over in ((one, "", "one dimension"), (two, "2", "two dimensions"), (many, "n", "dimensions")):
        function.__name__ = f"{kind}{suffix}"
        function.__doc__ = f"`torch.fft.{kind}{suffix}`: over {over}, cut off or filled up with zeros to the given sizes."
    return [one, two, many]


fft, fft2, fftn = _declare("fft")
ifft, ifft2, ifftn = _declare("ifft")
rfft, rfft2, rfftn = _declare("rfft")
irfft, irfft2, irfftn = _declare("irfft")
hfft, hfft2, hfftn = _declare("hfft")
ihfft, ihfft2, ihfftn = _declare("ihfft")


def fftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of n samples, d apart: 0 and the positive ones, then the negative ones."""
    positive, negative = torch.arange(0, (n + 1) // 2), torch.arange(-(n // 2), 0)
    frequencies: Tensor = torch.cat([positive, negative]).to(options.pop("dtype", None) or torch.get_default_dtype())
    return (frequencies * (1.0 / (n * d))).requires_grad_(options.get("requires_grad", False))


def rfftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of `rfft` of n samples, d apart."""
    frequencies: Tensor = torch.arange(0, n // 2 + 1).to(options.pop("dtype", None) or torch.get_default_dtype())
    return (frequencies * (1.0 / (n * d))).requires_grad_(options.get("requires_grad", False))


def _shifted(input: Tensor, dim: Any, offset: Callable[[int], int]) -> Tensor:
    dims = range(len(input.shape)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    places = [dimension(d, len(input.shape)) for d in dims]
    return input.roll([offset(input.shape[d]) for d in places], places)


def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """Frequency 0 in the middle of the given dimensions (all)."""
    return _shifted(input, dim, lambda size: size // 2)


def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _shifted(input, dim, lambda size: (size + 1) // 2)
