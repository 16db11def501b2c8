"""Transforms of short pieces of a signal, and back: torch.stft and torch.istft."""

from __future__ import annotations

import math

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.dialects import fourier
from lazytorch.ops.recording import FUNCTIONS, apply, cast, torch_function
from lazytorch.tensor import Tensor, value


def _transform(x: Tensor, inverse: bool) -> Tensor:
    """Along the last dimension, without a factor."""
    rank = len(x.shape)
    kind = x.dtype if x.dtype.is_complex else _complex_of(x.dtype)
    return apply(fourier.transform.operator(dims=(rank - 1,), inverse=inverse), cast(value(x), kind))


def _complex_of(dtype: DType) -> DType:
    return dtypes.complex128 if dtype is dtypes.float64 else dtypes.complex64


def _window(name: str, window: Tensor | None, length: int, n_fft: int, dtype: DType) -> Tensor:
    """The window, ones by default, in the middle of n_fft samples."""
    if window is None:
        window = FUNCTIONS["ones"](length, dtype=dtype)
    elif tuple(window.shape) != (length,):
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={length}, but got window with size "
            f"{list(window.shape)}"
        )
    before = (n_fft - length) // 2
    pieces = [FUNCTIONS["zeros"](count, dtype=dtype) for count in (before, n_fft - length - before)]
    return window if length == n_fft else FUNCTIONS["cat"]([pieces[0], window, pieces[1]])


def _edges(x: Tensor, count: int, mode: str) -> Tensor:
    """[batch, n] with `count` samples more at both ends."""
    size = x.shape[-1]
    if mode == "reflect" and count >= size:
        raise RuntimeError(
            f"Argument #4: Padding size should be less than the corresponding input dimension, but got: padding ({count}, "
            f"{count}) at dimension 2 of input [1, {x.shape[0]}, {size}]"
        )
    if mode == "reflect":
        left, right = x[:, 1 : count + 1].flip(1), x[:, size - count - 1 : size - 1].flip(1)
    elif mode == "replicate":
        left, right = x[:, :1].expand(-1, count), x[:, -1:].expand(-1, count)
    elif mode == "circular":
        left, right = x[:, size - count :], x[:, :count]
    elif mode == "constant":
        left = right = x.new_zeros((x.shape[0], count))
    else:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    return FUNCTIONS["cat"]([left, x, right], 1)


@torch_function("stft", out=False)
def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """[frequencies, frames] of a signal [n], or of a batch of them: transforms of windows `hop_length` apart."""
    if len(input.shape) not in (1, 2):
        raise RuntimeError(f"stft(): expected a 1D or 2D tensor but got {len(input.shape)}D")
    hop, length = n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length
    complex_input = input.dtype.is_complex or (window is not None and window.dtype.is_complex)
    if return_complex is None and not complex_input:
        raise RuntimeError(
            "stft requires the return_complex parameter be given for real inputs, and will further require that "
            "return_complex=True in a future PyTorch release."
        )
    signal = input if len(input.shape) == 2 else input.unsqueeze(0)
    signal = _edges(signal, n_fft // 2, pad_mode) if center else signal
    if not 0 < n_fft <= signal.shape[-1]:
        raise RuntimeError(f"stft(): expected 0 < n_fft <= {signal.shape[-1]}, but got n_fft={n_fft}")
    if hop <= 0:
        raise RuntimeError(f"stft(): expected hop_length > 0, but got hop_length={hop}")
    frames = signal.unfold(-1, n_fft, hop)
    out = _transform(frames * _window("stft()", window, length, n_fft, input.dtype), False)
    if not complex_input if onesided is None else onesided:
        out = out.narrow(-1, 0, n_fft // 2 + 1)
    out = out * (1.0 / math.sqrt(n_fft)) if normalized else out
    out = out.transpose(1, 2)
    out = out if len(input.shape) == 2 else out.squeeze(0)
    return out if return_complex or complex_input else FUNCTIONS["view_as_real"](out)


@torch_function("istft", out=False)
def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal of which `stft` gave the pieces: overlapping windows added, divided by the windows' squares."""
    if not input.dtype.is_complex:
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    hop, size = n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length
    pieces = input if len(input.shape) == 3 else input.unsqueeze(0)
    half = pieces.shape[1] != n_fft if onesided is None else onesided
    if pieces.shape[1] != (n_fft // 2 + 1 if half else n_fft):
        raise RuntimeError(
            f"istft(): expected the frequency dimension (3rd to the last) of the input tensor to match n_fft"
            f"{' / 2 + 1' if half else ''} when onesided={half}, but got {pieces.shape[1]}"
        )
    pieces = pieces.transpose(1, 2)
    pieces = pieces * math.sqrt(n_fft) if normalized else pieces
    if half:
        pieces = FUNCTIONS["cat"]([pieces, pieces[..., 1 : (n_fft + 1) // 2].flip(-1).conj()], -1)
    frames = _transform(pieces, True) * (1.0 / n_fft)
    frames = frames if return_complex else frames.real
    weights = _window("istft()", window, size, n_fft, frames.dtype if not return_complex else frames.real.dtype)
    signal = _overlapped(frames * weights, hop)
    envelope = _overlapped((weights * weights).expand(1, frames.shape[1], n_fft), hop)
    start = n_fft // 2 if center else 0
    end = signal.shape[-1] - start if length is None else start + length
    signal, envelope = signal[:, start:end], envelope[:, start:end]
    if float(envelope.abs().min()) < 1e-11:
        raise RuntimeError("window overlap add min: 1")
    out = signal / envelope
    if length is not None and out.shape[-1] < length:
        out = FUNCTIONS["cat"]([out, out.new_zeros((out.shape[0], length - out.shape[-1]))], 1)
    return out if len(input.shape) == 3 else out.squeeze(0)


def _overlapped(frames: Tensor, hop: int) -> Tensor:
    """[batch, frames, n]: the sum of frames that begin `hop` apart."""
    batch, count, size = frames.shape
    total = size + hop * (count - 1)
    place = (FUNCTIONS["arange"](count).unsqueeze(1) * hop + FUNCTIONS["arange"](size)).reshape(-1)
    return frames.new_zeros((batch, total)).index_add(1, place, frames.reshape(batch, -1))
