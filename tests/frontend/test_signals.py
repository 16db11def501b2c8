"""Spectrograms, the transforms of Hermitian signals, fractions of powers of two, histograms in several dimensions."""

from collections.abc import Callable

import pytest

SPECTROGRAMS = [
    {"n_fft": 16},
    {"n_fft": 16, "hop_length": 5, "win_length": 10},
    {"n_fft": 15, "normalized": True},
    {"n_fft": 16, "onesided": False},
]


@pytest.mark.parametrize("options", SPECTROGRAMS, ids=str)
def test_a_spectrogram_and_its_inverse_are_torchs(options: dict, same_as_torch: Callable[..., None]) -> None:
    def call(t, x):
        window = t.hann_window(options.get("win_length", options["n_fft"]))
        y = t.stft(x, **options, window=window, return_complex=True)
        return t.view_as_real(y), t.istft(y, **options, window=window, length=90)

    same_as_torch(call, (2, 100), rtol=1e-4, atol=1e-4)


CALLS = {
    "stft without a centre": lambda t: t.stft(t.randn(50), 16, center=False, return_complex=False),
    "stft with padding of zeros": lambda t: t.view_as_real(t.randn(50).stft(9, 3, pad_mode="constant", return_complex=True)),
    "hfft": lambda t: [t.fft.hfft(t.view_as_complex(t.randn(5, 2)), n, norm=k) for n in (None, 7) for k in (None, "ortho")],
    "ihfft": lambda t: [t.view_as_real(t.fft.ihfft(t.randn(6), norm=k).resolve_conj()) for k in (None, "forward")],
    "hfftn": lambda t: t.fft.hfftn(t.view_as_complex(t.randn(3, 4, 2))),
    "frexp": lambda t: [
        t.frexp(t.tensor([1.0, -3, 0, 1e-40, float("inf"), float("nan"), 2.0**-24, 65504.0], dtype=kind))
        for kind in (t.float32, t.float64, t.float16)
    ],
    "histogramdd": lambda t: (
        *t.histogramdd(t.randn(50, 3), [2, 3, 4])[1],
        t.histogramdd(t.randn(50, 2), 3, weight=t.rand(50), density=True).hist,
        t.histogramdd(t.randn(50, 2), [t.tensor([-1.0, 0, 1]), t.tensor([0.0, 1])])[0],
        t.histogramdd(t.randn(50, 2), [3, 3], range=[0.0, 1.0, -1.0, 1.0])[0],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(CALLS[name], rtol=1e-5, atol=1e-5)
