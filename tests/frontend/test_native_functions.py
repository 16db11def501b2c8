"""Functions of networks in torch's own namespace, with its orders of arguments."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch as oracle

import lazytorch

CALLS = {
    "embedding": lambda t: t.embedding(t.randn(5, 3), t.tensor([1, 2])),
    "batch_norm": lambda t: t.batch_norm(t.randn(4, 3), None, None, None, None, True, 0.1, 1e-5, True),
    "instance_norm": lambda t: t.instance_norm(t.randn(2, 3, 5), None, None, None, None, True, 0.1, 1e-5, True),
    "constant_pad_nd": lambda t: t.constant_pad_nd(t.randn(2, 3), (1, 2), 1.5),
    "in place": lambda t: (t.selu_(t.randn(3)), t.celu_(t.randn(3)), t.threshold_(t.randn(4), 0.0, 2.0)),
    "losses": lambda t: [
        (
            t.binary_cross_entropy_with_logits(t.randn(4), t.rand(4), reduction=how),
            t.kl_div(t.randn(4), t.rand(4), how),
            t.cosine_embedding_loss(t.randn(4, 3), t.randn(4, 3), t.tensor([1, -1, 1, 1]), 0.1, how),
            t.margin_ranking_loss(t.randn(4), t.randn(4), t.ones(4), 0.1, how),
            t.hinge_embedding_loss(t.randn(4), t.tensor([1, -1, 1, 1]), 1.0, how),
            t.triplet_margin_loss(t.randn(4, 3), t.randn(4, 3), t.randn(4, 3), reduction=how),
            t.poisson_nll_loss(t.randn(4), t.rand(4), True, False, 1e-8, how),
        )
        for how in (0, 1, 2)
    ],
    "grids": lambda t: t.grid_sampler(
        t.randn(1, 2, 4, 4), t.affine_grid_generator(t.rand(1, 2, 3), (1, 1, 3, 3), True), 0, 1, False
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_torchs(name: str, same_as_torch: Callable[..., None]) -> None:
    same_as_torch(CALLS[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("library", [lazytorch, oracle])
def test_a_choice_of_attention_kernels_is_accepted(library: Any) -> None:
    attention = import_module(f"{library.__name__}.nn.attention")
    q = library.ones(1, 4, 8)
    with attention.sdpa_kernel([attention.SDPBackend.MATH, attention.SDPBackend.FLASH_ATTENTION]):
        assert library.nn.functional.scaled_dot_product_attention(q, q, q).shape == (1, 4, 8)
    with pytest.raises(AssertionError, match="Backend must be an instance of SDPBackend"), attention.sdpa_kernel("math"):
        pass
