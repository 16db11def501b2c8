"""torch.fft against torch: values, shapes, element types and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import lazytorch as lt
from lazytorch.config import config

CALLS = [
    "fft(z)",
    "fft(x)",
    "fft(z, dim=0, norm='ortho')",
    "fft(z, n=3)",
    "fft(x, n=9, dim=1)",
    "ifft(z)",
    "ifft(z, norm='forward')",
    "fft2(z)",
    "ifft2(x, norm='ortho')",
    "fftn(z)",
    "fftn(z, s=(4, 2))",
    "ifftn(z, dim=(0, 2))",
    "rfft(x)",
    "rfft(x, n=8, norm='forward')",
    "rfft2(x)",
    "rfftn(x, dim=(0, 1))",
    "irfft(z)",
    "irfft(z, n=7)",
    "irfft(z, n=4, norm='ortho')",
    "irfft2(z)",
    "irfftn(z, s=(3, 5), dim=(1, 2))",
    "irfft(rfft(x), n=5)",
    "fftshift(x)",
    "fftshift(x, dim=(0,))",
    "ifftshift(z, dim=-1)",
    "fftfreq(5, d=0.5)",
    "fftfreq(6)",
    "rfftfreq(7, 2.0)",
]


def _run(library: Any, text: str) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    x = library.tensor(generator.normal(size=(2, 4, 5)).astype(np.float32), requires_grad=True)
    numbers = generator.normal(size=(2, 4, 5)) + 1j * generator.normal(size=(2, 4, 5))
    z = library.tensor(numbers.astype(np.complex64), requires_grad=True)
    y = eval(
        text,
        {**{name: getattr(library.fft, name) for name in torch.fft.__all__ if hasattr(library.fft, name)}, "x": x, "z": z},
    )
    if y.requires_grad:
        weights = library.linspace(0.5, 1.5, y.numel()).reshape(y.shape)
        real = y.real * weights + y.imag * weights.flip(0) if y.is_complex() else y * weights
        real.sum().backward()
    return [v.detach().numpy() for v in (y, x.grad, z.grad) if v is not None]


@pytest.mark.parametrize("text", CALLS)
def test_transforms_and_their_gradients_are_torchs(text: str) -> None:
    with config(interpret=True):
        got = _run(lt, text)
    want = _run(torch, text)
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)


def test_a_transform_runs_among_kernels() -> None:
    signal = lt.linspace(0.0, 1.0, 64)
    spectrum = lt.fft.rfft((signal * 25.132741).sin()).abs()
    assert int(spectrum.argmax()) == 4


@pytest.mark.parametrize("text", ["fft(x, n=0)", "rfft(z)", "fft(x, norm='other')", "fftn(x, dim=(0, 0))"])
def test_errors_are_torchs(text: str) -> None:
    found = []
    for library in (lt, torch):
        with pytest.raises(RuntimeError) as caught:
            _run(library, text)
        found.append(str(caught.value)[:40])
    assert found[0] == found[1]
