"""16-bit floats: what torch computes in float32 and rounds once, sums and norms first of all, is the same here."""

import itertools

import numpy as np
import pytest
import torch

import lazytorch

CASES = {
    "sum": lambda t, F, x: x.sum(),
    "sum over the first and last dimension": lambda t, F, x: x.sum((0, 2)),
    "mean": lambda t, F, x: x.mean(),
    "mean of rows": lambda t, F, x: x.mean(-1),
    "var": lambda t, F, x: x.var(),
    "std of columns": lambda t, F, x: x.std(1),
    "norm": lambda t, F, x: x.norm(),
    "3-norm": lambda t, F, x: x.norm(3, dim=1),
    "vector norm": lambda t, F, x: t.linalg.vector_norm(x, 2, (0, 2)),
    "matrix norm": lambda t, F, x: t.linalg.matrix_norm(x),
    "dist": lambda t, F, x: t.dist(x, x * 0.5 + 1),
    "normalize": lambda t, F, x: F.normalize(x, dim=-1),
    "pairwise_distance": lambda t, F, x: F.pairwise_distance(x, x.flip(-1)),
    "softmax": lambda t, F, x: x.softmax(-1),
    "softmin over rows": lambda t, F, x: F.softmin(x / 50, dim=0),
    "layer_norm": lambda t, F, x: F.layer_norm(x, (300,)),
    "group_norm": lambda t, F, x: F.group_norm(x.transpose(0, 1), 2),
    "rms_norm": lambda t, F, x: F.rms_norm(x, (300,)),
    "avg_pool1d": lambda t, F, x: F.avg_pool1d(x, 5),
    "adaptive_avg_pool1d": lambda t, F, x: F.adaptive_avg_pool1d(x, 3),
    "mse_loss": lambda t, F, x: F.mse_loss(x, x * 0.5),
    "l1_loss": lambda t, F, x: F.l1_loss(x, x * 0.5),
    "huber_loss": lambda t, F, x: F.huber_loss(x, x * 0.5),
    "smooth_l1_loss": lambda t, F, x: F.smooth_l1_loss(x, x * 0.5),
    "embedding_bag": lambda t, F, x: F.embedding_bag(t.arange(4)[None], x[0]),
    "interpolate": lambda t, F, x: F.interpolate(x[None], size=(7, 9), mode="bilinear"),
    "gelu": lambda t, F, x: F.gelu(x / 50, approximate="tanh"),
    "silu": lambda t, F, x: F.silu(x / 50),
    "softplus": lambda t, F, x: F.softplus(x / 50),
    "celu": lambda t, F, x: F.celu(x / 50, 0.7),
    "hardswish": lambda t, F, x: F.hardswish(x / 50),
    "leaky_relu": lambda t, F, x: F.leaky_relu(x, 0.3),
    "glu": lambda t, F, x: F.glu(x / 50),
    "sinc": lambda t, F, x: t.sinc(x),
    "rsqrt": lambda t, F, x: x.abs().rsqrt(),
    "logaddexp": lambda t, F, x: t.logaddexp(x, x.flip(0)),
    "lerp": lambda t, F, x: t.lerp(x, x.flip(0), 0.3),
    "addcdiv": lambda t, F, x: t.addcdiv(x, x, x.abs() + 1, value=0.3),
    "add of a multiple": lambda t, F, x: t.add(x, x.flip(0), alpha=0.3),
}
BITS = {"float16": 10, "bfloat16": 7}


def _numbers(library, function, dtype, x):
    """Value and gradient in float64 of a function of `x`, which is of type `dtype`."""
    x = x.to(getattr(library, dtype)).requires_grad_()
    out = function(library, library.nn.functional, x)
    assert out.dtype is getattr(library, dtype)
    cotangent = library.linspace(-1, 1, out.numel(), dtype=library.float32).reshape(tuple(out.shape)).cos().to(out.dtype)
    gradient = library.autograd.grad(out, [x], cotangent)[0]
    return [value.detach().double().numpy() for value in (out, gradient)]


@pytest.mark.parametrize(("name", "dtype"), list(zip(CASES, itertools.cycle(BITS), strict=False)))
def test_a_function_rounds_once_as_torchs(name, dtype):
    """Nearly all elements are torch's, the others are a unit in the last place apart (torch may use fused multiply-adds);
    the gradient is no further from that of float64 than torch's."""
    array = (np.random.default_rng(0).standard_normal((4, 6, 300)) * 60).astype(np.float32)
    narrow = torch.tensor(array).to(getattr(torch, dtype))
    want, slope = _numbers(torch, CASES[name], dtype, narrow)
    found, own = _numbers(lazytorch, CASES[name], dtype, lazytorch.tensor(array))
    unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(want), 2.0**-14))) - BITS[dtype])
    away = np.where(np.isfinite(want), np.abs(found - want) / unit, 0.0)
    assert (np.isfinite(found) == np.isfinite(want)).all()
    assert away.max() <= 2 and (away > 0).mean() < 0.1
    truth = _numbers(torch, CASES[name], "float64", narrow)[1]
    known = np.isfinite(slope) & np.isfinite(truth)
    scale = max(2.0 ** -BITS[dtype] * np.abs(truth[known]).max(), 2.0**-23)  # units of the largest, and of the least
    assert np.isfinite(own[known]).all()
    assert np.abs(own - truth)[known].max() <= max(np.abs(slope - truth)[known].max(), scale)


def test_softmax_of_nothing_takes_any_type():
    """As torch, which has no kernel for integers but none to run either."""
    assert lazytorch.softmax(lazytorch.zeros(0, 3, dtype=lazytorch.int64), 1).dtype is lazytorch.int64
    with pytest.raises(NotImplementedError, match="softmax_lastdim_kernel_impl"):
        lazytorch.softmax(lazytorch.zeros(2, 3, dtype=lazytorch.int64), 1)
