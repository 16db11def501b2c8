"""Convolutions as contractions over windows: against torch, and one hash on every target and number of threads."""

import numpy as np
import pytest
import torch as oracle

import lazytorch as torch
from lazytorch.config import config

# batch, channels, outputs, spatial sizes, kernel, stride, padding, dilation, groups
CASES = [
    (2, 3, 5, (8, 8), (3, 3), 1, 1, 1, 1),
    (64, 1, 16, (8, 8), (3, 3), 1, 1, 1, 1),
    (5, 16, 32, (4, 4), (3, 3), 1, 1, 1, 1),
    (2, 20, 14, (7, 7), (3, 3), 1, 1, 1, 1),
    (1, 3, 4, (9, 37), (5, 2), (2, 3), (2, 1), 1, 1),
    (3, 4, 6, (10, 9), (3, 3), 2, 0, 2, 2),
    (2, 6, 6, (6, 33), (3, 3), 1, (1, 0), 1, 6),
    (2, 3, 4, (1, 1), (1, 1), 1, 2, 1, 1),  # more padding than the kernel reaches: the input's gradient is cropped
    (3, 2, 4, (50,), (4,), 3, 2, 2, 2),
    (2, 24, 24, (9, 14), (3, 3), 1, 1, 1, 24),
    (2, 8, 12, (7, 28), (5, 5), 1, 2, 1, 4),
    (300, 2, 3, (2, 2), (2, 2), 1, 1, 1, 1),
]


def results(library: object, arrays: list[np.ndarray], stride: object, padding: object, dilation: int, groups: int) -> list:
    """Output, and the gradients of input, weights and bias."""
    x, w, b = (library.tensor(array, requires_grad=True) for array in arrays[:3])
    convolve = getattr(library.nn.functional, f"conv{x.dim() - 2}d")
    y = convolve(x, w, b, stride, padding, dilation, groups)
    (y * library.tensor(arrays[3])).sum().backward()
    return [tensor.detach().numpy() for tensor in (y, x.grad, w.grad, b.grad)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_and_gradients(case: tuple) -> None:
    batch, channels, outputs, sizes, kernel, *rest = case
    groups = rest[3]
    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    arrays = [random(batch, channels, *sizes), random(outputs, channels // groups, *kernel), random(outputs)]
    convolve = getattr(oracle.nn.functional, f"conv{len(sizes)}d")
    shape = convolve(*[oracle.tensor(array) for array in arrays], *rest).shape
    arrays.append(random(*shape))
    ours = results(torch, arrays, *rest)
    for name, own, expected in zip(["y", "x", "w", "b"], ours, results(oracle, arrays, *rest), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=name)
    others = []
    for settings in ({"target": "x86-64-v3"}, {"num_threads": 1}, {"fuse": False}):
        with config(**settings):
            others.append(results(torch, arrays, *rest))
    for other in others:
        assert [a.tobytes() for a in other] == [a.tobytes() for a in ours]


def test_a_grouped_convolution_takes_bias_and_activation_in() -> None:
    """The reshape that joins groups and channels is between the contraction and its epilogue."""
    x, w, b = torch.randn(3, 8, 9, 11), torch.randn(12, 2, 3, 3), torch.randn(12)

    def layer() -> torch.Tensor:
        return torch.relu(torch.nn.functional.conv2d(x, w, b, padding=1, groups=4)) + torch.arange(11)

    y = layer()
    assert torch.dump(y, stage="fused").count("fused.kernel") == 2  # the border, and the rest
    with config(fuse=False):
        assert layer().numpy().tobytes() == y.numpy().tobytes()
