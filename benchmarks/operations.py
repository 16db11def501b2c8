"""Single operations, forward or with their derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from benchmarks.workload import Library, Step, Workload

Function = Callable[..., Any]
Shape = tuple[int, ...]


def forward(function: Function, *shapes: Shape, moved: float = 0.0, jax: Function | None = None) -> Workload:
    """The operation's result, computed. moved: how often as many bytes as the first operand has are read or written."""

    def make(library: Library) -> Step:
        torch = library.module
        operands = _operands(torch, shapes)
        called = library.function(lambda *x: function(torch, *x))

        def step() -> None:
            with torch.no_grad():
                _compute(called(*operands))

        return step

    return Workload(make, bytes=4.0 * moved * math.prod(shapes[0]), jax=jax, shapes=shapes)


def both(function: Function, *shapes: Shape) -> Workload:
    """The gradients of the sum of the operation's result, computed."""

    def make(library: Library) -> Step:
        torch = library.module
        operands = [x.requires_grad_() for x in _operands(torch, shapes)]
        called = library.function(lambda *x: function(torch, *x).sum())

        def step() -> None:
            for x in operands:
                x.grad = None
            called(*operands).backward()
            for x in operands:
                _compute(x.grad)

        return step

    return Workload(make)


def _operands(torch: Any, shapes: tuple[Shape, ...]) -> list[Any]:
    torch.manual_seed(0)
    return [torch.randn(*shape) for shape in shapes]


def _compute(x: Any) -> None:
    if hasattr(x, "realize"):
        x.realize()


def _chain(torch: Any, x: Any, y: Any) -> Any:
    return ((x * 2 + y) * x - y) * x + y


def _tiny(torch: Any, x: Any) -> Any:
    total = x
    for _ in range(1000):
        total = total + x
    return total


def _rotary(torch: Any, x: Any) -> Any:
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * 0.5 - odd, odd + even], -1).flatten(-2)


def _attention(torch: Any, q: Any, k: Any, v: Any) -> Any:
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def _causal_attention(torch: Any, q: Any, k: Any, v: Any) -> Any:
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def _masked_attention(torch: Any, q: Any, k: Any, v: Any) -> Any:
    distance = torch.arange(q.shape[-2])
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, -0.1 * (distance - distance[:, None]).abs())


MATRIX, HEADS, IMAGES = (2048, 1024), (1, 4, 1024, 64), (32, 32, 32, 32)
WORKLOADS: dict[str, Workload] = {
    "chain of 5, 4M elements": forward(_chain, (1 << 22,), (1 << 22,), moved=3, jax=_chain),
    "1,000 tiny operations": forward(_tiny, (16,)),
    "sum": forward(lambda t, x: x.sum(), (1 << 22,), moved=1, jax=lambda j, x: x.sum()),
    "sum, both ways": both(lambda t, x: x.square(), (1 << 22,)),
    "sum of columns": forward(lambda t, x: x.sum(0), (2048, 2048), moved=1, jax=lambda j, x: x.sum(0)),
    "mean of rows": forward(lambda t, x: x.mean(1), (2048, 2048), moved=1),
    "mean of rows, both ways": both(lambda t, x: x.mean(1).square(), (2048, 2048)),
    "variance of rows": forward(lambda t, x: x.var(1), (2048, 2048), moved=1),
    "variance of rows, both ways": both(lambda t, x: x.var(1), (2048, 2048)),
    "argmax of rows": forward(lambda t, x: x.argmax(1), MATRIX),
    "logsumexp": forward(lambda t, x: t.logsumexp(x, 1), MATRIX),
    "softmax": forward(lambda t, x: t.softmax(x, -1), MATRIX, moved=2, jax=lambda j, x: j.nn.softmax(x, -1)),
    "softmax, both ways": both(lambda t, x: t.softmax(x, -1).square(), MATRIX),
    "cross_entropy, both ways": both(lambda t, x: t.nn.functional.cross_entropy(x, t.arange(2048) % 1000), MATRIX),
    "layer_norm": forward(lambda t, x: t.nn.functional.layer_norm(x, (1024,)), MATRIX, moved=2),
    "layer_norm, both ways": both(
        lambda t, x, w, b: t.nn.functional.layer_norm(x, (1024,), w, b).square(), MATRIX, (1024,), (1024,)
    ),
    "batch_norm, both ways": both(
        lambda t, x, w, b: t.nn.functional.batch_norm(x, None, None, w, b, True).square(), IMAGES, (32,), (32,)
    ),
    "gelu, both ways": both(lambda t, x: t.nn.functional.gelu(x), MATRIX),
    "dropout, both ways": both(lambda t, x: t.nn.functional.dropout(x, 0.1), (1024, 1024)),
    "embedding, both ways": both(
        lambda t, w: t.nn.functional.embedding(t.arange(2000).view(10, 200) % 977, w).square(), (1000, 256)
    ),
    "max_pool2d, both ways": both(lambda t, x: t.nn.functional.max_pool2d(x, 2), IMAGES),
    "avg_pool2d, both ways": both(lambda t, x: t.nn.functional.avg_pool2d(x, 2), IMAGES),
    "attention": forward(_attention, HEADS, HEADS, HEADS),
    "attention, both ways": both(_attention, HEADS, HEADS, HEADS),
    "causal attention": forward(_causal_attention, HEADS, HEADS, HEADS),
    "causal attention, both ways": both(_causal_attention, HEADS, HEADS, HEADS),
    "masked attention, both ways": both(_masked_attention, HEADS, HEADS, HEADS),
    "attention of 80, both ways": both(_attention, *((1, 4, 1024, 80),) * 3),
    "transposed copy": forward(lambda t, x: x.t().contiguous(), (2048, 2048)),
    "heads put side by side": forward(lambda t, x: x.transpose(1, 2).reshape(8, 256, 512) * 2, (8, 8, 256, 64)),
    "rotary embedding": forward(_rotary, (8, 256, 512)),
    "cat": forward(lambda t, x, y: t.cat([x, y], 1), (1024, 512), (1024, 512), moved=4),
    "rows by index": forward(lambda t, x: x[t.arange(1023, -1, -1)], (1024, 1024)),
    "roll": forward(lambda t, x: t.roll(x, 3, 1) + 1, (1024, 1024), moved=2),
    "cumsum": forward(lambda t, x: x.cumsum(1), (1024, 1024), moved=2),
    "sort": forward(lambda t, x: x.sort(1).values, (256, 1024)),
    "topk": forward(lambda t, x: x.topk(10, 1).values, (256, 4096)),
    "bilinear interpolation": forward(
        lambda t, x: t.nn.functional.interpolate(x, scale_factor=2, mode="bilinear"), (8, 16, 32, 32)
    ),
    "exp": forward(lambda t, x: x.exp(), (1 << 16,)),
    "sin": forward(lambda t, x: x.sin(), (1 << 16,)),
    "erf": forward(lambda t, x: x.erf(), (1 << 16,)),
    "pow": forward(lambda t, x: x.abs() ** 1.7, (1 << 16,)),
    "randn": forward(lambda t, x: t.randn(1 << 20), (1,)),
}
