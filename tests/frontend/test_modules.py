"""Every module of torch.nn: the same text, initial parameters bit for bit, outputs, gradients; training and evaluating."""

from __future__ import annotations

from typing import Any

import pytest

from tests.frontend.module_oracle import compare_module


def image(*shape: int) -> Any:
    """One random input."""
    return lambda t: (t.randn(*shape),)


def images(*shapes: tuple[int, ...]) -> Any:
    """Several random inputs."""
    return lambda t: tuple(t.randn(*shape) for shape in shapes)


def scored(*shape: int, classes: int = 0) -> Any:
    """Scores and class numbers."""
    return lambda t: (t.randn(*shape), t.randint(0, classes or shape[1], (shape[0], *shape[2:])))


def signs(t: Any, *shape: int) -> Any:
    """1 and -1."""
    return t.randint(0, 2, shape) * 2 - 1


def pooled(t: Any, spatial: int) -> Any:
    """What a max pooling gives: elements and indices."""
    pool = getattr(t.nn, f"MaxPool{spatial}d")(2, return_indices=True)
    out, index = pool(t.randn(2, 3, *(6,) * spatial))
    return out.detach(), index


def log_probabilities(t: Any) -> Any:
    """Inputs of CTCLoss."""
    logs = t.randn(12, 3, 6).log_softmax(2).detach()
    targets = t.tensor([[1, 2, 2, 3], [4, 5, 0, 0], [1, 0, 0, 0]])
    return logs, targets, t.tensor([12, 10, 7]), t.tensor([4, 2, 1])


def unfitting(t: Any) -> Any:
    """Inputs of CTCLoss, of which the last target needs more steps than there are."""
    logs = log_probabilities(t)[0]
    return logs, t.tensor([[1, 2], [0, 0], [4, 4]]), t.tensor([12, 10, 2]), t.tensor([2, 1, 2])


ACTIVATIONS = [
    "CELU()", "CELU(0.7, inplace=False)", "ELU()", "ELU(alpha=0.5)", "GELU()", "GELU('tanh')", "GLU()", "GLU(dim=0)",
    "Hardshrink()", "Hardshrink(0.2)", "Hardsigmoid()", "Hardswish()", "Hardtanh()", "Hardtanh(-2, 0.5)", "LeakyReLU()",
    "LeakyReLU(0.2)", "LogSigmoid()", "LogSoftmax(dim=1)", "Mish()", "PReLU()", "PReLU(4, 0.1)", "RReLU()", "ReLU()",
    "ReLU6()", "SELU()", "SiLU()", "Sigmoid()", "Softmax()", "Softmax(dim=-1)", "Softmin(dim=1)", "Softplus()",
    "Softplus(2, 1)", "Softshrink()", "Softsign()", "Tanh()", "Tanhshrink()", "Threshold(0.1, 20)", "Identity(3, x=2)",
]  # fmt: skip

PLAIN = {
    "Linear(4, 3)": image(5, 4),
    "Linear(4, 3, bias=False)": image(2, 3, 4),
    "Bilinear(3, 4, 5)": images((6, 3), (6, 4)),
    "Bilinear(3, 4, 5, bias=False)": images((2, 6, 3), (2, 6, 4)),
    "Flatten()": image(2, 3, 4),
    "Flatten(0, 1)": image(2, 3, 4),
    "Unflatten(1, (2, 3))": image(4, 6, 2),
    "Embedding(7, 3)": lambda t: (t.tensor([[1, 2], [6, 0]]),),
    "Embedding(7, 3, padding_idx=-2)": lambda t: (t.tensor([[1, 5], [6, 5]]),),
    "Embedding(7, 3, max_norm=0.5)": lambda t: (t.tensor([[1, 5], [6, 5]]),),
    "EmbeddingBag(7, 3)": lambda t: (t.tensor([[1, 5, 2], [6, 5, 0]]),),
    "EmbeddingBag(7, 3, mode='sum', padding_idx=5)": lambda t: (t.tensor([[1, 5, 2], [6, 5, 0]]),),
    "EmbeddingBag(7, 3, mode='max')": lambda t: (t.tensor([1, 5, 2, 6, 5]), t.tensor([0, 3, 3])),
    "EmbeddingBag(7, 3, mode='mean', include_last_offset=True)": lambda t: (t.tensor([1, 5, 2, 6]), t.tensor([0, 3, 4])),
    "Dropout()": image(20, 4),
    "Dropout(0.2)": image(3, 33),
    "Dropout(1.0)": image(3, 3),
    "Dropout1d(0.4)": image(4, 5, 3),
    "Dropout2d(0.4)": image(4, 5, 3, 2),
    "Dropout3d(0.4)": image(4, 5, 3, 2, 2),
    "AlphaDropout(0.3)": image(9, 5),
    "FeatureAlphaDropout(0.3)": image(4, 5, 6),
    "CosineSimilarity()": images((4, 5), (4, 5)),
    "CosineSimilarity(dim=-1, eps=1e-6)": images((2, 4, 5), (2, 4, 5)),
    "PairwiseDistance()": images((4, 5), (4, 5)),
    "PairwiseDistance(p=1, keepdim=True)": images((4, 5), (4, 5)),
    "PixelShuffle(2)": image(2, 8, 3, 4),
    "PixelUnshuffle(3)": image(2, 2, 6, 9),
    "ChannelShuffle(2)": image(2, 6, 3),
    "Softmax2d()": image(2, 3, 4, 5),
    "Unfold(2)": image(2, 3, 5, 6),
    "Unfold((2, 3), dilation=2, padding=1, stride=2)": image(2, 3, 7, 9),
    "Fold((5, 6), 2)": image(2, 12, 20),
    "Fold((7, 8), (2, 3), padding=1, stride=2)": image(2, 18, 16),
}

CONVOLUTIONS = {
    "Conv1d(4, 6, 3)": image(2, 4, 9),
    "Conv1d(4, 6, 3, padding='same', dilation=2)": image(4, 9),
    "Conv1d(4, 6, 4, padding='same')": image(2, 4, 9),
    "Conv1d(4, 6, 3, padding=2, padding_mode='circular')": image(2, 4, 9),
    "Conv2d(4, 6, 3)": image(2, 4, 7, 8),
    "Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), bias=False)": image(2, 4, 7, 8),
    "Conv2d(4, 6, 3, groups=2, dilation=2)": image(2, 4, 7, 8),
    "Conv2d(4, 8, 3, groups=4, padding='valid')": image(2, 4, 7, 8),
    "Conv2d(4, 6, 3, padding=1, padding_mode='reflect')": image(2, 4, 7, 8),
    "Conv2d(4, 6, 3, padding='same', padding_mode='replicate')": image(2, 4, 7, 8),
    "Conv3d(2, 4, 3)": image(2, 2, 5, 6, 4),
    "Conv3d(2, 4, (1, 2, 3), stride=2, padding=1)": image(2, 5, 6, 4),
    "ConvTranspose1d(4, 6, 3)": image(2, 4, 7),
    "ConvTranspose1d(4, 6, 4, stride=3, padding=1, output_padding=2)": image(4, 7),
    "ConvTranspose2d(4, 6, 3)": image(2, 4, 5, 6),
    "ConvTranspose2d(4, 6, 2, stride=2, bias=False)": image(2, 4, 5, 6),
    "ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)": image(2, 4, 5, 6),
    "ConvTranspose2d(4, 6, (2, 3), dilation=2, padding=(3, 0))": image(2, 4, 5, 6),
    "ConvTranspose3d(2, 4, 3, stride=2)": image(2, 2, 3, 2, 4),
}

NORMALIZATIONS = {
    "BatchNorm1d(4)": image(6, 4),
    "BatchNorm1d(4, affine=False)": image(6, 4, 3),
    "BatchNorm2d(4, momentum=0.3, eps=1e-3)": image(3, 4, 5, 2),
    "BatchNorm2d(4, momentum=None)": image(3, 4, 5, 2),
    "BatchNorm2d(4, track_running_stats=False)": image(3, 4, 5, 2),
    "BatchNorm3d(2)": image(3, 2, 3, 2, 2),
    "InstanceNorm1d(4)": image(3, 4, 5),
    "InstanceNorm1d(4, affine=True)": image(4, 5),
    "InstanceNorm2d(4, affine=True, track_running_stats=True)": image(3, 4, 5, 2),
    "InstanceNorm3d(2)": image(2, 2, 3, 2, 2),
    "LayerNorm(5)": image(3, 4, 5),
    "LayerNorm((4, 5), eps=1e-3, bias=False)": image(3, 4, 5),
    "LayerNorm([5], elementwise_affine=False)": image(3, 4, 5),
    "GroupNorm(2, 6)": image(3, 6, 4, 2),
    "GroupNorm(3, 6, affine=False)": image(3, 6),
    "RMSNorm(5)": image(3, 4, 5),
    "RMSNorm((4, 5), eps=1e-3, elementwise_affine=False)": image(3, 4, 5),
    "LocalResponseNorm(3)": image(2, 6, 4),
    "LocalResponseNorm(2, alpha=0.1, beta=0.5, k=2)": image(2, 6, 4, 3),
}

POOLS = {
    "MaxPool1d(2)": image(2, 3, 9),
    "MaxPool1d(3, stride=2, padding=1, return_indices=True)": image(2, 3, 9),
    "MaxPool2d(2)": image(2, 3, 7, 8),
    "MaxPool2d((3, 2), stride=(2, 1), padding=1, ceil_mode=True)": image(2, 3, 7, 8),
    "MaxPool2d(3, stride=1, dilation=2, return_indices=True)": image(3, 7, 8),
    "MaxPool3d(2, return_indices=True)": image(2, 3, 4, 5, 6),
    "MaxPool3d(3, stride=2, padding=1)": image(2, 3, 4, 5, 6),
    "MaxUnpool1d(2)": lambda t: pooled(t, 1),
    "MaxUnpool2d(2)": lambda t: pooled(t, 2),
    "MaxUnpool3d(2)": lambda t: pooled(t, 3),
    "AvgPool1d(3)": image(2, 3, 9),
    "AvgPool1d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)": image(2, 3, 10),
    "AvgPool2d(2)": image(2, 3, 7, 8),
    "AvgPool2d((3, 2), stride=(2, 1), padding=1, ceil_mode=True)": image(2, 3, 7, 8),
    "AvgPool2d(3, stride=2, padding=1, count_include_pad=False)": image(2, 3, 7, 8),
    "AvgPool2d(3, divisor_override=5)": image(2, 3, 7, 8),
    "AvgPool3d(2)": image(2, 3, 4, 5, 6),
    "LPPool1d(2, 3)": image(2, 3, 9),
    "LPPool2d(2, (3, 2), stride=(2, 1))": image(2, 3, 7, 8),
    "LPPool3d(2, 2)": image(2, 3, 4, 5, 6),
    "AdaptiveAvgPool1d(3)": image(2, 3, 8),
    "AdaptiveAvgPool2d(1)": image(2, 3, 7, 8),
    "AdaptiveAvgPool2d((3, None))": image(2, 3, 7, 8),
    "AdaptiveAvgPool2d((4, 10))": image(3, 7, 8),
    "AdaptiveAvgPool3d((2, 3, 1))": image(2, 3, 4, 5, 6),
    "AdaptiveMaxPool1d(3)": image(2, 3, 8),
    "AdaptiveMaxPool2d((3, None), return_indices=True)": image(2, 3, 7, 8),
    "AdaptiveMaxPool3d((2, 3, 1))": image(2, 3, 4, 5, 6),
    "FractionalMaxPool2d(2, output_size=(4, 3))": image(2, 3, 7, 8),
    "FractionalMaxPool2d((2, 3), output_ratio=(0.5, 0.6), return_indices=True)": image(2, 3, 9, 8),
    "FractionalMaxPool3d(2, output_size=3)": image(2, 2, 7, 8, 6),
}

PADS = {
    "ConstantPad1d(2, 3.5)": image(2, 3, 4),
    "ConstantPad2d((1, 2, 0, -1), -1.0)": image(2, 3, 4, 5),
    "ConstantPad3d(1, 0.5)": image(2, 3, 4, 5, 2),
    "ZeroPad1d((1, 2))": image(3, 4),
    "ZeroPad2d((1, 0, 2, 1))": image(2, 3, 4, 5),
    "ZeroPad3d(1)": image(2, 3, 4, 5, 2),
    "ReflectionPad1d((2, 1))": image(2, 3, 5),
    "ReflectionPad2d((1, 2, 3, 0))": image(2, 3, 5, 4),
    "ReflectionPad3d(1)": image(2, 3, 4, 5, 2),
    "ReplicationPad1d((2, 5))": image(2, 3, 4),
    "ReplicationPad2d((1, 2, 0, 3))": image(3, 4, 5),
    "ReplicationPad3d(1)": image(2, 3, 4, 5, 2),
    "CircularPad1d((2, 4))": image(2, 3, 4),
    "CircularPad2d((1, 2, 0, 3))": image(2, 3, 4, 5),
    "CircularPad3d(1)": image(2, 3, 4, 5, 2),
}

UPSAMPLES = {
    "Upsample(scale_factor=2)": image(2, 3, 4, 5),
    "Upsample(size=7)": image(2, 3, 4),
    "Upsample(size=(3, 7), mode='nearest-exact')": image(2, 3, 4, 5),
    "Upsample(scale_factor=(2, 1.5), mode='nearest')": image(2, 3, 4, 5),
    "Upsample(scale_factor=2, mode='linear')": image(2, 3, 5),
    "Upsample(scale_factor=2, mode='bilinear', align_corners=True)": image(2, 3, 4, 5),
    "Upsample(size=(3, 7), mode='bilinear')": image(2, 3, 4, 5),
    "Upsample(scale_factor=1.7, mode='bilinear', recompute_scale_factor=True)": image(2, 3, 4, 5),
    "Upsample(scale_factor=1.7, mode='bicubic')": image(2, 3, 4, 5),
    "Upsample(size=(3, 8), mode='bicubic', align_corners=True)": image(2, 3, 4, 5),
    "Upsample(scale_factor=2, mode='trilinear')": image(2, 2, 3, 4, 2),
    "Upsample(size=(3, 2), mode='area')": image(2, 3, 4, 5),
    "UpsamplingNearest2d(scale_factor=2)": image(2, 3, 4, 5),
    "UpsamplingBilinear2d(size=(6, 7))": image(2, 3, 4, 5),
}

LOSSES = {
    "L1Loss()": images((4, 3), (4, 3)),
    "L1Loss(reduction='sum')": images((4, 3), (4, 3)),
    "MSELoss(reduction='none')": images((4, 3), (4, 3)),
    "MSELoss(size_average=False)": images((4, 3), (4, 3)),
    "SmoothL1Loss(beta=0.5)": images((4, 3), (4, 3)),
    "SmoothL1Loss(reduction='sum')": images((4, 3), (4, 3)),
    "HuberLoss(delta=0.7)": images((4, 3), (4, 3)),
    "NLLLoss()": lambda t: (t.randn(4, 5).log_softmax(1).detach(), t.tensor([1, 0, 4, 2])),
    "NLLLoss(ignore_index=2, reduction='sum')": scored(4, 5, 3),
    "CrossEntropyLoss()": scored(6, 4),
    "CrossEntropyLoss(label_smoothing=0.1, reduction='none')": scored(6, 4, 2),
    "CrossEntropyLoss(ignore_index=1)": scored(6, 4),
    "BCELoss()": lambda t: (t.rand(4, 3), t.rand(4, 3)),
    "BCEWithLogitsLoss()": lambda t: (t.randn(4, 3), t.rand(4, 3)),
    "BCEWithLogitsLoss(reduction='sum')": lambda t: (t.randn(4, 3), t.rand(4, 3)),
    "KLDivLoss(reduction='batchmean')": lambda t: (t.randn(4, 3), t.rand(4, 3)),
    "KLDivLoss(log_target=True, reduction='sum')": images((4, 3), (4, 3)),
    "PoissonNLLLoss()": lambda t: (t.randn(4, 3), t.rand(4, 3) * 5),
    "PoissonNLLLoss(log_input=False, full=True)": lambda t: (t.rand(4, 3), (t.rand(4, 3) * 5).detach() + 0.3),
    "GaussianNLLLoss()": lambda t: (t.randn(4, 3), t.randn(4, 3), t.rand(4, 3)),
    "GaussianNLLLoss(full=True, eps=0.5)": lambda t: (t.randn(4, 3), t.randn(4, 3), t.rand(4, 1)),
    "SoftMarginLoss()": lambda t: (t.randn(4, 3), signs(t, 4, 3)),
    "HingeEmbeddingLoss(0.7)": lambda t: (t.randn(4, 3), signs(t, 4, 3)),
    "MarginRankingLoss(0.2)": lambda t: (t.randn(6), t.randn(6), signs(t, 6)),
    "CosineEmbeddingLoss(margin=0.1)": lambda t: (t.randn(6, 3), t.randn(6, 3), signs(t, 6)),
    "MultiMarginLoss()": scored(6, 4),
    "MultiMarginLoss(p=2, margin=0.5, reduction='none')": scored(6, 4),
    "MultiLabelMarginLoss()": lambda t: (t.randn(2, 4), t.tensor([[3, 0, -1, 1], [-1, 2, 0, 1]])),
    "MultiLabelSoftMarginLoss()": lambda t: (t.randn(6, 4), t.randint(0, 2, (6, 4)).float()),
    "TripletMarginLoss(swap=True)": images((4, 3), (4, 3), (4, 3)),
    "TripletMarginLoss(p=1, margin=0.5)": images((4, 3), (4, 3), (4, 3)),
    "TripletMarginWithDistanceLoss()": images((4, 3), (4, 3), (4, 3)),
    "CTCLoss()": log_probabilities,
    "CTCLoss(blank=5, reduction='sum', zero_infinity=True)": unfitting,
    "CTCLoss(reduction='none', zero_infinity=True)": log_probabilities,
}


def padding(t: Any) -> Any:
    """The last two positions of the first sequence of two."""
    return t.tensor([[False, False, False, True, True], [False] * 5])


def packed(t: Any) -> Any:
    """Sequences of lengths 2, 5 and 3, packed."""
    x = t.randn(5, 3, 4)
    return (t.nn.utils.rnn.pack_padded_sequence(x, t.tensor([2, 5, 3]), enforce_sorted=False),)


def causal(t: Any) -> Any:
    """A mask that hides the future."""
    return t.nn.Transformer.generate_square_subsequent_mask(5)


RECURRENT = {
    **{f"{kind}(4, 3)": image(5, 2, 4) for kind in ("RNN", "LSTM", "GRU")},
    "RNN(4, 3, nonlinearity='relu', bias=False)": image(5, 2, 4),
    "RNN(4, 3, num_layers=2, bidirectional=True)": lambda t: (t.randn(5, 2, 4), t.randn(4, 2, 3)),
    "LSTM(4, 3, 2, batch_first=True, bidirectional=True)": lambda t: (
        t.randn(2, 5, 4), (t.randn(4, 2, 3), t.randn(4, 2, 3))
    ),
    "LSTM(4, 5, proj_size=3, num_layers=2)": image(6, 2, 4),
    "GRU(4, 3, 3, dropout=0.4)": image(5, 2, 4),
    "GRU(4, 3, batch_first=True)": image(5, 4),
    "RNN(4, 3, 2)": packed,
    "LSTM(4, 3, 2, bidirectional=True)": packed,
    "GRU(4, 3, bidirectional=True)": lambda t: (*packed(t), t.randn(2, 3, 3)),
    "RNNCell(4, 3)": lambda t: (t.randn(2, 4), t.randn(2, 3)),
    "RNNCell(4, 3, nonlinearity='relu', bias=False)": image(4),
    "LSTMCell(4, 3)": lambda t: (t.randn(2, 4), (t.randn(2, 3), t.randn(2, 3))),
    "GRUCell(4, 3)": image(2, 4),
}  # fmt: skip

ATTENTION = {
    "MultiheadAttention(8, 2)": images((5, 2, 8), (6, 2, 8), (6, 2, 8)),
    "MultiheadAttention(8, 2, batch_first=True, bias=False)": lambda t: (t.randn(2, 5, 8),) * 3,
    "MultiheadAttention(8, 2, kdim=6, vdim=4, dropout=0.3)": images((5, 2, 8), (6, 2, 6), (6, 2, 4)),
    "MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True)": lambda t: (
        *images((5, 2, 8), (5, 2, 8), (5, 2, 8))(t), padding(t), True, causal(t) > -1,
    ),
    "MultiheadAttention(8, 4)": lambda t: (t.randn(5, 8),) * 3 + (None, False),
    "TransformerEncoderLayer(8, 2, 16)": image(5, 2, 8),
    "TransformerEncoderLayer(8, 2, 16, activation='gelu', norm_first=True, batch_first=True, dropout=0)": lambda t: (
        t.randn(2, 5, 8), causal(t), padding(t)
    ),
    "TransformerDecoderLayer(8, 2, 16)": lambda t: (t.randn(5, 2, 8), t.randn(4, 2, 8), causal(t)),
    "TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)": lambda t: (t.randn(5, 2, 8), causal(t)),
    "TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2, nn.LayerNorm(8))": images((5, 2, 8), (4, 2, 8)),
    "Transformer(8, 2, 1, 2, 16, batch_first=True)": lambda t: (t.randn(2, 4, 8), t.randn(2, 5, 8), None, causal(t)),
}  # fmt: skip

CONTAINERS = {
    "AdaptiveLogSoftmaxWithLoss(8, 20, [4, 9, 15], div_value=2)": lambda t: (t.randn(7, 8), t.randint(0, 20, (7,))),
    "AdaptiveLogSoftmaxWithLoss(8, 20, [4], head_bias=True)": lambda t: (t.randn(3, 8), t.tensor([0, 3, 2])),
    "Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))": image(5, 4),
    "Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(2)])": image(5, 4),
}

TABLE = {
    **{text: image(4, 4, 2) for text in ACTIVATIONS},
    **PLAIN,
    **CONVOLUTIONS,
    **NORMALIZATIONS,
    **POOLS,
    **PADS,
    **UPSAMPLES,
    **LOSSES,
    **RECURRENT,
    **ATTENTION,
    **CONTAINERS,
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("text", TABLE)
def test_a_module_does_what_torchs_does(text: str, training: bool) -> None:
    compare_module(lambda torch: eval(f"nn.{text}", {"nn": torch.nn}), TABLE[text], training)
