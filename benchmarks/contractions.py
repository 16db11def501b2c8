"""Matrix products and convolutions: MKL and oneDNN are the measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lazytorch
from benchmarks.workload import Library, Step, Workload


def _computed(library: Library, function: Callable[[], Any]) -> Step:
    called, no_grad = library.function(function), library.module.no_grad

    def step() -> None:
        with no_grad():
            result = called()
            if library.module is lazytorch:
                result.realize()

    return step


def product(m: int, n: int, k: int, left: str = "n", right: str = "n", batch: tuple[int, ...] = ()) -> Workload:
    """[m, k] @ [k, n]; "t": the operand is a transposed view of its memory."""

    def make(library: Library) -> Step:
        torch = library.module
        torch.manual_seed(0)
        a = torch.randn(*batch, m, k) if left == "n" else torch.randn(*batch, k, m).transpose(-1, -2)
        b = torch.randn(*batch, k, n) if right == "n" else torch.randn(*batch, n, k).transpose(-1, -2)
        return _computed(library, lambda: a @ b)

    count = 1
    for size in batch:
        count *= size
    return Workload(make, flops=2.0 * m * n * k * count)


def linear_gelu(m: int, n: int, k: int) -> Workload:
    """A linear layer with bias and GELU."""

    def make(library: Library) -> Step:
        torch = library.module
        torch.manual_seed(0)
        x, w, b = torch.randn(m, k), torch.randn(n, k), torch.randn(n)
        F = torch.nn.functional
        return _computed(library, lambda: F.gelu(F.linear(x, w, b)))

    return Workload(make, flops=2.0 * m * n * k)


def convolution(
    batch: int, channels: int, outputs: int, size: int, kernel: int, backward: str = "", groups: int = 1
) -> Workload:
    """A 2d convolution that keeps the size; `backward`: x or w, the gradient of the input or of the weights."""

    def make(library: Library) -> Step:
        torch = library.module
        torch.manual_seed(0)
        x = torch.randn(batch, channels, size, size)
        w = torch.randn(outputs, channels // groups, kernel, kernel)
        g = torch.randn(batch, outputs, size, size)
        if not backward:
            return _computed(library, lambda: torch.nn.functional.conv2d(x, w, padding=kernel // 2, groups=groups))
        if torch is lazytorch:
            return _own_gradient(library, x, w, g, kernel // 2, groups, backward)
        wanted = [backward == "x", backward == "w", False]
        arguments = ([1, 1], [kernel // 2, kernel // 2], [1, 1], False, [0, 0], groups)
        return library.function(lambda: torch.ops.aten.convolution_backward(g, x, w, None, *arguments, wanted))

    return Workload(make, flops=2.0 * batch * size * size * outputs * channels // groups * kernel * kernel)


def _own_gradient(library: Library, x: Any, w: Any, g: Any, padding: int, groups: int, operand: str) -> Step:
    of = x if operand == "x" else w

    def gradient() -> Any:
        of.requires_grad_(True)
        y = lazytorch.nn.functional.conv2d(x, w, padding=padding, groups=groups)
        return lazytorch.autograd.grad(y, of, g)[0]

    return lambda: gradient().realize()  # the convolution itself is forgotten by then


WORKLOADS: dict[str, Workload] = {
    **{f"nn {size}": product(size, size, size) for size in (64, 128, 256, 512, 1024, 2048)},
    "nt 1024": product(1024, 1024, 1024, "n", "t"),
    "tn 1024": product(1024, 1024, 1024, "t", "n"),
    "nn 64x512x784": product(64, 512, 784),
    "nt 64x512x784": product(64, 512, 784, "n", "t"),
    "tn 512x784x64": product(512, 784, 64, "t", "n"),
    "nn 128x1024x1024": product(128, 1024, 1024),
    "nt 128x1024x1024": product(128, 1024, 1024, "n", "t"),
    "nn 1x1024x1024": product(1, 1024, 1024),
    "nt 1x1024x1024": product(1, 1024, 1024, "n", "t"),
    "nn 1024x1x1024": product(1024, 1, 1024),
    "nn 8x1024x1024": product(8, 1024, 1024),
    "nt 8x1024x1024": product(8, 1024, 1024, "n", "t"),
    "outer 1024x1024x1": product(1024, 1024, 1),
    "nn 1024x1024x8": product(1024, 1024, 8),
    "nn 4096x16x256": product(4096, 16, 256),
    "tn 64x64x32768": product(64, 64, 32768, "t", "n"),
    "nt 64x64x32768": product(64, 64, 32768, "n", "t"),
    "batch 32x128x128x64": product(128, 128, 64, "n", "t", (32,)),
    "batch 32x128x64x128": product(128, 64, 128, "n", "n", (32,)),
    "batch 512x16x16x16": product(16, 16, 16, "n", "n", (512,)),
    "gelu 64x512x784": linear_gelu(64, 512, 784),
    "gelu 256x2048x512": linear_gelu(256, 2048, 512),
    "gelu 1024x1024x1024": linear_gelu(1024, 1024, 1024),
    "conv3x3 8x64x64x56": convolution(8, 64, 64, 56, 3),
    "conv3x3 8x64x64x56 dx": convolution(8, 64, 64, 56, 3, "x"),
    "conv3x3 8x64x64x56 dw": convolution(8, 64, 64, 56, 3, "w"),
    "conv3x3 8x256x256x14": convolution(8, 256, 256, 14, 3),
    "conv3x3 8x256x256x14 dx": convolution(8, 256, 256, 14, 3, "x"),
    "conv3x3 8x256x256x14 dw": convolution(8, 256, 256, 14, 3, "w"),
    "conv1x1 8x256x64x28": convolution(8, 256, 64, 28, 1),
    "conv1x1 8x256x64x28 dx": convolution(8, 256, 64, 28, 1, "x"),
    "conv1x1 8x256x64x28 dw": convolution(8, 256, 64, 28, 1, "w"),
    "depthwise 8x128x28": convolution(8, 128, 128, 28, 3, "", 128),
    "depthwise 8x128x28 dx": convolution(8, 128, 128, 28, 3, "x", 128),
    "depthwise 8x128x28 dw": convolution(8, 128, 128, 28, 3, "w", 128),
}
