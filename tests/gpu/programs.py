"""Small programs that between them use every schedule: functions of `on`, which puts a tensor on the device under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lazytorch as torch

F = torch.nn.functional
On = Callable[[Any], Any]


def _normal(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def _classes(count: int, below: int) -> Any:
    return torch.randint(0, below, (count,), generator=torch.Generator().manual_seed(count))


A, B, C = _normal(33, 100), _normal(100, 70), _normal(33, 100)
LONG, TALL, WIDE = _normal(30_000), _normal(700, 5), _normal(3, 9000)
LEFT, RIGHT = _normal(5, 7, 64), _normal(5, 64, 9)
IMAGES, FILTERS = _normal(2, 3, 9, 9), _normal(4, 3, 3, 3)
INDEX, CLASSES = _classes(5, 33), _classes(33, 100)

PROGRAMS: dict[str, Callable[[On], Any]] = {
    "map of a chain": lambda on: torch.relu(on(A) * on(C) + on(A)).tanh(),
    "map through views": lambda on: on(A).t()[3:, ::2] + 1,
    "map with broadcasts": lambda on: on(A) * on(A)[0] + on(A)[:, :1],
    "flip": lambda on: on(A).flip(0) * 2,
    "where": lambda on: torch.where(on(A) > 0, on(A), on(C)),
    "sum of rows": lambda on: on(A).sum(1),
    "sum of columns": lambda on: on(A).sum(0),
    "sum of tall columns": lambda on: on(TALL).sum(0),
    "sum of everything": lambda on: on(LONG).sum(),
    "largest of rows": lambda on: on(A).max(1),
    "argmax": lambda on: on(A).argmax(1),
    "variance": lambda on: on(A).var(0),
    "any": lambda on: (on(A) > 2.5).any(1),
    "softmax": lambda on: torch.softmax(on(A), 1),
    "softmax of long rows": lambda on: torch.softmax(on(WIDE), 1),
    "layer norm": lambda on: F.layer_norm(on(A), (100,)),
    "cross entropy": lambda on: F.cross_entropy(on(A), on(CLASSES)),
    "product with epilogue": lambda on: torch.relu(on(A) @ on(B) + on(B)[0]),
    "product with a transposed": lambda on: on(A) @ on(C).t(),
    "deep product": lambda on: on(WIDE)[:, :600] @ on(LONG)[:12_000].reshape(600, 20),
    "large product": lambda on: on(LONG)[:7000].reshape(70, 100) @ on(LONG)[:9000].reshape(100, 90),
    "batched product": lambda on: on(LEFT) @ on(RIGHT),
    "product of doubles": lambda on: on(A)[:5].double() @ on(B)[:, :9].double(),
    "product of integers": lambda on: (on(A) * 4).long() @ (on(B) * 4).long(),
    "product of halves": lambda on: on(A).bfloat16() @ on(B).bfloat16(),
    "convolution": lambda on: F.conv2d(on(IMAGES), on(FILTERS), padding=1),
    "pooling": lambda on: F.max_pool2d(on(IMAGES), 2),
    "gather": lambda on: on(A)[on(INDEX)],
    "embedding": lambda on: F.embedding(on(INDEX), on(A)),
    "scatter": lambda on: on(A).index_add(0, on(INDEX), on(C)[:5]),
    "one hot": lambda on: F.one_hot(on(CLASSES), 100),
    "concatenation": lambda on: torch.cat([on(A), on(C)], 1),
    "padding": lambda on: F.pad(on(A), (1, 2)),
    "scan": lambda on: on(A).cumsum(1),
    "sort": lambda on: on(A).sort(1),
    "topk": lambda on: on(A).topk(3),
    "triangle": lambda on: on(A).tril(),
    "remainders": lambda on: torch.fmod(on(A), 0.3),
    "factorisation": lambda on: torch.linalg.inv(on(B)[:4, :4]),
    "writing": lambda on: _written(on),
}


ROUNDED_OTHERWISE = ("product of halves",)
"""Products by matrix instructions, which round in their own way."""


def _written(on: On) -> Any:
    x = on(A).clone()
    x[2:5] = 1.0
    x[:, 3].mul_(2.0)
    return x
