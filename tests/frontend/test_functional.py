"""torch.nn.functional and torch.nn.init beyond what modules call: values, gradients, messages, numbers under a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as oracle

import lazytorch
from tests.frontend.module_oracle import numbers_of, same

CALLS = {
    "pad with negative counts": lambda t, F: F.pad(t.randn(2, 5, 6), (-1, 2, 1, -2), value=3.0),
    "pad integers": lambda t, F: F.pad(t.arange(6).reshape(2, 3), (1, 0, 0, 1), value=7),
    "pad reflected": lambda t, F: F.pad(t.randn(3, 5), (2, 4), mode="reflect"),
    "pad replicated and cropped": lambda t, F: F.pad(t.randn(2, 3, 5, 4), (3, -1, 0, 2), mode="replicate"),
    "pad circular": lambda t, F: F.pad(t.randn(2, 3, 5, 4, 2), (1, 2, 2, 0, 3, 1), mode="circular"),
    "one_hot": lambda t, F: F.one_hot(t.tensor([[1, 0], [2, 4]]), 6),
    "normalize": lambda t, F: F.normalize(t.randn(3, 4), p=3, dim=0, eps=0.5),
    "softmax with a dtype": lambda t, F: F.softmax(t.arange(6).reshape(2, 3), dim=1, dtype=t.float64),
    "gumbel_softmax": lambda t, F: F.gumbel_softmax(t.randn(4, 5), tau=0.7),
    "gumbel_softmax hard": lambda t, F: F.gumbel_softmax(t.randn(4, 5), hard=True, dim=0),
    **{
        f"in place {call}": lambda t, F, call=call: eval(f"F.{call}", {"F": F, "x": t.randn(9) * 2})
        for call in (
            "relu_(x)",
            "leaky_relu_(x, 0.2)",
            "elu_(x, 0.5)",
            "hardtanh_(x)",
            "celu_(x)",
            "selu_(x)",
            "threshold_(x, 0.1, 3)",
            "silu(x, inplace=True)",
            "mish(x, inplace=True)",
            "hardswish(x, inplace=True)",
            "relu6(x, inplace=True)",
            "hardsigmoid(x, inplace=True)",
            "rrelu_(x, training=True)",
            "dropout(x, 0.4, inplace=True)",
        )
    },
    "dropout of a transposed view": lambda t, F: F.dropout(t.randn(4, 6).t(), 0.4),
    "dropout of a permuted result": lambda t, F: F.dropout(t.randn(4, 3, 5).permute(2, 0, 1).tanh() + 1, 0.4),
    "dropout of repeated rows": lambda t, F: F.dropout(t.randn(3, 5).t().expand(2, 5, 3), 0.4),
    "embedding_bag with weights": lambda t, F: F.embedding_bag(
        t.tensor([1, 2, 0, 1]), t.randn(3, 4), t.tensor([0, 2]), mode="sum", per_sample_weights=t.randn(4)
    ),
    "bilinear": lambda t, F: F.bilinear(t.randn(4, 2, 3), t.randn(4, 2, 5), t.randn(6, 3, 5), t.randn(6)),
    "pdist": lambda t, F: F.pdist(t.randn(4, 3)),
    "affine_grid": lambda t, F: F.affine_grid(t.randn(2, 2, 3), (2, 1, 3, 4), align_corners=False),
    "affine_grid in space": lambda t, F: F.affine_grid(t.randn(2, 3, 4), [2, 1, 3, 1, 2], align_corners=True),
    "cross_entropy with weights": lambda t, F: F.cross_entropy(
        t.randn(4, 3), t.tensor([0, 2, 1, 2]), weight=t.rand(3).detach(), label_smoothing=0.2
    ),
    "cross_entropy of probabilities": lambda t, F: F.cross_entropy(t.randn(4, 3, 2), t.rand(4, 3, 2), t.rand(3).detach()),
    "nll_loss of images": lambda t, F: F.nll_loss(
        t.randn(2, 3, 4), t.randint(0, 3, (2, 4)), t.rand(3).detach(), ignore_index=1
    ),
    "binary_cross_entropy with weights": lambda t, F: F.binary_cross_entropy(
        t.rand(4, 3), t.rand(4, 3), t.rand(3).detach(), reduction="sum"
    ),
    "logits with weights": lambda t, F: F.binary_cross_entropy_with_logits(
        t.randn(4, 3), t.rand(4, 3), t.rand(4, 1).detach(), pos_weight=t.rand(3).detach() * 2
    ),
    "mse_loss with weights": lambda t, F: F.mse_loss(t.randn(4, 3), t.randn(4, 3), weight=t.rand(4, 3)),
    "huber_loss with weights": lambda t, F: F.huber_loss(t.randn(4, 3), t.randn(4, 3), weight=t.rand(4, 3), delta=0.3),
    "multi_margin_loss with weights": lambda t, F: F.multi_margin_loss(
        t.randn(4, 3), t.tensor([0, 2, 1, 1]), weight=t.rand(3).detach()
    ),
    "multilabel_soft_margin_loss with weights": lambda t, F: F.multilabel_soft_margin_loss(
        t.randn(4, 3), t.rand(4, 3), t.rand(3), reduction="none"
    ),
    "ctc_loss of one sequence": lambda t, F: F.ctc_loss(
        t.randn(9, 5).log_softmax(1), t.tensor([1, 1, 2]), t.tensor(9), t.tensor(3), reduction="sum"
    ),
    "ctc_loss of joined targets": lambda t, F: F.ctc_loss(
        t.randn(9, 2, 5).log_softmax(2), t.tensor([1, 2, 2, 3, 4]), (9, 7), (3, 2)
    ),
    "attention with a mask": lambda t, F: F.scaled_dot_product_attention(
        t.randn(2, 3, 4, 6), t.randn(2, 3, 5, 6), t.randn(2, 3, 5, 2), t.rand(4, 5) > 0.4, scale=0.3
    ),
    "attention with dropout": lambda t, F: F.scaled_dot_product_attention(
        t.randn(2, 3, 4, 6), t.randn(2, 3, 4, 6), t.randn(2, 3, 4, 6), dropout_p=0.3, is_causal=True
    ),
    "grouped-query attention": lambda t, F: F.scaled_dot_product_attention(
        t.randn(2, 4, 3, 6), t.randn(2, 2, 5, 6), t.randn(2, 2, 5, 6), enable_gqa=True
    ),
    "layer_norm with a bias only": lambda t, F: F.layer_norm(t.randn(3, 4), (4,), None, t.randn(4)),
    "batch_norm with a bias only": lambda t, F: F.batch_norm(t.randn(3, 4), None, None, None, t.randn(4), training=True),
    "conv of one image": lambda t, F: F.conv2d(t.randn(2, 6, 6), t.randn(3, 2, 3, 2), padding="same", dilation=(2, 1)),
    "conv_transpose cropped": lambda t, F: F.conv_transpose1d(t.randn(2, 3, 5), t.randn(3, 4, 2), padding=3, stride=2),
    "antialiased": lambda t, F: F.interpolate(t.randn(1, 2, 9, 8), size=(4, 5), mode="bilinear", antialias=True),
    "antialiased cubic": lambda t, F: F.interpolate(t.randn(1, 2, 9, 8), size=(4, 11), mode="bicubic", antialias=True),
    "interpolate downwards": lambda t, F: F.interpolate(t.randn(1, 2, 9, 8), scale_factor=0.4, mode="bilinear"),
    **{
        f"grid_sample {mode} {padding} {align}": lambda t, F, mode=mode, padding=padding, align=align: F.grid_sample(
            t.randn(2, 3, 4, 5), t.rand(2, 3, 6, 2) * 3 - 1.5, mode, padding, align
        )
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
        for align in (True, False)
    },
    "grid_sample in space": lambda t, F: F.grid_sample(
        t.randn(1, 2, 3, 4, 5), t.rand(1, 2, 3, 2, 3) * 2 - 1, align_corners=False
    ),
}


def run(torch: Any, call: Any) -> tuple[Any, list[Any]]:
    """The result, and the gradients of all random tensors that went in."""
    torch.manual_seed(7)
    leaves: list[Any] = []

    class Watched:
        """The namespace, with random tensors as leaves."""

        def __getattr__(self, name: str) -> Any:
            if name not in ("randn", "rand"):
                return getattr(torch, name)

            def draw(*shape: int) -> Any:
                leaves.append(getattr(torch, name)(*shape).requires_grad_())
                return leaves[-1] * 1.0

            return draw

    out = call(Watched(), torch.nn.functional)
    if out.requires_grad:
        (out * torch.arange(out.numel()).reshape(out.shape).to(out.dtype).cos()).sum().backward()
    return out, [x.grad for x in leaves]


@pytest.mark.parametrize("name", CALLS)
def test_a_function_gives_torchs_values_and_gradients(name: str) -> None:
    (mine, gradients), (theirs, wanted) = (run(torch, CALLS[name]) for torch in (lazytorch, oracle))
    same(mine, theirs, 3e-5, name)
    for number, (a, b) in enumerate(zip(gradients, wanted, strict=True)):
        if a is None and b is not None:
            assert not numbers_of(b).any()
        elif b is not None:
            same(a, b, 3e-4, f"{name}: gradient {number}")


WRONG = {
    "odd padding": lambda t, F: F.pad(t.ones(2, 3), (1, 2, 3)),
    "too much padding": lambda t, F: F.pad(t.ones(3), (1, 2, 3, 4)),
    "unknown padding mode": lambda t, F: F.pad(t.ones(1, 2, 3), (1, 1), mode="mirror"),
    "wide reflection": lambda t, F: F.pad(t.ones(1, 2, 3), (3, 1), mode="reflect"),
    "dropout probability": lambda t, F: F.dropout(t.ones(3), 1.5),
    "unknown reduction": lambda t, F: F.mse_loss(t.ones(3), t.ones(3), reduction="all"),
    "probabilities of another shape": lambda t, F: F.binary_cross_entropy(t.ones(3), t.ones(2)),
    "logits of another shape": lambda t, F: F.binary_cross_entropy_with_logits(t.ones(3), t.ones(2)),
    "glu of an odd dimension": lambda t, F: F.glu(t.ones(2, 3)),
    "pixel_shuffle": lambda t, F: F.pixel_shuffle(t.ones(1, 3, 2, 2), 2),
    "pixel_unshuffle": lambda t, F: F.pixel_unshuffle(t.ones(1, 3, 3, 2), 2),
    "fold": lambda t, F: F.fold(t.ones(1, 6, 4), (3, 3), 2),
    "interpolate both": lambda t, F: F.interpolate(t.ones(1, 1, 2, 2), size=3, scale_factor=2),
    "interpolate neither": lambda t, F: F.interpolate(t.ones(1, 1, 2, 2)),
    "interpolate corners": lambda t, F: F.interpolate(t.ones(1, 1, 2, 2), size=3, align_corners=True),
    "interpolate antialiased": lambda t, F: F.interpolate(t.ones(1, 1, 2), size=3, mode="linear", antialias=True),
    "grid_sample mode": lambda t, F: F.grid_sample(t.ones(1, 1, 2, 2), t.ones(1, 2, 2, 2), mode="linear"),
    "embedding index type": lambda t, F: F.embedding(t.ones(2), t.ones(3, 4)),
    "embedding_bag offsets": lambda t, F: F.embedding_bag(t.tensor([1, 2]), t.ones(3, 2)),
    "one value per channel": lambda t, F: F.batch_norm(t.ones(1, 3), None, None, training=True),
    "groups": lambda t, F: F.group_norm(t.ones(2, 5, 3), 2),
    "one spatial element": lambda t, F: F.instance_norm(t.ones(2, 5, 1)),
    "transposed channels": lambda t, F: F.conv_transpose2d(t.ones(1, 2, 3, 3), t.ones(3, 2, 2, 2)),
    "clamp bounds": lambda t, F: F.hardtanh(t.ones(3), 2, 1),
    "margin": lambda t, F: F.triplet_margin_loss(t.ones(2, 3), t.ones(2, 3), t.ones(2, 3), margin=0),
    "mask and causal": lambda t, F: F.scaled_dot_product_attention(
        t.ones(1, 2, 3), t.ones(1, 2, 3), t.ones(1, 2, 3), t.ones(2, 2), is_causal=True
    ),
    "mean distance of integers": lambda t, F: F.l1_loss(t.arange(3), t.arange(3)),
    "squared distance of integers": lambda t, F: F.mse_loss(t.arange(3), t.arange(3)),
    "huber_loss of integers": lambda t, F: F.huber_loss(t.arange(3), t.arange(3)),
    "integers as probabilities": lambda t, F: F.binary_cross_entropy(t.arange(2), t.arange(2)),
    "integers as logits": lambda t, F: F.binary_cross_entropy_with_logits(t.arange(2), t.arange(2)),
    "conv kernel": lambda t, F: F.conv2d(t.ones(1, 1, 2, 2), t.ones(1, 1, 3, 3)),
    "pool window": lambda t, F: F.max_pool2d(t.ones(1, 1, 2, 2), 3),
    "pool padding": lambda t, F: F.avg_pool2d(t.ones(1, 1, 4, 4), 2, padding=2),
    "fan of a vector": lambda t, F: t.nn.init.xavier_uniform_(t.ones(3)),
    "fan mode": lambda t, F: t.nn.init.kaiming_uniform_(t.ones(3, 2), mode="fan"),
    "gain": lambda t, F: t.nn.init.calculate_gain("softmax"),
    "identity of a vector": lambda t, F: t.nn.init.eye_(t.ones(3)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_raises_torchs_error(name: str) -> None:
    raised = []
    for torch in (lazytorch, oracle):
        with pytest.raises(Exception) as caught:
            WRONG[name](torch, torch.nn.functional)
        raised.append((type(caught.value), str(caught.value)[:40]))
    assert raised[0] == raised[1]


INITIALS: dict[str, tuple[dict[str, Any], ...]] = {
    "uniform_": ({}, {"a": -1, "b": 3}),
    "normal_": ({}, {"mean": 2, "std": 0.1}),
    "constant_": ({"val": 0.3},),
    "ones_": ({},),
    "zeros_": ({},),
    "eye_": ({},),
    "xavier_uniform_": ({}, {"gain": 1.3}),
    "xavier_normal_": ({}, {"gain": 0.4}),
    "kaiming_uniform_": ({}, {"a": 0.2, "mode": "fan_out"}, {"nonlinearity": "relu"}),
    "kaiming_normal_": ({}, {"nonlinearity": "tanh"}),
    "sparse_": ({"sparsity": 0.4}, {"sparsity": 0.1, "std": 1.0}),
    "trunc_normal_": ({}, {"mean": 0.5, "std": 0.2, "a": 0.1, "b": 0.8}, {"a": 1.5, "b": 3}),
    "orthogonal_": ({}, {"gain": 2}),
}
SHAPES = ((5, 3), (3, 7), (20, 10))


@pytest.mark.parametrize("name", INITIALS)
def test_an_initialisation_writes_torchs_numbers(name: str) -> None:
    for options in INITIALS[name]:
        for shape in SHAPES:
            written = []
            for torch in (lazytorch, oracle):
                torch.manual_seed(5)
                x = torch.nn.Parameter(torch.empty(*shape))
                assert getattr(torch.nn.init, name)(x, **options) is x
                written.append((numbers_of(x), torch.rand(1).item()))
            assert written[0][1] == written[1][1], "the generator advanced differently"
            if name == "orthogonal_":  # LAPACKs round differently
                np.testing.assert_allclose(written[0][0], written[1][0], rtol=2e-6, atol=2e-6)
            else:
                assert np.array_equal(written[0][0], written[1][0]), (name, options, shape)


def test_dirac_weights_pass_channels_on() -> None:
    for shape, groups in (((4, 2, 3), 2), ((2, 3, 3, 4), 1), ((3, 3, 2, 2, 2), 3)):
        mine, theirs = (torch.nn.init.dirac_(torch.empty(*shape), groups) for torch in (lazytorch, oracle))
        assert np.array_equal(numbers_of(mine), numbers_of(theirs))
